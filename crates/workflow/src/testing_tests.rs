//! Tests of workflows with several events and time between them.
use super::*;
use crate::{Known, SinkFacts, compile};
use atio_schemas::detection::Tlp;
use atio_topics::Audience;

const STEPS: &str = "apiVersion: atio/v1
kind: Workflow
metadata: {name: w}
on: detection
match: {kind: threat}
branches:
  once:
    - dedup: {key: [asset, rule.id], within: 10m}
    - deliver: siem
  few:
    - rate: {limit: 2, per: 1h, key: asset}
    - deliver: siem
  later:
    - delay: 5m
    - dedup: {key: asset, within: 1m}
    - when: '.importance >= 70'
    - deliver: siem
tests:
";

/// What each of these tests comes to.
fn failures(tests: &str) -> Vec<Option<String>> {
    failures_of(STEPS, tests)
}

pub(super) fn failures_of(workflow: &str, tests: &str) -> Vec<Option<String>> {
    verdicts(workflow, tests).into_iter().map(|v| v.failure).collect()
}

pub(super) fn verdicts(workflow: &str, tests: &str) -> Vec<Verdict> {
    let sink = SinkFacts { format: "report".into(), audience: Audience::Internal, clearance: Tlp::Red };
    let sinks = ["siem", "late"].map(|name| (name.to_owned(), sink.clone()));
    let known = Known { sinks: sinks.into(), tables: ["owners".to_owned()].into() };
    let definition =
        compile("w.yaml", &format!("{workflow}{tests}"), &known).unwrap_or_else(|p| panic!("{p:?}"));
    let site = Site { version: 1, home_networks: &[] };
    let two = |_: &str| {
        let one =
            Detection { asset: Some("a".into()), ..Detection::new("f".into(), Kind::Threat, "default", "f") };
        Ok(vec![one.clone(), Detection { event_id: "g".into(), ..one }])
    };
    run(&definition, site, &two)
}

const EVENT: &str = "{asset: a, rule.id: r, importance: 80}";

#[test]
fn events_come_one_after_the_other() {
    let tests = format!(
        "  - given: [{EVENT}, {{after: 9m}}, {EVENT}, {EVENT}, {{after: 1m}}, {EVENT}]
    then:
      branches: [once, few, later]
      once: {{delivered: 2, dropped: {{duplicate: 2}}}}
      few: {{delivered: 2, dropped: {{rate_limited: 2}}}}
      later: {{delivered: 3, dropped: {{duplicate: 1}}, rejected: {{}}}}
  - given: {EVENT}
    then: {{branches: [once, few, later], once: {{dropped: {{duplicate: 0}}}}}}
  - given: [a.json, {EVENT}]
    then: {{branches: [once, few], few: {{delivered: 2}}, once: {{delivered: 3}}, later: {{dropped: {{when_false: 1, duplicate: 2}}}}}}
"
    );
    assert_eq!(failures(&tests), [None, None, None], "each test begins with nothing kept");
}

/// A test brings the rows that its tables have; without any they are empty.
#[test]
fn tables_have_the_rows_of_the_test() {
    let steps = "    - enrich: {table: owners, key: asset, set: {importance: 'to_float(.row.weight) ?? 0.0'}}\n    - when: .importance >= 70\n    - deliver: siem\n";
    let workflow = format!("{}  owned:\n{steps}tests:\n", STEPS.trim_end_matches("tests:\n"));
    let tests = "  - tables: {owners: {a: {weight: 75}}}
    given: {asset: a, importance: 10}
    then: {branches: [few, once, owned]}
  - given: {asset: a, importance: 10}
    then: {branches: [few, once], owned: {dropped: {when_false: 1}}}
";
    assert_eq!(failures_of(&workflow, tests), [None, None]);
}

/// What is delivered stands in the snapshot, element by element, and how the rest ended; the same each time.
#[test]
fn a_snapshot_holds_what_events_come_to() {
    let tests = format!(
        "  - {{given: [{EVENT}, {EVENT}, {{kind: log}}], then: {{branches: [once, few, later], snapshot: s/all.json}}}}\n  - {{given: {EVENT}, then: {{branches: []}}}}\n"
    );
    let verdicts = verdicts(STEPS, &tests);
    let made = verdicts[0].snapshot.as_ref().unwrap();
    assert_eq!((made.file.as_str(), &verdicts[0].failure), ("s/all.json", &None));
    let found: serde_json::Value = serde_json::from_str(&made.text).unwrap();
    let told: Vec<String> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let end = e["dropped"].as_str().or(e["delivered"][0]["sink"].as_str()).unwrap();
            format!("{} {} {end}", e["branch"].as_str().unwrap(), e["event"].as_str().unwrap())
        })
        .collect();
    let all = [
        "once test-0 siem",
        "once test-1 duplicate",
        "few test-0 siem",
        "few test-1 siem",
        "later test-0 siem",
        "later test-1 duplicate",
    ];
    assert_eq!(told, all);
    assert!(found[0]["delivered"][0]["payload"].to_string().contains("80.0"), "{found}");
    assert_eq!(self::verdicts(STEPS, &tests), verdicts);
    assert_eq!(verdicts[1].snapshot, None, "a test that fails has none");
}

#[test]
fn what_differs_is_told() {
    let tests = format!(
        "  - given: [{EVENT}, {EVENT}, {{kind: log}}]
    then: {{branches: [once, few], once: {{delivered: 2, dropped: {{}}}}, few: {{rejected: {{too_many: 1}}}}}}
"
    );
    let [Some(told)] = &failures(&tests)[..] else { panic!("a failure") };
    assert_eq!(
        told,
        "delivered by [few, later, once], expected [few, once]; once delivered 1, expected 2; \
         once dropped {duplicate: 1}, expected {}; few rejected {}, expected {too_many: 1}; \
         match does not hold; once: duplicate; later: duplicate"
    );
}
