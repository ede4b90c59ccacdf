//! Dead letters looked at, mended, replayed and dropped: what was wrong arrives once, what was right before does not arrive again, and the audit log
//! has it all. And a replay that is killed: each letter is replayed and marked, or neither.
use super::system::{System, declare};
use crate::support::{Broker, Child, Deadline, On, Running, atio, both, http, root, topic, trial, unique};
use libtest_mimic::{Failed, Trial};
use rdkafka::{
    config::ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};
use tempfile::TempDir;

/// Of the replay that is killed.
const LETTERS: usize = 2_000;
/// Records a second: long enough under way that it is seen on a busy machine too, ten records a transaction.
const SLOWLY: &str = "50";

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("pipeline::dead_letters::mended_and_replayed", &[], mended)];
    trials.extend(both("pipeline::dead_letters::killed_while_replaying_", killed));
    trials
}

/// The other end of a webhook: answers with the status that it is told to, and remembers what came.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    /// Idempotency key and the answer.
    seen: Arc<Mutex<Vec<(String, u16)>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (status, seen) = (Arc::new(AtomicU16::new(422)), Arc::<Mutex<Vec<_>>>::default());
        let (says, keeps) = (status.clone(), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let mut reader = BufReader::new(stream);
                let (mut length, mut key) = (0, String::new());
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                        break;
                    }
                    let (name, value) = line.split_once(':').unwrap_or_default();
                    match name.to_ascii_lowercase().as_str() {
                        "content-length" => length = value.trim().parse().expect("a length"),
                        "idempotency-key" => key = value.trim().to_owned(),
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("the body");
                let code = says.load(SeqCst);
                keeps.lock().unwrap().push((key, code));
                let answer = format!("HTTP/1.1 {code} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                // Who has gone comes again.
                let _gone = reader.into_inner().write_all(answer.as_bytes());
            }
        });
        Self { url, status, seen }
    }
    /// How often each key got this answer.
    fn keys(&self, status: u16) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for (key, _) in self.seen.lock().unwrap().iter().filter(|(_, s)| *s == status) {
            *keys.entry(key.clone()).or_default() += 1;
        }
        keys
    }
}

fn up(data: &Path, hook: &str) -> System {
    fs::create_dir_all(data).expect("a directory");
    fs::write(data.join("secret"), "hush").expect("a secret");
    for (name, text) in declarations(&data.join("secret"), hook) {
        declare(data, name, &text);
    }
    System::up(data)
}

/// Under an id of the sender's: what comes a second time under it is a repeat.
fn post(system: &System, data: &Path, body: &[u8]) {
    let key = fs::read_to_string(data.join("admin.key")).expect("a key");
    let url = format!("{}/v1/sources/suricata/events", system.running.said("http"));
    let bearer = format!("Bearer {}", key.trim());
    let answer = http::post(&url, &[("authorization", &bearer), ("idempotency-key", "post-1")], body);
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn count(system: &System, name: &str) -> usize {
    topic::count(&system.running.said("kafka"), name)
}

fn by_header(system: &System, name: &str, header: &str) -> BTreeMap<String, usize> {
    topic::by_header(&system.running.said("kafka"), name, header)
}

/// Letters by topic: all, open, replayed, dropped.
fn letters(system: &System) -> BTreeMap<String, [u64; 4]> {
    let mut found = BTreeMap::new();
    for row in system.json(&["dlq", "ls"]) {
        let number = |name: &str| row[name].as_u64().expect("a number");
        let sum: &mut [u64; 4] =
            found.entry(row["topic"].as_str().unwrap_or_default().to_owned()).or_default();
        for (sum, name) in sum.iter_mut().zip(["count", "open", "replayed", "dropped"]) {
            *sum += number(name);
        }
    }
    found
}

/// One branch goes to a webhook; the other to two topics, with a step between them that fails where the outcome is unknown.
fn declarations(secret: &Path, hook: &str) -> Vec<(&'static str, Value)> {
    let sink = |name: &str, fields: Value| {
        let mut sink = json!({
            "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": name}, "format": "report", "clearance": "red",
        });
        sink.as_object_mut().expect("fields").extend(fields.as_object().cloned().unwrap_or_default());
        sink
    };
    let workflow = json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "letters"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {
            "hook": [{"deliver": "hook"}],
            "steps": [{"deliver": "first"}, {"set": {"labels": "split(.outcome, \",\")"}}, {"deliver": "second"}],
        },
    });
    let hook = json!({"type": "webhook", "url": hook, "secret": {"file": secret}, "allow_internal": true});
    vec![
        ("sinks/hook.yaml", sink("hook", hook)),
        ("sinks/first.yaml", sink("first", json!({"type": "kafka", "topic": "letters-first"}))),
        ("sinks/second.yaml", sink("second", json!({"type": "kafka", "topic": "letters-second"}))),
        ("workflows/letters.yaml", workflow),
    ]
}

