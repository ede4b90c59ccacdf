//! A workflow that is due by itself, while the service whose timers it hangs on is killed: no due time twice, none left out but those that fell
//! into an outage and are told as such; then the next version, a pause, and its end. What there is is read from topics.
use crate::support::{Broker, Deadline, Fleet, On, both, brief, topic, topic_sink, watch::stamp};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::Duration;

const PERIOD_MS: i64 = 2000;
const SECOND_MS: i64 = 3000;
/// Where between two due times routing is killed, and for how long it is away at least.
const KILLS: [(i64, i64); 4] = [(1990, 0), (20, 4500), (1000, 0), (1950, 2500)];

pub fn trials() -> Vec<Trial> {
    both("pipeline::schedules::each_due_time_once.", scheduled).into()
}

fn workflow(every_ms: i64) -> String {
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "clock"}, "on": "schedule",
        "schedule": {"every": format!("{}s", every_ms / 1000)}, "match": {}, "branches": {"out": [{"deliver": "out"}]},
    })
    .to_string()
}

fn declarations() -> Vec<(&'static str, String)> {
    vec![("sinks/out.yaml", topic_sink("out", "schedule-out")), ("workflows/clock.yaml", workflow(PERIOD_MS))]
}

/// What came to the workflow.
#[derive(Debug)]
struct Event {
    id: String,
    due_ms: i64,
    version: String,
    late: bool,
}

fn events(fleet: &Fleet) -> Vec<Event> {
    let told = fleet.client(&["tap", "workflow.clock", "--from", "beginning", "--until", "end"]);
    let mut all: Vec<Event> = told.iter().map(|line| event(line)).collect();
    all.sort_by_key(|e| e.due_ms);
    all
}

fn event(line: &str) -> Event {
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    let d = &line["value"]["detection"];
    let due = d["occurred_at"].as_str().expect("a due time");
    Event {
        id: d["event_id"].as_str().expect("an id").to_owned(),
        due_ms: atio_schemas::Timestamp::parse(due).expect("a time").0 / 1000,
        version: d["rule"]["rev"].as_str().expect("a version").to_owned(),
        late: d["code"] == "late",
    }
}

fn scheduled(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    let mut fleet = Fleet::only(bootstrap, &declarations(), &["monitoring", "routing"]);
    fleet.runs("routing", "routing-schedule");
    let routed = fleet.topic("workflow.clock");
    let count = || topic::count(bootstrap, &routed);
    let comes = |more: usize| {
        let from = count();
        Deadline::after(90).until("it is due again", || (count() >= from + more).then_some(()));
    };
    let until_ms = |at: i64| {
        Deadline::after(30)
            .every(Duration::from_millis(1), || (stamp() >= at).then_some(()))
            .expect("time passes");
    };
    for (phase, away) in KILLS {
        comes(2);
        let now = stamp();
        until_ms(now - now.rem_euclid(PERIOD_MS) + PERIOD_MS + phase);
        fleet.kill("routing");
        until_ms(stamp() + away);
        fleet.start_again("routing");
    }
    comes(2);
    fleet.declare("workflows/clock.yaml", &workflow(SECOND_MS));
    fleet.client(&["apply"]);
    comes(2);
    fleet.client(&["workflow", "pause", "clock", "--as", "ann"]);
    let paused = count();
    until_ms(stamp() + 2 * SECOND_MS);
    let mut wrong = vec![];
    if count() != paused {
        wrong.push(format!("paused with {paused} events, now {}", count()));
    }
    let resumed = stamp();
    fleet.client(&["workflow", "resume", "clock", "--as", "ann"]);
    comes(2);
    let all = count();
    let delivered = fleet.topic("delivery.out");
    Deadline::after(60)
        .until("all is delivered", || (topic::count(bootstrap, &delivered) >= all).then_some(()));
    fleet.client(&["workflow", "delete", "clock", "--as", "ann"]);
    let ended = count();
    until_ms(stamp() + 2 * SECOND_MS);
    if count() != ended {
        wrong.push(format!("deleted with {ended} events, now {}", count()));
    }
    let events = events(&fleet);
    wrong.extend(judge(&events, resumed));
    let by_key = topic::by_header(bootstrap, &delivered, "atio_idempotency_key");
    let twice = by_key.values().filter(|n| **n > 1).count();
    if twice > 0 || by_key.len() < all || by_key.len() > events.len() {
        wrong.push(format!("{} deliveries of {} events, {twice} twice", by_key.len(), events.len()));
    }
    let ends = Deadline::after(30).every(Duration::from_millis(200), || {
        let counts = fleet.committed("routing-schedule", &["workflow-changes"]);
        (counts.balanced() && counts.held == 0 && counts.read > 0).then_some(())
    });
    if ends.is_none() {
        wrong.push(format!("the ledger: {:?}", fleet.committed("routing-schedule", &["workflow-changes"])));
    }
    fleet.stop();
    println!("{} events, {} of them late", events.len(), events.iter().filter(|e| e.late).count());
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

/// What is wrong with the events, in the order of their due times.
fn judge(events: &[Event], resumed: i64) -> Vec<String> {
    let mut wrong = vec![];
    let period = |e: &Event| if e.version == "1" { PERIOD_MS } else { SECOND_MS };
    for event in events.iter().filter(|e| e.due_ms % period(e) != 0) {
        wrong.push(format!("no due time: {event:?}"));
    }
    for pair in events.windows(2) {
        let [before, event] = pair else { continue };
        if event.id == before.id || event.due_ms <= before.due_ms || event.version < before.version {
            wrong.push(format!("twice, or out of order: {before:?}, {event:?}"));
        }
        // The first of the pause is after it ended; nothing else is left out without being told.
        let is_first = before.due_ms < resumed && event.due_ms >= resumed;
        let missed = event.due_ms - before.due_ms > period(event);
        if before.version == event.version && missed && !event.late && !is_first {
            wrong.push(format!("left out without a word: {before:?}, {event:?}"));
        }
    }
    if !events.iter().any(|e| e.late) {
        wrong.push("nothing was late, with outages of two periods".to_owned());
    }
    if !events.iter().any(|e| e.version == "2" && e.due_ms > resumed) {
        wrong.push("the second version did not go on".to_owned());
    }
    wrong
}
