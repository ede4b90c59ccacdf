//! Records of other topics, through a trigger's stage: what each workflow gets.
use super::*;
use crate::tests::{apply, deps, in_force};
use atio_schemas::{
    Timestamp, codec,
    command::ObjectKind,
    definition::{Change, ChangeType},
};
use atio_stage::{
    View as _,
    harness::{Given, Harness},
};

/// A trigger's stage, with these workflows in force.
pub(super) fn desk<S: Source>(source: S, workflows: &[(&str, i64, &str)]) -> Harness<Router<S>> {
    let deps = deps();
    let router = Router {
        source,
        codec: deps.codec.clone(),
        prefix: deps.prefix.clone(),
        home_networks: vec![],
        incident_events: deps.topic("incident-events"),
    };
    let mut harness = Harness::new(router, std::slice::from_ref(&deps.table), Timestamp(0));
    for (name, version, text) in workflows {
        apply(&mut harness, name, *version, text);
    }
    harness
}

/// What monitoring says of a workflow, as far as a test does not say it.
pub(super) fn change(kind: ChangeType, name: &str, actor: &str) -> Change {
    Change {
        change_id: "t.commands/0/7".into(),
        command_id: "c1".into(),
        change_type: kind,
        kind: ObjectKind::Workflow,
        name: name.into(),
        before_version: None,
        after_version: None,
        before: None,
        after: None,
        actor: actor.into(),
        reason: None,
        refused_code: None,
        refused_message: None,
        at: Timestamp(0),
        occurred_at: None,
        finding: None,
    }
}

/// The fourth record of a partition, which came at this time.
pub(super) fn lies<'a>(topic: &'a str, partition: i32, at: i64, headers: &'a Headers) -> Record<'a> {
    Record { topic, partition, offset: 3, timestamp: Timestamp(at), key: None, value: None, headers }
}

pub(super) fn record<R: codec::Record>(topic: &str, key: &str, value: &R) -> Given {
    let value = deps().codec.encode(value).expect("a record");
    Given { topic: topic.into(), key: Some(key.into()), value: Some(value), ..Given::default() }
}

/// Topics of what came out, without the prefix.
pub(super) fn topics<P: Processor>(harness: &Harness<P>) -> Vec<&str> {
    harness.outputs.iter().map(|o| o.topic.trim_start_matches("t.")).collect()
}

pub(super) fn workflow(name: &str, on: &str, matches: &str, branches: &str) -> String {
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: {name}}}\non: {on}\nmatch: {matches}\nbranches: {branches}\n"
    )
}

/// What a trigger fills is what the check lets a workflow ask for, and the other way round.
pub(super) fn fills(on: Trigger, made: &[Detection]) {
    for column in atio_schemas::column::COLUMNS {
        let blank = on.blank(String::new(), "default", "x");
        let is_filled = made.iter().any(|d| (column.get)(d) != (column.get)(&blank));
        let always = matches!(column.name, "kind" | "category" | "zone" | "tlp" | "tenant" | "labels");
        assert!(!is_filled || on.knows(column.name), "{} is filled, and not known", column.name);
        assert!(is_filled || always || !on.knows(column.name), "{} is known, and never filled", column.name);
    }
}

#[test]
fn a_trigger_has_a_stage_where_a_workflow_asks_for_it() {
    let deps = deps();
    let mut definitions = deps.definitions();
    let names = |definitions: &Definitions| -> Vec<String> {
        stages(&deps, definitions).into_iter().map(|s| s.name).collect()
    };
    assert!(names(&definitions).is_empty());
    let text = workflow("w", "change", "{}", "{b: [{deliver: siem}]}");
    definitions = in_force(&[("w", 1, &text)]);
    assert_eq!(names(&definitions), ["routing-change"]);
    let all = stages(&deps, &definitions);
    assert_eq!((&*all[0].group, &*all[0].inputs[0].topic), ("t.routing-change", "t.workflow-changes"));
    let outputs: Vec<&str> = all[0].outputs.iter().map(|t| &**t).collect();
    assert_eq!(outputs, ["t.workflow.w", "t.routed", "t.incident-events", "t.delivery.siem"]);
    assert!(crate::is_changing("routing-change") && !crate::is_changing("routing-logs"));
    // It goes on: what comes between is nobody's, and is not read when there is one again.
    definitions.apply(b"w", None).unwrap();
    definitions.settle();
    assert_eq!(names(&definitions), ["routing-change"]);
}
