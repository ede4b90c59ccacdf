//! Branches that count and hold, while the service that runs them is killed: what is delayed goes on once, what is counted stays counted, what is
//! gathered is in exactly one of those that go on. The steps come with a second version, to branches that run already; a workflow counts over all
//! assets; and one splits its events and hands the parts to another, which holds them. What is delivered is counted from topics.
use crate::support::{Author, Broker, Deadline, Fleet, On, brief, topic, trial};
use atio_schemas::{Detection, detection::Kind};
use atio_stream::Counts;
use libtest_mimic::{Failed, Trial};
use rdkafka::Message;
use serde_json::{Value, json};
use std::time::Duration;

/// Events a round, of so many assets.
const ROUND: usize = 120;
const ASSETS: usize = 40;
const ROUNDS: usize = 3;
/// Of each asset so many go on in all.
const LIMIT: usize = 4;
/// Over all assets there are so many rules.
const RULES: usize = 7;
/// An event comes to so many parts.
const PARTS: usize = 3;
/// Long enough that a round is held when the service is killed, and due when it is there again or soon after.
const DELAY: &str = "6s";
/// Some of a round are gathered before it is killed, some after.
const WINDOW: &str = "4s";

pub fn trials() -> Vec<Trial> {
    [
        ("killed_while_branches_count_and_hold", On::Embedded),
        ("killed_while_branches_count_and_hold_on_kafka", On::Kafka),
    ]
    .map(|(name, on)| {
        let run = move || killed(&Broker::start(on).bootstrap);
        trial(&format!("pipeline::steps::{name}"), on.needs(), run)
    })
    .into()
}

/// Four branches, each to a sink of its own.
fn workflow(late: Value, once: Value, few: Value, many: Value) -> String {
    let branch = |steps: Value, sink: &str| {
        let mut steps = steps.as_array().cloned().unwrap_or_default();
        steps.push(json!({"deliver": sink}));
        steps
    };
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "steps"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {"late": branch(late, "late"), "once": branch(once, "once"), "few": branch(few, "few"), "many": branch(many, "many")},
    })
    .to_string()
}

/// Counts by a column that its events come together by.
fn across() -> String {
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "across"}, "on": "detection", "partition_by": "rule.id",
        "match": {"kind": "threat"},
        "branches": {"rules": [{"dedup": {"key": "rule.id", "within": "1h"}}, {"deliver": "rules"}]},
    })
    .to_string()
}

/// Each event goes on as its parts, in a workflow of their own.
fn parts() -> [(&'static str, String); 2] {
    let workflow = |name: &str, on: &str, branches: Value| {
        json!({
            "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": name}, "on": on, "match": {"kind": "threat"},
            "branches": branches,
        })
        .to_string()
    };
    let whole = json!([{"split": ".cves"}, {"set": {"cves": "[.item]"}}, {"call": {"workflow": "part"}}]);
    [
        ("workflows/whole.yaml", workflow("whole", "detection", json!({"out": whole}))),
        (
            "workflows/part.yaml",
            workflow("part", "manual", json!({"parts": [{"delay": "2s"}, {"deliver": "parts"}]})),
        ),
    ]
}

fn declarations() -> Vec<(&'static str, String)> {
    let sink = |name: &str, format: &str| {
        json!({
            "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": name}, "type": "kafka", "topic": format!("steps-{name}"),
            "format": format, "clearance": "red",
        })
        .to_string()
    };
    let mut all = vec![
        ("sinks/late.yaml", sink("late", "report")),
        ("sinks/once.yaml", sink("once", "report")),
        ("sinks/few.yaml", sink("few", "report")),
        ("sinks/many.yaml", sink("many", "ecs")),
        ("sinks/rules.yaml", sink("rules", "report")),
        ("sinks/parts.yaml", sink("parts", "report")),
        ("workflows/across.yaml", across()),
        ("workflows/steps.yaml", workflow(json!([]), json!([]), json!([]), json!([]))),
    ];
    all.extend(parts());
    all
}

