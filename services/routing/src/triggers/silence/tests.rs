//! Silences in the harness: who listens, and who hears.
use super::{
    hear::{self, Hearer},
    listen::{KEYS_MAX, Listener, Noted},
    *,
};
use crate::{
    tests::{apply, deps, in_force},
    triggers::tests::{fills, lies, record},
};
use atio_schemas::{
    Detection, Timestamp,
    detection::Kind,
    heard::{Heard, Sound},
    routed::Routed,
};
use atio_stage::{
    Headers, Store as _,
    harness::{Given, Harness},
};

const MINUTE: i64 = 60_000_000;

fn text(name: &str, silence: &str, matches: &str) -> String {
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: {name}}}\non: silence\nsilence: {silence}\nmatch: {matches}\nbranches: {{b: [{{deliver: siem}}]}}\n"
    )
}

fn listener(workflows: &[(&str, &str, &str)]) -> Harness<Listener> {
    let deps = deps();
    let listener = Listener { codec: deps.codec.clone(), heard: deps.topic(TOPIC) };
    let mut harness = Harness::new(listener, std::slice::from_ref(&deps.table), Timestamp(0));
    for (name, silence, matches) in workflows {
        apply(&mut harness, name, 1, &text(name, silence, matches));
    }
    harness
}

fn hearer(silence: &str) -> Harness<Hearer> {
    let deps = deps();
    let hearer = Hearer { codec: deps.codec.clone(), prefix: "t.".into() };
    let mut harness = Harness::new(hearer, std::slice::from_ref(&deps.table), Timestamp(0));
    apply(&mut harness, "w", 1, &text("w", silence, "{}"));
    harness
}

/// An event of a source, in a partition, at this minute.
fn event(minute: i64, partition: i32, source: &str) -> Given {
    let detection = Detection::new(format!("e{minute}"), Kind::Log, "default", source);
    let given = record("t.enriched-logs", "asset", &detection);
    Given { timestamp: Timestamp(minute * MINUTE), partition, ..given }
}

fn at(harness: &mut Harness<Listener>, minute: i64, events: &[Given]) {
    harness.set_now(Timestamp(minute * MINUTE));
    harness.commit(events);
    harness.fire();
}

/// What was said: key, partition, whether it is heard, and of which minute.
fn said(harness: &Harness<Listener>) -> Vec<(String, i32, Sound, i64)> {
    let decode = |value: &Vec<u8>| deps().codec.decode::<Heard>(value).unwrap();
    let all = harness.outputs.iter().map(|o| (o, decode(o.value.as_ref().unwrap())));
    all.map(|(output, h)| {
        assert_eq!(output.key.as_deref(), Some(key(&h.workflow, &h.mark, &h.key).as_bytes()));
        (format!("{}/{}", h.workflow, h.key), h.partition, h.sound, h.seen.0 / MINUTE)
    })
    .collect()
}

#[test]
fn what_begins_to_come_and_what_does_not_any_more_is_said_once() {
    let mut harness = listener(&[("w", "{after: 8m, key: source}", "{kind: log}")]);
    at(&mut harness, 1, &[event(1, 2, "eve"), event(1, 2, "zeek"), event(1, 2, "eve")]);
    let heard = |source: &str, minute| (format!("w/{source}"), 2, Sound::Heard, minute);
    assert_eq!(said(&harness), [heard("eve", 1), heard("zeek", 1)]);
    // One of them goes on: nothing is said of it, and it is noted once a minute.
    for minute in 2..=12 {
        at(&mut harness, minute, &[event(minute, 2, "eve"), event(minute, 2, "eve")]);
    }
    let quiet = |source: &str, minute| (format!("w/{source}"), 2, Sound::Quiet, minute);
    assert_eq!(said(&harness)[2..], [quiet("zeek", 1)]);
    for minute in 13..=40 {
        at(&mut harness, minute, &[]);
    }
    assert_eq!(said(&harness)[3..], [quiet("eve", 12)]);
    // All is quiet: nothing is noted, nothing held.
    assert_eq!((harness.state(2).unwrap().len(Noted::NAME), harness.next_deadline()), (0, None));
    assert_eq!(harness.counts.held, 0);
    at(&mut harness, 41, &[event(41, 2, "eve")]);
    assert_eq!(said(&harness)[4..], [heard("eve", 41)]);
    assert!(harness.counts.balanced());
}

