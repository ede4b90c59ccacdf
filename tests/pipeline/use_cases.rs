//! The three use cases as the shipped workflows have them: a scan, an attack, an insider. Each is reported, answered by a person, and handed over to
//! whoever responds; the insider's work is undone. All of it is read from topics and receipts, and measured by `atio metrics report`.
use crate::support::{Broker, Deadline, Fleet, On, http, root, topic, trial};
use atio_runtime::clock;
use libtest_mimic::{Failed, Trial};
use rdkafka::{
    config::ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, time::Duration};

const WATCHED: &str = "threat-detection-response";
const WATCHER: &str = "workflow-tampering";
/// Incidents of 80 and more: the finding, the attack, four of the insider's.
const HIGH: usize = 6;
/// Ingestion has loaded the tables before enrichment starts.
const SERVICES: [&str; 8] =
    ["monitoring", "ingestion", "normalization", "enrichment", "routing", "incidents", "delivery", "metrics"];

pub fn trials() -> Vec<Trial> {
    [("shipped", On::Embedded), ("shipped_on_kafka", On::Kafka)]
        .map(|(name, on)| {
            let run = move || use_cases(&Broker::start(on).bootstrap);
            trial(&format!("pipeline::use_cases::{name}"), on.needs(), run)
        })
        .into()
}

/// The demo's inventory, a catalogue that knows the scan's worst finding, and a response tool in the place of the file.
fn declarations() -> Vec<(&'static str, String)> {
    let tool = json!({
        "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": "report"}, "type": "kafka", "topic": "response-tool",
        "format": "report", "clearance": "red", "role": "response",
    });
    // Besides: on what became of the shipped ones.
    let besides = |name: &str, on: &str| {
        json!({
            "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": name}, "on": on, "match": {"importance": {"gte": 80}},
            "branches": {"tell": [{"deliver": "report"}]},
        })
        .to_string()
    };
    let exploited = json!({"vulnerabilities": [{"cveID": "CVE-2017-5638", "dateAdded": "2021-11-03", "dueDate": "2022-05-03"}]});
    let assets = fs::read_to_string(root().join("services/atio/demo/assets.csv")).expect("our samples");
    vec![
        ("sinks/report.yaml", tool.to_string()),
        ("workflows/high-incidents.yaml", besides("high-incidents", "incident")),
        ("workflows/isolate.yaml", besides("isolate", "manual")),
        ("tables/assets.csv", assets),
        ("tables/known_exploited_vulnerabilities.json", exploited.to_string()),
    ]
}

/// Minutes of the samples' times, and how many minutes ago they are to be: a scan of 100 minutes, alerts of now.
const TIMES: [(&str, i64); 8] = [
    ("2026-03-01T01:00", 110),
    ("2026-03-01T01:20", 90),
    ("2026-03-01T01:25", 85),
    ("2026-03-01T01:30", 80),
    ("2026-03-01T02:40", 10),
    ("2026-03-01T03:00", 2),
    ("2026-03-02T09:15", 2),
    ("2026-03-02T09:16", 2),
];

/// `2026-03-01T01:00`, so long ago.
fn minute(ago: i64) -> String {
    clock::now().plus_millis(-ago * 60_000).rfc3339_millis()[..16].to_owned()
}

struct Bed {
    fleet: Fleet,
    key: String,
}