/// Two alerts and a broken line; the receiver refuses everything.
fn mended() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let receiver = Receiver::start();
    let data = dir.path().join("data");
    let up = up(&data, &receiver.url);
    let system = &up;
    post(system, &data, &fs::read(root().join("services/atio/demo/alerts.ndjson"))?);
    system.until("five letters", |s| {
        ["atio.raw.suricata.dlq", "atio.delivery.hook.dlq", "atio.workflow-dlq"].map(|t| count(s, t))
            == [1, 2, 2]
    });
    a_dry_run_changes_nothing(system);
    let origin = a_broken_line_is_mended(system, dir.path());
    again_is_refused_and_what_fails_again_says_so(system);
    a_sink_takes_what_it_refused(system, &receiver);
    one_branch_goes_on_and_nothing_else(system, dir.path(), &receiver);
    what_nobody_needs_is_dropped(system);
    it_is_all_told(system, &origin);
    up.running.stop("the system");
    Ok(())
}

fn a_dry_run_changes_nothing(system: &System) {
    let all = [
        "atio.raw.suricata",
        "atio.delivery.hook",
        "atio.workflow.letters",
        "atio.dlq-marks",
        "atio.audit-intents",
    ];
    let before = all.map(|t| count(system, t));
    let told = system.run(&["dlq", "replay", "delivery.hook"]);
    assert!(told.status.success() && told.stderr.contains("dry run: nothing was written"), "{}", told.told());
    let lines = system.json(&["dlq", "replay", "delivery.hook"]);
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(
            (&line["to"], &line["code"], &line["done"]),
            (&json!("atio.delivery.hook"), &json!("sink_rejected"), &json!(false))
        );
        assert_eq!((&line["warnings"], &line["refused"]), (&json!([]), &Value::Null), "{line}");
    }
    system.ok(&["dlq", "drop", "delivery.hook", "--reason", "no"]);
    assert_eq!(all.map(|t| count(system, t)), before);
    assert_eq!(letters(system)["atio.delivery.hook.dlq"], [2, 2, 0, 0]);
}

/// The only letter of a topic that is open.
fn open_letter(system: &System, topic: &str) -> (String, Value) {
    let mut open = system.json(&["dlq", "show", topic]);
    open.retain(|l| l["done"].is_null());
    assert_eq!(open.len(), 1, "{open:?}");
    let letter = open.remove(0);
    (format!("{}/{}", letter["partition"], letter["offset"]), letter)
}

/// Returns where the line lay first.
fn a_broken_line_is_mended(system: &System, dir: &Path) -> String {
    let (at, letter) = open_letter(system, "raw.suricata");
    assert_eq!(letter["error_reason"]["code"], "missing_field");
    let file = dir.join("line.json");
    let file = file.to_str().expect("a path");
    system.ok(&["dlq", "show", "raw.suricata", "--at", &at, "--value", "--out", file]);
    let mut line: Value =
        serde_json::from_slice(&fs::read(file).expect("the line")).expect("what the tool sent");
    line["alert"] = json!({"action": "allowed", "gid": 1, "signature_id": 9_000_045, "rev": 1, "signature": "mended", "severity": 2});
    fs::write(file, line.to_string()).expect("the mended line");
    let args = ["dlq", "replay", "raw.suricata", "--at", &at, "--set-value", file, "--as", "carol", "--yes"];
    system.ok(&args);
    system.until("the detection", |_| count(system, "atio.detections") >= 3);
    let ids = by_header(system, "atio.detections", "ce_id");
    assert_eq!((ids.len(), ids.values().max()), (3, Some(&1)), "each once: {ids:?}");
    let reason = |name: &str| letter["error_reason"][name].as_str().unwrap_or_default().to_owned();
    let origin = format!("{}/{}/{}", reason("topic"), reason("partition"), reason("offset"));
    let origins = by_header(system, "atio.detections", "atio_origin");
    assert_eq!(origins.get(&origin), Some(&1), "told to come from where it lay first: {origins:?}");
    origin
}

