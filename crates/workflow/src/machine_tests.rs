//! Branches run: outputs, drops, rejects.
use super::*;
use crate::{Known, SinkFacts, compile};
use atio_schemas::detection::{Kind, Tlp};
use atio_stix::{
    Bundle, bundle, constants, graph, ids,
    object::{AttackPattern, Common, Ipv4Addr, NetworkTraffic, ObservedData},
};
use atio_topics::Audience;
use serde_json::Value;
use std::sync::Arc;

fn known() -> Known {
    let sink = |format: &str, clearance| SinkFacts {
        format: format.into(),
        audience: Audience::Internal,
        clearance,
    };
    Known {
        sinks: [
            ("stix".to_owned(), sink("stix", Tlp::Amber)),
            ("siem".to_owned(), sink("ecs", Tlp::Amber)),
            ("open".to_owned(), sink("stix", Tlp::Clear)),
        ]
        .into(),
        tables: ["owners".to_owned()].into(),
    }
}

fn detection() -> Detection {
    let mut d = Detection::new("e1".into(), Kind::Threat, "default", "suricata");
    d.rule.name = Some("ET TEST".into());
    d.importance = Some(75.0);
    d.reported_at = Some(atio_schemas::Timestamp(1_700_000_000_000_000));
    d.occurred_at = d.reported_at;
    let technique = AttackPattern {
        common: Common::fixed(ids::attack_pattern("default", "mitre-attack", "T1190")).by_atio(),
        name: "T1190".into(),
        ..AttackPattern::default()
    };
    let (src, dst) = (Ipv4Addr::new("198.51.100.3"), Ipv4Addr::new("203.0.113.9"));
    let flow = NetworkTraffic {
        src_ref: Some(src.common.id),
        dst_ref: Some(dst.common.id),
        protocols: vec!["tcp".into()],
        ..NetworkTraffic::default()
    }
    .identified();
    let at = d.reported_at.unwrap();
    let seen = ObservedData {
        common: Common::new(ids::observed_data("default", &["e1"]), at).by_atio(),
        first_observed: at.into(),
        last_observed: at.into(),
        number_observed: 1,
        object_refs: vec![src.common.id, dst.common.id, flow.common.id],
    };
    let mut made = Bundle::new(&ids::bundle("default", &["e1"]));
    made.push(&technique).unwrap();
    made.push(&src).unwrap();
    made.push(&dst).unwrap();
    made.push(&flow).unwrap();
    made.push(&seen).unwrap();
    d.bundle = Arc::from(made.finish());
    d.bundle = Arc::from(graph::normalized(&d).unwrap());
    d
}

fn branch(steps: &str) -> End {
    run_on(steps, &detection())
}

fn run_on(steps: &str, d: &Detection) -> End {
    let definition = definition(steps);
    run_here(&definition, &definition.branches[0], d, Site { version: 3, home_networks: &[] })
}

/// A branch without state.
fn run_here(definition: &Definition, branch: &Branch, d: &Detection, site: Site<'_>) -> End {
    run(definition, branch, d, site, Timestamp(0), &mut Nothing).unwrap()
}

fn definition(steps: &str) -> Definition {
    let text = format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w}}\non: detection\nmatch: {{kind: threat}}\nbranches:\n  b: {steps}\n"
    );
    compile("w.yaml", &text, &known()).unwrap_or_else(|p| panic!("{p:?}"))
}

fn objects(end: &End) -> Vec<bundle::Object> {
    bundle::parse(&end.outputs[0].payload).unwrap()
}