impl Bed {
    fn send(&self, source: &str, content_type: &str, sample: &str) {
        let body = fs::read_to_string(root().join("services/atio/demo").join(sample)).expect("our samples");
        let body = TIMES.iter().fold(body, |body, (then, ago)| body.replace(then, &minute(*ago)));
        let url = format!("{}/v1/sources/{source}/events?sensor=demo", self.fleet.http("ingestion"));
        let key = format!("Bearer {}", self.key.trim());
        let answer =
            http::post(&url, &[("authorization", &key), ("content-type", content_type)], body.as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let lines = self.fleet.client(&[args, &["--format", "json"]].concat());
        lines.iter().map(|l| serde_json::from_str(l).expect("JSON lines")).collect()
    }

    /// Values on a topic of ours, decoded, oldest first.
    fn values(&self, name: &str) -> Vec<Value> {
        let lines = self.fleet.client(&["tap", name, "--from", "beginning", "--until", "end"]);
        let mut all: Vec<Value> =
            lines.iter().map(|l| serde_json::from_str(l).expect("JSON lines")).collect();
        all.sort_by_key(|record| record["timestamp"].as_str().map(str::to_owned));
        all.into_iter().map(|mut record| record["value"].take()).collect()
    }

    /// What the response tool got of a workflow, by branch, and what it answered: each delivery has its receipt.
    fn handed_over(&self, workflow: &str) -> BTreeMap<String, usize> {
        let ours = |v: &Value| {
            v["sink"] == "report"
                && v["workflow"].as_str().is_some_and(|w| w.starts_with(&format!("{workflow}@")))
        };
        let mut by_branch = BTreeMap::new();
        for receipt in self.values("receipts").into_iter().filter(ours) {
            assert_eq!(receipt["status"], "delivered", "{receipt}");
            *by_branch.entry(receipt["branch"].as_str().expect("a branch").to_owned()).or_default() += 1;
        }
        by_branch
    }

    fn until_handed_over(&self, workflow: &str, wanted: &[(&str, usize)]) {
        let wanted: BTreeMap<String, usize> = wanted.iter().map(|(b, n)| ((*b).to_owned(), *n)).collect();
        let mut last = BTreeMap::new();
        let met = Deadline::after(120).every(Duration::from_millis(300), || {
            last = self.handed_over(workflow);
            (last == wanted).then_some(())
        });
        assert!(met.is_some(), "{workflow}: the response tool got {last:?}, expected {wanted:?}");
    }

    /// The one incident of a kind that waits for somebody.
    fn waiting(&self, kind: &str) -> Value {
        let found = Deadline::after(120).every(Duration::from_millis(300), || {
            let mut all = self.json(&["incident", "ls", "--state", "waiting"]);
            all.retain(|i| i["kind"] == kind && i["detected_at"].is_string());
            (all.len() == 1).then(|| all.remove(0))
        });
        found.unwrap_or_else(|| panic!("one {kind} waits: {:?}", self.json(&["incident", "ls"])))
    }

    /// Somebody answers for it. What the incident says in the end.
    fn acknowledge(&self, incident: &Value) -> Value {
        let id = incident["incident_id"].as_str().expect("an id");
        let mut answered = self.json(&["ack", id, "--as", "carol", "--comment", "on it"]);
        let answered = answered.pop().expect("the incident");
        assert_eq!((&answered["acked_by"], &answered["acked_as"]), (&"carol".into(), &"human".into()));
        answered
    }

    /// Reported, then answered, then told to whoever responds. `branches`: what was handed over before the answer; `last`: the one that waits.
    fn runs_through(&self, workflow: &str, kind: &str, branches: &[(&str, usize)], last: (&str, usize)) {
        self.until_handed_over(workflow, branches);
        let incident = self.waiting(kind);
        for time in ["occurred_at", "detected_at", "notified_at"] {
            assert!(incident[time].is_string(), "{time}: {incident}");
        }
        self.acknowledge(&incident);
        self.until_handed_over(workflow, &[branches, &[last]].concat());
    }

    fn is_in_force(&self, name: &str) -> bool {
        self.json(&["workflow", "ls"]).iter().any(|w| w["name"] == name)
    }

    /// Writes as nobody may: the workflow is gone.
    fn tombstone(&self, name: &str) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.fleet.kafka)
            .set("broker.address.family", "v4")
            .create()
            .expect("a producer");
        let topic = self.fleet.topic("workflows");
        producer.send(BaseRecord::<str, [u8]>::to(&topic).key(name)).expect("queued");
        producer.flush(Duration::from_secs(20)).expect("written");
    }

    fn restore(&self, name: &str) {
        self.fleet.client(&["workflow", "restore", name, "--as", "alice"]);
        assert!(self.is_in_force(name), "{name} is restored");
    }

    fn last_report(&self) -> Value {
        let ours = |v: &Value| v["workflow"].as_str().is_some_and(|w| w.starts_with(&format!("{WATCHER}@")));
        let last = self.values("delivery.report").into_iter().rfind(|v| ours(v) && v["branch"] == "report");
        let payload = last.expect("a report")["payload"].as_str().expect("bytes").to_owned();
        serde_json::from_slice(&base64(&payload)).expect("a report")
    }
}

/// As `tap` prints bytes.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|b| DIGITS.iter().position(|d| *d == b));
    let (mut bytes, mut bits, mut value) = (vec![], 0, 0_usize);
    for digit in digits {
        (value, bits) = (value << 6 | digit, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(value >> bits & 0xff).expect("a byte"));
        }
    }
    bytes
}

fn use_cases(bootstrap: &str) -> Result<(), Failed> {
    let fleet = Fleet::only(bootstrap, &declarations(), &SERVICES);
    let key = fleet.ingest_key();
    let bed = Bed { fleet, key };
    // 1: a scan finds what is exploited already.
    bed.send("openvas", "application/xml", "scan.xml");
    bed.runs_through(
        "vulnerability-identification",
        "vulnerability",
        &[("report", 3), ("urgent", 1)],
        ("acknowledge", 1),
    );
    // 2: an attack on it, and one that was blocked.
    bed.send("suricata", "application/x-ndjson", "alerts.ndjson");
    bed.runs_through(WATCHED, "threat", &[("respond", 1)], ("contain", 1));
    by_hand(&bed);
    insider(&bed);
    // Each of them crossed the threshold once, whatever happened to it afterwards.
    bed.until_handed_over("high-incidents", &[("tell", HIGH)]);
    measured(&bed);
    let dead: Vec<String> = topic::names(bootstrap)
        .into_iter()
        .filter(|name| name.starts_with(&bed.fleet.prefix) && name.ends_with("dlq"))
        .filter(|name| topic::count(bootstrap, name) > 0)
        .collect();
    // The broken line of the samples.
    assert_eq!(dead, [bed.fleet.topic("raw.suricata.dlq")]);
    bed.fleet.stop();
    Ok(())
}

