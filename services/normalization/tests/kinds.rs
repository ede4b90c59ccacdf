//! OpenVAS and STIX through the stage: what becomes a detection, its key, its graph.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]
use atio_normalization::{Deps, assets_table, config::Config, config::Source, processor};
use atio_schemas::codec::StaticIds;
use atio_schemas::detection::{Kind, Status, Tlp};
use atio_schemas::{Codec, Detection, Timestamp};
use atio_stage::harness::{Given, Harness};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_767_323_045_000_000);

/// Reads one naked payload; the records' keys with their detections.
fn read(payload: &str) -> Vec<(String, Detection)> {
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let mut source = Source::new("scan", "scan.raw");
    source.naked = true;
    let deps = Deps {
        prefix: "atio.".to_owned(),
        codec: codec.clone(),
        config: Config::default(),
        sources: vec![source],
    };
    let mut harness = Harness::new(processor(deps), &[assets_table("atio.", &codec)], NOW);
    let value = Some(payload.as_bytes().to_vec());
    harness.commit(&[Given { topic: "scan.raw".to_owned(), value, timestamp: NOW, ..Given::default() }]);
    assert!(harness.counts.balanced());
    assert!(harness.dead_letters.is_empty(), "{:?}", harness.dead_letters);
    let decode = |o: &atio_stage::Output| {
        let key = String::from_utf8(o.key.clone().expect("a key")).expect("text");
        (key, codec.decode(o.value.as_deref().expect("a value")).expect("a detection"))
    };
    harness.outputs.iter().map(decode).collect()
}

fn objects(d: &Detection) -> Vec<Map<String, Value>> {
    atio_stix::bundle::parse(&d.bundle).expect("a bundle")
}

fn result(oid: &str, threat: &str, severity: &str, port: &str, cves: &str) -> String {
    format!(
        r#"<result id="r-{oid}"><name>Finding {oid}</name><host>10.1.2.3<hostname>Db.Example.org</hostname></host><port>{port}</port>
        <nvt oid="{oid}"><name>Finding {oid}</name><family>General</family><cvss_base>{severity}</cvss_base><cve>{cves}</cve>
        <tags>solution=Update it.|solution_type=VendorFix</tags></nvt>
        <threat>{threat}</threat><severity>{severity}</severity><qod><value>80</value></qod><description>seen</description></result>"#
    )
}

fn report(results: &[String]) -> String {
    format!(
        r#"<report id="s-1"><report id="s-1"><scan_run_status>Done</scan_run_status><scan_start>2026-03-01T01:00:00Z</scan_start>
        <host><ip>10.1.2.3</ip><start>2026-03-01T01:00:10Z</start><end>2026-03-01T02:00:00Z</end></host>
        <results>{}</results><scan_end>2026-03-01T02:10:00Z</scan_end></report></report>"#,
        results.concat()
    )
}

#[test]
fn each_result_is_a_detection_and_each_host_a_summary() {
    let results = [
        result("1.3.6.1", "High", "9.8", "443/tcp", "CVE-2026-0001, CVE-2026-0002"),
        result("1.3.6.2", "Medium", "5.0", "general/tcp", "NOCVE"),
        result("1.3.6.3", "Log", "0.0", "general/tcp", "NOCVE"),
    ];
    let made = read(&report(&results));
    let categories: Vec<_> =
        made.iter().map(|(_, d)| (d.kind, d.category.as_deref().expect("a category"))).collect();
    assert_eq!(
        categories,
        [
            (Kind::Vulnerability, "result"),
            (Kind::Vulnerability, "result"),
            (Kind::Vulnerability, "host_summary")
        ]
    );
    assert!(made.iter().all(|(key, _)| key == "host:db.example.org"));
    let (_, first) = &made[0];
    let uid = "default|host:db.example.org|443/tcp|1.3.6.1";
    assert_eq!(first.finding_uid.as_deref(), Some(uid));
    assert_eq!((first.severity_score, first.severity_id, first.cvss), (Some(98.0), Some(5), Some(9.8)));
    assert_eq!((first.confidence, first.fix_available, first.status), (Some(80), Some(true), None::<Status>));
    assert_eq!(first.cves, ["CVE-2026-0001", "CVE-2026-0002"]);
    let kinds: Vec<String> =
        objects(first).iter().map(|o| o["type"].as_str().expect("a type").to_owned()).collect();
    for never in ["report", "sighting"] {
        assert!(!kinds.iter().any(|kind| kind == never), "enrichment makes the {never}");
    }
    let infrastructure = atio_stix::ids::asset_infrastructure("default", "host:db.example.org").to_text();
    let has: Vec<_> =
        objects(first).into_iter().filter(|o| o.get("relationship_type") == Some(&json!("has"))).collect();
    assert_eq!(has.len(), 2);
    for (relation, cve) in has.iter().zip(&first.cves) {
        assert_eq!(relation["id"], atio_stix::ids::finding_has("default", uid, cve).to_text());
        assert_eq!(relation["source_ref"], infrastructure);
        assert_eq!(
            (&relation["confidence"], &relation["start_time"]),
            (&json!(80), &json!("2026-03-01T01:00:10.000Z"))
        );
    }
    let second = objects(&made[1].1);
    let weakness = second.iter().find(|o| o["type"] == "vulnerability").expect("a vulnerability");
    assert_eq!(weakness["id"], atio_stix::ids::vulnerability_nvt("default", "1.3.6.2").to_text());
}

