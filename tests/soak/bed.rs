//! The system under test: the real services, each a process, from a topic of alerts to a topic of reports. Owns its names and its end; must
//! not know who is hit.
use super::{
    look::{Group, Position},
    oracle::{self, Books, Evidence, Findings},
};
use crate::support::{Broker, Deadline, Fleet, On, topic, topic_sink, unique};
use serde_json::json;
use std::time::Duration;

/// Partitions of the topic of alerts.
const PARTITIONS: i32 = 3;
/// Everything is through in that time after the load's end.
const PATIENCE_S: u64 = 600;

pub struct Bed {
    pub broker: Broker,
    pub fleet: Fleet,
    /// Topics by the way: alerts as the services read them, detections, enriched, workflow, delivery, the sink's.
    pub way: Vec<String>,
    /// Groups by the way: the reader of each but the last.
    pub groups: Vec<Group>,
}

impl Bed {
    pub fn start(on: On) -> Self {
        let broker = if super::clustered() { Broker::lasting(on) } else { Broker::start(on) };
        let name = unique("soak");
        let (alerts, sink) = (format!("{name}-eve"), format!("{name}-out"));
        topic::create(&broker.bootstrap, &alerts, PARTITIONS);
        let fleet = Fleet::start(&broker.bootstrap, &declarations(&alerts, &sink));
        fleet.runs("normalization", "normalization");
        fleet.runs("enrichment", "enrichment");
        fleet.runs("routing", "routing");
        fleet.runs("routing", "routing.all.out");
        fleet.runs("delivery", "delivery.out");
        let inner = ["detections", "enriched", "workflow.all", "delivery.out"].map(|t| fleet.topic(t));
        let way: Vec<String> = [vec![alerts], inner.to_vec(), vec![sink]].concat();
        let readers = ["normalization", "enrichment", "routing", "routing.all.out", "delivery.out"];
        let group = |(reader, topic): (&str, &String)| {
            Group::new(&broker.bootstrap, fleet.topic(reader), topic.clone())
        };
        let groups = readers.into_iter().zip(&way).map(group).collect();
        Self { broker, fleet, way, groups }
    }

    pub fn alerts(&self) -> &str {
        &self.way[0]
    }

    /// Starts what has ended by itself; who that was.
    pub fn mend(&mut self) -> Vec<(&'static str, String)> {
        let ended = self.fleet.ended();
        for (service, said) in &ended {
            println!("  {service} has ended by itself and is started again: {said}");
            self.fleet.start_again(service);
        }
        ended
    }

    /// Waits until each group, in the order of the way, has read its topic to the end: nothing can follow then.
    pub fn settle(&mut self) -> Result<(), String> {
        let deadline = Deadline::after(PATIENCE_S);
        for at in 0..self.groups.len() {
            let mut last = Position::default();
            let through = deadline.every(Duration::from_millis(300), || {
                self.mend();
                last = self.groups[at].position()?;
                (last.waiting() == 0).then_some(())
            });
            through.ok_or_else(|| format!("{} is not through in time: {last:?}", self.groups[at].name))?;
        }
        Ok(())
    }

    pub fn evidence(&self, fed: u64) -> Evidence {
        let bootstrap = &self.broker.bootstrap;
        let topics = self.way.iter().map(|t| (t.clone(), oracle::found(bootstrap, t))).collect();
        let books =
            self.groups.iter().map(|g| Books { group: g.name.clone(), ledgers: g.ledgers() }).collect();
        let names = topic::names(bootstrap).into_iter();
        let dead = names.filter(|t| t.starts_with(&self.fleet.prefix) && t.ends_with("dlq"));
        let dead = dead.map(|t| (t.clone(), topic::count(bootstrap, &t))).collect();
        Evidence { fed, topics, books, dead }
    }

    /// Waits until everything is through, and judges.
    pub fn judge(&mut self, fed: u64) -> Findings {
        let settled = self.settle();
        let mut findings = oracle::judge(&self.evidence(fed));
        if let Err(stuck) = settled {
            findings.other.entry("stuck").or_default().push(stuck);
        }
        findings
    }
}

fn declarations(alerts: &str, sink: &str) -> Vec<(&'static str, String)> {
    let source = json!({
        "apiVersion": "atio/v1", "kind": "Source", "metadata": {"name": "eve"}, "format": "suricata",
        "from": {"topic": {"name": alerts, "start": "beginning", "payload": "naked"}},
    });
    let workflow = json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "all"}, "on": "detection",
        "match": {"kind": "threat"}, "branches": {"out": [{"deliver": "out"}]},
    });
    vec![
        ("sources/eve.yaml", source.to_string()),
        ("sinks/out.yaml", topic_sink("out", sink)),
        ("workflows/all.yaml", workflow.to_string()),
    ]
}
