//! The rules of docs/normalization.md on made-up alerts: actor and target, asset, engine events, indicator, graphs; and properties over random ones.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod support;

use atio_normalization::offline::{FileRef, Options, closed_bundle, normalize};
use atio_schemas::detection::Kind;
use atio_schemas::{Detection, Timestamp};
use atio_stix::canon::{is_sco, prescribed_id};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::ALERT;

const NOW: Timestamp = Timestamp(1_767_323_045_000_000);

fn read(event: &Value) -> Detection {
    let bytes = serde_json::to_vec(event).expect("JSON");
    let mut results = normalize(&bytes, &FileRef { name: "x", sha256: "00" }, &Options::new(NOW));
    assert_eq!(results.len(), 1);
    results.pop().expect("one").expect("a detection")
}

fn objects(d: &Detection) -> Vec<Map<String, Value>> {
    atio_stix::bundle::parse(&d.bundle).expect("a bundle")
}

fn kinds(d: &Detection) -> Vec<String> {
    objects(d).iter().map(|o| o["type"].as_str().expect("a type").to_owned()).collect()
}

fn alert() -> Value {
    serde_json::from_str(ALERT).expect("JSON")
}

/// An alert between two addresses; `opened_by_src`: who opened the flow, None = the event does not say.
fn between(src: &str, dst: &str, opened_by_src: Option<bool>) -> Value {
    let mut event = alert();
    (event["src_ip"], event["dest_ip"]) = (json!(src), json!(dst));
    let members = event.as_object_mut().expect("an object");
    members.remove("direction");
    members.remove("flow");
    members.remove("http");
    match opened_by_src {
        Some(true) => event["direction"] = json!("to_server"),
        Some(false) => event["direction"] = json!("to_client"),
        None => {}
    }
    event["alert"]["metadata"] = json!({});
    event
}

fn parties(event: &Value) -> (String, String, String) {
    let d = read(event);
    (d.actor.expect("an actor"), d.target.expect("a target"), d.asset.expect("an asset"))
}

fn expect(event: &Value, actor: &str, target: &str, asset: &str) {
    assert_eq!(parties(event), (actor.to_owned(), target.to_owned(), format!("ip:{asset}")), "{event}");
}

const OUT: &str = "203.0.113.7";
const IN: &str = "10.0.0.5";
const IN_2: &str = "10.0.0.6";
const OUT_2: &str = "198.51.100.9";

#[test]
fn without_metadata_the_opener_acts() {
    expect(&between(OUT, IN, Some(true)), OUT, IN, IN);
    expect(&between(OUT, IN, Some(false)), IN, OUT, IN);
    expect(&between(IN, IN_2, Some(true)), IN, IN_2, IN_2);
    expect(&between(IN, IN_2, Some(false)), IN_2, IN, IN);
    expect(&between(OUT, OUT_2, None), OUT, OUT_2, OUT_2);
}

#[test]
fn attack_target_names_a_role_and_home_decides_where_it_names_none() {
    let with = |mut event: Value, target: &str| {
        event["alert"]["metadata"] = json!({"attack_target": [target]});
        event
    };
    // A client at home that talks to its controller: the answer's source is the actor.
    expect(&with(between(IN, OUT, Some(true)), "Client_Endpoint"), OUT, IN, IN);
    expect(&with(between(OUT, IN, Some(false)), "Client_Endpoint"), OUT, IN, IN);
    expect(&with(between(OUT, IN, Some(true)), "Web_Server"), OUT, IN, IN);
    // Nobody says who opened it: the side at home is the target.
    expect(&with(between(OUT, IN, None), "Client_Endpoint"), OUT, IN, IN);
    expect(&with(between(IN, OUT, None), "Server"), OUT, IN, IN);
    // Both roles, or none: home networks, else who did not open the flow.
    expect(&with(between(IN, OUT, Some(true)), "Client_and_Server"), OUT, IN, IN);
    expect(&with(between(IN, IN_2, Some(true)), "Any"), IN, IN_2, IN_2);
}