fn find<'o>(objects: &'o [bundle::Object], kind: &str) -> &'o bundle::Object {
    objects.iter().find(|o| o["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn id_of(end: &End, kind: &str) -> String {
    find(&objects(end), kind)["id"].as_str().unwrap().to_owned()
}

#[test]
fn untouched_objects_keep_their_ids() {
    let plain = branch("[{deliver: stix}]");
    let watched = branch("[{when: .importance >= 70}, {deliver: stix}]");
    assert_eq!(plain.outputs[0].payload, watched.outputs[0].payload);
    assert_eq!(id_of(&plain, "report"), ids::report("default", &["normalize", "e1"]).to_text());
    let delivery = &plain.outputs[0];
    assert_eq!(
        (delivery.workflow.as_str(), delivery.branch.as_str(), delivery.format.as_str()),
        ("w@3", "b", "stix")
    );
    assert_eq!(delivery.content_type, atio_formats::writer("stix").unwrap().content_type);
}

/// What a branch changes gets the branch's ids: two sinks never hold two contents under one version.
#[test]
fn set_shows_in_the_report_under_an_id_of_the_branch() {
    let plain = branch("[{deliver: stix}]");
    let set = branch("[{set: {policies: '[\"isolate-host\"]', labels: '[\"seen\"]'}}, {deliver: stix}]");
    let all = objects(&set);
    let report = find(&all, "report");
    assert_eq!(report["extensions"][constants::EXTENSION_ID]["policies"][0], "isolate-host");
    assert_eq!(report["labels"][0], "seen");
    assert_ne!(id_of(&set, "report"), id_of(&plain, "report"));
    assert_eq!(id_of(&set, "attack-pattern"), id_of(&plain, "attack-pattern"));
    let ecs = branch("[{set: {labels: '[\"seen\"]'}}, {deliver: siem}]");
    let document: Value = serde_json::from_slice(&ecs.outputs[0].payload).unwrap();
    assert!(document.to_string().contains("seen"), "{document}");
}

#[test]
fn filter_and_remove_repair_references() {
    let end = branch("[{remove: {type: ipv4-addr}}, {deliver: stix}]");
    let kinds: Vec<String> = objects(&end).iter().map(|o| o["type"].as_str().unwrap().to_owned()).collect();
    assert!(
        !kinds.iter().any(|k| k == "ipv4-addr" || k == "network-traffic" || k == "observed-data"),
        "{kinds:?}"
    );
    assert!(kinds.iter().any(|k| k == "report"));
    let text = String::from_utf8(end.outputs[0].payload.clone()).unwrap();
    assert!(!text.contains("ipv4-addr--"));
    let end = branch("[{filter: {type: [attack-pattern]}}, {deliver: stix}]");
    let left = objects(&end);
    assert!(left.iter().all(|o| !matches!(o["type"].as_str(), Some("report" | "sighting"))));
    assert_eq!(branch("[{filter: {type: [malware]}}, {deliver: stix}]").dropped, Some(Code::Filtered));
    assert_eq!(branch("[{filter: {type: [malware]}}, {deliver: siem}]").outputs, []);
}

/// Every respect that is named must hold; what refers to what is gone is repaired as for types.
#[test]
fn objects_are_selected_by_id_labels_and_confidence() {
    let mut d = detection();
    let mut root: Value = serde_json::from_slice(&d.bundle).unwrap();
    let mut sure = None;
    for object in root["objects"].as_array_mut().unwrap() {
        match object["type"].as_str() {
            Some("attack-pattern") => {
                (object["labels"], object["confidence"]) = (["drill", "test"].into(), 40.into());
                sure = Some(object["id"].as_str().unwrap().to_owned());
            }
            Some("observed-data") => object["labels"] = ["real"].into(),
            _ => {}
        }
    }
    d.bundle = Arc::from(serde_json::to_vec(&root).unwrap());
    let kinds = |step: &str| -> Vec<String> {
        let end = run_on(&format!("[{step}, {{deliver: stix}}]"), &d);
        let text = String::from_utf8(end.outputs[0].payload.clone()).unwrap();
        let left = objects(&end);
        for id in text.split('"').filter(|t| t.contains("--") && t.len() > 36 && !t.starts_with("extension"))
        {
            assert!(id.starts_with("bundle--") || left.iter().any(|o| o["id"] == id), "{id} in {text}");
        }
        left.iter().map(|o| o["type"].as_str().unwrap().to_owned()).collect()
    };
    let has = |step: &str, kind: &str| kinds(step).iter().any(|k| k == kind);
    let id = sure.unwrap();
    for step in [
        format!("{{remove: {{id: {id}}}}}"),
        "{remove: {labels: drill}}".to_owned(),
        "{remove: {confidence: {lt: 50}}}".to_owned(),
        "{remove: {type: attack-pattern, labels: {all: [drill, test]}, confidence: 40}}".to_owned(),
        "{filter: {type: [ipv4-addr, report]}}".to_owned(),
    ] {
        assert!(!has(&step, "attack-pattern"), "{step}");
    }
    for step in [
        "{remove: {labels: {prefix: drills}}}",
        "{remove: {type: ipv4-addr, labels: drill}}",
        "{remove: {labels: drill, confidence: {gte: 50}}}",
        "{filter: {confidence: {exists: true}}}",
    ] {
        assert!(has(step, "attack-pattern"), "{step}");
    }
    assert!(!has("{filter: {labels: drill}}", "observed-data"));
    let about = |pattern: &str| format!("{{remove: {{pattern: \"{pattern}\"}}}}");
    assert!(!has(&about("[network-traffic:src_ref.value = '198.51.100.3']"), "network-traffic"));
    assert!(has(&about("[network-traffic:src_ref.value = '198.51.100.3']"), "ipv4-addr"));
    assert!(!has(&about("[ipv4-addr:value ISSUBSET '0.0.0.0/0']"), "ipv4-addr"));
    for step in [
        about("[ipv4-addr:value = '198.51.100.4']"),
        // It does not hold as a whole: there is one observation.
        about("[ipv4-addr:value = '198.51.100.3'] AND [network-traffic:protocols[*] = 'tcp']"),
        "{remove: {type: url, pattern: \"[ipv4-addr:value = '198.51.100.3']\"}}".to_owned(),
    ] {
        assert_eq!(kinds(&step), kinds("{remove: {type: url}}"), "{step}");
    }
    assert_eq!(
        kinds("{filter: {pattern: \"[ipv4-addr:value = '198.51.100.3']\"}}")
            .iter()
            .filter(|k| *k == "ipv4-addr")
            .count(),
        1
    );
    // What was observed does not stand without what it is of.
    assert_eq!(run_on("[{filter: {labels: real}}, {deliver: stix}]", &d).dropped, Some(Code::Filtered));
}

#[test]
fn nothing_above_its_clearance_reaches_a_sink() {
    let end = branch("[{deliver: open}, {deliver: siem}]");
    assert_eq!(end.rejected[0].code, Code::Clearance);
    assert_eq!(
        end.rejected[0].message,
        "w.b: deliver: marked tlp amber, and sink open is cleared up to clear"
    );
    assert_eq!(end.outputs.len(), 1);
    // The column says clear, an object says otherwise.
    let mut d = detection();
    d.tlp = Tlp::Clear;
    assert_eq!(run_on("[{deliver: open}]", &d).rejected[0].code, Code::Clearance);
    d.bundle = Arc::from(
        &b"{\"type\":\"bundle\",\"id\":\"bundle--3f2a6c1e-8b7d-5c4a-9e0f-1a2b3c4d5e55\",\"objects\":[]}"[..],
    );
    assert_eq!(run_on("[{deliver: open}]", &d).rejected, []);
}

#[test]
fn ends() {
    assert_eq!(branch("[{when: .importance > 80}, {deliver: siem}]").dropped, Some(Code::When));
    let both = branch("[{deliver: siem}, {when: .importance > 80}, {deliver: stix}]");
    assert_eq!((both.outputs.len(), both.dropped), (1, Some(Code::When)));
    let unknown = branch("[{set: {labels: '[downcase(.host)]'}}, {deliver: siem}]");
    assert_eq!(unknown.rejected[0].code, Code::StepFailed);
    assert_eq!(unknown.rejected[0].message, "w.b: set: the value does not fit column labels");
    let mut d = detection();
    d.bundle = Arc::from(&b"{\"type\":\"bundle\""[..]);
    assert_eq!(run_on("[{remove: {type: process}}, {deliver: siem}]", &d).rejected.len(), 1);
    d.bundle = Arc::from(&b""[..]);
    assert_eq!(run_on("[{deliver: stix}]", &d).rejected[0].code, Code::ConvertFailed);
    assert_eq!(run_on("[{remove: {type: process}}, {deliver: siem}]", &d).outputs.len(), 1);
}

/// A conversion holds for the deliveries that follow it, and ends with the next change.
#[test]
fn conversions() {
    let end = branch("[{convert: report}, {deliver: siem}, {set: {labels: '[\"x\"]'}}, {deliver: stix}]");
    let formats: Vec<&str> = end.outputs.iter().map(|o| o.format.as_str()).collect();
    assert_eq!(formats, ["report", "stix"]);
    assert_eq!(branch("[{convert: report}, {deliver: siem}, {deliver: stix}]").outputs[1].format, "report");
}

#[path = "machine_aside_tests.rs"]
mod aside_steps;
#[path = "machine_gather_tests.rs"]
mod gathered;
#[path = "machine_merge_tests.rs"]
mod merged;
#[path = "machine_state_tests.rs"]
mod state_steps;
#[path = "machine_wait_tests.rs"]
mod waits;
#[path = "machine_if_tests.rs"]
mod ways;
