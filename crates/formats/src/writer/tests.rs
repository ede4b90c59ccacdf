//! The writers: bodies and residues.
use super::*;
use atio_schemas::detection::Kind;
use serde_json::Value;

fn full() -> Detection {
    serde_json::from_str(include_str!("../../../../schemas/examples/atio.detection/full.json"))
        .expect("the example")
}

fn written(name: &str, d: &Detection) -> (Value, Vec<String>) {
    let out = writer(name).expect("a writer").writer.write(d, &WriteCx::default()).expect("written");
    (serde_json::from_slice(&out.body).expect("JSON"), out.residue)
}

#[test]
fn the_table_is_sorted() {
    assert!(WRITERS.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(crate::FORMATS.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(writer("nope").is_none());
}

#[test]
fn ecs_of_a_full_detection() {
    let d = full();
    let (doc, residue) = written("ecs", &d);
    assert_eq!(residue, ["bundle"]);
    assert_eq!(doc["ecs"]["version"], "8.11.0");
    assert_eq!(doc["event"]["id"], d.event_id.as_str());
    assert_eq!(doc["source"]["ip"].as_str(), d.src.ip.as_deref());
    assert_eq!(doc["rule"]["name"].as_str(), d.rule.name.as_deref());
    assert!(doc["@timestamp"].is_string());
    assert!(doc.as_object().unwrap().keys().all(|key| !key.contains('.')));
}

#[test]
fn report_of_a_full_detection() {
    let d = full();
    let (doc, residue) = written("report", &d);
    assert_eq!(doc["id"], d.event_id.as_str());
    assert_eq!(doc["cves"].as_array().map(Vec::len), Some(d.cves.len()));
    assert!(!doc["title"].as_str().unwrap().is_empty());
    assert!(residue.contains(&"bundle".to_owned()));
    assert!(!residue.contains(&"reasons".to_owned()));
}

/// What a report or a document does not carry is in the residue: each column set alone shows up in one of the two.
#[test]
fn nothing_is_lost_silently() {
    let d = full();
    for name in ["ecs", "report"] {
        let (whole, residue) = written(name, &d);
        for column in COLUMNS.iter().filter(|column| {
            has_value((column.get)(&d)) && column.nullable && !residue.contains(&column.name.to_owned())
        }) {
            let mut without = d.clone();
            column.put(&mut without, atio_schemas::column::NewCell::Null).unwrap();
            assert_ne!(written(name, &without).0, whole, "{name} says that it carries {}", column.name);
        }
    }
}

#[test]
fn stix_needs_a_bundle() {
    let mut d = Detection::new("e".to_owned(), Kind::Log, "default", "s");
    let error = writer("stix").unwrap().writer.write(&d, &WriteCx::default()).unwrap_err();
    assert_eq!(error.code(), Code::ConvertFailed);
    d.sensor = Some("ids-1".to_owned());
    d.bundle = std::sync::Arc::from(&br#"{"type":"bundle","id":"bundle--8b2f0a3c-2f0c-4d3a-9f3e-6a1f4f0b7c11","objects":[{"type":"ipv4-addr","spec_version":"2.1","id":"ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd","value":"198.51.100.3"}]}"#[..]);
    d.src.ip = Some("198.51.100.3".to_owned());
    let (doc, residue) = written("stix", &d);
    assert_eq!(doc["objects"].as_array().map(Vec::len), Some(1));
    assert!(residue.contains(&"sensor".to_owned()));
    assert!(!residue.contains(&"src.ip".to_owned()) && !residue.contains(&"bundle".to_owned()));
}

#[test]
fn headlines() {
    let mut d = Detection::new("e".to_owned(), Kind::Log, "default", "suricata");
    assert_eq!(headline(&d), "suricata log");
    d.category = Some("dns".to_owned());
    d.asset = Some("ip:192.0.2.1".to_owned());
    assert_eq!(headline(&d), "suricata dns on ip:192.0.2.1");
    d.rule.name = Some("Bad".to_owned());
    assert_eq!(headline(&d), "Bad on ip:192.0.2.1");
}
