//! Branches with steps that keep something, in the harness: windows and held events are part of the transaction.
use super::*;
use atio_stage::{Outcome, StateKey};
use atio_workflow::state::{HELD_MAX, Steps};
use std::collections::BTreeSet;

const STATEFUL: &str = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: threats}\non: detection\nmatch: {kind: threat}\n\
    branches:\n  once:\n    - dedup: {key: [asset, rule.id], within: 10m}\n    - deliver: siem\n\
    \x20 few:\n    - rate: {limit: 2, per: 1m, key: asset}\n    - deliver: siem\n\
    \x20 later:\n    - set: {labels: '[\"late\"]'}\n    - delay: 30s\n    - when: .importance >= 70\n    - deliver: siem\n\
    \x20 together:\n    - gather: {key: asset, within: 1m}\n    - deliver: siem\n\
    \x20 thrice:\n    - gather: {key: asset, within: 1m, count: 3}\n    - deliver: siem\n\
    \x20 plain:\n    - deliver: siem\n";

fn at(seconds: i64) -> Timestamp {
    Timestamp(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn stateful(name: &str) -> Harness<branch::Runner> {
    let mut harness = branch(name);
    apply(&mut harness, "threats", 1, STATEFUL);
    harness
}

/// An event whose record has this time.
fn event(seconds: i64, detection: Detection) -> Given {
    Given { timestamp: at(seconds), ..routed(&["threats@1"], detection) }
}

fn named(id: &str) -> Detection {
    let mut d = detection();
    d.event_id = id.into();
    d.rule.id = Some("1:1".into());
    d
}

fn delivered<P: Processor>(harness: &Harness<P>) -> Vec<String> {
    let event = |o: &atio_stage::Output| o.headers.text(header::CE_ID).unwrap().to_owned();
    harness.outputs.iter().map(event).collect()
}

#[test]
fn repeats_are_dropped_within_their_window() {
    let mut harness = stateful("once");
    harness.commit(&[event(0, named("e1")), event(1, named("e2"))]);
    harness.commit(&[event(599, named("e3")), event(600, named("e4"))]);
    assert_eq!(delivered(&harness), ["e1", "e4"]);
    assert_eq!(harness.counts.dropped.get(&Code::Duplicate), Some(&2));
    assert!(harness.counts.balanced());
}

/// What an aborted transaction has counted was not counted: the same records come again, and end in the same way.
#[test]
fn a_crash_takes_back_what_was_counted() {
    let mut harness = stateful("few");
    harness.commit(&[event(0, named("e1"))]);
    let rest = [event(1, named("e2")), event(2, named("e3"))];
    let ends = |outcomes: &[Outcome]| -> Vec<bool> {
        outcomes.iter().map(|o| matches!(o, Outcome::Drop(Code::RateLimited))).collect()
    };
    for _ in 0..3 {
        assert_eq!(ends(&harness.abort(&rest)), [false, true]);
    }
    harness.commit(&rest);
    assert_eq!(delivered(&harness), ["e1", "e2"]);
    assert_eq!(harness.counts.dropped.get(&Code::RateLimited), Some(&1));
}

/// Partitions have windows of their own; a branch without such steps keeps nothing.
#[test]
fn state_lies_with_its_partition() {
    let mut harness = stateful("once");
    harness.commit(&[event(0, named("e1")), Given { partition: 1, ..event(0, named("e2")) }]);
    assert_eq!(delivered(&harness), ["e1", "e2"]);
    let mut plain = stateful("plain");
    plain.commit(&[event(0, named("e1"))]);
    assert!(plain.state(0).unwrap().is_empty());
}

#[test]
fn what_is_delayed_goes_on_once_when_it_is_due() {
    let mut harness = stateful("later");
    harness.set_now(at(5));
    let dull = Detection { importance: Some(10.0), ..named("e2") };
    let both = [event(0, named("e1")), event(4, dull)];
    harness.abort(&both);
    harness.commit(&both);
    assert_eq!((harness.counts.held, harness.outputs.len()), (2, 0));
    assert_eq!(harness.next_deadline(), Some(at(30)), "from when it stood on its topic");
    harness.set_now(at(29));
    assert_eq!(harness.fire(), 0);
    harness.set_now(at(60));
    assert_eq!((harness.fire(), harness.fire()), (2, 0));
    assert_eq!(delivered(&harness), ["e1"]);
    assert_eq!(harness.counts.dropped.get(&Code::When), Some(&1));
    assert_eq!(harness.counts.held, 0);
    assert!(harness.counts.balanced());
    let output = &harness.outputs[0];
    assert_eq!(output.headers.text(header::TRACEPARENT), Some("00-1-2-01"), "carried through the hold");
    let delivery: Delivery = deps().codec.decode(output.value.as_ref().unwrap()).unwrap();
    let payload = String::from_utf8(delivery.payload).unwrap();
    assert!(payload.contains("late"), "{payload}");
    let left: Vec<&String> = harness.state(0).unwrap().iter(Steps::NAME).map(|(key, _)| key).collect();
    assert_eq!(left, ["totals"], "nothing is left of it");
}

/// What was held finishes under the version that it started with, whatever is in force by then.
#[test]
fn what_is_delayed_keeps_its_version() {
    let mut harness = stateful("later");
    harness.set_now(at(0));
    harness.commit(&[event(0, named("e1"))]);
    apply(&mut harness, "threats", 2, &STATEFUL.replace(">= 70", ">= 95"));
    harness.set_now(at(30));
    assert_eq!(harness.fire(), 1);
    assert_eq!(harness.outputs[0].headers.text(header::WORKFLOW), Some("threats@1"));
    harness.table(Definitions::TABLE, b"threats@1", None).unwrap();
    harness.set_now(at(0));
    harness.commit(&[Given { timestamp: at(0), ..routed(&["threats@2"], named("e2")) }]);
    harness.set_now(at(30));
    assert_eq!((harness.fire(), harness.counts.dropped.get(&Code::When)), (1, Some(&1)));
}

/// One event goes on for all that came meanwhile, once, whatever is taken back in between.
#[test]
fn what_is_gathered_goes_on_once() {
    let mut harness = stateful("together");
    harness.set_now(at(5));
    let (first, rest) = ([event(0, named("e1"))], [event(1, named("e2")), event(4, named("e3"))]);
    harness.abort(&first);
    harness.commit(&first);
    harness.abort(&rest);
    harness.commit(&rest);
    assert_eq!((harness.counts.held, harness.outputs.len()), (1, 0));
    assert_eq!(harness.counts.dropped.get(&Code::Gathered), Some(&2));
    assert_eq!(harness.next_deadline(), Some(at(60)));
    harness.set_now(at(60));
    assert_eq!((harness.fire(), harness.fire()), (1, 0));
    assert_eq!(delivered(&harness), ["e1"]);
    let delivery: Delivery = deps().codec.decode(harness.outputs[0].value.as_ref().unwrap()).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&delivery.payload).unwrap();
    assert_eq!(document["atio"]["count"], 3, "{document}");
    assert_eq!(harness.counts.held, 0);
    assert!(harness.counts.balanced());
}

#[test]
fn the_third_of_a_window_goes_on() {
    let mut harness = stateful("thrice");
    let events = ["e1", "e2", "e3", "e4"].map(|id| event(1, named(id)));
    harness.commit(&events[..2]);
    for _ in 0..2 {
        harness.abort(&events[2..]);
    }
    harness.commit(&events[2..]);
    assert_eq!(delivered(&harness), ["e3"]);
    assert_eq!(harness.counts.dropped.get(&Code::Gathered), Some(&3));
    assert_eq!(harness.counts.held, 0);
    assert!(harness.counts.balanced());
}

#[test]
fn what_comes_late_goes_on_at_once() {
    let mut harness = stateful("later");
    harness.set_now(at(30));
    harness.commit(&[event(0, named("e1")), event(1, named("e2"))]);
    assert_eq!(delivered(&harness), ["e1"], "after a pause there is no need to hold what is due");
    assert_eq!(harness.next_deadline(), Some(at(31)));
}

#[test]
fn too_many_are_dead_letters() {
    let mut harness = stateful("later");
    harness.set_now(at(0));
    let many: Vec<Given> = (0..=HELD_MAX).map(|n| event(0, named(&n.to_string()))).collect();
    harness.commit(&many);
    assert_eq!((harness.counts.held, harness.dead_letters.len()), (HELD_MAX, 1));
    assert_eq!(harness.dead_letters[0].code, Code::TooMany);
    assert!(harness.counts.balanced());
}

/// The record is gone by then: the dead letter holds it, so that it can be replayed.
#[test]
fn dead_letters_of_what_was_held_are_whole() {
    let mut harness = stateful("later");
    harness.set_now(at(0));
    let secret = Detection { tlp: Tlp::Red, ..named("e1") };
    harness.commit(&[event(0, secret.clone())]);
    harness.set_now(at(30));
    assert_eq!(harness.fire(), 1);
    let letter = &harness.dead_letters[0];
    assert_eq!(letter.code, Code::Clearance);
    let routed: Routed = deps().codec.decode(&letter.part.as_ref().unwrap().bytes).unwrap();
    assert_eq!(routed, Routed { matches: vec!["threats@1".into()], detection: secret });
}

/// A version that keeps state may be here before the stage has a store for it: it waits until it is started anew.
#[test]
fn a_stage_without_stores_waits_for_them() {
    let deps = deps();
    let mut definitions = deps.definitions();
    for (version, text) in [(1, THREATS), (2, STATEFUL)] {
        let value = stored(ObjectKind::Workflow, "threats", version, Some(text));
        let key = format!("threats@{version}");
        atio_stage::View::apply(&mut definitions, key.as_bytes(), Some(&value)).unwrap();
        let pointer = stored(ObjectKind::Workflow, "threats", version, None);
        atio_stage::View::apply(&mut definitions, b"threats", Some(&pointer)).unwrap();
    }
    atio_stage::View::settle(&mut definitions);
    let changelogs = |name: &str| -> Vec<String> {
        let stages = branch_stages(&deps, &definitions, &|_| true);
        let stage = stages.iter().find(|s| s.name == format!("routing.threats.{name}")).unwrap();
        stage.stores.iter().map(|s| format!("{} {}", s.name, s.changelog)).collect()
    };
    assert_eq!(changelogs("siem"), Vec::<String>::new());
    assert_eq!(changelogs("once"), ["steps t.state.routing.threats.once"]);
    assert_eq!(
        changelogs("later"),
        ["steps t.state.routing.threats.later", "timers t.state.routing.threats.later.timers"]
    );
    let runner = branch::Runner {
        codec: deps.codec.clone(),
        workflow: "threats".into(),
        branch: "once".into(),
        home_networks: vec![],
        prefix: "t.".into(),
        keeps: false,
        delays: false,
        tables: BTreeSet::new(),
    };
    let mut harness = Harness::new(runner, std::slice::from_ref(&deps.table), at(0));
    apply(&mut harness, "threats", 1, STATEFUL);
    harness.commit(&[event(0, named("e1"))]);
    assert_eq!(harness.failures[0].code, Code::UnknownVersion);
}

/// What is kept is not misread as something else.
#[test]
fn the_layout_of_what_is_kept() {
    let mut harness = stateful("once");
    harness.commit(&[event(0, named("e1"))]);
    let state = harness.state(0).unwrap();
    let mut entries: Vec<(StateKey, String)> = state
        .iter(Steps::NAME)
        .map(|(key, entry)| {
            let key = StateKey { store: Steps::NAME, key: key.clone() };
            (key, String::from_utf8(entry.value.clone()).unwrap())
        })
        .collect();
    entries.sort();
    let window = &entries[1];
    assert!(window.0.key.starts_with("window/"), "{window:?}");
    assert_eq!(window.1, r#"{"window":{"until":"2023-11-14T22:23:20.000000Z","events":1}}"#);
    assert_eq!(entries[0].0.key, "totals");
    assert!(entries[0].1.starts_with(r#"{"totals":{"windows":1,"#), "{entries:?}");
}
