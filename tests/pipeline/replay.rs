//! A workflow run again on what there was: the version in force makes what it made, drafts differ by what they change, and sinks get nothing.
use super::system::{System, declare, sink, workflow};
use crate::support::{topic, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::fs;

pub fn trials() -> Vec<Trial> {
    vec![trial("pipeline::replay::compared_with_the_past", &[], compared)]
}

/// Exit code, and what it says last.
fn replay(system: &System, args: &[&str]) -> (Option<i32>, Value, Vec<Value>) {
    let ended = system.run(&[&["replay", "tell", "--format", "json"], args].concat());
    let mut lines: Vec<Value> =
        ended.stdout.iter().map(|l| serde_json::from_str(l).expect("JSON lines")).collect();
    let last = lines.pop().unwrap_or_else(|| panic!("{}", ended.told()));
    (ended.status.code(), last, lines)
}

fn deliveries(same: u64, changed: u64, new: u64, missing: u64, waiting: u64) -> Value {
    json!({"same": same, "changed": changed, "new": new, "missing": missing, "waiting": waiting})
}

fn compared() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    for name in ["first", "second"] {
        declare(&data, &format!("sinks/{name}.yaml"), &sink(name));
    }
    declare(&data, "workflows/tell.yaml", &workflow("tell", &json!([{"deliver": "first"}])));
    let system = System::up(&data);
    let kafka = system.running.said("kafka").clone();
    let delivered = || topic::count(&kafka, "out-first");
    system.alerts();
    system.until("the alerts are delivered", |_| delivered() == 2);

    let (code, last, none) = replay(&system, &[]);
    assert_eq!((code, none.len()), (Some(0), 0), "as it was: {last}");
    assert_eq!(
        last["legs"],
        json!([{"branch": "tell", "sink": "first", "deliveries": deliveries(2, 0, 0, 0, 0)}])
    );

    let draft = dir.path().join("draft.yaml");
    let mut text = workflow(
        "tell",
        &json!([
            {"set": {"labels": "push(.labels, \"drafted\")"}},
            {"deliver": "first"},
            {"await": {"ack": "analyst", "within": "1h"}},
            {"deliver": "second"},
        ]),
    );
    fs::write(&draft, text.to_string())?;
    let file = draft.to_str().ok_or("text")?;
    let (code, last, told) = replay(&system, &["--file", file, "--shadow", "try"]);
    assert_eq!((code, &last["written"], told.len()), (Some(4), &4.into(), 2), "{last}");
    assert_eq!(last["legs"][0]["deliveries"], deliveries(0, 2, 0, 0, 0));
    assert_eq!(last["legs"][1]["deliveries"], deliveries(0, 0, 0, 0, 2), "nobody has answered");
    assert!(
        told.iter().all(|d| d["difference"] == "changed" && d["places"] == json!(["/labels"])),
        "{told:#?}"
    );
    let shadow = topic::by_header(&kafka, "atio.replay.try.delivery.first", "atio_run");
    assert_eq!(shadow.into_iter().collect::<Vec<_>>(), [("try".to_owned(), 2)], "written, and marked");

    text["match"] = json!({"kind": "vulnerability"});
    fs::write(&draft, text.to_string())?;
    let (code, last, told) = replay(&system, &["--file", file, "--show", "1"]);
    assert_eq!((code, told.len(), &last["matched"]), (Some(4), 1, &0.into()), "{last}");
    assert_eq!(last["legs"][0]["deliveries"], deliveries(0, 0, 0, 2, 0), "it would not take them");

    fs::write(&draft, "kind: Workflow")?;
    assert_eq!(
        system.run(&["replay", "tell", "--file", file]).status.code(),
        Some(5),
        "a draft that is none"
    );
    assert_eq!(system.run(&["replay", "nobody"]).status.code(), Some(2));
    assert_eq!(system.run(&["replay", "tell@7"]).status.code(), Some(2));
    system.alerts();
    system.until("what came later is delivered", |_| delivered() == 4);
    let (code, last, _) = replay(&system, &[]);
    assert_eq!((code, &last["matched"]), (Some(0), &4.into()), "sinks got nothing of it: {last}");
    system.running.stop("the system");
    Ok(())
}
