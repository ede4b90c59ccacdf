//! Changes of definitions, as workflows see them.
use super::super::tests::{desk, fills, lies, record, topics, workflow};
use super::*;
use crate::tests::{deps, stored};
use atio_schemas::{Code, Timestamp, delivery::Delivery, header, incident::IncidentEvent, routed::Routed};
use atio_stage::{Headers, harness::Given};
use atio_workflow::Definitions;

const TOPIC: &str = "t.workflow-changes";

fn change(kind: ChangeType, name: &str) -> Change {
    Change {
        before_version: Some(1),
        before: Some("text".into()),
        reason: Some("no reason".into()),
        at: Timestamp(2_000_000),
        occurred_at: Some(Timestamp(1_000_000)),
        ..super::super::tests::change(kind, name, "mallory")
    }
}

fn tampering(name: &str) -> Change {
    Change { actor: "unknown".into(), finding: Some("deleted".into()), ..change(ChangeType::Tampering, name) }
}

fn of(change: &Change) -> Given {
    record(TOPIC, &format!("workflow/{}", change.name), change)
}

fn made(change: &Change) -> Detection {
    let headers = Headers::default();
    detection(change, &lies(TOPIC, 0, 3_000_000, &headers))
}

#[test]
fn what_is_told_of_a_change() {
    let d = made(&change(ChangeType::Deletion, "threats"));
    assert_eq!((d.code.as_deref(), d.rule.id.as_deref()), (Some("deleted"), Some("workflow.deleted")));
    assert_eq!((d.asset.as_deref(), d.resource.as_deref()), (Some("workflow:threats"), Some("threats")));
    assert_eq!(
        (d.actor.as_deref(), &*d.users, d.importance),
        (Some("mallory"), &["mallory".to_owned()][..], Some(80.0))
    );
    assert_eq!(d.occurred_at, Some(Timestamp(1_000_000)));
    assert!(d.incident_id.is_some());
    assert_eq!(d.recommended_actions, ["atio workflow restore threats"]);
    let tampered = made(&tampering("threats"));
    assert_eq!(
        (tampered.code.as_deref(), &*tampered.labels),
        (Some("tampered"), &["deleted".to_owned()][..])
    );
    assert_eq!((&tampered.actor, tampered.users.len()), (&None, 0));
    let paused = Change {
        before: Some("paused: false".into()),
        after: Some("paused: true".into()),
        ..change(ChangeType::Modification, "threats")
    };
    let refused = Change { refused_message: Some("no".into()), ..change(ChangeType::Refusal, "threats") };
    let all = [
        change(ChangeType::Creation, "x"),
        change(ChangeType::Modification, "x"),
        paused,
        refused,
        change(ChangeType::Restoration, "x"),
        change(ChangeType::Run, "x"),
        Change { kind: ObjectKind::Audit, ..tampering("commands-0") },
    ];
    let mut all: Vec<Detection> = all.iter().map(made).collect();
    let codes: Vec<&str> = all.iter().filter_map(|d| d.code.as_deref()).collect();
    assert_eq!(codes, ["created", "modified", "paused", "refused", "restored", "run", "tampered"]);
    assert!(codes.iter().all(|code| atio_workflow::trigger::CHANGES.contains(code)));
    assert_eq!(all.iter().filter(|d| d.incident_id.is_some()).count(), 2);
    assert_eq!(all[3].outcome.as_deref(), Some("failure"));
    all.extend([d, tampered]);
    fills(Trigger::Change, &all);
}

