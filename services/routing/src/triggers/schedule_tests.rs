//! Schedules in the harness: which due times make an event, whatever comes between.
use super::{
    super::tests::{fills, record, topics},
    *,
};
use crate::tests::{apply, deps, in_force, stored};
use atio_schemas::{header, routed::Routed};
use atio_stage::harness::{Given, Harness};

const TOPIC: &str = "t.workflow-changes";
const MINUTE: i64 = 60_000_000;

fn text(name: &str, schedule: &str) -> String {
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: {name}}}\non: schedule\nschedule: {schedule}\nmatch: {{}}\nbranches: {{b: [{{deliver: siem}}]}}\n"
    )
}

fn harness() -> Harness<Clock> {
    let deps = deps();
    let clock = Clock { codec: deps.codec.clone(), prefix: "t.".into() };
    Harness::new(clock, std::slice::from_ref(&deps.table), Timestamp(0))
}

fn change(kind: ChangeType, version: Option<i64>) -> Change {
    Change {
        after_version: version,
        after: Some("text".into()),
        ..super::super::tests::change(kind, "w", "ann")
    }
}

fn at(micros: i64, change: &Change) -> Given {
    Given { timestamp: Timestamp(micros), ..record(TOPIC, "workflow/w", change) }
}

/// The table says that the workflow is in force as this version, and monitoring that it came at this time.
fn create(harness: &mut Harness<Clock>, version: i64, schedule: &str, micros: i64) {
    apply(harness, "w", version, &text("w", schedule));
    let kind = if version == 1 { ChangeType::Creation } else { ChangeType::Modification };
    harness.commit(&[at(micros, &change(kind, Some(version)))]);
}

fn fire(harness: &mut Harness<Clock>, micros: i64) {
    harness.set_now(Timestamp(micros));
    harness.fire();
}

/// Due time, code, and workflow@version of each event, in minutes.
fn events(harness: &Harness<Clock>) -> Vec<(i64, String, String)> {
    let decode = |value: &Vec<u8>| deps().codec.decode::<Routed>(value).unwrap();
    let all = harness.outputs.iter().map(|o| (o, decode(o.value.as_ref().unwrap())));
    all.map(|(output, routed)| {
        let d = &routed.detection;
        assert_eq!(output.headers.text(header::WORKFLOW), Some(&*routed.matches[0]));
        assert_eq!(output.headers.text(header::CE_ID), Some(&*d.event_id));
        (d.occurred_at.unwrap().0 / MINUTE, d.code.clone().unwrap(), routed.matches[0].clone())
    })
    .collect()
}

fn event(minute: i64, code: &str, version: i64) -> (i64, String, String) {
    (minute, code.to_owned(), format!("w@{version}"))
}

fn ids(harness: &Harness<Clock>) -> std::collections::BTreeSet<String> {
    harness.outputs.iter().map(|o| o.headers.text(header::CE_ID).unwrap().to_owned()).collect()
}

#[test]
fn each_due_time_makes_one_event_and_the_schedule_stands_on() {
    let mut harness = harness();
    create(&mut harness, 1, "{every: 5m}", 2 * MINUTE);
    assert_eq!((harness.next_deadline(), harness.counts.held), (Some(Timestamp(5 * MINUTE)), 1));
    for minute in 2..=16 {
        fire(&mut harness, minute * MINUTE + 1000);
    }
    assert_eq!(events(&harness), [event(5, "due", 1), event(10, "due", 1), event(15, "due", 1)]);
    assert_eq!(topics(&harness), ["workflow.w"; 3]);
    assert_eq!((ids(&harness).len(), harness.counts.held), (3, 1));
    assert!(harness.counts.balanced());
    // Whoever counts by the clock alone makes the same ids.
    let mut other = super::tests::harness();
    create(&mut other, 1, "{every: 5m}", 2 * MINUTE);
    fire(&mut other, 5 * MINUTE + 59_000_000);
    assert!(ids(&harness).is_superset(&ids(&other)) && ids(&other).len() == 1);
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let mut harness = harness();
    create(&mut harness, 1, "{every: 5m}", 2 * MINUTE);
    fire(&mut harness, 33 * MINUTE);
    fire(&mut harness, 34 * MINUTE);
    assert_eq!(events(&harness), [event(30, "late", 1)]);
    assert_eq!(harness.next_deadline(), Some(Timestamp(35 * MINUTE)));
    // One that is late and alone says so, too.
    fire(&mut harness, 37 * MINUTE);
    assert_eq!(events(&harness)[1], event(35, "late", 1));
    let mut strict = super::tests::harness();
    create(&mut strict, 1, "{every: 5m, deadline: 2m}", 2 * MINUTE);
    fire(&mut strict, 33 * MINUTE);
    assert!(events(&strict).is_empty(), "too late to begin");
    fire(&mut strict, 36 * MINUTE);
    assert_eq!(events(&strict), [event(35, "due", 1)].map(|e| (e.0, "due".to_owned(), e.2)));
}

