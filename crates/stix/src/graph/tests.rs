//! Sighting, report and removal, on a bundle of an alert.
use super::*;
use crate::bundle::{Bundle, Object, parse};
use crate::object::*;
use crate::{Id, canon, constants, ids};
use atio_schemas::detection::Tlp;
use serde_json::Value;
use std::sync::Arc;

const T: &str = "default";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// A Suricata alert as normalization leaves it: no sighting, no report.
fn alert() -> Detection {
    let mut d = Detection::new("e1".into(), Kind::Threat, T, "suricata");
    d.sensor = Some("edge-1".into());
    d.rule.name = Some("ET TEST \"quoted\"".into());
    d.confidence = Some(85);
    d.asset = Some("ip:10.1.2.3".into());
    d.reported_at = Some(at("2026-01-02T03:04:05.000Z"));
    d.occurred_at = Some(at("2026-01-02T03:04:04.500Z"));
    let sensor = Identity {
        common: Common::fixed(ids::sensor_identity(T, "edge-1")).by_atio(),
        name: "edge-1".into(),
        identity_class: Some("system".into()),
        ..Identity::default()
    };
    let asset = Identity {
        common: Common::fixed(ids::asset_identity(T, "ip:10.1.2.3")).by_atio(),
        name: "10.1.2.3".into(),
        identity_class: Some("system".into()),
        ..Identity::default()
    };
    let pattern = AttackPattern {
        common: Common::fixed(ids::attack_pattern(T, "mitre-attack", "T1190")).by_atio(),
        name: "T1190".into(),
        ..AttackPattern::default()
    };
    let mut targets = Relationship::between(T, "targets", pattern.common.id, asset.common.id);
    targets.common.created_by_ref = Some(constants::atio_identity_id());
    let (src, dst) = (Ipv4Addr::new("198.51.100.7"), Ipv4Addr::new("10.1.2.3"));
    let flow = NetworkTraffic {
        src_ref: Some(src.common.id),
        dst_ref: Some(dst.common.id),
        protocols: vec!["ipv4".into(), "tcp".into()],
        src_port: Some(4000),
        dst_port: Some(80),
        ..NetworkTraffic::default()
    }
    .identified();
    let stamp = d.reported_at.unwrap();
    let seen = ObservedData {
        common: Common::new(ids::observed_data(T, &["e1"]), stamp).by_atio(),
        first_observed: stamp.into(),
        last_observed: stamp.into(),
        number_observed: 1,
        object_refs: vec![src.common.id, dst.common.id, flow.common.id],
    };
    let mut bundle = Bundle::new(&ids::bundle(T, &["e1"]));
    bundle.push(&sensor).unwrap();
    bundle.push(&asset).unwrap();
    bundle.push(&pattern).unwrap();
    bundle.push(&targets).unwrap();
    bundle.push(&src).unwrap();
    bundle.push(&dst).unwrap();
    bundle.push(&flow).unwrap();
    bundle.push(&seen).unwrap();
    d.bundle = Arc::from(bundle.finish());
    d
}

