//! Tests of workflows that run what stands behind a wait.
use super::tests::failures_of;

const ASKING: &str = "apiVersion: atio/v1
kind: Workflow
metadata: {name: w}
on: detection
match: {kind: threat}
branches:
  ask:
    - await: {ack: engineer, within: 15m, otherwise: stop, choices: [isolate, monitor]}
    - if: '.choice == \"isolate\"'
      then: [{await: {ack: analyst, within: 1h, otherwise: continue, rejected: continue}}]
    - set: {labels: 'push(.labels, .answer)'}
    - deliver: siem
  plain:
    - incident: {assign: soc}
    - deliver: siem
    - await: {ack: analyst, within: 1m}
    - incident: {comment: done}
    - set: {labels: '[\"seen\"]'}
    - deliver: late
tests:
";
const EVENT: &str = "given: {importance: 80}";

/// Of a test of the branch `ask` with this answer: `delivers`, and what is expected besides.
fn ask(delivers: bool, expected: &str) -> Option<String> {
    let branches = if delivers { "[ask, plain]" } else { "[plain]" };
    let test = format!(
        "  - {EVENT}\n    then: {{branches: {branches}, ask: {{{expected}}}, plain: {{awaiting: ack}}}}\n"
    );
    failures_of(ASKING, &test).remove(0)
}

#[test]
fn what_follows_an_answer_counts() {
    assert_eq!(
        ask(true, "answer: {by: engineer, choice: monitor, after: 5m}, delivered: 1, dropped: {}"),
        None
    );
    assert_eq!(ask(true, "answer: [{choice: isolate}, acknowledged], delivered: 1"), None);
    assert_eq!(
        ask(true, "answer: [{choice: isolate}, {as: rejected, by: analyst}]"),
        None,
        "rejected goes on"
    );
    assert_eq!(ask(true, "answer: [{choice: isolate}, unanswered]"), None, "so does silence");
    assert_eq!(ask(false, "answer: {choice: isolate}, awaiting: ack"), None, "the second is not answered");
    assert_eq!(ask(false, "answer: rejected, dropped: {rejected: 1}"), None);
    assert_eq!(ask(false, "answer: unanswered, dropped: {unanswered: 1}"), None);
    let late = "answer: {choice: monitor, after: 16m}, dropped: {unanswered: 1}";
    assert_eq!(ask(false, late), None, "it is over by then");
}

#[test]
fn what_nobody_could_answer_is_told() {
    let told = |expected: &str| ask(false, expected).unwrap_or_default();
    let starts = [
        (
            "answer: {by: analyst, choice: monitor}",
            "ask is answered: `analyst` may not answer what `engineer` is asked for",
        ),
        ("answer: {choice: isolat}", "ask is answered: `isolat` is no choice: one of isolate, monitor"),
        (
            "answer: acknowledged",
            "ask is answered: the answer must choose: `choice`, one of isolate, monitor",
        ),
        (
            "answer: [{choice: isolate}, {choice: isolate}]",
            "ask is answered: nothing is to be chosen, so `isolate` is none",
        ),
        ("answer: {choice: monitor}", "delivered by [ask, plain], expected [plain]"),
        ("answer: {choice: isolate}", "waiting in [ask, plain], expected [plain]"),
        ("answer: [rejected, rejected]", "ask asks 1 times, 2 answers are given; ask: rejected"),
    ];
    for (expected, start) in starts {
        assert!(told(expected).starts_with(start), "{expected}: {}", told(expected));
    }
}

/// An event counts once, whether something of it was delivered before the wait, after it, or both; later ones join the wait.
#[test]
fn each_event_counts_once() {
    let test = "  - given: [{importance: 80}, {after: 5m}, {importance: 90}]
    then:
      branches: [plain]
      ask: {awaiting: ack}
      plain: {answer: {after: 2m}, delivered: 2, incident: 2, dropped: {joined: 1}}
";
    assert_eq!(failures_of(ASKING, test), [None]);
}

#[test]
fn a_snapshot_holds_what_follows() {
    let test = "  - {given: {importance: 80}, then: {branches: [plain, ask], ask: {answer: {choice: monitor}}, plain: {answer: rejected}, snapshot: s.json}}\n";
    let verdict = super::tests::verdicts(ASKING, test).remove(0);
    assert_eq!(verdict.failure, None);
    let found: serde_json::Value = serde_json::from_str(&verdict.snapshot.unwrap().text).unwrap();
    let told: Vec<(&str, Option<&str>, bool)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["branch"].as_str().unwrap(), e["answer"]["as"].as_str(), e["delivered"].is_array()))
        .collect();
    let all = [
        ("ask", None, false),
        ("ask", Some("acknowledged"), true),
        ("plain", None, true),
        ("plain", Some("rejected"), false),
    ];
    assert_eq!(told, all);
    assert_eq!((&found[1]["answer"]["step"], &found[3]["dropped"]), (&0.into(), &"rejected".into()));
    assert!(found[1]["delivered"][0]["payload"].to_string().contains("acknowledged"), "{found}");
}