#[test]
fn a_summary_says_which_findings_a_complete_scan_had() {
    let made = read(&report(&[result("1.3.6.1", "High", "9.8", "443/tcp", "CVE-2026-0001")]));
    let (_, summary) = made.last().expect("a summary");
    assert_eq!((summary.outcome.as_deref(), summary.count), (Some("complete"), Some(1)));
    let observed =
        objects(summary).into_iter().find(|o| o["type"] == "observed-data").expect("observed-data");
    let scan = &observed["extensions"][atio_stix::constants::EXTENSION_ID];
    assert_eq!(scan["finding_uids"], json!([made[0].1.finding_uid]));
    assert_eq!(
        (&scan["complete"], &scan["high"], &scan["scan_id"]),
        (&json!(true), &json!(1), &json!("s-1"))
    );
}

#[test]
fn log_level_results_alone_leave_the_summary() {
    let made = read(&report(&[result("1.3.6.3", "Log", "0.0", "general/tcp", "NOCVE")]));
    let categories: Vec<_> = made.iter().filter_map(|(_, d)| d.category.as_deref()).collect();
    assert_eq!(categories, ["host_summary"]);
    assert_eq!(made[0].1.count, Some(0));
}

#[test]
fn intelligence_is_kept_byte_for_byte_and_keyed_by_what_it_is_about() {
    let report_id = "report--6f1f7d2a-3f0e-4a6e-8e58-0c4f1f7a9e01";
    let objects = [
        r#"{"type": "identity", "spec_version": "2.1", "id": "identity--6f1f7d2a-3f0e-4a6e-8e58-0c4f1f7a9e02",
            "created": "2026-02-01T00:00:00Z", "modified": "2026-02-01T00:00:00Z", "name": "A  B"}"#
            .to_owned(),
        format!(
            r#"{{"object_refs":["identity--6f1f7d2a-3f0e-4a6e-8e58-0c4f1f7a9e02"],"type":"report","spec_version":"2.1","id":"{report_id}","created":"2026-02-01T00:00:00.000Z","modified":"2026-02-02T00:00:00.000Z","name":"About","published":"2026-02-01T00:00:00Z","object_marking_refs":["{}"],"confidence":70}}"#,
            atio_stix::constants::tlp_marking(Tlp::Red)
        ),
    ];
    let bundle = format!(
        r#"{{"type":"bundle","id":"bundle--6f1f7d2a-3f0e-4a6e-8e58-0c4f1f7a9e03","objects":[{}]}}"#,
        objects.join(",")
    );
    let made = read(&bundle);
    let [(key, d)] = made.as_slice() else { panic!("one detection, not {}", made.len()) };
    assert_eq!(
        (key.as_str(), d.kind, d.category.as_deref()),
        (report_id, Kind::Intelligence, Some("report"))
    );
    assert_eq!((d.tlp, d.confidence, d.rule.name.as_deref()), (Tlp::Red, Some(70), Some("About")));
    assert_eq!(std::str::from_utf8(&d.bundle).expect("text"), bundle);
}
