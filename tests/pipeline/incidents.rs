//! Branches that wait, answered while the service that holds them is killed: every wait goes on once, none is lost. What was delivered is
//! counted from topics, by a client that knows nothing of ATIO.
use crate::support::{Author, Broker, Child, Deadline, On, Running, atio, brief, topic, trial, unique};
use atio_runtime::clock;
use atio_schemas::{
    Detection,
    detection::Kind,
    incident::{Ack, AckAction, Otherwise, Wait},
};
use atio_stream::{Kafka as Client, Ledger, admin::Admin};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;

/// Incidents a round, each with a branch that waits for a person.
const ROUND: usize = 100;
const ROUNDS: usize = 3;
/// Incidents whose branch goes on by itself when its deadline passes.
const LEFT: usize = 20;
/// Long enough that one is killed before.
const LEFT_WITHIN_MS: i64 = 5_000;

pub fn trials() -> Vec<Trial> {
    [("killed_while_branches_wait", On::Embedded), ("killed_while_branches_wait_on_kafka", On::Kafka)]
        .map(|(name, on)| {
            let run = move || killed(&Broker::start(on).bootstrap);
            trial(&format!("pipeline::incidents::{name}"), on.needs(), run)
        })
        .into()
}

/// Two processes: the incidents service, and what it needs around it.
pub(super) struct System {
    kafka: String,
    pub(super) prefix: String,
    pub(super) registry: String,
    dir: TempDir,
    /// Kept alive.
    others: Vec<Running>,
}

fn declarations() -> [(&'static str, Value); 2] {
    let sink = json!({
        "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": "tool"}, "type": "kafka", "topic": "incidents-out",
        "format": "report", "clearance": "red", "role": "response",
    });
    let workflow = json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "respond"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {"tell": [{"await": {"ack": "analyst", "within": "1h"}}, {"deliver": "tool"}]},
    });
    [("sinks/tool.yaml", sink), ("workflows/respond.yaml", workflow)]
}

impl System {
    /// Everything but the incidents service.
    pub(super) fn start(kafka: &str) -> Self {
        let mut system = Self::bare(kafka);
        let others = system.run(&["monitoring", "routing", "delivery"]);
        system.others.push(others);
        system.client(&["apply"]);
        system
    }
    /// The registry and the topics alone.
    pub(super) fn bare(kafka: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in declarations() {
            let file = dir.path().join("topics").join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, text.to_string()).expect("a declaration");
        }
        let prefix = format!("{}.", unique("incidents"));
        let config = json!({
            "prefix": prefix, "partitions": 3, "topics": dir.path().join("topics"), "log": {"level": "warn"},
            "registry": {"listen": "127.0.0.1:0"},
        });
        std::fs::write(dir.path().join("atio.yaml"), config.to_string()).expect("a configuration");
        let mut system =
            Self { kafka: kafka.to_owned(), prefix, registry: String::new(), dir, others: vec![] };
        let registry = system.run(&["registry"]);
        system.registry = registry.said("registry");
        system.others.push(registry);
        system.client(&["apply", "--topics-only"]);
        system
    }
    fn command(&self, data: &str) -> Command {
        let mut command = atio();
        command.arg("--config").arg(self.dir.path().join("atio.yaml")).arg("--data").arg(self.data(data));
        command.args(["--kafka", &self.kafka]);
        if !self.registry.is_empty() {
            command.args(["--registry", &self.registry]);
        }
        command
    }
    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn run(&self, services: &[&str]) -> Running {
        self.run_as(services, 0)
    }
    pub(super) fn run_as(&self, services: &[&str], ordinal: u64) -> Running {
        let name = format!("{}-{ordinal}", services[0]);
        let mut command = self.command(&name);
        command.arg("run").args(services).args(["--http", "127.0.0.1:0", "--ordinal", &ordinal.to_string()]);
        Running::start(&name, &mut command)
    }
    pub(super) fn client(&self, args: &[&str]) -> Vec<String> {
        let ended = Child::start(self.command("client").args(args)).finish(Deadline::after(180));
        assert!(ended.status.success(), "{args:?}: {}", ended.told());
        ended.stdout
    }
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
    /// Incidents as `atio incident ls` shows them.
    pub(super) fn incidents(&self, state: &[&str]) -> Vec<Value> {
        let mut args = vec!["incident", "ls", "--format", "json", "--limit", "1000000"];
        args.extend(state);
        let lines = self.client(&args);
        lines.iter().map(|l| serde_json::from_str(l).expect("JSON lines")).collect()
    }
    fn admin(&self) -> Admin {
        let client = Client { bootstrap: self.kafka.clone(), properties: BTreeMap::new() };
        Admin::connect(&client, "incidents-trial").expect("an admin client")
    }
    pub(super) fn lag(&self, topics: &[String]) -> i64 {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let lags = self.admin().lag(&self.topic("incidents"), &topics);
        lags.map_or(i64::MAX, |all| all.iter().map(|l| l.lag).sum())
    }
}

pub(super) fn wait(n: usize, within_ms: i64, otherwise: Otherwise) -> (String, Wait) {
    let incident = format!("incident-{n}");
    let mut original = Detection::new(format!("event-{n}"), Kind::Threat, "default", "trial");
    original.incident_id = Some(incident.clone());
    original.confidence = Some(90);
    let wait = Wait {
        within_ms,
        otherwise,
        ..Wait::new(&format!("wait-{n}"), &incident, "respond", "tell", original)
    };
    (incident, wait)
}

pub(super) fn ack(n: usize) -> (String, Ack) {
    let incident = format!("incident-{n}");
    let ack = Ack::new(&format!("ack-{n}"), &incident, AckAction::Acknowledge, "trial", clock::now());
    (incident, ack)
}

