//! `kill -9` in the middle of a load: of each service, and of the embedded broker. Nothing lost, nothing twice, ledger balanced. What
//! there is is counted from topics, by a client that knows nothing of ATIO.
use crate::support::{Broker, Deadline, Fleet, On, brief, topic, topic_sink, trial};
use atio_stream::{Kafka as Client, Ledger, admin::Admin};
use libtest_mimic::{Failed, Trial};
use rdkafka::{
    config::ClientConfig,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

const EVENTS: usize = 6_000;
/// After so many events somebody is killed.
const STEP: usize = 1_000;

/// Services and brokers that are killed, in turn. (Apache Kafka alone in its cluster may lose abort markers in a crash.)
const EMBEDDED: &[&str] = &["normalization", "broker", "enrichment", "routing", "broker"];
const KAFKA: &[&str] = &["normalization", "enrichment", "routing", "delivery", "normalization"];

pub fn trials() -> Vec<Trial> {
    [(On::Embedded, EMBEDDED), (On::Kafka, KAFKA)]
        .map(|(on, kills)| trial(&format!("pipeline::kill::{on}"), on.needs(), move || load(on, kills)))
        .into()
}

fn declarations() -> Vec<(&'static str, String)> {
    let source = json!({
        "apiVersion": "atio/v1", "kind": "Source", "metadata": {"name": "eve"}, "format": "suricata",
        "from": {"topic": {"name": "kill-eve", "start": "beginning", "payload": "naked"}},
    });
    let workflow = json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "all"}, "on": "detection",
        "match": {"kind": "threat"}, "branches": {"out": [{"deliver": "out"}]},
    });
    vec![
        ("sources/eve.yaml", source.to_string()),
        ("sinks/out.yaml", topic_sink("out", "kill-out")),
        ("workflows/all.yaml", workflow.to_string()),
    ]
}

pub(super) fn alert(n: usize) -> String {
    let (a, b, host) = (n % 200, n / 200 % 200, n % 37);
    json!({
        "timestamp": format!("2026-03-02T09:{:02}:{:02}.{:06}+0000", n / 60 % 60, n % 60, n), "flow_id": n, "event_type": "alert",
        "src_ip": format!("203.0.{b}.{a}"), "src_port": 1024 + n % 60000, "dest_ip": format!("10.0.0.{host}"), "dest_port": 80, "proto": "TCP",
        "alert": {"action": "allowed", "gid": 1, "signature_id": 9_100_000 + n % 11, "rev": 1, "signature": format!("rule {}", n % 11), "severity": 2},
    })
    .to_string()
}

