//! The shipped pipeline run again: what came in gives what it gave, also after tables and workflows have changed, from each hop; what is declared otherwise
//! shows as a difference at each hop that it reaches; and nothing leaves. On both brokers.
use crate::support::{Broker, Deadline, Fleet, On, both, http, root, topic, topic_sink};
use libtest_mimic::{Failed, Trial};
use rdkafka::Message;
use serde_json::{Value, json};
use std::{fs, time::Duration};

const SERVICES: [&str; 5] = ["monitoring", "ingestion", "normalization", "enrichment", "routing"];
const INVENTORY: &str = "id,addresses,hostnames,owner,criticality,exposure,policies\nshop-web-1,192.0.2.10,shop.example.com,web,high,internet,OWNER\n";

pub fn trials() -> Vec<Trial> {
    both("pipeline::replay_pipeline::", again).into()
}

fn inventory(owner: &str) -> String {
    INVENTORY.replace("OWNER", owner)
}

/// One branch says which version this is, for each event; the other keeps all but the first of each rule.
fn workflow(version: &str) -> String {
    let label = format!("push(.labels, \"version-{version}\")");
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "tell"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {"each": [{"set": {"labels": label}}, {"deliver": "out"}], "first": [{"dedup": {"key": ["asset", "rule.id"], "within": "1h"}}, {"deliver": "out"}]},
    })
    .to_string()
}

struct World {
    fleet: Fleet,
    key: String,
    sent: usize,
}

impl World {
    fn start(bootstrap: &str) -> Self {
        let table = json!({
            "apiVersion": "atio/v1", "kind": "Table", "metadata": {"name": "assets"}, "file": "assets.csv", "format": "csv", "key": "id", "refresh": "1s",
        });
        let declarations = vec![
            ("sinks/out.yaml", topic_sink("out", "out")),
            ("tables/assets.yaml", table.to_string()),
            ("tables/assets.csv", inventory("web-team")),
            ("workflows/tell.yaml", workflow("one")),
        ];
        let fleet = Fleet::only(bootstrap, &declarations, &SERVICES);
        ["each", "first"].iter().for_each(|b| fleet.runs("routing", &format!("routing.tell.{b}")));
        let key = fleet.ingest_key();
        Self { fleet, key, sent: 0 }
    }

    /// What the branch `each` delivered, as text, in the order in which it came.
    fn delivered(&self) -> Vec<String> {
        let mut all = vec![];
        topic::each(&self.fleet.kafka, &self.fleet.topic("delivery.out"), |m| {
            all.push(String::from_utf8_lossy(m.payload().unwrap_or_default()).into_owned());
        });
        all.retain(|text| text.contains("version-"));
        all
    }

    /// Both alerts, until one of them is delivered with these parts.
    fn alerts_until(&mut self, parts: &[&str]) {
        let lines = fs::read(root().join("services/atio/demo/alerts.ndjson")).expect("samples");
        let url = format!("{}/v1/sources/suricata/events", self.fleet.http("ingestion"));
        let met = Deadline::after(90).every(Duration::from_millis(300), || {
            let answer =
                http::post(&url, &[("authorization", &format!("Bearer {}", self.key.trim()))], &lines);
            assert_eq!(answer.status, 202, "{}", answer.text());
            self.sent += 2;
            let all = Deadline::after(60).every(Duration::from_millis(100), || {
                Some(self.delivered()).filter(|all| all.len() >= self.sent)
            });
            let all = all.unwrap_or_else(|| panic!("{} alerts are delivered", self.sent));
            let last = all.iter().rev().take(2).any(|text| parts.iter().all(|part| text.contains(part)));
            last.then_some(())
        });
        assert!(met.is_some(), "no alert is delivered with {parts:?}");
    }

    /// Exit code, the last line, those before it.
    fn replay(&self, args: &[&str]) -> (Option<i32>, Value, Vec<Value>) {
        let ended = self.fleet.ask(&[&["replay", "--pipeline", "--format", "json"], args].concat());
        let mut lines: Vec<Value> =
            ended.stdout.iter().map(|l| serde_json::from_str(l).expect("JSON lines")).collect();
        let last = lines.pop().unwrap_or_else(|| panic!("{}", ended.told()));
        (ended.status.code(), last, lines)
    }
}

fn events<'v>(last: &'v Value, hop: &str) -> &'v Value {
    let hops = last["hops"].as_array().expect("hops");
    &hops.iter().find(|h| h["hop"] == hop).unwrap_or_else(|| panic!("{hop}: {last}"))["events"]
}

/// Deliveries of this kind, of all legs.
fn deliveries(last: &Value, kind: &str) -> u64 {
    let legs = last["legs"].as_array().expect("legs").iter();
    legs.map(|leg| leg["deliveries"][kind].as_u64().expect("a count")).sum()
}