fn killed(bootstrap: &str) -> Result<(), Failed> {
    let system = System::start(bootstrap);
    let author = Author::open(bootstrap, &system.registry, &system.prefix, &["waits", "acks"]);
    let mut incidents = system.run(&["incidents"]);
    let inputs = ["incident-events", "waits", "acks", "receipts"].map(|name| system.topic(name)).to_vec();
    let left: Vec<_> = (0..LEFT).map(|n| wait(100_000 + n, LEFT_WITHIN_MS, Otherwise::Continue)).collect();
    author.send("waits", &left);
    for round in 0..ROUNDS {
        let numbers = round * ROUND..(round + 1) * ROUND;
        let waits: Vec<_> = numbers.clone().map(|n| wait(n, 3_600_000, Otherwise::Escalate)).collect();
        author.send("waits", &waits);
        let waiting = Deadline::after(60).every(Duration::from_millis(200), || {
            (system.incidents(&["--state", "waiting"]).len() >= ROUND).then_some(())
        });
        assert!(waiting.is_some(), "incidents show what waits");
        // Half of the answers are through, the other half has just been sent.
        let acks: Vec<_> = numbers.map(ack).collect();
        let (first, second) = acks.split_at(ROUND / 2);
        author.send("acks", first);
        let answered = Deadline::after(60)
            .every(Duration::from_millis(20), || (system.lag(&inputs) < first.len() as i64).then_some(()));
        assert!(answered.is_some(), "answers are read");
        author.send("acks", second);
        incidents.child.kill();
        println!("round {round}: kill -9, {} waiting to be read", system.lag(&inputs));
        // While nobody is there: the same answers again, and the branch's later events.
        author.send("acks", &acks);
        author.send("waits", &waits);
        incidents = system.run(&["incidents"]);
    }
    let total = ROUND * ROUNDS + LEFT;
    let delivery = system.topic("delivery.tool");
    let settled = Deadline::after(120).every(Duration::from_millis(500), || {
        (system.lag(&inputs) == 0 && topic::count(bootstrap, &delivery) >= total).then_some(())
    });
    let mut wrong = vec![];
    if settled.is_none() {
        wrong.push(format!(
            "{} of {total} delivered in time, {} to be read",
            topic::count(bootstrap, &delivery),
            system.lag(&inputs)
        ));
    }
    wrong.extend(judge(&system, bootstrap, total));
    incidents.stop("incidents");
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

/// What is wrong with what is there in the end.
fn judge(system: &System, bootstrap: &str, total: usize) -> Vec<String> {
    let mut wrong = vec![];
    wrong.extend(delivered_once(system, bootstrap, total));
    // Receipts may be on their way still.
    let all = Deadline::after(60).every(Duration::from_millis(500), || {
        let all = system.incidents(&[]);
        all.iter().all(|i| i["handed_over_at"].is_string()).then_some(all)
    });
    let all = all.unwrap_or_else(|| system.incidents(&[]));
    let times = ["notified_at", "acked_at", "handed_over_at"];
    let unfinished = |i: &&Value| times.iter().any(|t| !i[t].is_string()) || i["waits"] != json!([]);
    if all.len() != total {
        wrong.push(format!("{} incidents of {total}", all.len()));
    }
    wrong.extend(all.iter().find(unfinished).map(|i| format!("not finished: {i}")));
    let policy = all.iter().filter(|i| i["acked_as"] == "policy").count();
    if policy != LEFT {
        wrong.push(format!("{policy} incidents acknowledged by policy, {LEFT} were left to it"));
    }
    let answers = (2 * ROUND * ROUNDS) as u64;
    wrong.extend(ledgers(system, answers, answers + LEFT as u64));
    wrong
}

/// So many deliveries, each once, and no dead letter.
pub(super) fn delivered_once(system: &System, bootstrap: &str, total: usize) -> Vec<String> {
    let mut wrong = vec![];
    let by_key = topic::by_header(bootstrap, &system.topic("delivery.tool"), "atio_idempotency_key");
    let twice = by_key.values().filter(|n| **n > 1).count();
    if by_key.len() != total || twice > 0 || by_key.contains_key("") {
        wrong.push(format!("{} distinct deliveries of {total}, {twice} more than once", by_key.len()));
    }
    for name in topic::names(bootstrap) {
        if name.starts_with(&system.prefix) && name.ends_with("dlq") && topic::count(bootstrap, &name) > 0 {
            wrong.push(format!("{name} has dead letters"));
        }
    }
    wrong
}

/// The ledgers as they were committed with the offsets: balanced, nothing held, and so many answers and waits read.
pub(super) fn ledgers(system: &System, answers: u64, waits: u64) -> Vec<String> {
    let topics = ["incident-events", "waits", "acks", "receipts"].map(|name| system.topic(name));
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let committed = system.admin().committed(&system.topic("incidents"), &names).unwrap_or_default();
    let mut wrong = vec![];
    let mut read = BTreeMap::<String, u64>::new();
    for partition in committed.iter().filter(|c| c.offset.is_some_and(|o| o > 0)) {
        match Ledger::from_metadata(&partition.metadata) {
            Some(l) if l.counts.balanced() && l.counts.held == 0 => {
                *read.entry(partition.topic.clone()).or_default() += l.counts.read;
            }
            Some(l) => wrong.push(format!("{}: {:?}", partition.topic, l.counts)),
            None => wrong.push(format!("{}: no ledger", partition.topic)),
        }
    }
    let expected = [(system.topic("acks"), answers), (system.topic("waits"), waits)];
    for (topic, wanted) in expected {
        let found = read.get(&topic).copied().unwrap_or(0);
        if found != wanted {
            wrong.push(format!("{topic}: the ledger has {found} read, {wanted} went in"));
        }
    }
    wrong
}