#[test]
fn the_next_version_takes_over_and_nothing_runs_twice() {
    let mut harness = harness();
    create(&mut harness, 1, "{every: 5m}", 2 * MINUTE);
    fire(&mut harness, 5 * MINUTE);
    create(&mut harness, 2, "{every: 10m}", 6 * MINUTE);
    fire(&mut harness, 9 * MINUTE);
    fire(&mut harness, 10 * MINUTE);
    assert_eq!(events(&harness), [event(5, "due", 1), event(10, "due", 2)]);
    assert_eq!((harness.counts.held, harness.counts.dropped.get(&Code::NotInVersion)), (1, Some(&1)));
    // What fell due before the next version came, and nobody came to, was the version's before.
    harness.set_now(Timestamp(22 * MINUTE));
    create(&mut harness, 3, "{every: 1m}", 21 * MINUTE + 1);
    assert_eq!(events(&harness)[2], event(20, "late", 2));
    fire(&mut harness, 22 * MINUTE);
    assert_eq!(events(&harness)[3], event(22, "due", 3));
    assert!(harness.counts.balanced());
}

#[test]
fn paused_it_does_not_run_and_what_fell_due_is_nobodys() {
    let mut harness = harness();
    create(&mut harness, 1, "{every: 5m}", 2 * MINUTE);
    let mut pointer: atio_schemas::definition::Definition =
        deps().codec.decode(&stored(ObjectKind::Workflow, "w", 1, None)).unwrap();
    pointer.paused = true;
    let value = deps().codec.encode(&pointer).unwrap();
    harness.table(Definitions::TABLE, b"w", Some(&value)).unwrap();
    let paused = Change { after: Some("paused: true".into()), ..change(ChangeType::Modification, Some(1)) };
    harness.commit(&[at(3 * MINUTE, &paused)]);
    fire(&mut harness, 7 * MINUTE);
    assert!(events(&harness).is_empty());
    // Resumed while routing was down: what came before that is not made up for.
    let value = stored(ObjectKind::Workflow, "w", 1, None);
    harness.table(Definitions::TABLE, b"w", Some(&value)).unwrap();
    let resumed = Change { after: Some("paused: false".into()), ..paused.clone() };
    harness.set_now(Timestamp(14 * MINUTE));
    harness.commit(&[at(12 * MINUTE, &resumed)]);
    harness.fire();
    assert!(events(&harness).is_empty());
    fire(&mut harness, 15 * MINUTE);
    assert_eq!(events(&harness), [event(15, "due", 1)]);
}

#[test]
fn it_ends_with_its_workflow() {
    let mut harness = harness();
    create(&mut harness, 1, "{every: 5m}", 2 * MINUTE);
    harness.table(Definitions::TABLE, b"w", None).unwrap();
    harness.commit(&[at(3 * MINUTE, &Change { after: None, ..change(ChangeType::Deletion, None) })]);
    fire(&mut harness, 60 * MINUTE);
    assert!(events(&harness).is_empty());
    assert_eq!((harness.counts.held, harness.next_deadline()), (0, None));
    // Brought back, it begins anew.
    let value = stored(ObjectKind::Workflow, "w", 1, None);
    harness.table(Definitions::TABLE, b"w", Some(&value)).unwrap();
    harness.commit(&[at(61 * MINUTE, &change(ChangeType::Restoration, Some(1)))]);
    fire(&mut harness, 65 * MINUTE);
    assert_eq!(events(&harness), [event(65, "due", 1)]);
    // One that is triggered by something else has none any more.
    let other = super::super::tests::workflow("w", "detection", "{}", "{b: [{deliver: siem}]}");
    apply(&mut harness, "w", 2, &other);
    harness.commit(&[at(66 * MINUTE, &change(ChangeType::Modification, Some(2)))]);
    assert_eq!((harness.counts.held, harness.next_deadline()), (0, None));
    assert!(harness.counts.balanced());
}

