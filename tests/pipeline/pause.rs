//! A workflow that is paused delivers nothing and loses nothing, through a restart and a new version, and goes on where it was.
use super::system::{System, declare, sink, workflow};
use crate::support::{topic, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::Instant;

pub fn trials() -> Vec<Trial> {
    vec![trial("pipeline::pause::nothing_lost", &[], paused)]
}

/// What the graph shows of the branch of `quiet`.
fn branch(system: &System) -> Value {
    let graph = system.json(&["graph", "--live", "--over", "1", "--workflow", "quiet"]);
    let nodes = graph[0]["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|n| n["name"] != "routing.loud.tell"), "this workflow alone: {nodes:#?}");
    nodes.iter().find(|n| n["name"] == "routing.quiet.tell").expect("the branch").clone()
}

/// How far the branch of `quiet` is behind, as `atio lag` says.
fn waiting(system: &System) -> i64 {
    system.json(&["lag", "--group", "routing.quiet.tell"]).iter().filter_map(|r| r["lag"].as_i64()).sum()
}

/// Two workflows get the same events: `quiet` is paused, `loud` shows how far the others have come.
fn paused() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    for name in ["quiet", "loud", "second"] {
        declare(&data, &format!("sinks/{name}.yaml"), &sink(name));
    }
    for name in ["quiet", "loud"] {
        declare(&data, &format!("workflows/{name}.yaml"), &workflow(name, &json!([{"deliver": name}])));
    }
    let system = System::up(&data);
    let out = |system: &System, sink: &str| {
        let kafka = system.running.said("kafka");
        topic::by_header(&kafka, &format!("out-{sink}"), "atio_idempotency_key")
    };
    system.alerts();
    system.until("both deliver", |s| out(s, "loud").len() == 2 && out(s, "quiet").len() == 2);
    assert_eq!(
        system.run(&["workflow", "resume", "quiet"]).status.code(),
        Some(5),
        "it is not paused: refused"
    );
    let start = Instant::now();
    system.ok(&["workflow", "pause", "quiet", "--reason", "maintenance"]);
    println!("paused after {} ms", start.elapsed().as_millis());
    assert_eq!(system.run(&["workflow", "pause", "quiet"]).status.code(), Some(5), "paused already: refused");
    assert_eq!(system.run(&["workflow", "pause", "nobody"]).status.code(), Some(2), "no such workflow");

    system.alerts();
    system.until("the other goes on", |s| out(s, "loud").len() == 4);
    system.running.stop("the system");

    let system = System::up(&data);
    system.alerts();
    system.until("the other goes on", |s| out(s, "loud").len() == 6);
    let steps = json!([{"deliver": "quiet"}, {"deliver": "second"}]);
    let mut tested = workflow("quiet", &steps);
    tested["tests"] = json!([{"name": "wrong", "given": {"kind": "log"}, "then": {"branches": ["tell"]}}]);
    declare(&data, "workflows/quiet.yaml", &tested);
    let refused = system.run(&["apply"]);
    assert!(
        refused.status.code() == Some(5) && refused.stderr.contains("test wrong fails"),
        "{}",
        refused.told()
    );
    declare(&data, "workflows/quiet.yaml", &workflow("quiet", &steps));
    system.ok(&["apply"]);
    let live = system.json(&["workflow", "ls"]);
    let quiet = live.iter().find(|w| w["name"] == "quiet").ok_or("in force")?;
    assert_eq!(
        (&quiet["version"], &quiet["paused"]),
        (&2.into(), &true.into()),
        "a new version stays paused"
    );
    system.alerts();
    system.until("the other goes on", |s| out(s, "loud").len() == 8);
    assert_eq!(
        (out(&system, "quiet").len(), out(&system, "second").len()),
        (2, 0),
        "nothing came while it was paused"
    );

    // A static member counts until its session is over.
    system.until("the graph shows that nobody reads, and what waits", |s| {
        let seen = branch(s);
        seen["members"] == 0 && seen["lag"] == waiting(s)
    });

    let start = Instant::now();
    system.ok(&["workflow", "resume", "quiet"]);
    system.until("all of it comes", |s| out(s, "quiet").len() == 8 && out(s, "second").len() == 2);
    println!("all there {} ms after the resumption was asked for", start.elapsed().as_millis());
    for sink in ["quiet", "second", "loud"] {
        assert!(out(&system, sink).values().all(|n| *n == 1), "{sink}: each once");
    }
    system.until("the graph shows that nothing waits", |s| {
        let seen = branch(s);
        seen["lag"] == 0 && seen["members"] == 1
    });
    let event = system.ok(&["tap", "enriched", "--from", "beginning", "--until", "end", "--limit", "1"]);
    let event: Value = serde_json::from_str(event.first().ok_or("an event")?)?;
    let event = event["value"]["event_id"].as_str().ok_or("its id")?;
    let way = system.ok(&["explain", event, "--format", "mermaid"]);
    assert_eq!(way.first().map(String::as_str), Some("flowchart TD"));
    assert!(
        way.iter().any(|l| l.contains("atio.workflow.quiet")) && way.iter().any(|l| l.contains("-->")),
        "{way:#?}"
    );
    let log = system.json(&["audit", "log", "--object", "workflow/quiet"]);
    let actions: Vec<&str> = log.iter().filter_map(|e| e["action"].as_str()).collect();
    assert_eq!(actions, ["apply", "resume", "pause", "pause", "apply", "resume"], "refusals too: {log:#?}");
    system.running.stop("the system");
    Ok(())
}
