//! A threat's bundle built by hand: prints what leaves ATIO; `--time N` builds N lean ones and prints the best mean of 1,000 instead.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for the terminal, not part of the library"
)]
use atio_schemas::detection::{Detection, Kind};
use atio_schemas::{Timestamp, detection::Tlp};
use atio_stix::object::*;
use atio_stix::{Bundle, Stamp, bundle, constants, graph, ids};
use std::hint::black_box;
use std::sync::Arc;

const T: &str = "default";
const RULE: &str = "alert http any any -> any any (msg:\"ET EXPLOIT Apache traversal\"; content:\"/.%2e/\"; sid:2034124; rev:3;)";

fn lean(event: &str, reported: Timestamp, began: Timestamp) -> Vec<u8> {
    let at = Stamp::millis(reported);
    let mut out = Bundle::new(&ids::bundle(T, &[event]));
    let identity = |id, name| Identity {
        common: Common::fixed(id).by_atio(),
        name: Text::Borrowed(name),
        identity_class: Some("system".into()),
        ..Identity::default()
    };
    let sensor = identity(ids::sensor_identity(T, "edge-1"), "edge-1");
    let asset = identity(ids::asset_identity(T, "ip:10.1.2.3"), "ip:10.1.2.3");
    let mut technique = AttackPattern {
        common: Common::fixed(ids::attack_pattern(T, "mitre-attack", "T1190")).by_atio(),
        name: "T1190".into(),
        ..AttackPattern::default()
    };
    technique.common.external_references.push(ExternalReference::new("mitre-attack", "T1190"));
    let indicator = Indicator {
        common: Common::fixed(ids::indicator_suricata(T, "et-open", "1:2034124", RULE)).by_atio(),
        name: Some("ET EXPLOIT Apache traversal".into()),
        description: Some("Suricata rule 1:2034124 of et-open".into()),
        indicator_types: vec!["malicious-activity".into()],
        pattern: RULE.into(),
        pattern_type: "suricata".into(),
        ..Indicator::default()
    };
    let link = |kind, from, to| {
        let mut link = Relationship::between(T, kind, from, to);
        link.common.created_by_ref = Some(constants::atio_identity_id());
        link
    };
    let targets = link("targets", technique.common.id, asset.common.id);
    let indicates = link("indicates", indicator.common.id, technique.common.id);
    let (src, dst) = (Ipv4Addr::new("198.51.100.7"), Ipv4Addr::new("10.1.2.3"));
    let request = HttpRequest {
        request_header: vec![
            ("Host".into(), vec!["shop.example".into()]),
            ("User-Agent".into(), vec!["curl/8".into()]),
        ],
        request_method: "get".into(),
        request_value: "/cgi-bin/.%2e/etc/passwd".into(),
        ..HttpRequest::default()
    };
    let flow = NetworkTraffic {
        start: Some(Stamp::shortest(began)),
        src_ref: Some(src.common.id),
        dst_ref: Some(dst.common.id),
        src_port: Some(51234),
        dst_port: Some(80),
        protocols: vec!["ipv4".into(), "tcp".into(), "http".into()],
        src_byte_count: Some(612),
        ..NetworkTraffic::default()
    };
    let flow = flow.with_extension(Extension::HttpRequest(request)).identified();
    let domain = DomainName::new("shop.example");
    let url = Url::new("http://shop.example/cgi-bin/.%2e/etc/passwd");
    let file = File { name: Some("passwd".into()), size: Some(1024), ..File::default() }.identified();
    let refs =
        [src.common.id, dst.common.id, flow.common.id, domain.common.id, url.common.id, file.common.id];
    let observed = ObservedData {
        common: Common::new(ids::observed_data(T, &[event]), at).by_atio(),
        first_observed: Stamp::millis(began),
        last_observed: at,
        number_observed: 1,
        object_refs: refs.to_vec(),
    };
    for identity in [&sensor, &asset] {
        out.push(identity).unwrap();
    }
    for link in [&targets, &indicates] {
        out.push(link).unwrap();
    }
    for address in [&src, &dst] {
        out.push(address).unwrap();
    }
    out.push(&technique).unwrap();
    out.push(&indicator).unwrap();
    out.push(&flow).unwrap();
    out.push(&domain).unwrap();
    out.push(&url).unwrap();
    out.push(&file).unwrap();
    out.push(&observed).unwrap();
    out.finish()
}

fn main() {
    let reported = Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap();
    let began = Timestamp::parse("2026-01-02T03:04:04.500Z").unwrap();
    let mut detection =
        Detection::new("5d7f8a1e-0000-5000-8000-000000000001".into(), Kind::Threat, T, "suricata");
    detection.bundle = Arc::from(lean(&detection.event_id, reported, began));
    detection.sensor = Some("edge-1".into());
    detection.rule.id = Some("1:2034124".into());
    detection.rule.name = Some("ET EXPLOIT Apache traversal".into());
    detection.confidence = Some(85);
    detection.severity_score = Some(75.0);
    detection.asset = Some("ip:10.1.2.3".into());
    detection.tlp = Tlp::Amber;
    detection.reported_at = Some(reported);
    detection.occurred_at = Some(began);
    let rounds =
        std::env::args().skip_while(|arg| arg != "--time").nth(1).and_then(|n| n.parse::<u32>().ok());
    let Some(rounds) = rounds else {
        println!("{}", String::from_utf8(bundle::close(&graph::normalized(&detection).unwrap())).unwrap());
        return;
    };
    let time = |name: &str, work: &dyn Fn() -> Vec<u8>| {
        // The best batch: a mean over everything measures what else the machine does.
        let (mut best, mut bytes) = (f64::MAX, 0);
        for _ in 0..rounds.div_ceil(1000) {
            let start = std::time::Instant::now();
            for _ in 0..1000 {
                bytes = black_box(work()).len();
            }
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
        println!("{name}: {best:.2} us, {bytes} bytes");
    };
    time("build and serialize, lean", &|| lean(black_box(&detection.event_id), reported, began));
    time("sighting and report", &|| graph::normalized(black_box(&detection)).unwrap());
    time("close", &|| bundle::close(black_box(&detection.bundle)));
}