#[test]
fn several_workflows_and_partitions_each_by_itself() {
    let mut harness = listener(&[
        ("all", "{after: 80m}", "{}"),
        ("eves", "{after: 8m, key: source}", "{source: eve}"),
        ("hosts", "{after: 8m, key: host}", "{}"),
    ]);
    // The first holds the sweep until 91, the second needs it at 12.
    at(&mut harness, 1, &[event(1, 0, "zeek"), event(3, 0, "eve"), event(3, 1, "eve")]);
    assert_eq!(harness.next_deadline(), Some(Timestamp(12 * MINUTE)));
    for minute in 4..=100 {
        at(&mut harness, minute, &[]);
    }
    let of = |key: &str, partition, sound, minute| (key.to_owned(), partition, sound, minute);
    let mut all = said(&harness);
    all.sort();
    assert_eq!(
        all,
        [
            of("all/", 0, Sound::Heard, 1),
            of("all/", 0, Sound::Quiet, 1),
            of("all/", 1, Sound::Heard, 3),
            of("all/", 1, Sound::Quiet, 3),
            of("eves/eve", 0, Sound::Heard, 3),
            of("eves/eve", 0, Sound::Quiet, 3),
            of("eves/eve", 1, Sound::Heard, 3),
            of("eves/eve", 1, Sound::Quiet, 3),
        ]
    );
    assert!(harness.counts.balanced() && harness.counts.held == 0);
}

/// Routing was away: what lies there unread is no silence.
#[test]
fn what_came_meanwhile_counts() {
    let mut harness = listener(&[("w", "{after: 8m, key: source}", "{}")]);
    at(&mut harness, 1, &[event(1, 0, "eve")]);
    // The driver fires once the partition is read to where it ended.
    at(&mut harness, 60, &[event(20, 0, "eve"), event(55, 0, "eve")]);
    assert_eq!(said(&harness).len(), 1);
    at(&mut harness, 64, &[]);
    assert_eq!(said(&harness)[1].2, Sound::Quiet);
}

#[test]
fn a_flood_of_keys_is_bounded_and_counted() {
    let mut harness = listener(&[("w", "{after: 8m, key: source}", "{}")]);
    let given = event(1, 0, "s");
    let codec = deps().codec;
    let of = |n: u64| {
        let detection = Detection::new(format!("e{n}"), Kind::Log, "default", &format!("s{n}"));
        Given { value: Some(codec.encode(&detection).unwrap()), ..given.clone() }
    };
    let many: Vec<Given> = (0..KEYS_MAX + 5).map(of).collect();
    harness.set_now(Timestamp(MINUTE));
    harness.commit(&many);
    assert_eq!(harness.outputs.len() as u64, KEYS_MAX);
    assert_eq!(harness.counts.dropped.get(&Code::TooMany), Some(&5));
    harness.commit(&[event(1, 0, "s1")]);
    assert_eq!(harness.counts.dropped.get(&Code::Duplicate), Some(&1));
    // When they are quiet there is room again.
    at(&mut harness, 20, &[]);
    harness.outputs.clear();
    at(&mut harness, 21, &[event(21, 0, "new")]);
    assert_eq!(said(&harness)[0].0, "w/new");
    assert!(harness.counts.balanced());
}

