//! What came does not come any more, and is back, while routing is killed: each silence is told once, each return once; who was heard on several
//! partitions is silent where all are quiet; and what lay unread while routing was away is no silence.
use crate::support::{Author, Broker, Deadline, Fleet, On, both, brief, topic, topic_sink, watch::stamp};
use atio_schemas::{Detection, Timestamp, detection::Kind};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::Duration;

const AFTER_MS: i64 = 10_000;
/// Before it is noticed an eighth more passes.
const NOTICED_MS: i64 = AFTER_MS + AFTER_MS / 8;

pub fn trials() -> Vec<Trial> {
    both("pipeline::silences::told_once.", silences).into()
}

fn declarations() -> Vec<(&'static str, String)> {
    let workflow = json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "quiet"}, "on": "silence",
        "silence": {"after": format!("{}s", AFTER_MS / 1000), "key": "source"}, "match": {"kind": "threat"},
        "branches": {"out": [{"deliver": "out"}]},
    });
    vec![("sinks/out.yaml", topic_sink("out", "silence-out")), ("workflows/quiet.yaml", workflow.to_string())]
}

struct Bed {
    fleet: Fleet,
    author: Author,
    sent: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    id: String,
    code: String,
    source: String,
    last_ms: i64,
    noticed_ms: i64,
}

impl Bed {
    /// An event of each of these sources, for several assets: they lie on all partitions.
    fn send(&mut self, sources: &[&str]) {
        let mut all = vec![];
        for source in sources {
            for n in 0..6 {
                let mut detection =
                    Detection::new(format!("event-{}-{n}", self.sent), Kind::Threat, "default", source);
                detection.asset = Some(format!("host:{n}"));
                all.push((format!("host:{n}"), detection));
                self.sent += 1;
            }
        }
        self.author.send("enriched", &all);
    }

    /// Time passes, and these go on.
    fn goes_on(&mut self, sources: &[&str], ms: i64) {
        let until = stamp() + ms;
        while stamp() < until {
            self.send(sources);
            let next = (stamp() + 500).min(until);
            Deadline::after(30)
                .every(Duration::from_millis(5), || (stamp() >= next).then_some(()))
                .expect("time passes");
        }
    }

    fn events(&self) -> Vec<Event> {
        let told = self.fleet.client(&["tap", "workflow.quiet", "--from", "beginning", "--until", "end"]);
        let mut all: Vec<Event> = told.iter().map(|line| event(line)).collect();
        all.sort_by_key(|e| e.noticed_ms);
        all
    }

    fn count(&self) -> usize {
        topic::count(&self.fleet.kafka, &self.fleet.topic("workflow.quiet"))
    }

    /// Until so many events are there, while these go on.
    fn until(&mut self, count: usize, sources: &[&str]) {
        let deadline = Deadline::after(90);
        while self.count() < count {
            assert!(deadline.left().is_some(), "{count} events in time, here are {:?}", self.events());
            self.goes_on(sources, 500);
        }
    }
}

fn event(line: &str) -> Event {
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    let d = &line["value"]["detection"];
    let text = |name: &str| d[name].as_str().unwrap_or_else(|| panic!("no {name} in {d}")).to_owned();
    let time = |name: &str| Timestamp::parse(&text(name)).expect("a time").0 / 1000;
    Event {
        id: text("event_id"),
        code: text("code"),
        source: text("source"),
        last_ms: time("last_seen"),
        noticed_ms: time("received_at"),
    }
}

