//! Branches that wait, or tell their incident something: their topics, and what a test says of them.
use super::{tests::known, *};

/// Who waits for whom, and what a test says of it.
const WAITING: &str = r#"apiVersion: atio/v1
kind: Workflow
metadata: {name: w}
on: detection
match: {kind: threat}
branches:
  ask:
    - when: '.importance >= 70'
    - deliver: siem
    - await: {ack: engineer, within: 30d}
    - deliver: report
  siem:
    - deliver: siem
tests:
  - given: {kind: threat, importance: 90}
    then: {branches: [ask, siem], ask: {awaiting: ack}}
  - given: {kind: threat, importance: 9}
    then: {branches: [siem]}
"#;

#[test]
fn a_branch_that_waits() {
    let definition = compile("w.yaml", WAITING, &known()).unwrap();
    let topics: Vec<String> = definition.footprint().topics.into_iter().collect();
    assert_eq!(topics, ["delivery.report", "delivery.siem", "waits", "workflow.w"]);
    assert_eq!(definition.branches.iter().map(|b| b.awaits).collect::<Vec<_>>(), [true, false]);
    let failures = |text: &str| -> Vec<Option<String>> {
        let definition = compile("w.yaml", text, &known()).unwrap();
        let site = crate::Site { version: 1, home_networks: &[] };
        let none = |_: &str| Err("no such file".to_owned());
        crate::testing::run(&definition, site, &none).into_iter().map(|v| v.failure).collect()
    };
    assert_eq!(failures(WAITING), [None, None]);
    let silent = failures(&WAITING.replace(", ask: {awaiting: ack}", ""));
    assert_eq!(silent[0].as_deref(), Some("waiting in [ask], expected []"));
    let eager = failures(&WAITING.replace("[siem]}", "[siem], ask: {awaiting: ack}}"));
    assert_eq!(eager[1].as_deref(), Some("waiting in [], expected [ask]; ask: when_false"));
    let elsewhere = WAITING.replace("ask, siem], ask", "siem], ask");
    assert_eq!(failures(&elsewhere)[0].as_deref(), Some("delivered by [ask, siem], expected [siem]"));
}

/// A branch may do no more than tell its incident something; its topic is in the footprint, and tests count it.
#[test]
fn a_branch_that_tells_its_incident() {
    let text = WAITING
        .replace("    - deliver: siem\ntests:", "    - incident: {assign: soc, severity: high}\ntests:");
    let text = text.replace("branches: [ask, siem], ask", "branches: [ask], siem: {incident: 1}, ask");
    let text = text.replace("branches: [siem]}", "branches: [], siem: {incident: 2}}");
    let definition = compile("w.yaml", &text, &known()).unwrap();
    let topics: Vec<String> = definition.footprint().topics.into_iter().collect();
    assert_eq!(topics, ["acks", "delivery.report", "delivery.siem", "waits", "workflow.w"]);
    let site = crate::Site { version: 1, home_networks: &[] };
    let verdicts = crate::testing::run(&definition, site, &|_| Err(String::new()));
    let failures: Vec<Option<&str>> = verdicts.iter().map(|v| v.failure.as_deref()).collect();
    assert_eq!(failures, [None, Some("siem told the incident 1, expected 2; ask: when_false")]);
}
