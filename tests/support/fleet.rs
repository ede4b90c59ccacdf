//! ATIO as it is deployed: every service a process of its own, on a Kafka that is not ours, under a prefix of its own.
use super::{
    Child, Deadline, Running, atio,
    metrics::{self, Ledger},
    process::Ended,
    unique,
};
use atio_stream::{Counts, Kafka, admin::Admin};
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;

/// All but the registry, which comes first.
const SERVICES: [&str; 8] =
    ["monitoring", "normalization", "enrichment", "routing", "incidents", "delivery", "metrics", "ingestion"];

pub struct Fleet {
    pub kafka: String,
    pub registry: String,
    pub prefix: String,
    dir: TempDir,
    running: Vec<(&'static str, Running)>,
}

impl Fleet {
    /// Topics, then the services, then the workflows. `declarations`: files for the directory of declarations, by their path in it.
    pub fn start(kafka: &str, declarations: &[(&str, String)]) -> Self {
        Self::only(kafka, declarations, &SERVICES)
    }

    /// The same with these services alone, and the registry.
    pub fn only(kafka: &str, declarations: &[(&str, String)], services: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let prefix = format!("{}.", unique("fleet"));
        let config = serde_json::json!({
            "prefix": prefix, "partitions": 3, "topics": dir.path().join("topics"), "log": {"level": "warn"},
            // As many copies as there are nodes.
            "replication": kafka.split(',').count(),
        });
        std::fs::write(dir.path().join("atio.yaml"), config.to_string()).expect("a configuration");
        let mut fleet =
            Self { kafka: kafka.to_owned(), registry: String::new(), prefix, dir, running: vec![] };
        declarations.iter().for_each(|(name, text)| fleet.declare(name, text));
        let registry = fleet.run("registry");
        fleet.registry = registry.said("registry");
        fleet.running.push(("registry", registry));
        fleet.client(&["apply", "--topics-only"]);
        let starting: Vec<_> = services.iter().map(|s| (*s, fleet.run(s))).collect();
        fleet.running.extend(starting);
        fleet.client(&["apply"]);
        fleet
    }

    /// A declaration of the user's, in the place of one of the same name.
    pub fn declare(&self, name: &str, text: &str) {
        let file = self.dir.path().join("topics").join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a declaration");
    }

    fn command(&self, name: &str) -> Command {
        let mut command = atio();
        command.arg("--config").arg(self.dir.path().join("atio.yaml"));
        command.arg("--data").arg(self.data(name)).args(["--kafka", &self.kafka]);
        if !self.registry.is_empty() {
            command.args(["--registry", &self.registry]);
        }
        command
    }

    fn run(&self, service: &str) -> Running {
        self.instance(service, service, 0)
    }

    /// `name`: of its data directory.
    fn instance(&self, name: &str, service: &str, ordinal: u32) -> Running {
        let mut command = self.command(name);
        command.args(["run", service, "--http", "127.0.0.1:0", "--ordinal", &ordinal.to_string()]);
        Running::start(name, &mut command)
    }

    /// Another instance of a service; whoever starts it ends it.
    pub fn beside(&self, service: &str, ordinal: u32) -> Running {
        self.instance(&format!("{service}-{ordinal}"), service, ordinal)
    }

    /// Runs a client command to its end; its stdout.
    pub fn client(&self, args: &[&str]) -> Vec<String> {
        let ended = self.ask(args);
        assert!(ended.status.success(), "{args:?}: {} {:?}\n{}", ended.status, ended.stdout, ended.stderr);
        ended.stdout
    }

    /// The same, however it ends.
    pub fn ask(&self, args: &[&str]) -> Ended {
        self.begin(args).finish(Deadline::after(180))
    }

    /// The same, while something else goes on.
    pub fn begin(&self, args: &[&str]) -> Child {
        Child::start(self.command("client").args(args))
    }

    /// A key that may feed every source.
    pub fn ingest_key(&self) -> String {
        let mut command = self.command("ingestion");
        let ended =
            Child::start(command.args(["key", "create", "--role", "ingest"])).finish(Deadline::after(30));
        assert!(ended.status.success(), "a key: {}", ended.told());
        ended.stdout.concat()
    }