fn again_is_refused_and_what_fails_again_says_so(system: &System) {
    let refused = system.run(&["dlq", "replay", "raw.suricata", "--as", "carol", "--yes"]);
    assert_eq!(refused.status.code(), Some(5), "{}", refused.told());
    assert!(refused.stderr.contains("replayed, edited by carol"), "{}", refused.told());
    // As it is it fails again.
    system.ok(&["dlq", "replay", "raw.suricata", "--again", "--as", "carol", "--yes"]);
    system.until("the second letter", |_| count(system, "atio.raw.suricata.dlq") == 2);
    let (_, letter) = open_letter(system, "raw.suricata");
    assert_eq!(letter["error_reason"]["attempt"], "2");
    let both = system.json(&["dlq", "show", "raw.suricata"]);
    let seen: Vec<&Value> = both.iter().map(|l| &l["error_reason"]["first_seen"]).collect();
    assert_eq!((seen.len(), seen[0]), (2, seen[1]), "both say when it was first");
}

fn a_sink_takes_what_it_refused(system: &System, receiver: &Receiver) {
    system.until("three rejected", |_| count(system, "atio.delivery.hook.dlq") == 3);
    receiver.status.store(200, SeqCst);
    system.ok(&["dlq", "replay", "delivery.hook", "--rate", "50/s", "--as", "carol", "--yes"]);
    system.until("three delivered", |_| receiver.keys(200).len() == 3);
    assert_eq!(receiver.keys(200), receiver.keys(422), "each once, under the same key");
    assert_eq!(receiver.keys(200).values().max(), Some(&1));
}

/// Sinks that the branch had reached, and branches that had no trouble, get nothing again.
fn one_branch_goes_on_and_nothing_else(system: &System, dir: &Path, receiver: &Receiver) {
    system.until("three letters of the branch", |_| count(system, "atio.workflow-dlq") == 3);
    let before = ["letters-first", "letters-second", "atio.delivery.hook"].map(|t| count(system, t));
    assert_eq!(before, [3, 0, 6]);
    let patch = dir.join("patch.json");
    let text = json!([{"op": "add", "path": "/detection/outcome", "value": "mended"}]);
    fs::write(&patch, text.to_string()).expect("a patch");
    let patch = patch.to_str().expect("a path");
    let args = [
        "dlq",
        "replay",
        "workflow-dlq",
        "--stage",
        "routing.letters.steps",
        "--edit",
        patch,
        "--as",
        "carol",
        "--yes",
    ];
    system.ok(&args);
    system.until("the rest of the branch", |_| count(system, "letters-second") >= 3);
    system.until("all groups are done", |_| {
        let lags = system.json(&["lag"]);
        lags.iter().all(|l| l["lag"] == 0)
    });
    let after = ["letters-first", "letters-second", "atio.delivery.hook"].map(|t| count(system, t));
    assert_eq!(after, [3, 3, 6]);
    let keys = by_header(system, "letters-second", "atio_idempotency_key");
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert_eq!(receiver.keys(200).values().sum::<usize>(), 3);
}

fn what_nobody_needs_is_dropped(system: &System) {
    let args = ["dlq", "drop", "raw.suricata", "--reason", "mended already", "--as", "carol", "--yes"];
    system.ok(&args);
    let letters = letters(system);
    assert_eq!(letters["atio.raw.suricata.dlq"], [2, 0, 1, 1], "{letters:?}");
    assert_eq!(letters["atio.delivery.hook.dlq"], [3, 0, 3, 0]);
    assert_eq!(letters["atio.workflow-dlq"], [3, 0, 3, 0]);
    assert_eq!(count(system, "atio.raw.suricata.dlq"), 2, "nothing is deleted");
}

fn it_is_all_told(system: &System, origin: &str) {
    let entries = || {
        let mut all = system.json(&["audit", "log", "--object", "dlq/"]);
        all.retain(|e| e["actor"] == "carol");
        all
    };
    system.until("five entries", |_| entries().len() == 5);
    let all = entries();
    let actions: Vec<&str> = all.iter().filter_map(|e| e["action"].as_str()).collect();
    assert_eq!(actions.iter().filter(|a| **a == "dlq_replay").count(), 4, "{actions:?}");
    assert_eq!(actions.iter().filter(|a| **a == "dlq_drop").count(), 1, "{actions:?}");
    let details = |e: &Value| -> Value {
        e["details"]
            .as_str()
            .map_or_else(|| e["details"].clone(), |text| serde_json::from_str(text).expect("details"))
    };
    let edited = |e: &&Value| details(e)["letters"][0]["sha256_after"].is_string();
    assert_eq!(all.iter().filter(edited).count(), 2, "the line, and the branch's");
    system.ok(&["audit", "verify"]);
    let way = system.ok(&["explain", origin]).join("\n");
    assert!(way.contains("dead letter: missing_field") && way.contains("replayed by carol"), "{way}");
    assert!(way.contains("mended"), "the detection too: {way}");
}

// ---- killed ----

/// A broker, a registry, and topics: what a replay needs.
struct Bench {
    kafka: String,
    prefix: String,
    registry: String,
    dir: TempDir,
    /// Kept alive.
    _running: Vec<Running>,
}