fn find<'o>(objects: &'o [Object], kind: &str) -> &'o Object {
    objects.iter().find(|o| o["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[test]
fn a_normalized_alert_has_one_sighting_and_a_report_of_everything() {
    let d = alert();
    let objects = parse(&normalized(&d).unwrap()).unwrap();
    assert_eq!(objects.len(), 10);
    let sighting = find(&objects, "sighting");
    assert_eq!(sighting["id"], ids::sighting(T, &["normalize", "e1"]).to_text());
    assert_eq!(sighting["sighting_of_ref"], ids::attack_pattern(T, "mitre-attack", "T1190").to_text());
    assert_eq!(texts(&sighting["where_sighted_refs"]), [ids::sensor_identity(T, "edge-1").to_text()]);
    assert_eq!(sighting["confidence"], 85);
    assert_eq!(sighting["count"], 1);
    assert_eq!(sighting["first_seen"], "2026-01-02T03:04:04.500Z");
    let report = find(&objects, "report");
    let refs = texts(&report["object_refs"]);
    assert_eq!(refs.len(), 9);
    assert!(objects.iter().all(|o| o["type"] == "report" || refs.contains(&o["id"].as_str().unwrap())));
    assert_eq!(report["name"], "ET TEST \"quoted\"");
    assert_eq!(report["report_types"][0], "threat-report");
    assert_eq!(report["extensions"][constants::EXTENSION_ID]["event_id"], "e1");
    assert_eq!(report["object_marking_refs"][0], constants::tlp_marking(Tlp::Amber).to_text());
}

#[test]
fn the_indicator_is_sighted_before_the_technique() {
    let mut d = alert();
    let indicator = Indicator {
        common: Common::fixed(ids::indicator_suricata(T, "r", "1:1", "alert")),
        pattern: "alert".into(),
        pattern_type: "suricata".into(),
        ..Indicator::default()
    };
    let end = d.bundle.len() - 2;
    d.bundle =
        Arc::from(crate::bundle::splice(&d.bundle, end, [indicator.json().unwrap().as_slice()].into_iter()));
    let objects = parse(&normalized(&d).unwrap()).unwrap();
    assert_eq!(find(&objects, "sighting")["sighting_of_ref"], indicator.common.id.to_text());
}

#[test]
fn engine_events_have_a_report_and_no_sighting() {
    let mut d = alert();
    let branch = Branch { tenant: T, workflow: "w", branch: "b", columns: None };
    d.bundle = Arc::from(remove(&d.bundle, &branch, |o| o["type"] == "attack-pattern").unwrap());
    let objects = parse(&normalized(&d).unwrap()).unwrap();
    assert!(objects.iter().all(|o| o["type"] != "sighting" && o["type"] != "relationship"));
    assert_eq!(texts(&find(&objects, "report")["object_refs"]).len(), 6);
}

#[test]
fn completing_twice_replaces() {
    let mut d = alert();
    let once = normalized(&d).unwrap();
    d.bundle = Arc::from(once.as_slice());
    assert_eq!(normalized(&d).unwrap(), once);
}

#[test]
fn logs_keep_their_bundle_and_odd_bytes_are_refused() {
    let mut d = alert();
    d.kind = Kind::Log;
    assert_eq!(normalized(&d).unwrap(), d.bundle.to_vec());
    d.kind = Kind::Threat;
    d.bundle = Arc::from(&b"{}"[..]);
    assert_eq!(normalized(&d).unwrap_err().code().as_str(), "invalid_stix");
}

fn branch(columns: Option<&Detection>) -> Branch<'_> {
    Branch { tenant: T, workflow: "w", branch: "b", columns }
}

#[test]
fn dropping_nothing_changes_no_byte() {
    let bytes = normalized(&alert()).unwrap();
    assert_eq!(remove(&bytes, &branch(None), |_| false).unwrap(), bytes);
}

/// Every reference inside the result points to something that is there, or to a constant.
fn assert_closed(objects: &[Object]) {
    fn refs(value: &Value, key: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| refs(v, k, out)),
            Value::Array(list) => list.iter().for_each(|v| refs(v, key, out)),
            Value::String(id) if key.ends_with("_ref") || key.ends_with("_refs") => out.push(id.clone()),
            _ => {}
        }
    }
    let ids: Vec<&str> = objects.iter().map(|o| o["id"].as_str().unwrap()).collect();
    for object in objects {
        let mut found = vec![];
        refs(&Value::Object(object.clone()), "", &mut found);
        for id in found {
            let constant = constants::ALL.iter().any(|(known, _)| *known == id);
            assert!(constant || ids.contains(&id.as_str()), "{id} in {object:?}");
        }
    }
}

