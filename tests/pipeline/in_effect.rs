//! A new version is in effect on all instances, without a restart: two instances of routing get events all the time while a workflow is changed again and
//! again. No event of a key comes out under an older version than the one before it. How soon it is in effect is told, not judged: machines differ.
use crate::support::{Author, Broker, Deadline, Fleet, On, both, metrics, topic, topic_sink};
use atio_schemas::{Detection, detection::Kind};
use libtest_mimic::{Failed, Trial};
use rdkafka::{Message, Offset, consumer::BaseConsumer, error::KafkaError};
use serde_json::json;
use std::time::{Duration, Instant};

const CHANGES: usize = 10;
/// Enough that every partition has some.
const ASSETS: usize = 12;
const STAGE: &str = "routing.ours.out";

pub fn trials() -> Vec<Trial> {
    both("pipeline::in_effect::everywhere_", everywhere).into()
}

/// Its events say under which version they were.
fn workflow(version: usize) -> String {
    let set = json!({"set": {"labels": format!("[\"version <{version}>\"]")}});
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "ours"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {"out": [set, {"deliver": "out"}]},
    })
    .to_string()
}

fn event(n: usize) -> (String, Detection) {
    let asset = format!("host:{}", n % ASSETS);
    let mut detection = Detection::new(format!("event <{n}>"), Kind::Threat, "default", "trial");
    detection.asset = Some(asset.clone());
    (asset, detection)
}

/// The number in angle brackets behind a word.
fn number(text: &str, word: &str) -> Option<usize> {
    let (_, rest) = text.split_once(&format!("{word} <"))?;
    rest.split_once('>')?.0.parse().ok()
}

struct World<'f> {
    fleet: &'f Fleet,
    author: Author,
    consumer: BaseConsumer,
    out: String,
    /// When each event was sent, and the version under which it was.
    events: Vec<(Instant, Option<usize>)>,
    /// The version that each asset had last.
    last: [usize; ASSETS],
    /// The newest definition was seen.
    defined: Option<Instant>,
}

impl World<'_> {
    /// Another event, and what has come meanwhile.
    fn go_on(&mut self) -> Result<(), Failed> {
        let n = self.events.len();
        self.events.push((Instant::now(), None));
        self.author.send("enriched", &[event(n)]);
        self.read()
    }

    fn read(&mut self) -> Result<(), Failed> {
        while let Some(message) = self.consumer.poll(Duration::from_millis(2)) {
            let message = match message {
                Err(KafkaError::PartitionEOF(_)) => continue,
                message => message?,
            };
            if message.topic() != self.out {
                self.defined.get_or_insert_with(Instant::now);
                continue;
            }
            let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
            let found = number(&text, "event").zip(number(&text, "version"));
            let (n, version) = found.ok_or_else(|| format!("a delivery without its numbers: {text}"))?;
            let last = &mut self.last[n % ASSETS];
            assert!(version >= *last, "event {n} is under version {version}, the one before it under {last}");
            *last = version;
            assert!(self.events[n].1.replace(version).is_none(), "event {n} comes once");
        }
        Ok(())
    }

    /// How long after its definition somebody was still under another version. Nobody: 0.
    fn change(&mut self, version: usize) -> Result<Duration, Failed> {
        self.fleet.declare("workflows/ours.yaml", &workflow(version));
        self.defined = None;
        let first = self.events.len();
        let apply = self.fleet.begin(&["apply"]);
        let deadline = Deadline::after(120);
        let defined = loop {
            if let Some(defined) = self.defined.filter(|_| self.last.iter().all(|last| *last == version)) {
                break defined;
            }
            assert!(deadline.left().is_some(), "version {version} is in effect for all: {:?}", self.last);
            self.go_on()?;
        };
        let ended = apply.finish(deadline);
        assert!(ended.status.success(), "{}", ended.told());
        let before = self.events.iter().skip(first).filter(|(_, under)| *under == Some(version - 1));
        Ok(before.map(|(sent, _)| sent.saturating_duration_since(defined)).max().unwrap_or_default())
    }
}

fn everywhere(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let out = format!("in-effect-{on}");
    topic::create(&broker.bootstrap, &out, 3);
    let files = [("sinks/out.yaml", topic_sink("out", &out)), ("workflows/ours.yaml", workflow(1))];
    let fleet = Fleet::only(&broker.bootstrap, &files, &["monitoring", "routing", "delivery"]);
    let second = fleet.beside("routing", 1);
    let reads = || metrics::ledgers(&second.said("http")).remove(STAGE).unwrap_or_default().read;
    // Definitions from now on, and all that is delivered.
    let topics = [(&*fleet.topic("workflows"), Offset::End), (&*out, Offset::Beginning)];
    let consumer = topic::follow(&fleet.kafka, "in-effect", &topics)?;
    let mut world = World {
        fleet: &fleet,
        author: Author::open(&broker.bootstrap, &fleet.registry, &fleet.prefix, &["enriched"]),
        consumer,
        out,
        events: vec![],
        last: [0; ASSETS],
        defined: None,
    };
    let deadline = Deadline::after(120);
    while reads() == 0 || world.last.contains(&0) {
        assert!(deadline.left().is_some(), "both instances have partitions: {:?}", world.last);
        world.go_on()?;
    }
    let before = fleet.ledger("routing", STAGE).read;
    let mut late = vec![];
    for version in 2..CHANGES + 2 {
        late.push(world.change(version)?.as_millis());
    }
    late.sort_unstable();
    println!(
        "in effect everywhere after its definition: p50 {} ms, max {} ms",
        late[CHANGES / 2],
        late[CHANGES - 1]
    );
    assert!(fleet.ledger("routing", STAGE).read > before, "the first instance has partitions, too");
    let rest = Deadline::after(60);
    while world.events.iter().any(|(_, under)| under.is_none()) {
        assert!(rest.left().is_some(), "every event comes out");
        world.read()?;
    }
    second.stop("the second instance");
    fleet.stop();
    Ok(())
}
