//! Receipts and incidents that trigger workflows, while the service that reads them is killed: each is told once, and of an incident only that its match
//! begins to hold. What there is is counted from topics.
use crate::support::{Author, Broker, Deadline, Fleet, On, both, brief, topic, topic_sink};
use atio_schemas::{Timestamp, delivery::ReceiptRecord, detection::Kind, incident::Incident};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::time::Duration;

const ROUNDS: usize = 3;
/// Receipts a round: of every second the match holds.
const RECEIPTS: usize = 200;
/// Incidents; in each round each becomes more important, and in the second it crosses the line.
const INCIDENTS: usize = 60;

pub fn trials() -> Vec<Trial> {
    both("pipeline::triggers::killed.", killed).into()
}

fn declarations() -> Vec<(&'static str, String)> {
    let workflow = |name: &str, on: &str, matches: serde_json::Value| {
        json!({
            "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": name}, "on": on, "match": matches,
            "branches": {"out": [{"deliver": "out"}]},
        })
        .to_string()
    };
    vec![
        ("sinks/out.yaml", topic_sink("out", "triggers-out")),
        ("workflows/receipts.yaml", workflow("receipts", "receipt", json!({"outcome": "rejected"}))),
        ("workflows/incidents.yaml", workflow("incidents", "incident", json!({"importance": {"gte": 80}}))),
    ]
}

fn receipt(n: usize) -> (String, ReceiptRecord) {
    let status = if n.is_multiple_of(2) { "rejected" } else { "delivered" };
    let receipt = ReceiptRecord {
        sink: "out".into(),
        idempotency_key: format!("key-{n}"),
        event_id: format!("event-{n}"),
        incident_id: Some(format!("incident-{}", n % 37)),
        workflow: "others@1".into(),
        branch: "b".into(),
        status: status.into(),
        code: None,
        external_id: None,
        attempts: 1,
        delivered_at: Timestamp(0),
    };
    (format!("incident-{}", n % 37), receipt)
}

fn incident(n: usize, round: usize) -> (String, Incident) {
    let id = format!("incident-{n}");
    let mut incident = Incident::new(&id, "default", Kind::Threat);
    incident.importance = Some([60.0, 85.0, 90.0][round % 3]);
    (id, incident)
}

fn killed(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    let mut fleet = Fleet::only(bootstrap, &declarations(), &["monitoring", "routing"]);
    ["routing-receipt", "routing-incident"].iter().for_each(|stage| fleet.runs("routing", stage));
    let author = Author::open(bootstrap, &fleet.registry, &fleet.prefix, &["receipts", "incidents"]);
    let count =
        |fleet: &Fleet, name: &str| topic::count(bootstrap, &fleet.topic(&format!("workflow.{name}")));
    for round in 0..ROUNDS {
        let before = count(&fleet, "receipts");
        let receipts: Vec<_> = (round * RECEIPTS..(round + 1) * RECEIPTS).map(receipt).collect();
        let incidents: Vec<_> = (0..INCIDENTS).map(|n| incident(n, round)).collect();
        let (first, rest) = receipts.split_at(RECEIPTS / 4);
        author.send("receipts", first);
        Deadline::after(60).until("routing is at it", || (count(&fleet, "receipts") > before).then_some(()));
        // In the middle: it has begun, and the rest is just there.
        author.send("receipts", rest);
        author.send("incidents", &incidents);
        fleet.kill_and_restart("routing");
    }
    let mut wrong = vec![];
    for (name, expected) in [("receipts", ROUNDS * RECEIPTS / 2), ("incidents", INCIDENTS)] {
        let there = Deadline::after(90)
            .every(Duration::from_millis(200), || (count(&fleet, name) >= expected).then_some(()));
        let by_id = topic::by_header(bootstrap, &fleet.topic(&format!("workflow.{name}")), "ce_id");
        let twice = by_id.values().filter(|n| **n > 1).count();
        if there.is_none() || by_id.len() != expected || twice > 0 || by_id.contains_key("") {
            wrong.push(format!(
                "{name}: {} distinct events of {expected}, {twice} more than once",
                by_id.len()
            ));
        }
    }
    for (stage, input, read) in [
        ("routing-receipt", "receipts", ROUNDS * RECEIPTS),
        ("routing-incident", "incidents", ROUNDS * INCIDENTS),
    ] {
        let counts = fleet.committed(stage, &[input]);
        if !counts.balanced() || counts.dead_lettered_total() > 0 || counts.read != read as u64 {
            wrong.push(format!("{stage}: {counts:?}, {read} went in"));
        }
    }
    fleet.stop();
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}