#[test]
fn dropping_the_asset_takes_its_relationship_and_reseeds_what_changed() {
    let d = alert();
    let bytes = normalized(&d).unwrap();
    let asset = ids::asset_identity(T, "ip:10.1.2.3").to_text();
    let home = Ipv4Addr::new("10.1.2.3").common.id.to_text();
    let cut = remove(&bytes, &branch(None), |o| o["id"] == asset || o["id"] == home).unwrap();
    let objects = parse(&cut).unwrap();
    assert_closed(&objects);
    assert!(objects.iter().all(|o| o["type"] != "relationship"));
    let flow = find(&objects, "network-traffic");
    assert!(!flow.contains_key("dst_ref"));
    assert_eq!(canon::prescribed_id(flow).unwrap().to_text(), flow["id"], "the id follows what is left");
    let original = ids::report(T, &["normalize", "e1"]);
    assert_eq!(find(&objects, "report")["id"], ids::branch_report(T, &original, "w", "b").to_text());
    assert_ne!(find(&objects, "sighting")["id"], ids::sighting(T, &["normalize", "e1"]).to_text());
    let text = String::from_utf8(cut).unwrap();
    assert!(!text.contains(&home) && !text.contains(&asset));
    let other = Branch { branch: "c", ..branch(None) };
    let elsewhere = remove(&bytes, &other, |o| o["id"] == asset || o["id"] == home).unwrap();
    assert_ne!(find(&parse(&elsewhere).unwrap(), "report")["id"], find(&objects, "report")["id"]);
}

#[test]
fn what_cannot_stand_alone_falls() {
    let bytes = normalized(&alert()).unwrap();
    let cut = remove(&bytes, &branch(None), |o| o["type"] == "ipv4-addr").unwrap();
    let objects = parse(&cut).unwrap();
    assert_closed(&objects);
    let kinds: Vec<&str> = objects.iter().filter_map(|o| o["type"].as_str()).collect();
    assert!(!kinds.contains(&"network-traffic") && !kinds.contains(&"observed-data"), "{kinds:?}");
    assert!(kinds.contains(&"sighting"));
}

#[test]
fn the_report_follows_the_columns() {
    let mut d = alert();
    let bytes = normalized(&d).unwrap();
    d.asset = None;
    d.sensor = None;
    let cut = remove(&bytes, &branch(Some(&d)), |_| false).unwrap();
    let objects = parse(&cut).unwrap();
    let report = find(&objects, "report");
    assert!(report["extensions"][constants::EXTENSION_ID].get("asset").is_none());
    assert_ne!(report["id"], ids::report(T, &["normalize", "e1"]).to_text());
    assert_closed(&objects);
}

#[test]
fn an_altered_foreign_container_becomes_ours_and_says_where_it_is_from() {
    let bytes = br#"{"type":"bundle","id":"bundle--1","objects":[
        {"type":"identity","spec_version":"2.1","id":"identity--a463ffb3-1bd9-4d94-b02d-74e4f1658283","created":"2020-01-01T00:00:00Z","modified":"2020-01-01T00:00:00Z","name":"them"},
        {"type":"marking-definition","spec_version":"2.1","id":"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da","created":"2017-01-20T00:00:00.000Z","definition_type":"tlp","definition":{"tlp":"green"}},
        {"type":"url","id":"url--1","value":"x"},{"type":"url","id":"url--2","value":"y"},
        {"type":"report","spec_version":"2.1","id":"report--a463ffb3-1bd9-4d94-b02d-74e4f1658283","created_by_ref":"identity--a463ffb3-1bd9-4d94-b02d-74e4f1658283","created":"2020-01-01T00:00:00Z","modified":"2020-01-01T00:00:00Z","name":"r","published":"2020-01-01T00:00:00Z","object_refs":["url--1","url--2"],"object_marking_refs":["marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"]}]}"#;
    let objects = parse(&remove(bytes, &branch(None), |o| o["id"] == "url--1").unwrap()).unwrap();
    let report = find(&objects, "report");
    assert_eq!(report["created_by_ref"], constants::IDENTITY_ID);
    let link = find(&objects, "relationship");
    assert_eq!(link["relationship_type"], "derived-from");
    assert_eq!(link["source_ref"], report["id"]);
    assert_eq!(link["target_ref"], "report--a463ffb3-1bd9-4d94-b02d-74e4f1658283");
    assert_eq!(link["object_marking_refs"], report["object_marking_refs"]);
    assert_eq!(texts(&report["object_refs"]), ["url--2"]);
    let untouched = parse(
        &remove(bytes, &branch(None), |o| o["type"] == "identity" || o["type"] == "marking-definition")
            .unwrap(),
    )
    .unwrap();
    assert_eq!(
        find(&untouched, "report")["id"],
        "report--a463ffb3-1bd9-4d94-b02d-74e4f1658283",
        "a creator's absence alters nothing"
    );
    assert!(
        untouched.iter().any(|o| o["type"] == "marking-definition"),
        "markings are not dropped while needed"
    );
    let none = remove(bytes, &branch(None), |_| true).unwrap();
    assert_eq!(parse(&none).unwrap().len(), 0);
}