#[test]
fn a_workflow_on_changes_gets_those_that_it_is_for() {
    let text = workflow("watch", "change", "{code: [deleted, tampered]}", "{b: [{deliver: siem}]}");
    let other = workflow("threats", "detection", "{}", "{b: [{deliver: siem}]}");
    let mut harness = desk(Changes, &[("watch", 1, &text), ("threats", 1, &other)]);
    let created = Change { before_version: None, ..change(ChangeType::Creation, "threats") };
    harness.commit(&[of(&created), of(&change(ChangeType::Deletion, "threats")), of(&tampering("threats"))]);
    assert_eq!(harness.counts.dropped.get(&Code::NoMatch), Some(&1));
    assert_eq!(topics(&harness), ["incident-events", "workflow.watch", "incident-events", "workflow.watch"]);
    let codec = deps().codec;
    let opened: IncidentEvent = codec.decode(harness.outputs[0].value.as_ref().unwrap()).unwrap();
    let routed: Routed = codec.decode(harness.outputs[1].value.as_ref().unwrap()).unwrap();
    assert_eq!(Some(&opened.incident_id), routed.detection.incident_id.as_ref());
    assert_eq!((opened.opened, opened.occurred_at), (true, Some(Timestamp(1_000_000))));
    assert_eq!(routed.matches, ["watch@1"]);
    assert_eq!(harness.outputs[1].key.as_deref(), Some(&b"workflow:threats"[..]));
    assert_eq!(harness.outputs[1].headers.text(header::CE_ID), Some(&*routed.detection.event_id));
    let other: Routed = codec.decode(harness.outputs[3].value.as_ref().unwrap()).unwrap();
    assert_ne!(other.detection.event_id, routed.detection.event_id);
    assert_ne!(other.detection.incident_id, routed.detection.incident_id);
    let bundle = atio_stix::bundle::close(&routed.detection.bundle);
    let objects = atio_stix::bundle::parse(&bundle).unwrap();
    assert!(objects.len() >= 4, "asset, account, report and what closes them");
    for object in &objects {
        assert!(atio_stix::validate::validate(object).is_empty(), "{object:?}");
    }
}

/// Taken away, stopped or emptied: the watcher is told of what was done to itself, as it was before.
#[test]
fn nobody_silences_the_watcher() {
    let branches = "{b: [{deliver: siem}], a: [{await: {ack: analyst, within: 1m}}, {deliver: files}]}";
    let text = workflow("watch", "change", "{code: [deleted, tampered, paused, modified]}", branches);
    let blind = workflow("watch", "change", "{code: created}", branches);
    let mut harness = desk(Changes, &[("watch", 1, &text)]);
    harness.table(Definitions::TABLE, b"watch", None).unwrap();
    harness.commit(&[of(&change(ChangeType::Deletion, "watch")), of(&tampering("watch"))]);
    let once = ["incident-events", "delivery.siem", "waits"];
    assert_eq!(topics(&harness), [once, once].concat());
    let delivery: Delivery = deps().codec.decode(harness.outputs[1].value.as_ref().unwrap()).unwrap();
    assert_eq!((delivery.workflow.as_str(), delivery.branch.as_str()), ("watch@1", "b"));
    // Whether the table says so already or not.
    let mut ahead = desk(Changes, &[("watch", 1, &text)]);
    ahead.commit(&[of(&change(ChangeType::Deletion, "watch")), of(&tampering("watch"))]);
    assert_eq!(ahead.outputs, harness.outputs);
    let mut emptied = desk(Changes, &[("watch", 1, &text), ("watch", 2, &blind)]);
    emptied.commit(&[of(&change(ChangeType::Modification, "watch"))]);
    assert_eq!(topics(&emptied), ["workflow.watch"]);
    assert_eq!(emptied.outputs[0].headers.text(header::WORKFLOW), Some("watch@1"));
    assert!(emptied.counts.balanced() && harness.counts.balanced());
}

#[test]
fn what_was_before_the_first_workflow_is_nobodys() {
    let text = workflow("watch", "change", "{}", "{b: [{deliver: siem}]}");
    let mut harness = desk(Changes, &[]);
    let value = stored(ObjectKind::Workflow, "watch", 1, Some(&text));
    let mut later: atio_schemas::definition::Definition = deps().codec.decode(&value).unwrap();
    later.created_at = Timestamp(5_000_000);
    let value = deps().codec.encode(&later).unwrap();
    harness.table(Definitions::TABLE, b"watch@1", Some(&value)).unwrap();
    let pointer = stored(ObjectKind::Workflow, "watch", 1, None);
    harness.table(Definitions::TABLE, b"watch", Some(&pointer)).unwrap();
    let at = |micros| Given { timestamp: Timestamp(micros), ..of(&change(ChangeType::Deletion, "x")) };
    harness.commit(&[at(4_999_999), at(5_000_000)]);
    assert_eq!(topics(&harness), ["incident-events", "workflow.watch"]);
    assert_eq!(harness.counts.dropped.get(&Code::NoMatch), Some(&1));
}

#[test]
fn what_is_no_change_is_a_dead_letter() {
    let mut harness = desk(Changes, &[]);
    harness.commit(&[
        Given { topic: TOPIC.into(), value: Some(b"forged".to_vec()), ..Given::default() },
        Given { topic: TOPIC.into(), ..Given::default() },
    ]);
    let codes: Vec<Code> = harness.dead_letters.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::NotAvro, Code::NullValue]);
}