impl Bench {
    fn start(kafka: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let prefix = format!("{}.", unique("letters"));
        let source = json!({"apiVersion": "atio/v1", "kind": "Source", "metadata": {"name": "x"}, "from": {"http": {}}});
        let topics = dir.path().join("topics");
        fs::create_dir_all(topics.join("sources")).expect("a folder");
        fs::write(topics.join("sources/x.yaml"), source.to_string()).expect("a declaration");
        let config = json!({
            "prefix": prefix, "partitions": 3, "topics": topics, "log": {"level": "warn"}, "registry": {"listen": "127.0.0.1:0"},
        });
        fs::write(dir.path().join("atio.yaml"), config.to_string()).expect("a configuration");
        let mut bench =
            Self { kafka: kafka.to_owned(), prefix, registry: String::new(), dir, _running: vec![] };
        let mut command = bench.command();
        command.args(["run", "registry", "--http", "127.0.0.1:0", "--ordinal", "0"]);
        let registry = Running::start("registry", &mut command);
        bench.registry = registry.said("registry");
        bench._running.push(registry);
        let ended =
            Child::start(bench.command().args(["apply", "--topics-only"])).finish(Deadline::after(120));
        assert!(ended.status.success(), "{}", ended.told());
        bench
    }
    fn command(&self) -> std::process::Command {
        let mut command = atio();
        command
            .arg("--config")
            .arg(self.dir.path().join("atio.yaml"))
            .arg("--data")
            .arg(self.dir.path().join("data"));
        command.args(["--kafka", &self.kafka]);
        if !self.registry.is_empty() {
            command.args(["--registry", &self.registry]);
        }
        command
    }
    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
    fn replay(&self, rate: &str) -> Child {
        let mut command = self.command();
        command.args(["dlq", "replay", "raw.x", "--rate", rate, "--as", "carol", "--yes"]);
        Child::start(&mut command)
    }
    fn marks(&self) -> usize {
        topic::count(&self.kafka, &self.topic("dlq-marks"))
    }
}

fn write_letters(bench: &Bench) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", &bench.kafka).create().expect("a producer");
    let topic = bench.topic("raw.x.dlq");
    for n in 0..LETTERS {
        let (source, partition, offset) = (bench.topic("raw.x"), (n % 3).to_string(), (n / 3).to_string());
        let headers = [
            ("ce_id", n.to_string()),
            ("atio.errors.topic", source),
            ("atio.errors.partition", partition),
            ("atio.errors.offset", offset),
            ("atio.errors.stage", "normalization".to_owned()),
            ("atio.errors.code", "invalid_json".to_owned()),
        ];
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        let value = format!("line {n}");
        let record =
            BaseRecord::<str, str>::to(&topic).partition((n % 3) as i32).payload(&value).headers(headers);
        producer.send(record).map_err(|(e, _)| e).expect("queued");
    }
    producer.flush(Duration::from_secs(30)).expect("written");
}

/// kill -9, then a signal that it may answer, then to the end.
fn killed(on: On) -> Result<(), Failed> {
    let broker = Broker::shared(on);
    let bench = Bench::start(&broker.bootstrap);
    write_letters(&bench);
    let under_way = |than: usize| {
        let met =
            Deadline::after(60).every(Duration::from_millis(20), || (bench.marks() > than).then_some(()));
        assert!(met.is_some(), "the replay is under way");
    };
    let mut first = bench.replay(SLOWLY);
    under_way(0);
    first.kill();
    first.wait(Deadline::after(20));
    let after_kill = bench.marks();
    assert!(after_kill < LETTERS, "killed in the middle");
    let second = bench.replay(SLOWLY);
    under_way(after_kill);
    second.signal("INT");
    let second = second.finish(Deadline::after(60));
    assert_eq!(second.status.code(), Some(1), "{}", second.told());
    assert!(second.stderr.contains("are left; the same command goes on"), "{}", second.told());
    let before_last = bench.marks();
    assert!(before_last > after_kill && before_last < LETTERS, "{after_kill}, {before_last}");
    let last = bench.replay("100000").finish(Deadline::after(60));
    assert!(last.status.success(), "{}", last.told());
    let replayed = topic::by_header(&bench.kafka, &bench.topic("raw.x"), "atio.replay.letter");
    assert_eq!((replayed.len(), replayed.values().max()), (LETTERS, Some(&1)), "each once");
    let marked = topic::by_header(&bench.kafka, &bench.topic("dlq-marks"), "ce_id");
    assert_eq!(marked, replayed, "marked and replayed, or neither");
    assert!(topic::count(&bench.kafka, &bench.topic("audit-intents")) > 2);
    Ok(())
}