#[test]
fn sightings_and_reports_never_go_back_in_time() {
    let d = alert();
    let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
    let window = Window {
        seed: &["e1"],
        created: late,
        modified: early,
        first_seen: late,
        last_seen: early,
        count: 0,
    };
    let version = Version { seed: &["e1"], created: late, modified: early };
    let objects = parse(&complete(&d, Some(&window), Some(&version)).unwrap()).unwrap();
    for kind in ["sighting", "report"] {
        assert_eq!(find(&objects, kind)["modified"], "2026-01-02T00:00:00.000Z");
    }
    assert_eq!(find(&objects, "sighting")["count"], 1);
    assert_eq!(Id::Text(find(&objects, "report")["id"].as_str().unwrap()), ids::report(T, &["e1"]));
}

/// Whatever is dropped, what is left is valid, closed, and says nothing of what went.
#[test]
fn every_subset_can_be_dropped() {
    let bytes = normalized(&alert()).unwrap();
    let ids: Vec<String> =
        parse(&bytes).unwrap().iter().map(|o| o["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 10);
    for subset in 0..1u32 << ids.len() {
        let drops =
            |id: &str| ids.iter().position(|known| known == id).is_some_and(|at| subset >> at & 1 == 1);
        let cut = remove(&bytes, &branch(None), |o| drops(o["id"].as_str().unwrap())).unwrap();
        let reading = crate::validate::read(&cut).unwrap();
        assert_eq!((reading.problems, reading.repeats), (vec![], vec![]), "{subset:b}");
        assert_closed(&reading.objects);
        let text = String::from_utf8(cut).unwrap();
        assert!(ids.iter().all(|id| !drops(id) || !text.contains(id.as_str())), "{subset:b}");
    }
}

/// Truncated and damaged bundles are refused or left alone; nothing panics.
#[test]
fn damaged_bundles_do_no_harm() {
    let whole = normalized(&alert()).unwrap();
    let mut d = alert();
    for end in 0..whole.len() {
        d.bundle = Arc::from(&whole[..end]);
        assert!(normalized(&d).is_err() && remove(&d.bundle, &branch(None), |_| true).is_err());
        assert_eq!(crate::bundle::close(&d.bundle), whole[..end]);
    }
    for (at, byte) in
        (0..whole.len()).step_by(7).flat_map(|at| [(at, b'"'), (at, b'\\'), (at, b'}'), (at, b'[')])
    {
        let mut damaged = whole.clone();
        damaged[at] = byte;
        if parse(&damaged).is_err() {
            assert!(remove(&damaged, &branch(None), |_| true).is_err());
        }
        assert!(crate::bundle::close(&damaged).len() >= damaged.len() || parse(&damaged).is_ok());
        d.bundle = Arc::from(damaged);
        // Its result does not matter here, only that there is one.
        drop(normalized(&d));
    }
}
