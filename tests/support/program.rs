//! The program under test, its services as processes, and the oracles that judge what they do.
use super::{Child, Deadline, need::python, process::Ended, root};
use serde_json::Value;
use std::process::Command;

/// The program, with nothing of this machine's configuration.
pub fn atio() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atio"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("ATIO_")) {
            command.env_remove(name);
        }
    }
    command
}

/// A long-running command that has said it is ready.
pub struct Running {
    pub child: Child,
    /// The line that it said it with.
    pub ready: Value,
}

impl Running {
    /// Starts it and waits for the JSON line with `"ready":true`.
    pub fn start(what: &str, command: &mut Command) -> Self {
        let child = Child::start(command);
        let ready = child.line(&format!("ready line of {what}"), Deadline::after(120), |line| {
            serde_json::from_str::<Value>(line).ok().filter(|v| v["ready"] == true)
        });
        Self { child, ready }
    }
    /// A text of the ready line.
    pub fn said(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap_or_else(|| panic!("{name} in {}", self.ready)).to_owned()
    }
    /// SIGTERM, and the end in order.
    pub fn stop(self, what: &str) {
        self.child.signal("TERM");
        let ended = self.child.finish(Deadline::after(60));
        assert!(ended.status.success(), "{what} ends in order: {}\n{}", ended.status, ended.stderr);
    }
}

/// Runs `tests/oracles/<script>.py` to its end.
pub fn oracle(script: &str, args: &[&str], seconds: u64) -> Ended {
    let file = root().join("tests/oracles").join(format!("{script}.py"));
    // Nothing is written beside the sources.
    Child::start(Command::new(python()).arg("-B").arg(file).args(args)).finish(Deadline::after(seconds))
}
