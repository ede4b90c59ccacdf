//! A whole system in a process, on the embedded broker, and its commands. Owns how it is started, asked and fed.
use crate::support::{Child, Deadline, Running, atio, http, metrics, process::Ended, root};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

pub struct System {
    pub running: Running,
    data: PathBuf,
}

impl System {
    /// On what is in this directory; `topics` below it has its declarations.
    pub fn up(data: &Path) -> Self {
        let mut command = atio();
        command.args(["up", "--http", "127.0.0.1:0", "--data"]).arg(data);
        Self { running: Running::start("the system", &mut command), data: data.to_owned() }
    }
    pub fn run(&self, args: &[&str]) -> Ended {
        client(&self.data, args)
    }
    pub fn ok(&self, args: &[&str]) -> Vec<String> {
        let ended = self.run(args);
        assert!(ended.status.success(), "{args:?}: {}", ended.told());
        ended.stdout
    }
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let lines = self.ok(&[args, &["--format", "json"]].concat());
        lines.iter().map(|l| serde_json::from_str(l).expect("JSON lines")).collect()
    }
    /// A sample by its name and labels; 0 where there is none.
    pub fn sample(&self, name: &str) -> f64 {
        metrics::samples(&self.running.said("http")).get(name).copied().unwrap_or(0.0)
    }
    pub fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let met = Deadline::after(90).every(Duration::from_millis(200), || condition(self).then_some(()));
        assert!(met.is_some(), "in time: {what}\n{}", self.running.child.stderr());
    }
    /// The alerts of the demo come in.
    pub fn alerts(&self) {
        let key = fs::read_to_string(self.data.join("admin.key")).expect("a key");
        let lines = fs::read(root().join("services/atio/demo/alerts.ndjson")).expect("samples");
        let url = format!("{}/v1/sources/suricata/events", self.running.said("http"));
        let answer = http::post(&url, &[("authorization", &format!("Bearer {}", key.trim()))], &lines);
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

/// A command about the system in this directory.
pub fn client(data: &Path, args: &[&str]) -> Ended {
    let mut command = atio();
    command.env("USER", "trial").arg("--data").arg(data).args(args);
    Child::start(&mut command).finish(Deadline::after(120))
}

/// A declaration of the system in this directory.
pub fn declare(data: &Path, file: &str, text: &Value) {
    let path = data.join("topics").join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text.to_string()).expect("a declaration");
}

/// A Kafka sink on a topic `out-<name>`.
pub fn sink(name: &str) -> Value {
    json!({
        "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": name}, "type": "kafka", "topic": format!("out-{name}"),
        "format": "report", "clearance": "red",
    })
}

/// For every threat, with one branch `tell`.
pub fn workflow(name: &str, steps: &Value) -> Value {
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": name}, "on": "detection",
        "match": {"kind": "threat"}, "branches": {"tell": steps},
    })
}