fn silences(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    let fleet = Fleet::only(bootstrap, &declarations(), &["monitoring", "routing"]);
    ["routing-heard", "routing-silence"].iter().for_each(|stage| fleet.runs("routing", stage));
    let author = Author::open(bootstrap, &fleet.registry, &fleet.prefix, &["enriched"]);
    let mut bed = Bed { fleet, author, sent: 0 };
    // What comes before it listens is nobody's: until both are heard, wherever they come.
    let heard = bed.fleet.topic("heard");
    let deadline = Deadline::after(60);
    while topic::count(bootstrap, &heard) < 2 {
        assert!(deadline.left().is_some(), "nobody listens");
        bed.goes_on(&["eve", "zeek"], 500);
    }
    bed.goes_on(&["eve", "zeek"], 3000);
    // One is quiet. Routing dies before it is noticed, and comes back when it is over.
    let last = stamp();
    bed.goes_on(&["zeek"], AFTER_MS / 2);
    bed.fleet.kill("routing");
    bed.goes_on(&["zeek"], AFTER_MS);
    bed.fleet.start_again("routing");
    bed.until(1, &["zeek"]);
    // It is back, and routing dies again.
    let back = stamp();
    bed.send(&["eve", "zeek"]);
    bed.until(2, &["eve", "zeek"]);
    bed.fleet.kill_and_restart("routing");
    // Routing is away for longer than a silence, and both come meanwhile.
    bed.goes_on(&["eve", "zeek"], 2000);
    bed.fleet.kill("routing");
    bed.goes_on(&["eve", "zeek"], 2 * NOTICED_MS);
    bed.fleet.start_again("routing");
    for stage in ["routing-heard", "routing-silence"] {
        let deadline = Deadline::after(60);
        while bed.fleet.ledger("routing", stage).up == 0 {
            assert!(deadline.left().is_some(), "{stage} does not run\n{}", bed.fleet.stderr("routing"));
            bed.goes_on(&["eve", "zeek"], 200);
        }
    }
    bed.goes_on(&["eve", "zeek"], NOTICED_MS);
    let events = bed.events();
    let mut wrong = judge(&events, last, back);
    // Both are quiet in the end: all is told, nothing is held.
    let deadline = Deadline::after(60);
    let ended =
        deadline.every(Duration::from_millis(200), || (bed.count() == events.len() + 2).then_some(()));
    if ended.is_none() {
        wrong.push(format!("in the end: {:?}", bed.events()));
    }
    for (stage, inputs) in
        [("routing-heard", &["enriched", "enriched-logs"][..]), ("routing-silence", &["heard"])]
    {
        let settled = Deadline::after(30).every(Duration::from_millis(200), || {
            let counts = bed.fleet.committed(stage, inputs);
            let ended = counts.held == 0 && counts.dead_lettered_total() == 0 && counts.read > 0;
            (counts.balanced() && ended).then_some(())
        });
        if settled.is_none() {
            wrong.push(format!("{stage}: {:?}", bed.fleet.committed(stage, inputs)));
        }
    }
    let ids = topic::by_header(bootstrap, &bed.fleet.topic("workflow.quiet"), "ce_id");
    if ids.values().any(|n| *n > 1) {
        wrong.push(format!("told twice: {ids:?}"));
    }
    bed.fleet.stop();
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

/// What is wrong with the silence of the one, and its return.
fn judge(events: &[Event], last: i64, back: i64) -> Vec<String> {
    let [silent, returned] = events else {
        return vec![format!("not one silence and one return: {events:?}")];
    };
    println!("noticed {} ms after it was heard last", silent.noticed_ms - silent.last_ms);
    let mut wrong = vec![];
    let codes = (&*silent.code, &*silent.source, &*returned.code, &*returned.source);
    if codes != ("silent", "eve", "returned", "eve") {
        wrong.push(format!("{events:?}"));
    }
    let early = silent.noticed_ms - silent.last_ms < NOTICED_MS;
    if early || silent.last_ms > last || silent.last_ms < last - 2 * AFTER_MS {
        wrong.push(format!("the last of it came before {last}: {silent:?}"));
    }
    if returned.noticed_ms < back || returned.last_ms != silent.last_ms {
        wrong.push(format!("it was back at {back}: {returned:?}"));
    }
    wrong
}
