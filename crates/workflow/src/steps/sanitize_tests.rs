//! Sanitized payloads hold no trace of what was removed.
use crate::{check::Known, compile, machine::Site};
use atio_schemas::{Detection, Timestamp, column::COLUMNS};
use atio_stix::{bundle, graph, ids};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

const WORKFLOW: &str = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\nmatch: {kind: threat}\n\
    branches:\n  out:\n    - sanitize: external\n    - deliver: share\n  raw:\n    - deliver: all\n";

fn known() -> Known {
    let sink = |audience| crate::SinkFacts {
        format: "stix".into(),
        audience,
        clearance: atio_schemas::detection::Tlp::Red,
    };
    Known {
        sinks: [
            ("share".to_owned(), sink(atio_topics::Audience::External)),
            ("all".to_owned(), sink(atio_topics::Audience::Internal)),
        ]
        .into(),
        ..Known::default()
    }
}

/// Every column filled, and a graph that says the same and more.
fn detection() -> Detection {
    let mut d: Detection =
        serde_json::from_str(include_str!("../../../../schemas/examples/atio.detection/full.json")).unwrap();
    d.host = Some("Vault-7".into());
    d.asset = Some("host:vault-7.corp.example".into());
    d.target.clone_from(&d.asset);
    d.sensor = Some("probe-zurich".into());
    d.finding_uid = Some("default|host:vault-7.corp.example|443/tcp|1.2.3".into());
    d.users = vec!["CORP\\mmuster".into()];
    d.urls = vec!["http://evil.example.net/x".into(), "https://vault-7.corp.example/login".into()];
    d.domains = vec!["evil.example.net".into(), "vault-7.corp.example".into()];
    d.src.ip = Some("198.51.100.3".into());
    d.dst.ip = Some("10.20.30.40".into());
    d.policies = vec!["crown-jewels".into()];
    d.labels = vec!["budget-2026".into()];
    d.suppressed_by = Some("maintenance-of-may".into());
    let sdo = |kind: &str, id: &ids::Id<'_>, more: Value| {
        let mut object = json!({"type": kind, "spec_version": "2.1", "id": id.to_text(), "created": "2024-01-01T00:00:00.000Z",
            "modified": "2024-01-01T00:00:00.000Z", "created_by_ref": atio_stix::constants::IDENTITY_ID});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let sco = |id: &ids::Id<'_>, more: Value| {
        let mut object = json!({"type": id.kind(), "spec_version": "2.1", "id": id.to_text()});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let t = d.tenant.as_str();
    let asset = ids::asset_identity(t, "host:vault-7.corp.example");
    let place = ids::asset_infrastructure(t, "host:vault-7.corp.example");
    let sensor = ids::sensor_identity(t, "probe-zurich");
    let pattern = ids::attack_pattern(t, "mitre-attack", "T1190");
    let targets = ids::relationship(t, "targets", &pattern, &asset);
    let (us, them) = (
        ids::sco_text("ipv4-addr", "value", "10.20.30.40"),
        ids::sco_text("ipv4-addr", "value", "198.51.100.3"),
    );
    let (bad, ours) = (
        ids::sco_text("url", "value", "http://evil.example.net/x"),
        ids::sco_text("url", "value", "https://vault-7.corp.example/login"),
    );
    let user = ids::sco_text("user-account", "account_login", "mmuster");
    let process = ids::process("h", 1, "s", "e");
    let flow = ids::Id::Text("network-traffic--2568d22a-8998-58eb-99ec-3c8ca74f527d");
    let seen = ids::observed_data(t, &[&d.event_id]);
    let objects = json!({"type": "bundle", "id": "bundle--3f2a6c1e-8b7d-5c4a-9e0f-1a2b3c4d5e55", "objects": [
        sdo("identity", &asset, json!({"name": "vault-7.corp.example", "identity_class": "system"})),
        sdo("identity", &sensor, json!({"name": "probe-zurich", "identity_class": "system"})),
        sdo("infrastructure", &place, json!({"name": "Vault-7"})),
        sdo("attack-pattern", &pattern, json!({"name": "T1190", "external_references": [{"source_name": "mitre-attack", "external_id": "T1190"}]})),
        sdo("relationship", &targets, json!({"relationship_type": "targets", "source_ref": pattern.to_text(), "target_ref": asset.to_text()})),
        sdo("note", &ids::seeded("note", t, &["n"]), json!({"content": "seen at 10.20.30.40:443 again", "object_refs": [pattern.to_text()]})),
        sco(&us, json!({"value": "10.20.30.40"})),
        sco(&them, json!({"value": "198.51.100.3"})),
        sco(&bad, json!({"value": "http://evil.example.net/x"})),
        sco(&ours, json!({"value": "https://vault-7.corp.example/login"})),
        sco(&user, json!({"account_login": "mmuster", "display_name": "Max Muster"})),
        sco(&process, json!({"pid": 7, "command_line": "secret-tool --now", "creator_user_ref": user.to_text()})),
        sco(&flow, json!({"src_ref": them.to_text(), "dst_ref": us.to_text(), "protocols": ["tcp"]})),
        sdo("observed-data", &seen, json!({"first_observed": "2026-03-01T09:15:01.123Z", "last_observed": "2026-03-01T09:15:01.123Z",
            "number_observed": 1, "object_refs": [us.to_text(), them.to_text(), bad.to_text(), ours.to_text(), user.to_text(), process.to_text(), flow.to_text()]})),
    ]});
    d.bundle = Arc::from(serde_json::to_vec(&objects).unwrap());
    d.bundle = Arc::from(graph::normalized(&d).unwrap());
    d.occurred_at = Some(Timestamp(1));
    d
}

