//! Incidents on their topic, as the metrics service shows them and as the report counts them; and the service while the broker is away.
use crate::support::{Broker, Child, Deadline, On, Running, atio, http, metrics::samples, root, trial};
use atio_runtime::RegistryIds;
use atio_schemas::{
    Codec, Timestamp,
    detection::Kind,
    incident::{Answerer, Incident, OpenWait, Verdict},
};
use atio_stage::{Headers, Output};
use atio_stream::{
    Kafka,
    publish::{Publisher, PublisherSpec},
};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, time::Duration};

const TOPIC: &str = "atio.incidents";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("pipeline::metrics::histograms_and_report_agree", &[], agree),
        trial("pipeline::metrics::ledgers_and_lag", &[], ledgers),
        trial("pipeline::metrics::broker_away", &[], away),
    ]
}

fn up(data: &Path) -> Running {
    let mut command = atio();
    command.args(["up", "--http", "127.0.0.1:0", "--data"]).arg(data);
    Running::start("the system", &mut command)
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp(1_760_000_000_000_000 + seconds * 1_000_000))
}

fn incident(n: i64) -> Incident {
    Incident {
        asset: Some("host:web".into()),
        rule_id: Some("1:2001".into()),
        events: 1,
        importance: Some(70.0),
        occurred_at: at(0),
        detected_at: at(n * 10),
        updated_at: at(n * 10),
        ..Incident::new(&format!("incident-{n}"), "default", Kind::Threat)
    }
}

/// Closed after an answer, open and waiting, a false positive, one with a clock ahead, a vulnerability; the first one twice, as it grew.
fn records() -> Vec<Incident> {
    let first = incident(1);
    let mut closed = incident(1);
    (closed.notified_at, closed.acked_at, closed.acked_as) = (at(11), at(41), Some(Answerer::Human));
    (closed.handed_over_at, closed.contained_at) = (at(12), at(70));
    (closed.closed_at, closed.verdict) = (at(100), Some(Verdict::TruePositive));
    let mut waiting = incident(2);
    waiting.notified_at = at(21);
    waiting.waits.push(OpenWait::new("w", "triage@1", "siem", "analyst", Timestamp(0)));
    let mut wrong = incident(3);
    (wrong.notified_at, wrong.acked_at, wrong.acked_as) = (at(31), at(40), Some(Answerer::Policy));
    (wrong.closed_at, wrong.verdict) = (at(50), Some(Verdict::FalsePositive));
    let mut skewed = incident(4);
    skewed.occurred_at = at(60);
    let finding = Incident { kind: Kind::Vulnerability, ..incident(5) };
    vec![first, waiting, wrong, skewed, finding, closed]
}

fn publish(kafka: &str, registry: &str, incidents: &[Incident]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let ids = runtime.block_on(RegistryIds::register(registry)).expect("schemas");
    let codec = Codec::new(ids);
    let kafka = Kafka { bootstrap: kafka.to_owned(), properties: BTreeMap::new() };
    let publisher = Publisher::open(PublisherSpec::new(&kafka, "trial", &[TOPIC])).expect("a publisher");
    let output = |i: &Incident| {
        Output::new(TOPIC, i.incident_id.as_str(), codec.encode(i).expect("Avro"), Headers::default())
    };
    let sent = runtime.block_on(publisher.send(incidents.iter().map(output).collect()));
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

/// The sum of a family's samples with these labels.
fn sum(all: &BTreeMap<String, f64>, family: &str, labels: &str) -> f64 {
    let of = |name: &str| name.strip_prefix(family).is_some_and(|r| r.starts_with('{') && r.contains(labels));
    all.iter().filter(|(name, _)| of(name)).map(|(_, v)| v).sum()
}

fn report(data: &Path, args: &[&str]) -> Value {
    let mut command = atio();
    command.arg("--data").arg(data).args(["metrics", "report", "--format", "json"]).args(args);
    let ended = Child::start(&mut command).finish(Deadline::after(60));
    assert!(ended.status.success(), "{}", ended.told());
    serde_json::from_str(&ended.stdout.concat()).expect("one JSON object")
}

/// What histograms say must be what the report says.
fn compare(all: &BTreeMap<String, f64>, report: &Value) {
    for row in report["timings"].as_array().expect("rows") {
        let (timing, by) = (row["timing"].as_str().expect("text"), row["by"].as_str());
        let labels = by.map_or_else(String::new, |by| format!("by=\"{by}\""));
        let family = |part: &str| sum(all, &format!("atio_incident_{timing}_seconds_{part}"), &labels);
        let count = row["count"].as_f64().expect("a number");
        assert!((family("count") - count).abs() < 0.5, "{timing} {by:?}: {} and {row}", family("count"));
        let total = row["mean"].as_f64().unwrap_or(0.0) * count;
        assert!((family("sum") - total).abs() < 1e-6, "{timing} {by:?}: {} and {row}", family("sum"));
    }
    let skewed: u64 =
        report["timings"].as_array().expect("rows").iter().filter_map(|r| r["skewed"].as_u64()).sum();
    assert!((sum(all, "atio_incident_clock_skew_total", "") - skewed as f64).abs() < 0.5);
    let open = report["open"].as_f64().expect("a number");
    assert!((sum(all, "atio_incidents_open", "") - open).abs() < 0.5, "{open} open");
}

fn agree() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut system = up(dir.path());
    publish(&system.said("kafka"), &system.said("registry"), &records());
    let seen = |system: &Running| {
        Deadline::after(60).until("the incidents show in /metrics", || {
            let all = samples(&system.said("http"));
            let done = sum(&all, "atio_incident_resolve_seconds_count", "") > 1.5
                && sum(&all, "atio_incidents_open", "") > 2.5;
            done.then_some(all)
        })
    };
    let all = seen(&system);
    let whole = report(dir.path(), &[]);
    compare(&all, &whole);
    assert_eq!(
        (&whole["incidents"], &whole["open"], &whole["false_positives"]),
        (&5.into(), &3.into(), &1.into())
    );
    let row = |report: &Value, timing: &str| {
        report["timings"]
            .as_array()
            .and_then(|r| r.iter().find(|r| r["timing"] == timing))
            .cloned()
            .unwrap_or_default()
    };
    let detect = row(&whole, "detect");
    let figures = ["count", "p50", "max", "skewed", "false_positives"].map(|f| detect[f].as_f64());
    assert_eq!(figures, [4.0, 10.0, 50.0, 1.0, 1.0].map(Some), "{detect}");
    assert_eq!(row(&whole, "respond")["open"], 3, "begun and not ended");
    assert!(sum(&all, "atio_incident_waits_open", "") > 0.5);
    let some = report(dir.path(), &["--kind", "vulnerability"]);
    assert_eq!(row(&some, "detect")["count"], 1);
    assert_eq!(report(dir.path(), &["--since", "1m"])["incidents"], 0, "all are older");
    let mut table = atio();
    table.arg("--data").arg(dir.path()).args(["metrics", "report"]);
    let table = Child::start(&mut table).finish(Deadline::after(60)).stdout;
    let order = ["MTTD", "MTTR", "MTTA", "MTTA", "hand-over", "resolve"];
    assert!(table.iter().skip(2).zip(order).all(|(line, name)| line.starts_with(name)), "{table:#?}");
    // Killed and started anew, it shows the same.
    system.child.kill();
    system = up(dir.path());
    compare(&seen(&system), &whole);
    system.stop("the system");
    Ok(())
}