#[test]
fn who_does_not_listen_any_more_is_told_nothing() {
    let mut harness = listener(&[("w", "{after: 8m, key: source}", "{}")]);
    at(&mut harness, 1, &[event(1, 0, "eve")]);
    // It listens for something else now.
    apply(&mut harness, "w", 2, &text("w", "{after: 8m, key: source}", "{kind: threat}"));
    at(&mut harness, 30, &[]);
    assert_eq!((said(&harness).len(), harness.counts.held, harness.next_deadline()), (1, 0, None));
}

fn heard(key: &str, partition: i32, sound: Sound, minute: i64) -> Heard {
    let definition = atio_workflow::compile("w", &text("w", "{after: 8m, key: source}", "{}"), &deps().known);
    let mark = definition.unwrap().silence.unwrap().mark().to_owned();
    let seen = Timestamp(minute * MINUTE);
    Heard { workflow: "w".into(), version: 1, mark, key: key.into(), partition, sound, seen }
}

fn tell(harness: &mut Harness<Hearer>, all: &[Heard]) {
    let given: Vec<Given> = all.iter().map(|h| record("t.heard", &key("w", &h.mark, &h.key), h)).collect();
    harness.commit(&given);
}

/// Code, source and last_seen of each event.
fn events(harness: &Harness<Hearer>) -> Vec<(String, String, i64)> {
    let decode = |value: &Vec<u8>| deps().codec.decode::<Routed>(value).unwrap();
    let all = harness.outputs.iter().map(|o| decode(o.value.as_ref().unwrap()));
    all.map(|r| (r.detection.code.unwrap(), r.detection.source, r.detection.last_seen.unwrap().0 / MINUTE))
        .collect()
}

#[test]
fn it_is_silent_where_all_partitions_are_quiet() {
    let mut harness = hearer("{after: 8m, key: source}");
    tell(
        &mut harness,
        &[
            heard("eve", 0, Sound::Heard, 1),
            heard("eve", 3, Sound::Heard, 2),
            heard("zeek", 0, Sound::Heard, 2),
        ],
    );
    tell(&mut harness, &[heard("eve", 0, Sound::Quiet, 4)]);
    assert!(events(&harness).is_empty(), "another partition hears it");
    tell(&mut harness, &[heard("eve", 3, Sound::Quiet, 3)]);
    let event = |code: &str, minute| (code.to_owned(), "eve".to_owned(), minute);
    assert_eq!(events(&harness), [event("silent", 4)]);
    tell(&mut harness, &[heard("eve", 1, Sound::Heard, 30), heard("eve", 3, Sound::Heard, 31)]);
    assert_eq!(events(&harness)[1..], [event("returned", 4)]);
    tell(&mut harness, &[heard("eve", 1, Sound::Quiet, 40), heard("eve", 3, Sound::Quiet, 41)]);
    assert_eq!(events(&harness)[2..], [event("silent", 41)]);
    assert!(harness.counts.balanced());
    assert_eq!(harness.counts.dropped.get(&Code::Duplicate), Some(&6));
}

/// Keys that come once and never again: what is known of them does not grow without end.
#[test]
fn what_is_known_of_silent_keys_is_bounded() {
    let mut harness = hearer("{after: 8m, key: source}");
    let codec = deps().codec;
    let template = heard("s", 0, Sound::Quiet, 1);
    let quiet = |n: u64| {
        let told = Heard { key: format!("s{n}"), ..template.clone() };
        Given { topic: "t.heard".into(), value: Some(codec.encode(&told).unwrap()), ..Given::default() }
    };
    let many: Vec<Given> = (0..hear::SILENT_MAX + 3).map(quiet).collect();
    harness.commit(&many);
    assert_eq!(harness.counts.emitted, hear::SILENT_MAX + 3, "each silence is told");
    let kept = |harness: &Harness<Hearer>| harness.state(0).unwrap().len(hear::Ears::NAME) as u64;
    assert_eq!(kept(&harness), hear::SILENT_MAX);
    // One that is heard again is known, whatever there is; and it makes no room that is not there.
    tell(&mut harness, &[heard("s7", 0, Sound::Heard, 2), heard("new", 0, Sound::Heard, 2)]);
    assert_eq!(kept(&harness), hear::SILENT_MAX + 1);
    tell(&mut harness, &[heard("new", 0, Sound::Quiet, 9)]);
    assert_eq!(kept(&harness), hear::SILENT_MAX);
    assert!(harness.counts.balanced());
}

