//! People at the page of incidents: what it is made of, each of its buttons by the requests that they send, and a browser; against the whole program.
use crate::support::{Child, Deadline, Need, Running, atio, http, program::oracle, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("pipeline::people::page", &[], page),
        trial("pipeline::people::browser", &[Need::Chromium], browser),
    ]
}

/// A wait that takes two people and a choice, and tells the incident what it came to.
fn workflow() -> Value {
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "contain"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {
            "ask": [
                {"await": {
                    "ack": "analyst", "within": "1h", "approvers": 2, "choices": ["isolate", "ignore"], "rejected": "continue",
                    "escalate": [{"role": "engineer", "within": "1h"}],
                }},
                {"when": ".answer == \"rejected\" || .choice == \"isolate\""},
                {"incident": {"severity": "high", "comment": "contained"}},
                {"call": {"workflow": "quarantine"}},
            ],
            "triage": [{"incident": {"assign": "soc"}}],
        },
    })
}

/// What the other calls.
fn called() -> Value {
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "quarantine"}, "on": "manual", "match": {"kind": "threat"},
        "branches": {"tell": [{"incident": {"comment": "quarantined"}}]},
    })
}

/// The program with these workflows, and who uses it.
struct Bed {
    dir: tempfile::TempDir,
    up: Running,
    http: String,
    viewer: String,
    carol: String,
    dave: String,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let declared = dir.path().join("topics/workflows");
        std::fs::create_dir_all(&declared).expect("a directory");
        for (name, text) in [("contain", workflow()), ("quarantine", called())] {
            std::fs::write(declared.join(format!("{name}.yaml")), text.to_string()).expect("a file");
        }
        let mut command = atio();
        command.arg("--data").arg(dir.path()).args(["up", "--http", "127.0.0.1:0"]);
        let up = Running::start("up", &mut command);
        let http = up.said("http");
        let [viewer, carol, dave] = ["viewer", "analyst", "analyst"].map(|role| key(dir.path(), role));
        Self { dir, up, http, viewer, carol, dave }
    }

    /// The first of the demo's alerts comes; the incident that waits then.
    fn alert(&self) -> String {
        let admin = std::fs::read_to_string(self.dir.path().join("admin.key")).expect("a key");
        let line = include_bytes!("../../services/atio/demo/alerts.ndjson").split(|b| *b == b'\n').next();
        let bearer = format!("Bearer {admin}");
        let url = format!("{}/v1/sources/suricata/events", self.http);
        let sent = http::post(&url, &[("authorization", &bearer)], line.unwrap_or_default());
        assert_eq!(sent.status, 202, "{}", sent.text());
        until("it waits", || {
            let all = http::get_as(&self.viewer, &format!("{}/v1/incidents?state=waiting", self.http)).json();
            let found = all["incidents"].as_array()?.iter().find(|i| asks(i).is_some())?.clone();
            Some(found["incident_id"].as_str()?.to_owned())
        })
    }
}

fn page() -> Result<(), Failed> {
    let bed = Bed::new();
    let Bed { http, viewer, carol, dave, .. } = &bed;
    made_of(http);
    let list = format!("{http}/v1/incidents");
    assert_eq!((http::get(&list).status, http::get_as("atio_no_one", &list).status), (401, 401));
    let id = bed.alert();
    let one = || {
        let answer = http::get_as(viewer, &format!("{list}/{id}"));
        assert!(answer.header("content-type").starts_with("application/json"), "{:?}", answer.headers);
        answer.json()
    };
    until("a policy assigned it", || (one()["assignee"] == "soc").then_some(()));
    let wait = asks(&one()).expect("it waits")["wait_id"].clone();
    let say = |key: &str, body: Value| {
        let bearer = format!("Bearer {key}");
        let url = format!("{list}/{id}/acks");
        http::post(&url, &[("authorization", &bearer)], body.to_string().as_bytes())
    };
    let choose = |choice: &str| json!({"action": "acknowledge", "wait_id": wait, "choice": choice});
    assert_eq!(say(viewer, choose("isolate")).status, 403, "who may look may not answer");
    assert_eq!(say(carol, choose("shout")).json()["code"], "unknown_choice");
    assert_eq!(say(carol, json!({"action": "claim", "wait_id": wait})).status, 202);
    until("it is claimed", || asks(&one())?["claimed_by"].is_string().then_some(()));
    assert_eq!(say(dave, json!({"action": "claim", "wait_id": wait})).json()["code"], "claimed");
    // What people type is text, wherever it goes.
    let typed = "<img src=x onerror=alert(1)></td><script>alert(2)</script>";
    assert_eq!(say(carol, json!({"action": "comment", "comment": typed})).status, 202);
    until("it is shown", || one()["comments"].as_array()?.iter().any(|c| c["text"] == typed).then_some(()));
    assert_eq!(say(carol, choose("isolate")).status, 202);
    assert_eq!(say(carol, choose("isolate")).status, 202);
    until("one has said yes", || (asks(&one())?["approvals"].as_array()?.len() == 1).then_some(()));
    assert_eq!(say(dave, choose("isolate")).status, 202);
    let ended = until("two have", || {
        let incident = one();
        (asks(&incident).is_none() && incident["severity"] == "high").then_some(incident)
    });
    until("another workflow was called", || {
        let incident = one();
        incident["comments"].as_array()?.iter().any(|c| c["text"] == "quarantined").then_some(())
    });
    let answer = ended["answers"].as_array().and_then(|a| a.iter().find(|a| a["wait_id"] == wait)).cloned();
    let answer = answer.ok_or("the answer is shown")?;
    assert_eq!((&answer["choice"], answer["by"].as_array().map(Vec::len)), (&json!("isolate"), Some(2)));
    assert_eq!(say(dave, json!({"action": "close", "verdict": "benign"})).status, 202);
    until("it is closed", || one()["closed_at"].is_string().then_some(()));
    assert_eq!(say(dave, json!({"action": "comment", "comment": "late"})).status, 409);
    bed.up.stop("up");
    Ok(())
}