fn event(n: usize) -> (String, Detection) {
    let asset = format!("host:{}", n % ASSETS);
    let mut detection = Detection::new(format!("event-{n}"), Kind::Threat, "default", "trial");
    detection.asset = Some(asset.clone());
    detection.rule.id = Some(format!("1:{}", n % RULES));
    detection.cves = (0..PARTS).map(|part| format!("CVE-2026-{}", 1000 + n * PARTS + part)).collect();
    (asset, detection)
}

const BRANCHES: [&str; 4] = ["late", "once", "few", "many"];

fn killed(bootstrap: &str) -> Result<(), Failed> {
    let mut fleet = Fleet::only(bootstrap, &declarations(), &["monitoring", "routing"]);
    let author = Author::open(bootstrap, &fleet.registry, &fleet.prefix, &["enriched"]);
    let stage = |branch: &str| format!("routing.steps.{branch}");
    for stage in ["routing.across.rules", "routing.whole.out", "routing.part.parts"] {
        fleet.runs("routing", stage);
    }
    BRANCHES.iter().for_each(|b| fleet.runs("routing", &stage(b)));
    let delivered =
        |fleet: &Fleet, sink: &str| topic::count(bootstrap, &fleet.topic(&format!("delivery.{sink}")));
    // The first version counts and holds nothing.
    author.send("enriched", &[event(0)]);
    for branch in BRANCHES {
        let there = Deadline::after(60)
            .every(Duration::from_millis(50), || (delivered(&fleet, branch) == 1).then_some(()));
        assert!(there.is_some(), "{branch} delivers at once");
    }
    let key = |more: Value| -> Value {
        let mut step = json!({"key": "asset"});
        step.as_object_mut().expect("fields").extend(more.as_object().cloned().unwrap_or_default());
        step
    };
    let second = workflow(
        json!([{"delay": DELAY}]),
        json!([{"dedup": key(json!({"within": "1h"}))}]),
        json!([{"rate": key(json!({"limit": LIMIT, "per": "1h"}))}]),
        json!([{"gather": key(json!({"within": WINDOW}))}]),
    );
    fleet.declare("workflows/steps.yaml", &second);
    fleet.client(&["apply"]);
    let mut held = vec![];
    for round in 0..ROUNDS {
        let events: Vec<_> = (1 + round * ROUND..=(round + 1) * ROUND).map(event).collect();
        author.send("enriched", &events);
        let read = 1 + (round + 1) * ROUND;
        for branch in BRANCHES {
            let all = Deadline::after(60).every(Duration::from_millis(20), || {
                let counts = committed(&fleet, "steps", branch);
                (counts.read == read as u64).then_some(counts)
            });
            let all = all.ok_or_else(|| format!("{branch} has not read {read} in round {round}"))?;
            held.extend((branch == "late").then_some(all.held));
        }
        let across = Deadline::after(60).every(Duration::from_millis(20), || {
            (committed(&fleet, "across", "rules").read == read as u64).then_some(())
        });
        across.ok_or_else(|| format!("across has not read {read} in round {round}"))?;
        fleet.kill("routing");
        println!("round {round}: kill -9, {} held", held.last().copied().unwrap_or_default());
        fleet.start_again("routing");
    }
    let total = 1 + ROUNDS * ROUND;
    let done = Deadline::after(90).every(Duration::from_millis(200), || {
        let held = |branch: &str| fleet.ledger("routing", &stage(branch)).held;
        let all = delivered(&fleet, "late") >= total && delivered(&fleet, "parts") >= total * PARTS;
        (all && held("late") == 0 && held("many") == 0).then_some(())
    });
    let mut wrong: Vec<String> =
        done.is_none().then(|| "not everything that was held went on".to_owned()).into_iter().collect();
    if held.contains(&0) {
        wrong.push(format!("nothing was held when it was killed: {held:?}"));
    }
    wrong.extend(judge(&fleet, bootstrap, total));
    wrong.extend(again(&fleet));
    fleet.stop();
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

/// Run again, what comes together over all partitions does so, too. Of events of one millisecond another may be the first.
fn again(fleet: &Fleet) -> Option<String> {
    let ended = fleet.ask(&["replay", "across", "--format", "json", "--show", "0"]);
    let last = ended.stdout.last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let counts = last.map(|last| last["legs"][0]["deliveries"].clone()).unwrap_or_default();
    let count = |what: &str| counts[what].as_u64().unwrap_or_default();
    let made = count("same") + count("changed") + count("new");
    let as_many = made == RULES as u64 && count("new") == count("missing");
    (!as_many).then(|| format!("the replay has {counts}: {}", ended.told()))
}

/// A branch's ledger as it was committed with the offsets.
fn committed(fleet: &Fleet, workflow: &str, branch: &str) -> Counts {
    fleet.committed(&format!("routing.{workflow}.{branch}"), &[&format!("workflow.{workflow}")])
}

/// What is wrong with what is there in the end.
fn judge(fleet: &Fleet, bootstrap: &str, total: usize) -> Vec<String> {
    let mut wrong = vec![];
    // One event came before there was anything to count.
    for (workflow, branch, read, expected) in [
        ("steps", "late", total, total),
        ("steps", "once", total, 1 + ASSETS),
        ("steps", "few", total, 1 + LIMIT * ASSETS),
        ("across", "rules", total, RULES),
        ("part", "parts", total * PARTS, total * PARTS),
    ] {
        let topic = fleet.topic(&format!("delivery.{branch}"));
        let by_key = topic::by_header(bootstrap, &topic, "atio_idempotency_key");
        let twice = by_key.values().filter(|n| **n > 1).count();
        if by_key.len() != expected || twice > 0 || by_key.contains_key("") {
            wrong.push(format!(
                "{branch}: {} distinct deliveries of {expected}, {twice} more than once",
                by_key.len()
            ));
        }
        let counts = committed(fleet, workflow, branch);
        let (read, emitted) = (read as u64, expected as u64);
        let ends =
            (counts.read, counts.emitted, counts.dropped_total(), counts.dead_lettered_total(), counts.held);
        if ends != (read, emitted, read - emitted, 0, 0) {
            wrong.push(format!("{branch}: {counts:?}"));
        }
    }
    wrong.extend(gathered(fleet, bootstrap, total));
    if topic::count(bootstrap, &fleet.topic("workflow-dlq")) > 0 {
        wrong.push("there are dead letters".to_owned());
    }
    wrong
}

/// What is wrong with what was gathered: each event is in exactly one of those that went on.
fn gathered(fleet: &Fleet, bootstrap: &str, total: usize) -> Option<String> {
    let topic = fleet.topic("delivery.many");
    let by_key = topic::by_header(bootstrap, &topic, "atio_idempotency_key");
    let mut told = 0;
    topic::each(bootstrap, &topic, |message| told += many(message.payload().unwrap_or_default()));
    let counts = committed(fleet, "steps", "many");
    let (read, emitted) = (total as u64, by_key.len() as u64);
    let once = by_key.values().all(|n| *n == 1);
    let ends =
        (counts.read, counts.emitted, counts.dropped_total(), counts.dead_lettered_total(), counts.held);
    println!("{emitted} went on for {told} events");
    let right = once && told == read && emitted < read / 2 && ends == (read, emitted, read - emitted, 0, 0);
    (!right).then(|| {
        format!("many: {emitted} went on for {told} of {read} events, each once: {once}; {counts:?}")
    })
}

/// How many events one that went on stands for; one that was not gathered, for itself.
fn many(delivery: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(delivery);
    let count = text.split("\"count\":").nth(1).unwrap_or_default();
    count.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(1)
}