fn ledgers() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let system = up(dir.path());
    let key = std::fs::read_to_string(dir.path().join("admin.key"))?;
    // Two alerts, and one that lacks what an alert must have.
    let lines = std::fs::read(root().join("services/atio/demo/alerts.ndjson"))?;
    let url = format!("{}/v1/sources/suricata/events", system.said("http"));
    let answer = http::post(&url, &[("authorization", &format!("Bearer {}", key.trim()))], &lines);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let ledger = |all: &BTreeMap<String, f64>, stage: &str, outcome: &str| {
        let labels = format!("outcome=\"{outcome}\",reason=\"\",service=\"metrics\",stage=\"{stage}\"");
        sum(all, "atio_ledger_records_total", &labels)
    };
    let all = Deadline::after(90).every(Duration::from_millis(200), || {
        let all = samples(&system.said("http"));
        // Groups are asked one after the other: the first of a look may not have had the alerts yet that the last has.
        let through =
            ledger(&all, "normalization", "read") > 2.5 && ledger(&all, "enrichment", "emitted") > 1.5;
        let dead = sum(&all, "atio_dead_letters", "topic=\"atio.raw.suricata.dlq\"");
        let at_rest = sum(&all, "atio_lag_records", "") < 0.5;
        (through && dead > 0.5 && at_rest).then_some(all)
    });
    let all = all.unwrap_or_else(|| panic!("in time: {:#?}", samples(&system.said("http"))));
    let imbalances: Vec<_> =
        all.iter().filter(|(name, _)| name.starts_with("atio_ledger_imbalance")).collect();
    assert!(imbalances.len() > 2 && imbalances.iter().all(|(_, v)| **v == 0.0), "{imbalances:?}");
    // Who counts within a lane and who reads what it committed say the same.
    let counted = sum(&all, "atio_stage_records_read_total", "stage=\"normalization\"");
    let committed = ledger(&all, "normalization", "read");
    assert!((counted - committed).abs() < 0.5, "{counted} and {committed}");
    assert!(sum(&all, "atio_stage_transactions_total", "result=\"committed\"") > 0.5);
    system.stop("the system");
    Ok(())
}

fn away() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut broker = Broker::start(On::Embedded);
    let kafka = broker.bootstrap.clone();
    let config = dir.path().join("atio.yaml");
    std::fs::write(&config, r#"{"registry": {"listen": "127.0.0.1:0"}, "partitions": 3}"#)?;
    let program = |args: &[&str]| {
        let mut command = atio();
        command.arg("--config").arg(&config).arg("--data").arg(dir.path().join("data"));
        command.args(["--kafka", &kafka]).args(args);
        command
    };
    let made = Child::start(&mut program(&["apply", "--topics-only"])).finish(Deadline::after(120));
    assert!(made.status.success(), "{}", made.told());
    let mut service =
        Running::start("metrics", &mut program(&["run", "registry", "metrics", "--http", "127.0.0.1:0"]));
    let http = service.said("http");
    let is_up = |wanted: f64| {
        Deadline::after(60).until("atio_metrics_up follows the broker", || {
            (sum(&samples(&http), "atio_metrics_up", "") == wanted).then_some(())
        });
    };
    is_up(1.0);
    broker.kill();
    is_up(0.0);
    let ended = Child::start(&mut program(&["--registry", &service.said("registry"), "metrics", "report"]))
        .finish(Deadline::after(60));
    assert_eq!(ended.status.code(), Some(6), "{}", ended.told());
    assert!(service.child.exited().is_none(), "it waits for the broker");
    broker.up();
    is_up(1.0);
    service.stop("metrics");
    broker.stop();
    Ok(())
}
