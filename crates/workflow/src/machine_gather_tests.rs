//! `gather`: what comes together, what goes on with it, what is forgotten; and the same of random events against a model that shares no code with it.
use super::{
    state_steps::{SITE, World},
    *,
};
use crate::rehearsal::{Rehearsal, Subject};
use atio_stage::{Headers, StageError};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn event(id: &str, asset: &str, user: &str) -> Detection {
    Detection {
        event_id: id.into(),
        asset: Some(asset.to_owned()),
        users: vec![user.to_owned()],
        ..detection()
    }
}

/// What became of events that came at these seconds: id of the event that went on, and `count users quality` of it; or the reason.
fn told(steps: &str, events: &[(i64, Detection)]) -> Vec<String> {
    let definition = definition(steps);
    let subject = Subject { definition: &definition, branch: &definition.branches[0], site: SITE };
    let (mut rehearsal, headers, mut all) = (Rehearsal::default(), Headers::default(), vec![]);
    let mut told = |event: &Detection, _: &Headers, end: End| {
        all.push(match (&end.outputs[..], end.dropped, &end.delayed) {
            ([output], None, None) => {
                let document: Value = serde_json::from_slice(&output.payload).unwrap();
                let users: Vec<&str> = document["related"]["user"]
                    .as_array()
                    .map(|u| u.iter().filter_map(Value::as_str).collect())
                    .unwrap_or_default();
                format!("{}: {} {}", event.event_id, document["atio"]["count"], users.join("+"))
            }
            ([], Some(code), None) => format!("{}: {code}", event.event_id),
            ([], None, Some(_)) => format!("{}: held", event.event_id),
            other => panic!("{other:?} {:?}", end.rejected),
        });
        Ok::<(), StageError>(())
    };
    for (at, detection) in events {
        rehearsal.event(subject, Timestamp(at * 1_000_000), (detection, &headers), &mut told).unwrap();
    }
    rehearsal.finish(subject, &mut told).unwrap();
    all
}

#[test]
fn so_many_events_become_one() {
    let steps = "[{gather: {key: asset, count: 3, within: 10s, collect: {users: .users}}}, {deliver: siem}]";
    let events = [
        (0, "e0", "a", "u"),
        (1, "e1", "a", "v"),
        (2, "e2", "b", "w"),
        (9, "e3", "a", "u"),
        (9, "e4", "a", "x"),
        (12, "e5", "b", "w"),
        (18, "e6", "a", "x"),
        (19, "e7", "a", "y"),
    ];
    let events = events.map(|(at, id, asset, user)| (at, event(id, asset, user)));
    let gathered = told(steps, &events);
    // The window of b ended before there were enough: what came then begins anew.
    assert_eq!(
        gathered,
        [
            "e0: gathered",
            "e1: gathered",
            "e2: gathered",
            "e3: 3 u+v",
            "e4: gathered",
            "e5: gathered",
            "e6: gathered",
            "e7: gathered"
        ]
    );
}

#[test]
fn what_comes_in_a_window_goes_on_with_the_first() {
    let steps = "[{gather: {key: asset, within: 10s, collect: {users: .users}}}, {when: .count >= 2}, {deliver: siem}]";
    let events = [
        (0, "e0", "a", "u"),
        (1, "e1", "a", "v"),
        (2, "e2", "b", "w"),
        (9, "e3", "a", "u"),
        (10, "e4", "a", "x"),
        (11, "e5", "a", "y"),
    ];
    let events = events.map(|(at, id, asset, user)| (at, event(id, asset, user)));
    let gathered = told(steps, &events);
    let expected = [
        "e0: held",
        "e1: gathered",
        "e2: held",
        "e3: gathered",
        "e0: 3 u+v",
        "e4: held",
        "e5: gathered",
        "e2: when_false",
        "e4: 2 x+y",
    ];
    assert_eq!(gathered, expected);
}

/// What can't be gathered goes on as it is.
#[test]
fn an_event_without_the_key_goes_on() {
    let nobody = Detection { asset: None, ..event("e0", "a", "u") };
    for steps in [
        "[{gather: {key: asset, within: 10s}}, {deliver: siem}]",
        "[{gather: {key: asset, count: 2, within: 10s}}, {deliver: siem}]",
    ] {
        assert_eq!(told(steps, &[(0, nobody.clone())]), ["e0: null u"]);
    }
}

impl World {
    /// An event whose record has this time, read at another; where it is held, under its id.
    fn gather(&mut self, at: i64, now: i64, d: &Detection) -> End {
        self.tx(now, |tx, definition, branch| {
            let mut end = run(definition, branch, d, SITE, Timestamp(at * 1_000_000), tx).unwrap();
            if let Some(delay) = &end.delayed {
                let delayed = Delayed::of(delay, d, 3, vec![]);
                end.rejected.extend(crate::state::hold(tx, &d.event_id, delayed).unwrap());
            }
            end
        })
    }
    fn due(&mut self, now: i64, id: &str) -> End {
        self.tx(now, |tx, definition, branch| {
            let delayed = crate::state::take(tx, id).unwrap().unwrap();
            go_on(definition, branch, &delayed, SITE, tx).unwrap()
        })
    }
    fn kept(&self) -> Vec<String> {
        let part = |key: &str| key.split('/').next().unwrap().to_owned();
        let mut kept: Vec<String> = self.state.iter("steps").map(|(key, _)| part(key)).collect();
        kept.sort();
        kept
    }
}

