//! A flood of one source doesn't delay the alerts of another: it waits on its own raw topic, not on those that all sources share. Compared is what
//! overtakes an alert with what was there before it, so that it does not matter how fast the machine is.
use crate::support::{Broker, Deadline, Fleet, On, both, metrics, topic, topic_sink};
use libtest_mimic::{Failed, Trial};
use rdkafka::{
    Message, Offset,
    config::ClientConfig,
    consumer::BaseConsumer,
    error::KafkaError,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// So much of the flood waits while critical alerts are sent: for each that arrives one more comes.
const FLOOD: usize = 20_000;
/// The flood is under way: so much of it is at the sink.
const BEGUN: usize = 6_000;
const CRITICAL: usize = 20;
const APART: Duration = Duration::from_millis(100);
const SINK: &str = "fair-out";
const SOURCES: [&str; 2] = ["flood", "critical"];

pub fn trials() -> Vec<Trial> {
    both("pipeline::fairness::", flooded).into()
}

fn declarations() -> Vec<(String, String)> {
    let source = |name: &str| {
        let text = json!({
            "apiVersion": "atio/v1", "kind": "Source", "metadata": {"name": name}, "format": "suricata",
            "class": if name == "critical" { "critical" } else { "normal" },
            "from": {"topic": {"name": format!("fair-{name}"), "start": "beginning", "payload": "naked"}},
        });
        (format!("sources/{name}.yaml"), text.to_string())
    };
    let workflow = json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "all"}, "on": "detection",
        "match": {"kind": "threat"}, "branches": {"out": [{"deliver": "out"}]},
    });
    let mut all: Vec<_> = SOURCES.iter().map(|name| source(name)).collect();
    all.push(("sinks/out.yaml".to_owned(), topic_sink("out", SINK)));
    all.push(("workflows/all.yaml".to_owned(), workflow.to_string()));
    all
}

/// The n-th of a source: both are about the same hosts, so that they lie on the same partitions.
fn alert(source: &str, n: usize) -> String {
    let (a, b, host) = (n % 200, n / 200 % 200, n % 37);
    json!({
        "timestamp": format!("2026-03-02T09:{:02}:{:02}.{:06}+0000", n / 60 % 60, n % 60, n), "flow_id": n, "event_type": "alert",
        "src_ip": format!("203.0.{b}.{a}"), "src_port": 1024 + n % 60000, "dest_ip": format!("10.0.0.{host}"), "dest_port": 80, "proto": "TCP",
        "alert": {
            "action": "allowed", "gid": 1, "signature_id": 9_100_000 + n % 11, "rev": 1, "severity": 2,
            "signature": format!("{source} <{n}>"),
        },
    })
    .to_string()
}

/// Which alert of the critical source a record at the sink is, if it is one.
fn critical(payload: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(payload);
    let rest = text.split_once("critical <").or_else(|| text.split_once("critical \\u003c"))?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn producer(bootstrap: &str) -> ThreadedProducer<DefaultProducerContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "2");
    config.create().expect("a producer")
}

fn put(producer: &ThreadedProducer<DefaultProducerContext>, source: &str, n: usize) {
    let (name, key, value) = (format!("fair-{source}"), format!("sensor-{}", n % 30), alert(source, n));
    let sent = producer.send(BaseRecord::to(&name).key(&key).payload(&value));
    sent.map_err(|(e, _)| e).expect("the queue has room");
}

/// An alert of the critical source on its way: when it was sent, and what of the flood was at the sink by then.
struct Sent {
    at: Instant,
    before: usize,
}

/// One that has arrived.
#[derive(Debug)]
struct Arrived {
    took: Duration,
    /// What of the flood arrived meanwhile.
    overtaken: usize,
}

/// Sends the critical ones while the flood is under way, and looks at the sink until all have arrived. With how much the flood was.
fn watch(
    consumer: &BaseConsumer,
    producer: &ThreadedProducer<DefaultProducerContext>,
) -> Result<(Vec<Arrived>, usize), Failed> {
    let mut sent: Vec<Sent> = vec![];
    let mut arrived: BTreeMap<usize, Arrived> = BTreeMap::new();
    let mut flood = 0;
    let deadline = Deadline::after(300);
    while arrived.len() < CRITICAL {
        if deadline.left().is_none() {
            return Err(format!("{} critical alerts in time, {flood} of the flood", arrived.len()).into());
        }
        let due = sent.last().map_or(flood >= BEGUN, |last: &Sent| last.at.elapsed() >= APART);
        if due && sent.len() < CRITICAL {
            put(producer, "critical", sent.len());
            sent.push(Sent { at: Instant::now(), before: flood });
        }
        let message = match consumer.poll(Duration::from_millis(5)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => continue,
            Some(message) => message?,
        };
        match critical(message.payload().unwrap_or_default()) {
            None => {
                put(producer, "flood", FLOOD + flood);
                flood += 1;
            }
            Some(n) => {
                let of = &sent[n];
                let one = Arrived { took: of.at.elapsed(), overtaken: flood - of.before };
                assert!(arrived.insert(n, one).is_none(), "{n} comes once");
            }
        }
    }
    Ok((arrived.into_values().collect(), FLOOD + flood))
}

/// Seconds in which a source waited for others.
fn held_back(fleet: &Fleet, source: &str) -> f64 {
    let label = format!("source=\"{source}\"");
    let ours = |name: &str| name.starts_with("atio_intake_held_back_seconds_total{") && name.contains(&label);
    let all = metrics::samples(&fleet.http("normalization")).into_iter();
    all.filter(|(name, _)| ours(name)).map(|(_, value)| value).sum()
}

fn flooded(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    for name in SOURCES {
        topic::create(bootstrap, &format!("fair-{name}"), 3);
    }
    let files = declarations();
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (&**name, text.clone())).collect();
    let fleet = Fleet::start(bootstrap, &files);
    fleet.runs("routing", "routing.all.out");
    let consumer = topic::follow(bootstrap, "fair-sink", &[(SINK, Offset::Beginning)])?;
    let producer = producer(bootstrap);
    (0..FLOOD).for_each(|n| put(&producer, "flood", n));
    producer.flush(Duration::from_secs(60))?;
    let (arrived, flood) = watch(&consumer, &producer)?;
    producer.flush(Duration::from_secs(60))?;
    let mut took: Vec<u128> = arrived.iter().map(|a| a.took.as_millis()).collect();
    took.sort_unstable();
    let most = arrived.iter().map(|a| a.overtaken).max().unwrap_or(0);
    println!(
        "critical alerts, raw to sink: p50 {} ms, max {} ms; of {FLOOD} before them {most} went first at most",
        took[CRITICAL / 2],
        took[CRITICAL - 1]
    );
    for one in &arrived {
        assert!(one.overtaken < FLOOD / 4, "what was there before it does not go before it: {one:?}");
    }
    let held = |source: &str| held_back(&fleet, source);
    let all = flood + CRITICAL;
    let began = Instant::now();
    for (service, stage) in [("normalization", "normalization"), ("delivery", "delivery.out")] {
        fleet.settled(service, stage, all, Deadline::after(400));
    }
    println!(
        "the flood of {flood} took {} s more, {} s of them held back",
        began.elapsed().as_secs(),
        held("flood")
    );
    assert!(held("flood") >= 1.0, "the flood waited");
    assert!(held("critical") < 1.0, "nothing else did");
    let by_id = topic::by_header(bootstrap, SINK, "ce_id");
    assert_eq!(
        (by_id.len(), by_id.values().sum::<usize>()),
        (all, all),
        "nothing is lost, nothing comes twice"
    );
    fleet.stop();
    Ok(())
}