#[test]
fn the_rules_own_source_and_target_come_first() {
    let mut event = between(OUT, IN, Some(true));
    event["alert"]["metadata"] = json!({"attack_target": ["Server"]});
    event["alert"]["source"] = json!({"ip": IN});
    event["alert"]["target"] = json!({"ip": OUT});
    expect(&event, IN, OUT, IN);
    event["alert"].as_object_mut().expect("an object").remove("target");
    expect(&event, IN, OUT, IN);
}

#[test]
fn the_client_behind_a_proxy_replaces_the_actor() {
    let mut event = between(OUT, IN, Some(true));
    event["alert"]["xff"] = json!("192.0.2.44, 10.0.0.9");
    let d = read(&event);
    assert_eq!((d.actor.as_deref(), d.target.as_deref()), (Some("192.0.2.44"), Some(IN)));
    assert!(objects(&d).iter().any(|o| o["type"] == "ipv4-addr" && o["value"] == "192.0.2.44"));
    event["alert"]["xff"] = json!("unknown");
    assert_eq!(read(&event).actor.as_deref(), Some(OUT));
}

#[test]
fn an_engine_event_invents_nothing() {
    for sid in [2_200_000_u64, 2_210_044, 2_299_999] {
        let mut event = alert();
        event["alert"]["signature_id"] = json!(sid);
        let kinds = kinds(&read(&event));
        for never in ["attack-pattern", "indicator", "sighting", "relationship", "identity"] {
            assert!(!kinds.iter().any(|kind| kind == never), "{sid}: {never}");
        }
        assert!(
            kinds.iter().any(|kind| kind == "observed-data") && kinds.iter().any(|kind| kind == "report")
        );
    }
    let mut event = alert();
    event["alert"]["signature_id"] = json!(2_300_000);
    assert!(kinds(&read(&event)).iter().any(|kind| kind == "attack-pattern"));
}

#[test]
fn an_indicator_needs_the_rules_own_text() {
    assert!(!kinds(&read(&alert())).iter().any(|kind| kind == "indicator"));
    let mut event = alert();
    let rule = "alert tcp any any -> any any (msg:\"x\"; sid:2034647; rev:2;)";
    event["alert"]["rule"] = json!(rule);
    let d = read(&event);
    let objects = objects(&d);
    let of = |kind: &str| objects.iter().find(|o| o["type"] == kind).expect(kind);
    let indicator = of("indicator");
    assert_eq!((&indicator["pattern"], &indicator["pattern_type"]), (&json!(rule), &json!("suricata")));
    assert_eq!(
        (&indicator["created"], &indicator["modified"]),
        (&json!("2021-12-10T00:00:00.000Z"), &json!("2023-06-14T00:00:00.000Z"))
    );
    let relations: Vec<_> = objects.iter().filter_map(|o| o.get("relationship_type")?.as_str()).collect();
    assert_eq!(relations, ["indicates", "targets"]);
    assert_eq!(of("sighting")["sighting_of_ref"], indicator["id"]);
    assert_eq!(of("attack-pattern")["name"], "T1190", "names come from a catalogue, not from the alert");
}

#[test]
fn traffic_runs_from_the_opener_with_its_bytes() {
    let mut event = alert();
    let (src, dst) = (event["src_ip"].clone(), event["dest_ip"].clone());
    (event["src_ip"], event["dest_ip"]) = (dst, src);
    (event["src_port"], event["dest_port"], event["direction"]) =
        (json!(8080), json!(51022), json!("to_client"));
    let (there, back) = (read(&alert()), read(&event));
    let traffic =
        |d: &Detection| objects(d).into_iter().find(|o| o["type"] == "network-traffic").expect("traffic");
    let (a, b) = (traffic(&there), traffic(&back));
    assert_eq!(a["id"], b["id"], "both directions of one flow are one traffic");
    assert_eq!(
        (&a["src_port"], &a["dst_port"], &a["src_byte_count"], &a["dst_byte_count"]),
        (&json!(51022), &json!(8080), &json!(612), &json!(1928))
    );
    assert_eq!(back.src.port, Some(8080), "the columns stay as the event has them");
    assert_eq!(there.bytes_out, Some(1928), "what our side sent");
}