#[test]
fn versions_and_ends() {
    let mut harness = hearer("{after: 8m, key: source}");
    tell(&mut harness, &[heard("eve", 0, Sound::Heard, 1)]);
    // The next version listens for the same: it is its silence, now.
    apply(&mut harness, "w", 2, &text("w", "{after: 4m, key: source}", "{}"));
    tell(&mut harness, &[heard("eve", 0, Sound::Quiet, 1)]);
    assert_eq!(harness.outputs[0].headers.text(atio_schemas::header::WORKFLOW), Some("w@2"));
    // A version that the table does not have yet is waited for.
    tell(&mut harness, &[Heard { version: 3, ..heard("eve", 0, Sound::Heard, 9) }]);
    assert_eq!(harness.failures[0].code, Code::UnknownVersion);
    harness.table(Definitions::TABLE, b"w", None).unwrap();
    tell(&mut harness, &[heard("eve", 0, Sound::Heard, 9)]);
    assert_eq!((events(&harness).len(), harness.counts.dropped.get(&Code::NotInVersion)), (1, Some(&1)));
    harness.commit(&[Given { topic: "t.heard".into(), value: Some(b"forged".to_vec()), ..Given::default() }]);
    assert_eq!(harness.dead_letters[0].code, Code::NotAvro);
}

#[test]
fn what_is_told_of_a_silence() {
    let headers = Headers::default();
    let record = lies("t.heard", 1, 20 * MINUTE, &headers);
    let mut all = vec![];
    for name in atio_workflow::silence::KEYS {
        let silence = format!("{{after: 8m, key: {name}}}");
        let definition = atio_workflow::compile("w", &text("w", &silence, "{}"), &deps().known).unwrap();
        let silence = definition.silence.as_ref().unwrap();
        let told = heard("eve", 0, Sound::Quiet, 4);
        for silent in [true, false] {
            all.push(hear::detection(&told, (2, silence), silent, Timestamp(4 * MINUTE), &record));
        }
    }
    let d = all.iter().find(|d| d.source == "eve").unwrap();
    assert_eq!((d.code.as_deref(), d.rule.id.as_deref()), (Some("silent"), Some("silence.silent")));
    assert_eq!(d.rule.name.as_deref(), Some("w: nothing from source eve for 8m"));
    assert_eq!((d.asset.as_deref(), d.resource.as_deref()), (Some("source:eve"), Some("eve")));
    assert_eq!((d.last_seen, d.occurred_at), (Some(Timestamp(4 * MINUTE)), Some(Timestamp(12 * MINUTE))));
    assert_eq!((d.received_at, d.raw_ref.as_deref()), (Some(Timestamp(20 * MINUTE)), Some("t.heard/1/3")));
    assert!(all.iter().all(|d| atio_workflow::trigger::SOUNDS.contains(&d.code.as_deref().unwrap())));
    fills(Trigger::Silence, &all);
}

#[test]
fn the_stages_are_there_where_a_workflow_asks_for_them() {
    let definitions = in_force(&[("w", 1, &text("w", "{after: 1h}", "{}"))]);
    let all = crate::triggers::stages(&deps(), &definitions);
    let names: Vec<&str> = all.iter().map(|s| &*s.name).collect();
    assert_eq!(names, [LISTENER, "routing-silence"]);
    assert!(names.iter().all(|name| crate::is_changing(name)));
    let outputs: Vec<&str> = all.iter().flat_map(|s| s.outputs.iter().map(|t| &**t)).collect();
    assert_eq!(outputs, ["t.heard", "t.workflow.w", "t.routed"]);
}
