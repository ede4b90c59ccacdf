//! Mistakes in what brings events by time: cases of `mistakes`. And what a test may say of it.
use super::{
    tests::{known, with},
    *,
};
use crate::{machine::Site, testing};

const SCHEDULES: &[&str] = &[
    "",
    "schedule: 5m",
    "schedule: {}",
    "schedule: {evry: 5m}",
    "schedule: {every: 5m, cron: 0 8 * * *}",
    "schedule: {every: 500ms}",
    "schedule: {every: often}",
    "schedule: {every: 5m, zone: UTC}",
    "schedule: {every: 5m, deadline: soon}",
    "schedule: {cron: 0 8 * * *}",
    "schedule: {cron: 0 8 * * *, zone: Europe/Berln}",
    "schedule: {cron: 0 25 * * *, zone: UTC}",
    "schedule: {cron: 0 0 8 * * *, zone: UTC}",
    "schedule: {cron: 0 0 30 2 *, zone: UTC}",
];

const SILENCES: &[&str] = &[
    "",
    "silence: 1h",
    "silence: {}",
    "silence: {after: 31d}",
    "silence: {after: 1h, keys: source}",
    "silence: {after: 1h, key: sorce}",
    "silence: {after: 1h, key: src.ip}",
    "silence: {after: 1h, key: [source, asset]}",
    "schedule: {every: 5m}\nsilence: {after: 1h}",
];

pub(super) fn cases() -> Vec<(String, String)> {
    let deliver = "[{deliver: siem}]";
    let on = |to: &str, matches: &str, steps: &str| with(matches, steps).replacen("on: detection", to, 1);
    let mut cases = vec![];
    for schedule in SCHEDULES {
        let to = format!("on: schedule\n{schedule}");
        cases.push((to.replace('\n', " / "), on(&to, "{}", deliver)));
    }
    for silence in SILENCES {
        let to = format!("on: silence\n{silence}");
        cases.push((to.replace('\n', " / "), on(&to, "{}", deliver)));
    }
    let quiet = "on: silence\nsilence: {after: 1h, key: source}";
    for (matches, steps) in [
        ("{kind: logs}", deliver),
        ("{src.ip: 10.0.0.1}", "[{when: '.src.ip == \"10.0.0.1\"'}, {deliver: siem}]"),
        ("{kind: log}", "[{when: '.code == \"quiet\"'}, {deliver: siem}]"),
    ] {
        cases.push((format!("on: silence, match: {matches} {steps}"), on(quiet, matches, steps)));
    }
    for trigger in ["detection", "change"] {
        let to = format!("on: {trigger}\nschedule: {{every: 5m}}");
        cases.push((to.replace('\n', " / "), on(&to, "{}", deliver)));
    }
    let due = "on: schedule\nschedule: {every: 5m}";
    for (matches, steps) in [
        ("{src.ip: 10.0.0.1}", deliver),
        ("{code: overdue}", deliver),
        ("{}", "[{when: .kev}, {deliver: siem}]"),
    ] {
        cases.push((format!("on: schedule, match: {matches} {steps}"), on(due, matches, steps)));
    }
    cases
}

#[test]
fn a_test_of_a_schedule_is_about_due_times() {
    let text = with("{}", "[{when: '.code == \"due\"'}, {deliver: siem}]").replacen(
        "on: detection",
        "on: schedule\nschedule: {cron: 0 8 * * mon-fri, zone: Europe/Berlin, deadline: 1h}",
        1,
    ) + "tests:
  - {given: {occurred_at: 2026-03-27T07:00:00Z, code: due}, then: {branches: [b]}}
  - {given: {occurred_at: 2026-03-27T07:00:00Z, code: late}, then: {branches: [], b: {dropped: {when_false: 1}}}}
  - {given: {occurred_at: 2026-03-28T07:00:00Z, code: due}, then: {branches: []}}
  - {given: {occurred_at: 2026-03-28T07:00:00Z, code: due}, then: {branches: [b]}}
";
    let definition = compile("w.yaml", &text, &known()).unwrap();
    assert_eq!(
        definition.schedule.as_ref().map(ToString::to_string).as_deref(),
        Some("0 8 * * mon-fri Europe/Berlin")
    );
    let site = Site { version: 1, home_networks: &[] };
    let verdicts = testing::run(&definition, site, &|file| Err(file.to_owned()));
    let failures: Vec<Option<&str>> = verdicts.iter().map(|v| v.failure.as_deref()).collect();
    let saturday = "delivered by [], expected [b]; `occurred_at` is no due time";
    assert_eq!(failures, [None, None, None, Some(saturday)]);
}

#[test]
fn a_test_of_a_silence_is_about_what_comes_of_it() {
    let text = with("{kind: log}", "[{when: '.code == \"silent\"'}, {deliver: siem}]").replacen(
        "on: detection",
        "on: silence\nsilence: {after: 1h, key: source}",
        1,
    ) + "tests:
  - {given: {code: silent, source: eve}, then: {branches: [b]}}
  - {given: {code: returned, source: eve}, then: {branches: [], b: {dropped: {when_false: 1}}}}
";
    let definition = compile("w.yaml", &text, &known()).unwrap();
    let site = Site { version: 1, home_networks: &[] };
    let verdicts = testing::run(&definition, site, &|file| Err(file.to_owned()));
    assert!(verdicts.len() == 2 && verdicts.iter().all(|v| v.failure.is_none()), "{verdicts:?}");
    // What it listens for has one name, whatever else changes.
    let mark = |text: &str| compile("w.yaml", text, &known()).unwrap().silence.unwrap().mark().to_owned();
    assert_eq!(mark(&text), mark(&text.replace("after: 1h", "after: 2h")));
    assert_ne!(mark(&text), mark(&text.replace("{kind: log}", "{kind: threat}")));
    assert_ne!(mark(&text), mark(&text.replace("key: source", "key: tenant")));
    let pattern = |value: &str| {
        mark(&text.replace("{kind: log}", &format!("{{kind: log, pattern: \"[url:value = '{value}']\"}}")))
    };
    assert_ne!(mark(&text), pattern("http://a.example/"));
    assert_ne!(pattern("http://a.example/"), pattern("http://b.example/"));
}