/// A workflow that somebody runs on the incident of the attack.
fn by_hand(bed: &Bed) {
    let threats = bed.json(&["incident", "ls"]).into_iter();
    let threat =
        threats.filter(|i| i["kind"] == "threat").find(|i| i["acked_by"] == "carol").expect("an incident");
    let id = threat["incident_id"].as_str().expect("an id");
    for n in 1..=2 {
        bed.fleet.client(&["workflow", "run", "isolate", "--incident", id, "--as", "carol"]);
        bed.until_handed_over("isolate", &[("tell", n)]);
    }
    let runs = bed.json(&["workflow", "changes", "isolate"]);
    let runs: Vec<&Value> = runs.iter().filter(|c| c["change_type"] == "RunEvents").collect();
    assert!(runs.len() == 2 && runs.iter().all(|c| c["actor"] == "carol"), "{runs:?}");
}

/// 3: by command, behind ATIO's back, and the watcher itself.
fn insider(bed: &Bed) {
    let told = |n: usize, last: usize| [("report", n), ("acknowledge", last)].map(|(b, n)| (b, n)).to_vec();
    let delete = |name: &str| {
        bed.fleet.client(&["workflow", "delete", name, "--as", "mallory", "--reason", "nobody needs it"]);
        assert!(!bed.is_in_force(name), "{name} is out of force");
    };
    delete(WATCHED);
    bed.until_handed_over(WATCHER, &[("report", 1)]);
    let report = bed.last_report();
    assert_eq!(report["asset"]["id"], format!("workflow:{WATCHED}"), "{report}");
    assert_eq!(report["who"]["users"], json!(["mallory"]), "{report}");
    assert_eq!(report["actions"], json!([format!("atio workflow restore {WATCHED}")]), "{report}");
    bed.acknowledge(&bed.waiting("operational"));
    bed.until_handed_over(WATCHER, &told(1, 1));
    bed.restore(WATCHED);

    bed.tombstone(WATCHED);
    bed.until_handed_over(WATCHER, &told(2, 1));
    let report = bed.last_report();
    assert_eq!((&report["labels"], &report["who"]["users"]), (&json!(["deleted"]), &Value::Null), "{report}");
    assert!(!bed.is_in_force(WATCHED), "it is out of force");
    bed.acknowledge(&bed.waiting("operational"));
    bed.until_handed_over(WATCHER, &told(2, 2));
    bed.restore(WATCHED);

    delete(WATCHER);
    bed.until_handed_over(WATCHER, &told(3, 2));
    assert_eq!(bed.last_report()["asset"]["id"], format!("workflow:{WATCHER}"));
    bed.acknowledge(&bed.waiting("operational"));
    bed.until_handed_over(WATCHER, &told(3, 3));
    bed.restore(WATCHER);
    // It watches again.
    delete("vulnerability-identification");
    bed.until_handed_over(WATCHER, &told(4, 3));
    bed.acknowledge(&bed.waiting("operational"));
    bed.until_handed_over(WATCHER, &told(4, 4));
    bed.restore("vulnerability-identification");
}

/// MTTD, MTTA and hand-over of each use case.
fn measured(bed: &Bed) {
    for (kind, answered, handed_over) in [("vulnerability", 1, 3), ("threat", 1, 1), ("operational", 4, 4)] {
        let report = bed.json(&["metrics", "report", "--kind", kind]).pop().expect("a report");
        let row = |timing: &str, by: Option<&str>| -> (u64, f64) {
            let rows = report["timings"].as_array().expect("rows");
            let row = rows.iter().find(|r| r["timing"] == timing && r["by"].as_str() == by).expect("a row");
            (row["count"].as_u64().expect("a count"), row["p50"].as_f64().unwrap_or(f64::NAN))
        };
        let (detect, acknowledge, handover) =
            (row("detect", None), row("acknowledge", Some("human")), row("handover", None));
        assert_eq!(acknowledge.0, answered, "{kind}: {report}");
        assert_eq!(handover.0, handed_over, "{kind}: {report}");
        assert!(detect.0 >= answered && acknowledge.1 > 0.0 && handover.1 < 60.0, "{kind}: {report}");
        let slowest = if kind == "vulnerability" { 120.0 * 60.0 } else { 300.0 };
        assert!(detect.1 < slowest, "{kind} is detected in time: {report}");
        println!(
            "{kind}: MTTD {:.3} s, MTTA {:.3} s, hand-over {:.3} s",
            detect.1, acknowledge.1, handover.1
        );
    }
}
