//! `atio up`: the demo, what it says when something is in the way, and what its pages answer.
use super::system::{System, declare, workflow};
use crate::support::{Child, Deadline, Running, atio, http, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::net::TcpListener;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("pipeline::up::demo", &[], demo),
        trial("pipeline::up::taken_port_names_the_flag", &[], taken_port),
        trial("pipeline::up::one_process_a_data_directory", &[], locked),
        trial("pipeline::up::answers_and_remembers", &[], remembers),
        trial("pipeline::up::a_workflow_whose_test_fails_is_not_applied", &[], untested),
    ]
}

fn demo() -> Result<(), Failed> {
    let ended = Child::start(atio().args(["up", "--demo", "--exit"])).finish(Deadline::after(180));
    assert!(ended.status.success(), "{}", ended.told());
    let ready: Value = serde_json::from_str(ended.stdout.first().ok_or("a ready line")?)?;
    assert_eq!(ready["ready"], true);
    for name in ["kafka", "http", "registry", "data"] {
        assert!(ready[name].is_string(), "{name} in {ready}");
    }
    let data = std::path::Path::new(ready["data"].as_str().unwrap_or_default());
    assert!(!data.exists(), "the temporary directory is removed");
    let demo = ended.stdout.last().ok_or("a demo line")?;
    let counted =
        "demo: in=4 detections=6 logs=0 dead_letters=1 delivered={file:4,kafka:1,webhook:5} p50_ms=";
    assert!(demo.starts_with(counted), "{}", ended.told());
    Ok(())
}

fn taken_port() -> Result<(), Failed> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let dir = tempfile::tempdir()?;
    let kafka = Running::start(
        "broker",
        atio().args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path().join("b")),
    );
    let config = dir.path().join("atio.yaml");
    std::fs::write(&config, r#"{"registry": {"listen": "127.0.0.1:0"}}"#)?;
    let mut command = atio();
    command.arg("--config").arg(&config).arg("--data").arg(dir.path().join("a"));
    command.args(["--kafka", &kafka.said("kafka"), "up", "--http", &taken.local_addr()?.to_string()]);
    let ended = Child::start(&mut command).finish(Deadline::after(120));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.told());
    assert!(ended.stderr.contains("--http"), "{}", ended.told());
    kafka.stop("broker");
    Ok(())
}

fn locked() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let up = || {
        let mut command = atio();
        command.arg("--data").arg(dir.path()).args(["up", "--http", "127.0.0.1:0"]);
        command
    };
    let first = Running::start("up", &mut up());
    let second = Child::start(&mut up()).finish(Deadline::after(60));
    assert_eq!(second.status.code(), Some(1), "{}", second.told());
    assert!(second.stderr.contains("--data"), "{}", second.told());
    first.stop("up");
    assert!(!dir.path().join("endpoints.json").exists(), "nobody is sent to where nothing is");
    Ok(())
}

/// A failing test is told, and its workflow stays as it was; the others are applied, and the system runs.
fn untested() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let declared = |name: &str, kind: &str, least: u32| {
        let mut workflow =
            workflow(name, &json!([{"when": format!(".importance >= {least}")}, {"deliver": "siem"}]));
        workflow["tests"] =
            json!([{"given": {"kind": kind, "importance": 70}, "then": {"branches": ["tell"]}}]);
        declare(dir.path(), &format!("workflows/{name}.yaml"), &workflow);
    };
    let versions = |system: &System| -> Vec<String> {
        let all = system.json(&["workflow", "ls"]);
        let ours = all.iter().filter(|w| w["name"].as_str().is_some_and(|name| name.starts_with("mine")));
        ours.map(|w| format!("{}@{}", w["name"].as_str().unwrap_or_default(), w["version"])).collect()
    };
    declared("mine-good", "threat", 10);
    declared("mine-never", "log", 10);
    let system = System::up(dir.path());
    assert_eq!(versions(&system), ["mine-good@1"]);
    let told = system.running.child.stderr();
    assert!(
        told.contains("workflow mine-never: test (no name) fails") && told.contains("is not applied"),
        "{told}"
    );
    system.running.stop("the system");

    declared("mine-never", "threat", 10);
    declared("mine-good", "threat", 80);
    let system = System::up(dir.path());
    assert_eq!(versions(&system), ["mine-good@1", "mine-never@1"], "what was in force stays so");
    assert_eq!(system.run(&["apply"]).status.code(), Some(5));
    declared("mine-good", "threat", 20);
    system.ok(&["apply"]);
    assert_eq!(versions(&system), ["mine-good@2", "mine-never@1"]);
    system.running.stop("the system");
    Ok(())
}

/// One event in, the process killed, up again: the event is there, once, and a repeat under its id is none.
fn remembers() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let start = || {
        let mut command = atio();
        command.arg("--data").arg(dir.path()).args(["up", "--http", "127.0.0.1:0"]);
        Running::start("up", &mut command)
    };
    let mut first = start();
    let key = std::fs::read_to_string(dir.path().join("admin.key"))?;
    let bearer = format!("Bearer {key}");
    let line = include_bytes!("../../services/atio/demo/alerts.ndjson")
        .split(|b| *b == b'\n')
        .next()
        .unwrap_or_default();
    let send = |running: &Running| {
        let url = format!("{}/v1/sources/suricata/events", running.said("http"));
        http::post(&url, &[("authorization", &bearer), ("ce-id", "one"), ("ce-source", "/t")], line)
    };
    let unauthorized = http::post(&format!("{}/v1/sources/suricata/events", first.said("http")), &[], line);
    assert_eq!(unauthorized.status, 401, "{}", unauthorized.text());
    let accepted = send(&first);
    assert_eq!(
        (accepted.status, &accepted.json()["accepted"]),
        (202, &Value::from(1)),
        "{}",
        accepted.text()
    );
    first.child.kill();
    let second = start();
    let repeated = send(&second);
    assert_eq!(repeated.json()["ids"], accepted.json()["ids"]);
    assert!(http::get(&format!("{}/", second.said("http"))).text().contains("ATIO"));
    let stage = |name: &str| {
        let status = http::get(&format!("{}/status.json", second.said("http"))).json();
        let stages = status["stages"].as_array().cloned().unwrap_or_default();
        stages.into_iter().find(|s| s["name"] == name).unwrap_or_default()
    };
    let ended = Deadline::after(60).every(std::time::Duration::from_millis(100), || {
        let normalization = stage("normalization");
        (normalization["read"] == 2).then_some(normalization)
    });
    let ended = ended.unwrap_or_else(|| panic!("both are read: {}", stage("normalization")));
    assert_eq!(
        (&ended["emitted"], &ended["dropped"], &ended["balanced"]),
        (&1.into(), &1.into(), &true.into()),
        "{ended}"
    );
    second.stop("up");
    Ok(())
}
