//! Runs by hand: one workflow gets the event, once, as an event of its own.
use super::super::tests::{change, desk, record, topics, workflow};
use super::*;
use crate::tests::deps;
use atio_schemas::{detection::Kind, header, routed::Routed};
use atio_stage::harness::Given;

fn event(importance: f64) -> String {
    let mut detection = Detection::new("e1".into(), Kind::Threat, "default", "suricata");
    detection.asset = Some("host:web-1".into());
    detection.importance = Some(importance);
    serde_json::to_string(&detection).unwrap()
}

fn run(name: &str, version: i64, event: &str) -> Given {
    let change = Change {
        before_version: Some(version),
        after_version: Some(version),
        after: Some(event.into()),
        ..change(ChangeType::Run, name, "carol")
    };
    record("t.workflow-changes", &format!("workflow/{name}"), &change)
}

#[test]
fn only_the_workflow_that_is_run_gets_the_event() {
    let text = workflow("a", "manual", "{importance: {gte: 50}}", "{b: [{deliver: siem}]}");
    let later = workflow("a", "manual", "{}", "{b: [{deliver: files}]}");
    let other = workflow("b", "manual", "{}", "{b: [{deliver: siem}]}");
    let mut harness = desk(Runs, &[("a", 1, &text), ("a", 2, &later), ("b", 1, &other)]);
    harness.commit(&[run("a", 1, &event(80.0)), run("a", 1, &event(80.0)), run("a", 1, &event(10.0))]);
    assert_eq!(topics(&harness), ["workflow.a", "workflow.a"]);
    assert_eq!(harness.counts.dropped.get(&Code::NoMatch), Some(&1));
    let codec = deps().codec;
    let [one, two] =
        [0, 1].map(|at| codec.decode::<Routed>(harness.outputs[at].value.as_ref().unwrap()).unwrap());
    assert_eq!(one.matches, ["a@1"]);
    assert_ne!(one.detection.event_id, two.detection.event_id, "each run is an event of its own");
    assert_eq!(one.detection.external_ids, ["e1"]);
    assert_eq!((one.detection.kind, &*one.detection.analysts), (Kind::Threat, &["carol".to_owned()][..]));
    assert!(!one.detection.bundle.is_empty());
    assert_eq!(harness.outputs[0].headers.text(header::WORKFLOW), Some("a@1"));
    harness.commit(&[run("b", 7, &event(80.0)), run("b", 1, "junk")]);
    assert_eq!(harness.failures.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::UnknownVersion]);
    assert_eq!(harness.dead_letters.iter().map(|d| d.code).collect::<Vec<_>>(), [Code::InvalidJson]);
}

#[test]
fn what_may_be_run() {
    let known = deps().known;
    let text = workflow("a", "manual", "{importance: {gte: 50}}", "{b: [{deliver: siem}]}");
    let why = |text: &str, event: &str| runs("a", text, event, &known).err().map(|(code, _)| code);
    assert_eq!(why(&text, &event(80.0)), None);
    assert_eq!(why(&text, &event(10.0)), Some(Code::NoMatch));
    assert_eq!(why(&text, "{}"), Some(Code::InvalidJson));
    assert_eq!(why(&text.replace("on: manual", "on: detection"), &event(80.0)), Some(Code::NotAllowed));
    assert_eq!(why(&text.replace("siem", "nowhere"), &event(80.0)), Some(Code::InvalidDefinition));
}