fn again(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    let mut world = World::start(bootstrap);
    world.alerts_until(&["web-team", "version-one"]);
    world.fleet.declare("tables/assets.csv", &inventory("shop-team"));
    world.alerts_until(&["shop-team", "version-one"]);
    world.fleet.declare("workflows/tell.yaml", &workflow("two"));
    world.fleet.client(&["apply"]);
    world.alerts_until(&["shop-team", "version-two"]);
    as_it_was(&world);
    by_now(&world);
    otherwise(&world);
    world.fleet.stop();
    Ok(())
}

/// The same from every hop, although two tables have changed since.
fn as_it_was(world: &World) {
    let sent = world.sent as u64;
    let same = json!({"same": sent, "changed": 0, "new": 0, "missing": 0, "columns": {}});
    let (code, last, told) = world.replay(&[]);
    assert_eq!((code, told.len()), (Some(0), 0), "{last:#}\n{told:#?}");
    assert_eq!((events(&last, "detections"), events(&last, "enriched")), (&same, &same));
    assert_eq!(
        (&last["pipeline"], &last["state"], &last["cut"]),
        (&"raw".into(), &"as_then".into(), &false.into())
    );
    assert!(deliveries(&last, "same") >= sent + 2, "every alert, and the first of each rule: {last}");
    assert_eq!(deliveries(&last, "new") + deliveries(&last, "missing") + deliveries(&last, "changed"), 0);
    let tables = last["tables"].as_array().expect("tables");
    let noted = |stage: &str| {
        let of = tables.iter().filter(|t| t["stage"] == stage);
        of.map(|t| t["seen"]["noted"].as_u64().expect("a count")).min().unwrap_or_default()
    };
    assert!(["normalization", "enrichment", "routing"].iter().all(|stage| noted(stage) > 0), "{last:#}");
    let by_time = tables.iter().map(|t| t["seen"]["by_time"].as_u64().expect("a count")).sum::<u64>();
    assert_eq!(by_time, 0, "all was noted: {last:#}");

    for (from, hops) in [("detections", 1), ("enriched", 0)] {
        let (code, last, told) = world.replay(&["--from-topic", from]);
        assert_eq!((code, told.len()), (Some(0), 0), "{from}: {last:#}\n{told:#?}");
        assert_eq!(last["hops"].as_array().map(Vec::len), Some(hops), "{last}");
        assert_eq!(last["read"].as_u64(), Some(sent), "{last}");
        assert!(deliveries(&last, "same") >= sent + 2, "{last}");
    }
}

/// With the tables of now the first alerts are another's, and of another version.
fn by_now(world: &World) {
    let (code, last, told) = world.replay(&["--tables", "now"]);
    assert_eq!(code, Some(4));
    let enriched = events(&last, "enriched");
    assert_eq!(events(&last, "detections")["changed"], 0, "{last:#}");
    assert!(
        enriched["changed"].as_u64() >= Some(1) && enriched["columns"]["policies"].as_u64() >= Some(1),
        "{last:#}"
    );
    assert!(told.iter().any(|d| d["hop"] == "enriched" && d["difference"] == "changed"), "{told:#?}");
    assert!(deliveries(&last, "changed") >= 2, "{last:#}");

    let later = world.replay(&["--from", "2100-01-01T00:00:00Z"]);
    assert_eq!((later.0, &later.1["read"], &later.1["state"]), (Some(0), &0.into(), &"empty".into()));
    let some = world.replay(&["--limit", "1"]);
    assert_eq!((&some.1["read"], &some.1["cut"]), (&1.into(), &true.into()), "{}", some.1);
}

/// A source that is declared otherwise: each hop shows what follows; what the replay writes is its own.
fn otherwise(world: &World) {
    let source = json!({
        "apiVersion": "atio/v1", "kind": "Source", "metadata": {"name": "suricata"}, "format": "suricata", "tlp": "green", "from": {"http": {}},
    });
    world.fleet.declare("sources/suricata.yaml", &source.to_string());
    let count = |name: &str| topic::count(bootstrap(world), &world.fleet.topic(name));
    let before = ["detections", "enriched", "workflow.tell", "delivery.out"].map(count);
    let (code, last, told) = world.replay(&["--shadow", "green", "--show", "3"]);
    let sent = world.sent as u64;
    assert_eq!(code, Some(4));
    for hop in ["detections", "enriched"] {
        let events = events(&last, hop);
        assert_eq!(
            (&events["changed"], &events["columns"]["tlp"]),
            (&sent.into(), &sent.into()),
            "{hop}: {last:#}"
        );
    }
    assert!(told.iter().filter(|d| d["hop"] == "detections").count() == 3, "{told:#?}");
    assert_eq!(
        ["detections", "enriched", "workflow.tell", "delivery.out"].map(count),
        before,
        "nothing leaves"
    );
    for name in ["detections", "enriched", "delivery.out"] {
        let shadow = world.fleet.topic(&format!("replay.green.{name}"));
        let runs = topic::by_header(bootstrap(world), &shadow, "atio_run");
        assert_eq!(runs.keys().collect::<Vec<_>>(), ["green"], "{name}");
        assert!(runs["green"] >= world.sent, "{name}: {runs:?}");
    }
}

fn bootstrap(world: &World) -> &str {
    &world.fleet.kafka
}