/// Behind monitoring's back: what was taken away does not run, and what others wrote starts nothing.
#[test]
fn only_what_monitoring_told_is_scheduled() {
    let mut harness = harness();
    create(&mut harness, 1, "{every: 5m}", 2 * MINUTE);
    harness.table(Definitions::TABLE, b"w", None).unwrap();
    let tampered = Change { finding: Some("deleted".into()), ..change(ChangeType::Tampering, None) };
    harness.commit(&[at(3 * MINUTE, &tampered)]);
    fire(&mut harness, 5 * MINUTE);
    assert_eq!((events(&harness).len(), harness.counts.held), (0, 1));
    let value = stored(ObjectKind::Workflow, "w", 1, None);
    harness.table(Definitions::TABLE, b"w", Some(&value)).unwrap();
    fire(&mut harness, 10 * MINUTE);
    assert_eq!(events(&harness), [event(10, "due", 1)]);
    apply(&mut harness, "w", 2, &text("w", "{every: 1m}"));
    fire(&mut harness, 12 * MINUTE);
    assert_eq!(events(&harness).len(), 1);
}

/// The change may be there before the table is.
#[test]
fn a_definition_that_comes_later_is_waited_for() {
    let mut harness = harness();
    harness.set_now(Timestamp(4 * MINUTE));
    harness.commit(&[at(4 * MINUTE, &change(ChangeType::Creation, Some(1)))]);
    fire(&mut harness, 4 * MINUTE + 1_000_000);
    assert_eq!(harness.next_deadline(), Some(Timestamp(4 * MINUTE + 2_000_000)));
    let version = stored(ObjectKind::Workflow, "w", 1, Some(&text("w", "{every: 5m}")));
    harness.table(Definitions::TABLE, b"w@1", Some(&version)).unwrap();
    // The version, and no pointer to it yet: it is too early to say that it is not in force.
    fire(&mut harness, 4 * MINUTE + 2_000_000);
    assert_eq!(harness.next_deadline(), Some(Timestamp(4 * MINUTE + 3_000_000)));
    let value = stored(ObjectKind::Workflow, "w", 1, None);
    harness.table(Definitions::TABLE, b"w", Some(&value)).unwrap();
    fire(&mut harness, 4 * MINUTE + 3_000_000);
    assert_eq!(harness.next_deadline(), Some(Timestamp(5 * MINUTE)));
    fire(&mut harness, 5 * MINUTE);
    assert_eq!(events(&harness), [event(5, "due", 1)]);
}

#[test]
fn what_is_told_of_a_due_time() {
    let schedule = Schedule::cron("0 8 * * *", "Europe/Berlin", None).unwrap();
    let standing =
        Standing { version: 3, since: Timestamp(0), last: None, place: "t.workflow-changes/0/4".into() };
    let of = |late| detection("w", &schedule, &standing, (Timestamp(MINUTE), late), Timestamp(2 * MINUTE));
    let made = of(false);
    assert_eq!(made.rule.name.as_deref(), Some("w: 0 8 * * * Europe/Berlin"));
    assert_eq!((made.rule.rev.as_deref(), made.asset.as_deref()), (Some("3"), Some("workflow:w")));
    assert_eq!((made.occurred_at, made.received_at), (Some(Timestamp(MINUTE)), Some(Timestamp(2 * MINUTE))));
    assert_eq!(made.raw_ref.as_deref(), Some("t.workflow-changes/0/4"));
    assert_eq!(of(true).event_id, made.event_id);
    let all = [made, of(true)];
    assert!(all.iter().all(|d| atio_workflow::trigger::DUE.contains(&d.code.as_deref().unwrap())));
    fills(Trigger::Schedule, &all);
}

#[test]
fn the_stage_is_there_where_a_workflow_asks_for_it() {
    let definitions = in_force(&[("w", 1, &text("w", "{every: 5m}"))]);
    let all = super::super::stages(&deps(), &definitions);
    assert_eq!((all.len(), &*all[0].name, &*all[0].inputs[0].topic), (1, "routing-schedule", TOPIC));
    let logs: Vec<&str> = all[0].stores.iter().map(|s| &*s.changelog).collect();
    assert_eq!(logs, ["t.state.routing.schedules", "t.state.routing.schedule-timers"]);
    assert_eq!(&*all[0].outputs[0], "t.workflow.w");
    assert!(crate::is_changing("routing-schedule"));
}