#[test]
fn a_log_has_neither_report_nor_sighting() {
    let d = read(&serde_json::from_str(support::FLOW).expect("JSON"));
    assert_eq!((d.kind, d.category.as_deref()), (Kind::Log, Some("flow")));
    assert_eq!(d.asset.as_deref(), Some("ip:10.0.0.5"));
    let kinds = kinds(&d);
    assert_eq!(kinds, ["ipv4-addr", "ipv4-addr", "network-traffic", "observed-data"]);
}

#[test]
fn a_drop_that_repeats_an_alert_is_a_log() {
    let mut event = alert();
    event["event_type"] = json!("drop");
    assert_eq!(read(&event).kind, Kind::Log);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.-]{0,20}",
        "\\PC{0,30}",
        Just("a\u{0}\"\\\n".to_owned()),
        "[a-z]{1,8}\\.example\\.org"
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|o| std::net::Ipv4Addr::from(o).to_string()),
        any::<[u16; 8]>().prop_map(|s| std::net::Ipv6Addr::from(s).to_string()),
        any::<[u8; 4]>().prop_map(|o| std::net::Ipv4Addr::from(o).to_ipv6_mapped().to_string()),
        text(),
    ]
}

prop_compose! {
    fn any_event()(
        kind in prop_oneof![Just("alert"), Just("http"), Just("dns"), Just("fileinfo"), Just("smtp"), Just("flow"), Just("stats")],
        src in address(), dst in address(), ports in any::<(u16, u16)>(),
        proto in prop_oneof![Just("TCP"), Just("UDP"), Just("ICMP"), Just("IPv6-ICMP"), Just("GRE")],
        host in text(), url in text(), name in text(), agent in text(), signature in text(), answer in address(),
        mail in text(), sid in prop_oneof![Just(2_200_003_u64), any::<u32>().prop_map(u64::from)], rule in proptest::option::of(text()),
        second in 0_u32..60,
    ) -> Value {
        json!({
            "timestamp": format!("2026-01-02T03:04:{second:02}.5+0000"), "event_type": kind,
            "src_ip": src, "dest_ip": dst, "src_port": ports.0, "dest_port": ports.1, "proto": proto, "icmp_type": 8, "icmp_code": 0,
            "alert": {"gid": 1, "signature_id": sid, "signature": signature, "severity": 2, "rule": rule},
            "http": {"hostname": host, "url": format!("/{url}"), "http_method": "GET", "http_user_agent": agent},
            "dns": {"type": "answer", "rrname": name, "answers": [{"rdata": answer}]},
            "fileinfo": {"filename": name, "size": 3, "md5": "d41d8cd98f00b204e9800998ecf8427e"},
            "email": {"from": format!("{mail} <a@example.org>"), "to": [format!("{mail}@{host}")], "subject": signature},
            "flow": {"start": "2026-01-02T03:04:30.25+0000", "bytes_toserver": 1, "bytes_toclient": 2},
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_event_says(event in any_event()) {
        let (first, second) = (read(&event), read(&event));
        prop_assert_eq!(&first, &second, "the same input gives the same bytes");
        prop_assert!(first.asset.is_some());
        let closed = closed_bundle(&first).expect("a bundle");
        let objects = atio_stix::bundle::parse(&closed).expect("a bundle");
        let ids: std::collections::BTreeSet<&str> = objects.iter().filter_map(|o| o["id"].as_str()).collect();
        prop_assert_eq!(ids.len(), objects.len(), "each id once");
        for object in &objects {
            let kind = object["type"].as_str().expect("a type");
            if is_sco(kind) {
                let expected = prescribed_id(object).map(|id| id.to_text());
                prop_assert_eq!(object["id"].as_str(), expected.as_deref());
            }
            if kind == "observed-data" {
                prop_assert!(object["first_observed"].as_str() <= object["last_observed"].as_str());
                prop_assert!(object["object_refs"].as_array().is_some_and(|refs| !refs.is_empty()));
            }
            for (key, value) in object.iter().filter(|(key, _)| key.ends_with("_ref") || key.ends_with("_refs")) {
                let many = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                for reference in many.iter().filter_map(Value::as_str) {
                    prop_assert!(ids.contains(reference), "{key} → {reference}");
                }
            }
        }
    }
}