/// The same in a real Chromium, by what two people click and read.
fn browser() -> Result<(), Failed> {
    let bed = Bed::new();
    let id = bed.alert();
    let typed = "<img src=x onerror=alert(1)>";
    let args = [&bed.http, &bed.viewer, &bed.carol, &bed.dave, "isolate", typed];
    let ended = oracle("browser", &args, 300);
    assert!(ended.status.success(), "{}", ended.told());
    let seen: Value = serde_json::from_str(ended.stdout.last().map_or("", String::as_str))?;
    let says = |what: &str, part: &str| {
        let text = seen[what].as_str().unwrap_or_default();
        assert!(text.contains(part), "{what} says {part}: {seen:#}");
    };
    says("sub", "every stage runs");
    says("cards", "raw events in");
    says("stages", "balanced");
    assert!(!seen["stages"].as_str().unwrap_or_default().contains("NOT balanced"), "{seen:#}");
    says("row", &id[..8]);
    says("row", "analyst until");
    says("viewer", "refused, forbidden");
    says("first", "2 must say yes, so far ");
    says("told", "acknowledged, isolate by ");
    says("told", typed);
    says("facts", "high");
    assert_eq!((&seen["images"], &seen["faults"]), (&json!(0), &json!([])), "{seen:#}");
    bed.up.stop("up");
    Ok(())
}

/// The wait of the workflow above.
fn asks(incident: &Value) -> Option<&Value> {
    incident["waits"].as_array()?.iter().find(|w| w["branch"] == "ask")
}

/// What the browser is given: no script within the page, nothing from elsewhere, no way from text to markup.
fn made_of(http: &str) {
    for (path, kind) in [
        ("", "text/html"),
        ("incidents", "text/html"),
        ("page.css", "text/css"),
        ("dom.js", "text/javascript"),
        ("page.js", "text/javascript"),
        ("incidents.js", "text/javascript"),
    ] {
        let answer = http::get(&format!("{http}/{path}"));
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(kind), "{path}: {:?}", answer.headers);
        let policy = answer.header("content-security-policy");
        for needed in
            ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(needed), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let text = answer.text();
        let forbidden: &[&str] = match kind {
            "text/html" => &["<script>", "style=", "onclick", "onload", "javascript:", "//"],
            "text/css" => &["url(", "@import"],
            _ => &[
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Storage",
                "cookie",
            ],
        };
        for word in forbidden {
            assert!(!text.contains(word), "{path} has {word}");
        }
    }
}

fn key(data: &Path, role: &str) -> String {
    let mut command = atio();
    command.arg("--data").arg(data).args(["key", "create", "--role", role]);
    let ended = Child::start(&mut command).finish(Deadline::after(60));
    assert!(ended.status.success(), "{}", ended.told());
    ended.stdout.iter().find(|l| l.starts_with("atio_")).unwrap_or_else(|| panic!("{}", ended.told())).clone()
}

fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    let found = Deadline::after(60).every(Duration::from_millis(100), look);
    found.unwrap_or_else(|| panic!("{what}, in time"))
}
