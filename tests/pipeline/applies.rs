//! Two people apply the same workflow at the same time: one is in force, the other is refused, told and audited, and comes in with the next version.
//! Monitoring is frozen meanwhile, so that both certainly saw the same version. On both brokers.
use crate::support::{Broker, Child, Deadline, Fleet, On, both, topic};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::Duration;

pub fn trials() -> Vec<Trial> {
    both("pipeline::applies::at_once_", at_once).into()
}

fn workflow(label: &str) -> String {
    let set = json!({"set": {"labels": format!("push(.labels, \"{label}\")")}});
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "ours"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {"tell": [set, {"deliver": "report"}]},
    })
    .to_string()
}

fn lines(fleet: &Fleet, args: &[&str]) -> Vec<Value> {
    let said = fleet.client(&[args, &["--format", "json"]].concat());
    said.iter().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

fn in_force(fleet: &Fleet) -> String {
    fleet.client(&["workflow", "show", "ours"]).join("\n")
}

/// Starts `apply` of this text, until its command is on its way.
fn apply(fleet: &Fleet, label: &str) -> Child {
    let commands = || topic::count(&fleet.kafka, &fleet.topic("commands"));
    let before = commands();
    fleet.declare("workflows/ours.yaml", &workflow(label));
    let child = fleet.begin(&["apply"]);
    let sent = Deadline::after(60).every(Duration::from_millis(100), || (commands() > before).then_some(()));
    assert!(sent.is_some(), "a command of {label} is on its way");
    child
}

fn at_once(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    let declarations = vec![("workflows/ours.yaml", workflow("first"))];
    let fleet = Fleet::only(bootstrap, &declarations, &["monitoring", "routing"]);
    assert!(in_force(&fleet).contains("first"));
    fleet.signal("monitoring", "STOP");
    let (alice, bob) = (apply(&fleet, "of alice"), apply(&fleet, "of bob"));
    fleet.signal("monitoring", "CONT");
    let (alice, bob) = (alice.finish(Deadline::after(120)), bob.finish(Deadline::after(120)));
    assert_eq!(
        (alice.status.code(), bob.status.code()),
        (Some(0), Some(5)),
        "{}\n{}",
        alice.told(),
        bob.told()
    );
    assert!(bob.stderr.contains("workflow ours: version_conflict"), "{}", bob.told());
    assert!(in_force(&fleet).contains("of alice"), "whoever came first");

    // What was refused is known, with its text, and who looks finds it.
    let changes = lines(&fleet, &["workflow", "changes", "ours"]);
    let refused: Vec<&Value> = changes.iter().filter(|c| c["refused_code"] == "version_conflict").collect();
    assert_eq!((changes.len(), refused.len()), (3, 1), "{changes:#?}");
    let audited = lines(&fleet, &["audit", "log", "--object", "workflow/ours"]);
    let of_bob = audited.iter().filter(|entry| entry.to_string().contains("version_conflict")).count();
    assert_eq!((audited.len(), of_bob), (3, 1), "{audited:#?}");
    fleet.client(&["audit", "verify"]);

    // His file is as it was: he looks, and applies it once more.
    fleet.client(&["apply"]);
    let (text, versions) = (in_force(&fleet), lines(&fleet, &["workflow", "ls"]));
    assert!(text.contains("of bob"), "{text}");
    let ours: Vec<&Value> = versions.iter().filter(|w| w["name"] == "ours").collect();
    assert_eq!((ours.len(), &ours[0]["version"]), (1, &3.into()), "{versions:#?}");
    fleet.stop();
    Ok(())
}