/// Feeds and kills in turn, then waits for the end and counts.
fn load(on: On, kills: &[&'static str]) -> Result<(), Failed> {
    let mut broker = Broker::start(on);
    let bootstrap = &broker.bootstrap.clone();
    topic::create(bootstrap, "kill-eve", 3);
    let mut fleet = Fleet::start(bootstrap, &declarations());
    println!("broker: {}, services: {:?}", broker.pid(), fleet.pids());
    let producer = producer(bootstrap);
    for n in 0..EVENTS {
        if n > 0 && n % STEP == 0 {
            let victim = kills[(n / STEP - 1) % kills.len()];
            // In the middle: the victim has begun, and has not caught up.
            let mid = Deadline::after(120).until("work is under way", || {
                let lag = lag(&fleet);
                (lag > 0).then_some(lag)
            });
            println!("after {n} events, {mid} waiting: kill -9 {victim}");
            if victim == "broker" {
                broker.kill();
                broker.up();
            } else {
                fleet.kill_and_restart(victim);
            }
        }
        let (key, value) = (format!("sensor-{}", n % 5), alert(n));
        let record = BaseRecord::to("kill-eve").key(&key).payload(&value);
        producer.send(record).map_err(|(e, _)| format!("event {n}: {e}"))?;
    }
    producer.flush(Duration::from_secs(60))?;
    let settled = Deadline::after(240).every(Duration::from_millis(500), || {
        (out(&fleet, EVENTS) >= EVENTS && lag(&fleet) == 0).then_some(())
    });
    let mut wrong = vec![];
    if settled.is_none() {
        wrong.push(format!(
            "not all through in time: {} of {EVENTS} out, {} waiting",
            out(&fleet, EVENTS),
            lag(&fleet)
        ));
    }
    let topics = [
        fleet.topic("detections"),
        fleet.topic("enriched"),
        fleet.topic("workflow.all"),
        fleet.topic("delivery.out"),
        "kill-out".into(),
    ];
    for name in &topics {
        wrong.extend(once(bootstrap, name));
    }
    for name in
        topic::names(bootstrap).into_iter().filter(|t| t.starts_with(&fleet.prefix) && t.ends_with("dlq"))
    {
        let dead = topic::count(bootstrap, &name);
        if dead > 0 {
            wrong.push(format!("{name} has {dead} dead letters"));
        }
    }
    wrong.extend(ledgers(&fleet));
    fleet.stop();
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

pub(super) fn producer(bootstrap: &str) -> ThreadedProducer<DefaultProducerContext> {
    let mut config = ClientConfig::new();
    let set = [
        ("bootstrap.servers", bootstrap),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("linger.ms", "5"),
        ("message.timeout.ms", "120000"),
    ];
    for (name, value) in set {
        config.set(name, value);
    }
    config.create().expect("a producer")
}

/// Every event is on the topic, under an id of its own.
fn once(bootstrap: &str, name: &str) -> Vec<String> {
    let by_id = topic::by_header(bootstrap, name, "ce_id");
    let records: usize = by_id.values().sum();
    let twice = by_id.values().filter(|n| **n > 1).count();
    if by_id.len() == EVENTS && twice == 0 && !by_id.contains_key("") {
        return vec![];
    }
    vec![format!(
        "{name}: {records} records, {} distinct ids of {EVENTS}, {twice} more than once",
        by_id.len()
    )]
}

/// Groups of the way with the topics that they read.
fn ways(fleet: &Fleet) -> Vec<(&'static str, String, String)> {
    [
        ("normalization", "kill-eve".to_owned()),
        ("enrichment", fleet.topic("detections")),
        ("routing", fleet.topic("enriched")),
        ("routing.all.out", fleet.topic("workflow.all")),
        ("delivery.out", fleet.topic("delivery.out")),
    ]
    .map(|(group, topic)| (group, fleet.topic(group), topic))
    .to_vec()
}

fn admin(fleet: &Fleet) -> Admin {
    let client = Client { bootstrap: fleet.kafka.clone(), properties: BTreeMap::new() };
    Admin::connect(&client, "kill-trial").expect("an admin client")
}

/// Records that some group has not read. A broker that is away just now has everything waiting.
fn lag(fleet: &Fleet) -> i64 {
    let admin = admin(fleet);
    let of = |(_, group, topic): &(&str, String, String)| {
        admin.lag(group, &[topic]).map(|l| l.iter().map(|p| p.lag).sum::<i64>())
    };
    ways(fleet).iter().map(of).sum::<Result<i64, _>>().unwrap_or(i64::MAX)
}

/// Records on the sink's topic, markers of transactions aside where it is close to done.
fn out(fleet: &Fleet, enough: usize) -> usize {
    let marks = admin(fleet).watermarks("kill-out").unwrap_or_default();
    let at_most: i64 = marks.iter().map(|m| m.stable - m.low).sum();
    if usize::try_from(at_most).unwrap_or(0) < enough { 0 } else { topic::count(&fleet.kafka, "kill-out") }
}

/// The ledgers as they were committed, with the offsets: they outlive the processes.
fn ledgers(fleet: &Fleet) -> Vec<String> {
    let admin = admin(fleet);
    let mut wrong = vec![];
    for (name, group, topic) in ways(fleet) {
        let committed = admin.committed(&group, &[&topic]).unwrap_or_default();
        let mut read = 0;
        for partition in committed.iter().filter(|c| c.offset.is_some_and(|o| o > 0)) {
            match Ledger::from_metadata(&partition.metadata) {
                Some(ledger) if ledger.counts.balanced() => read += ledger.counts.read,
                Some(ledger) => wrong.push(format!("{name}: not balanced: {:?}", ledger.counts)),
                None => wrong.push(format!("{name}: no ledger: {:?}", partition.metadata)),
            }
        }
        if read != EVENTS as u64 {
            wrong.push(format!("{name}: the ledger has {read} read, {EVENTS} went in"));
        }
    }
    wrong
}