    /// A service's data directory.
    pub fn data(&self, service: &str) -> PathBuf {
        self.dir.path().join(service)
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn http(&self, service: &str) -> String {
        self.of(service).said("http")
    }

    fn of(&self, service: &str) -> &Running {
        &self.running.iter().find(|(name, _)| *name == service).expect("a service of the fleet").1
    }

    /// What a service has said on stderr.
    pub fn stderr(&self, service: &str) -> String {
        self.of(service).child.stderr()
    }

    pub fn pids(&self) -> Vec<(&'static str, u32)> {
        self.running.iter().map(|(name, running)| (*name, running.child.pid())).collect()
    }

    /// A stage's ledger now; zeros before its first commit.
    pub fn ledger(&self, service: &str, stage: &str) -> Ledger {
        metrics::ledgers(&self.http(service)).remove(stage).unwrap_or_default()
    }

    /// A stage's counts as they were committed with its offsets: they outlive the process. Names of group and topics are without the prefix.
    pub fn committed(&self, group: &str, topics: &[&str]) -> Counts {
        let kafka = Kafka { bootstrap: self.kafka.clone(), properties: BTreeMap::new() };
        let admin = Admin::connect(&kafka, "trial").expect("an admin client");
        let topics: Vec<String> = topics.iter().map(|name| self.topic(name)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let found = admin.committed(&self.topic(group), &topics).unwrap_or_default();
        let mut sum = Counts::default();
        let ledgers =
            found.iter().filter_map(|partition| atio_stream::Ledger::from_metadata(&partition.metadata));
        ledgers.for_each(|ledger| sum.add(&ledger.counts));
        sum
    }

    /// Waits until a stage runs: a branch starts when routing has seen its workflow.
    pub fn runs(&self, service: &str, stage: &str) {
        let up = Deadline::after(60)
            .every(Duration::from_millis(50), || (self.ledger(service, stage).up > 0).then_some(()));
        up.unwrap_or_else(|| panic!("{stage} does not run\n{}", self.stderr(service)));
    }

    /// Waits until a stage has settled this many records; panics when it does not in time, or settles more.
    pub fn settled(&self, service: &str, stage: &str, records: usize, deadline: Deadline) -> Ledger {
        let wanted = u64::try_from(records).expect("a count");
        let mut last = Ledger::default();
        let end = deadline.every(Duration::from_millis(200), || {
            last = self.ledger(service, stage);
            (last.read >= wanted).then(|| last.clone())
        });
        let end = end.unwrap_or_else(|| {
            panic!("{stage}: not {wanted} records in time: {last:?}\n{}", self.stderr(service))
        });
        assert_eq!(end.read, wanted, "{stage} reads what is there, once");
        assert!(end.balanced(), "{stage}: in = emitted + dropped + dead-lettered + held: {end:?}");
        end
    }

    fn of_mut(&mut self, service: &str) -> &mut Running {
        &mut self.running.iter_mut().find(|(name, _)| *name == service).expect("a service of the fleet").1
    }

    pub fn signal(&self, service: &str, signal: &str) {
        self.of(service).child.signal(signal);
    }

    /// SIGKILL to a service, and gone; [`Self::start_again`] is to follow.
    pub fn kill(&mut self, service: &str) {
        self.of_mut(service).child.kill();
    }

    /// A new one in the place of one that has ended.
    pub fn start_again(&mut self, service: &'static str) {
        *self.of_mut(service) = self.run(service);
    }

    /// Services that have ended by themselves, with their last words.
    pub fn ended(&mut self) -> Vec<(&'static str, String)> {
        let all = self.running.iter_mut().filter_map(|(name, running)| {
            let status = running.child.exited()?;
            let said = running.child.stderr();
            Some((*name, format!("{status}: {}", said.lines().last().unwrap_or_default())))
        });
        all.collect()
    }

    /// SIGKILL to a service, and a new one in its place, under the same name.
    pub fn kill_and_restart(&mut self, service: &'static str) {
        let at = self.running.iter().position(|(name, _)| *name == service).expect("a service of the fleet");
        self.running[at].1.child.kill();
        self.running[at].1 = self.run(service);
    }

    /// SIGTERM to all, from the front to the end; each ends in order.
    pub fn stop(self) {
        for (name, running) in self.running.into_iter().rev() {
            running.stop(name);
        }
    }
}

/// The declaration of a sink that writes reports to a topic, whatever they are marked.
pub fn topic_sink(name: &str, topic: &str) -> String {
    json!({
        "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": name}, "type": "kafka", "topic": topic, "format": "report", "clearance": "red",
    })
    .to_string()
}