fn home() -> Vec<IpNet> {
    vec!["10.0.0.0/8".parse().unwrap()]
}

fn deliver(branch: &str, d: &Detection) -> Vec<u8> {
    let definition = compile("w.yaml", WORKFLOW, &known()).unwrap_or_else(|p| panic!("{p:?}"));
    let home = home();
    let end = crate::run(
        &definition,
        definition.branch(branch).unwrap(),
        d,
        Site { version: 1, home_networks: &home },
        Timestamp(0),
        &mut crate::state::Nothing,
    )
    .unwrap();
    assert_eq!(end.rejected, []);
    end.outputs[0].payload.clone()
}

/// Nothing of what is taken out stands anywhere in what leaves, in whatever case.
#[test]
fn no_trace_is_left() {
    let d = detection();
    let removed = [
        "vault-7",
        "corp.example",
        "probe-zurich",
        "mmuster",
        "muster",
        "10.20.30.40",
        "secret-tool",
        "whoami",
        "w3wp",
        "crown-jewels",
        "budget-2026",
        "maintenance-of-may",
        "carol",
        "~4120",
        "suricata.example.org",
        "atio.raw.suricata",
        "9a3d2b1c-4e5f-5a6b-8c7d-1e2f3a4b5c33",
        "2f4a6b8c-0d1e-4f20-8a3b-5c6d7e8f9a88",
        "123456789012",
        "arn:aws",
        "alice@example.org",
        "inventory",
        "\"iris_id\"",
        "\"criticality\"",
        "\"exposure\"",
        "\"asset_risk\"",
        "user-account",
        "\"process\"",
        "process--",
    ];
    let columns = serde_json::to_string(&d).unwrap();
    let before = format!("{}{columns}", String::from_utf8(deliver("raw", &d)).unwrap()).to_lowercase();
    for value in removed {
        assert!(before.contains(&value.to_lowercase()), "the sample lacks {value}");
    }
    let after = String::from_utf8(deliver("out", &d)).unwrap().to_lowercase();
    for value in removed {
        assert!(!after.contains(&value.to_lowercase()), "{value} is left in {after}");
    }
    for kept in [
        "198.51.100.3",
        "http://evil.example.net/x",
        "t1190",
        "network-traffic",
        "observed-data",
        "sighting",
        "\"report\"",
    ] {
        assert!(after.contains(kept), "{kept} is gone from {after}");
    }
}

/// References that are left point to objects that are there, or to constants that close the bundle.
#[test]
fn references_are_repaired() {
    let payload = deliver("out", &detection());
    let objects = bundle::parse(&payload).unwrap();
    let ids: BTreeSet<&str> = objects.iter().map(|o| o["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), objects.len());
    for object in &objects {
        for (key, value) in object.iter().filter(|(key, _)| key.ends_with("_ref") || key.ends_with("_refs")) {
            let refs = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for id in refs {
                assert!(ids.contains(id.as_str().unwrap()), "{key}: {id} in {object:?}");
            }
        }
    }
}

/// The original is not touched, the other columns stay, and what is emptied is exactly this.
#[test]
fn columns() {
    let d = detection();
    let home = home();
    let definition = compile("w.yaml", WORKFLOW, &known()).unwrap();
    let branch = definition.branch("out").unwrap();
    let site = Site { version: 1, home_networks: &home };
    let mut nothing = crate::state::Nothing;
    let mut event = crate::machine::Event::new(&definition, branch, site, &d, Timestamp(0), &mut nothing);
    super::sanitize(&mut event).unwrap();
    let changed: Vec<&str> =
        COLUMNS.iter().filter(|c| (c.get)(&d) != (c.get)(&event.detection)).map(|c| c.name).collect();
    assert_eq!(
        changed,
        [
            "finding_uid",
            "sensor",
            "asset_risk",
            "asset",
            "asset_resolved_by",
            "criticality",
            "exposure",
            "policies",
            "host",
            "users",
            "process",
            "parent",
            "command_line",
            "domains",
            "urls",
            "email_to",
            "dst.ip",
            "target",
            "cloud_account",
            "resource",
            "labels",
            "incident_id",
            "iris_id",
            "misp_id",
            "external_ids",
            "analysts",
            "raw_ref",
            "tool_url",
            "suppressed_by",
        ]
    );
    assert_eq!(event.detection.urls, ["http://evil.example.net/x"]);
    assert!(event.detection.reasons.is_empty());
}

#[test]
fn words_of_their_own() {
    use super::stands_in;
    assert!(stands_in("http://web-1.example.org/", "web-1"));
    assert!(stands_in("on web-1", "web-1"));
    assert!(!stands_in("web-12", "web-1"));
    assert!(!stands_in("cobweb-1", "web-1"));
    assert!(stands_in("web-12 web-1", "web-1"));
    let home = home();
    let secrets = super::Secrets { values: BTreeSet::new(), home: &home };
    for yes in ["10.1.2.3", "http://10.1.2.3:80/x", "to 10.1.2.3.", "::ffff:10.1.2.3", "a=10.1.2.3,b"] {
        assert!(secrets.in_text(yes), "{yes}");
    }
    for no in ["110.1.2.3", "10.1.2", "11.1.2.3", "version 10.1.2.3.4", "abc"] {
        assert!(!secrets.in_text(no), "{no}");
    }
}
