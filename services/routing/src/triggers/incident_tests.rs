//! Incidents, as workflows see them: once, where a match begins to hold.
use super::super::tests::{desk, fills, record, topics, workflow};
use super::*;
use crate::tests::deps;
use atio_schemas::{
    Timestamp,
    detection::Kind,
    incident::{OpenWait, Verdict},
    routed::Routed,
};
use atio_stage::{Headers, harness::Given};

const TOPIC: &str = "t.incidents";

fn incident(id: &str, importance: f64) -> Incident {
    Incident {
        asset: Some("host:web-1".into()),
        rule_id: Some("1:7".into()),
        events: 1,
        importance: Some(importance),
        occurred_at: Some(Timestamp(1)),
        detected_at: Some(Timestamp(2)),
        updated_at: Some(Timestamp(3)),
        ..Incident::new(id, "default", Kind::Threat)
    }
}

fn of(incident: &Incident) -> Given {
    record(TOPIC, &incident.incident_id, incident)
}

fn wait() -> OpenWait {
    OpenWait::new("w", "x@1", "b", "analyst", Timestamp(0))
}

#[test]
fn it_fires_where_a_threshold_is_crossed() {
    let high = workflow("high", "incident", "{importance: {gte: 80}}", "{b: [{deliver: siem}]}");
    let closed = workflow("closed", "incident", "{code: closed}", "{b: [{deliver: siem}]}");
    let mut harness = desk(Incidents, &[("high", 1, &high), ("closed", 1, &closed)]);
    let done = Incident { closed_at: Some(Timestamp(9)), ..incident("i1", 90.0) };
    harness.commit(&[of(&incident("i1", 40.0)), of(&incident("i1", 85.0)), of(&incident("i2", 81.0))]);
    assert_eq!(topics(&harness), ["workflow.high", "workflow.high"]);
    // In the next transaction the state before is still known.
    harness.commit(&[of(&incident("i1", 90.0)), of(&incident("i2", 82.0)), of(&done), of(&done)]);
    assert_eq!(topics(&harness)[2..], ["workflow.closed"]);
    assert_eq!(harness.counts.dropped.get(&Code::NoMatch), Some(&4));
    let routed: Routed = deps().codec.decode(harness.outputs[0].value.as_ref().unwrap()).unwrap();
    assert_eq!(
        (routed.detection.importance, routed.detection.incident_id.as_deref()),
        (Some(85.0), Some("i1"))
    );
    assert_eq!(harness.outputs[0].key.as_deref(), Some(&b"host:web-1"[..]));
    assert!(harness.counts.balanced());
}

/// A definition that comes later fires for what crosses after it; one that was changed goes on from the state before, whatever it asked then.
#[test]
fn a_later_definition_begins_with_the_state_that_is_known() {
    let high = |least: i64| {
        workflow("high", "incident", &format!("{{importance: {{gte: {least}}}}}"), "{b: [{deliver: siem}]}")
    };
    let mut harness = desk(Incidents, &[]);
    harness.commit(&[of(&incident("i1", 85.0))]);
    crate::tests::apply(&mut harness, "high", 1, &high(80));
    harness.commit(&[of(&incident("i1", 86.0)), of(&incident("i2", 86.0))]);
    assert_eq!(topics(&harness), ["workflow.high"]);
    crate::tests::apply(&mut harness, "high", 2, &high(90));
    harness.commit(&[of(&incident("i1", 89.0)), of(&incident("i1", 91.0))]);
    assert_eq!(topics(&harness), ["workflow.high", "workflow.high"]);
    // Gone from its topic, and there again: it begins anew.
    harness.commit(&[Given { topic: TOPIC.into(), key: Some(b"i1".to_vec()), ..Given::default() }]);
    harness.commit(&[of(&incident("i1", 95.0))]);
    assert_eq!(harness.outputs.len(), 3);
}

#[test]
fn what_is_told_of_an_incident() {
    let headers = Headers::default();
    let record = Record {
        topic: TOPIC,
        partition: 0,
        offset: 3,
        timestamp: Timestamp(3_000_000),
        key: None,
        value: None,
        headers: &headers,
    };
    let waiting = Incident { waits: vec![wait()], notified_at: Some(Timestamp(4)), ..incident("i", 85.0) };
    let acked = Incident {
        acked_at: Some(Timestamp(5)),
        acked_by: Some("carol".into()),
        handed_over_at: Some(Timestamp(6)),
        ..incident("i", 85.0)
    };
    let closed =
        Incident { closed_at: Some(Timestamp(7)), verdict: Some(Verdict::FalsePositive), ..acked.clone() };
    let all: Vec<Detection> =
        [incident("i", 10.0), waiting, acked, closed].iter().map(|i| detection(i, &record)).collect();
    let codes: Vec<&str> = all.iter().filter_map(|d| d.code.as_deref()).collect();
    assert_eq!(codes, ["open", "waiting", "acknowledged", "closed"]);
    assert_eq!(all[2].labels, ["threat", "acknowledged", "handed_over"]);
    assert_eq!(
        (all[3].outcome.as_deref(), &*all[3].analysts),
        (Some("false_positive"), &["carol".to_owned()][..])
    );
    fills(Trigger::Incident, &all);
}

#[test]
fn another_key_is_refused() {
    let mut harness = desk(Incidents, &[]);
    harness.commit(&[record(TOPIC, "other", &incident("i1", 85.0))]);
    assert_eq!(harness.dead_letters.iter().map(|d| d.code).collect::<Vec<_>>(), [Code::InvalidField]);
}