/// After an outage a window is over before its first event is read: it is held a little, so that those behind it still join.
#[test]
fn what_is_read_late_still_comes_together() {
    let mut world = World::new("[{gather: {key: asset, within: 10s}}, {deliver: siem}]");
    let first = world.gather(0, 1000, &event("e0", "a", "u")).delayed.unwrap();
    assert_eq!(first.due, Timestamp(1_005_000_000));
    assert_eq!(world.gather(9, 1001, &event("e1", "a", "u")).dropped, Some(Code::Gathered));
    let end = world.due(1005, "e0");
    assert_eq!(end.outputs.len(), 1);
    // Its window is still open by the record's time, and what was in it has gone on.
    assert!(world.gather(9, 1006, &event("e2", "a", "u")).delayed.is_some());
    assert_eq!(world.gather(18, 1007, &event("e3", "a", "u")).dropped, Some(Code::Gathered));
    world.due(1011, "e2");
    assert_eq!(world.kept(), ["totals", "window"], "nothing is left of what went on");
}

#[test]
fn what_can_not_be_held_gathers_nothing() {
    let mut world = World::new("[{gather: {key: asset, within: 10s}}, {deliver: siem}]");
    world.tx(0, |tx, _, _| crate::state::crowd(tx, 0, crate::state::HELD_MAX));
    for id in ["e0", "e1"] {
        let end = world.gather(0, 0, &event(id, "a", "u"));
        assert_eq!((end.rejected.len(), end.rejected[0].code, end.dropped), (1, Code::TooMany, None));
    }
    // Too large to be held: those behind it don't join what never goes on.
    let mut world = World::new("[{gather: {key: asset, within: 10s}}, {deliver: siem}]");
    let large = Detection { command_line: Some("x".repeat(9 << 20)), ..event("e0", "a", "u") };
    assert_eq!(world.gather(0, 0, &large).rejected[0].code, Code::TooLarge);
    assert_eq!(world.gather(1, 1, &event("e1", "a", "u")).rejected, []);
    assert_eq!(world.due(11, "e1").outputs.len(), 1);
}

/// Lists are bounded; the event says so, and is counted whole.
#[test]
fn lists_are_bounded() {
    let mut world = World::new(
        "[{gather: {key: asset, count: 3, within: 10s, collect: {users: .users}}}, {set: {labels: 'push(.quality, to_string(length(.users)))'}}, {deliver: siem}]",
    );
    let many = |id: &str, from: usize| Detection {
        users: (from..from + 600).map(|n| format!("u{n}")).collect(),
        ..event(id, "a", "u")
    };
    assert_eq!(world.gather(0, 0, &many("e0", 0)).dropped, Some(Code::Gathered));
    assert_eq!(world.gather(0, 0, &many("e1", 600)).dropped, Some(Code::Gathered));
    let end = world.gather(0, 0, &many("e2", 0));
    let document: Value = serde_json::from_slice(&end.outputs[0].payload).unwrap();
    let text = document.to_string();
    assert!(text.contains("gather_truncated") && text.contains("\"1000\""), "{text}");
    assert_eq!(world.kept(), ["totals"], "its window has ended");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Every event is in exactly one of those that go on, or in a window that was not complete; each that goes on says how many.
    #[test]
    fn nothing_is_lost_or_counted_twice(events in proptest::collection::vec((0_i64..6, 0_usize..3), 1..40), count in proptest::option::of(2_u64..5)) {
        let count_text = count.map(|n| format!(", count: {n}")).unwrap_or_default();
        let steps = format!("[{{gather: {{key: asset, within: 10s{count_text}}}}}, {{deliver: siem}}]");
        let mut at = 0;
        let events: Vec<(i64, usize)> = events.into_iter().map(|(gap, asset)| { at += gap; (at, asset) }).collect();
        let given: Vec<(i64, Detection)> = events.iter().enumerate().map(|(n, (at, asset))| (*at, event(&format!("e{n}"), ["a", "b", "c"][*asset], "u"))).collect();
        let mut went: Vec<String> = told(&steps, &given).into_iter().filter(|t| !t.ends_with("gathered") && !t.ends_with("held")).collect();
        went.sort();
        let mut model: Vec<String> = vec![];
        let mut open: BTreeMap<usize, (i64, usize, u64)> = BTreeMap::new();
        for (n, (at, asset)) in events.iter().enumerate() {
            let window = open.get(asset).copied().filter(|(until, ..)| at < until);
            if let (None, Some((_, first, many)), None) = (window, open.get(asset), count) {
                model.push(format!("e{first}: {many} u"));
            }
            let (until, first, many) = window.unwrap_or((at + 10, n, 0));
            if count == Some(many + 1) {
                open.remove(asset);
                model.push(format!("e{n}: {} u", many + 1));
            } else {
                open.insert(*asset, (until, first, many + 1));
            }
        }
        if count.is_none() {
            model.extend(open.values().map(|(_, first, many)| format!("e{first}: {many} u")));
        }
        model.sort();
        prop_assert_eq!(went, model);
    }
}
