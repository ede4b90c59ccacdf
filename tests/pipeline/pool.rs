//! Sixty workflows in the pool and some beside it get the same alerts, while routing is killed at random, some are paused, resumed and promoted, and one
//! fails: everything is delivered once, in order, and the one that fails is taken out of the pool without anybody asking.
use super::{
    kill::{alert, producer},
    system::{System, declare, sink, workflow},
};
use crate::{
    soak::random::Random,
    support::{Broker, Deadline, Fleet, On, both, brief, topic, trial},
};
use libtest_mimic::{Failed, Trial};
use rdkafka::{Message, producer::BaseRecord};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, time::Duration};

/// Enough that the one that fails fails often enough on some partition.
const EVENTS: usize = 4_200;
/// One of so many is for everybody; all are for the one that fails.
const SHARED: usize = 14;
const POOLED: usize = 60;
const OWN: usize = 3;
/// Between two of them something is done.
const STEP: usize = 420;

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("pipeline::pool::told", &[], told)];
    trials.extend(both("pipeline::pool::killed_", killed));
    trials
}

/// What the tools tell of a workflow in the pool, one branch of which fails; its dead letters are replayed for that branch alone, in the pool and when it
/// has left it.
fn told() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    for name in ["good", "second", "sealed"] {
        declare(&data, &format!("sinks/{name}.yaml"), &sink(name));
    }
    for (name, steps) in [("mixed", json!([{"deliver": "good"}])), ("other", json!([{"deliver": "second"}]))]
    {
        let mut workflow = workflow(name, &steps);
        workflow["metadata"]["placement"] = "pooled".into();
        if name == "mixed" {
            workflow["branches"]["seal"] =
                json!([{"set": {"labels": "split(.outcome, \",\")"}}, {"deliver": "sealed"}]);
        }
        declare(&data, &format!("workflows/{name}.yaml"), &workflow);
    }
    fs::write(dir.path().join("mended.json"), json!({"detection": {"outcome": "mended"}}).to_string())?;
    let mended = dir.path().join("mended.json").display().to_string();
    let system = System::up(&data);
    let kafka = system.running.said("kafka");
    let out = |name: &str| topic::by_header(&kafka, &format!("out-{name}"), "atio_idempotency_key");
    let letters = |system: &System| -> BTreeMap<String, u64> {
        let rows = system.json(&["dlq", "ls"]);
        let of = |row: &Value| Some((row["stage"].as_str()?.to_owned(), row["open"].as_u64()?));
        rows.iter().filter_map(of).collect()
    };
    let replay = |system: &System, more: &[&str]| {
        let args =
            ["dlq", "replay", "workflow-dlq", "--stage", "routing.mixed.seal", "--edit", &mended, "--yes"];
        system.ok(&[&args, more].concat());
    };
    system.alerts();
    system.until("the others deliver", |_| out("good").len() == 2 && out("second").len() == 2);
    system.until("one fails", |s| letters(s).get("routing.mixed.seal") == Some(&2));
    let graph = system.json(&["graph", "--live", "--over", "1", "--workflow", "mixed"]);
    let nodes: Vec<&str> =
        graph[0]["nodes"].as_array().ok_or("nodes")?.iter().filter_map(|n| n["name"].as_str()).collect();
    let has = |name: &str| nodes.contains(&name);
    assert!(
        has("routing-pool") && has("atio.routed") && has("good (kafka)") && !has("second (kafka)"),
        "{nodes:?}"
    );
    let event = system.ok(&["tap", "routed", "--from", "beginning", "--until", "end", "--limit", "1"]);
    let event: Value = serde_json::from_str(event.first().ok_or("an event")?)?;
    let way = system.ok(&["explain", event["value"]["detection"]["event_id"].as_str().ok_or("its id")?]);
    for part in
        ["atio.routed/", "matched mixed@1, other@1, for the pool", "branch tell", "routing.mixed.seal"]
    {
        assert!(way.iter().any(|line| line.contains(part)), "{part}: {way:#?}");
    }

    replay(&system, &["--limit", "1"]);
    system.until("the replay arrives", |_| out("sealed").len() == 1);
    system.ok(&["workflow", "promote", "mixed"]);
    assert_eq!(system.run(&["workflow", "promote", "mixed"]).status.code(), Some(5), "it has left");
    system.alerts();
    system.until("it goes on by itself", |_| out("good").len() == 4 && out("second").len() == 4);
    system.until("and fails as before", |s| letters(s).get("routing.mixed.seal") == Some(&3));
    replay(&system, &[]);
    system.until("replays find it where it is now", |_| out("sealed").len() == 4);
    for name in ["good", "second", "sealed"] {
        assert!(out(name).values().all(|n| *n == 1), "{name}: each once");
    }
    let topics = topic::names(&kafka);
    assert!(topics.contains("atio.workflow.mixed") && !topics.contains("atio.workflow.other"), "{topics:?}");
    assert!(system.ok(&["plan"]).is_empty(), "nothing is to be done about it");
    system.running.stop("the system");
    Ok(())
}

fn declarations(on: On) -> Vec<(String, String)> {
    let mut all = vec![];
    let mut add = |name: String, kind: &str, more: Value, meta: Value| {
        let mut declared = json!({"apiVersion": "atio/v1", "kind": kind, "metadata": {"name": name}});
        let fields = declared.as_object_mut().expect("fields");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        fields["metadata"]
            .as_object_mut()
            .expect("fields")
            .extend(meta.as_object().cloned().unwrap_or_default());
        all.push((format!("{}s/{name}.yaml", kind.to_lowercase()), declared.to_string()));
    };
    let from = json!({"topic": {"name": format!("pool-eve-{on}"), "start": "beginning", "payload": "naked"}});
    add("eve".into(), "Source", json!({"format": "suricata", "tlp": "red", "from": from}), json!({}));
    for (name, clearance) in [("out", "red"), ("sealed", "amber")] {
        let sink = json!({"type": "kafka", "topic": format!("pool-{name}-{on}"), "format": "report", "clearance": clearance});
        add(name.into(), "Sink", sink, json!({}));
    }
    let workflow = |port: Option<u16>, sink: &str| {
        let mut workflow =
            json!({"on": "detection", "match": {"kind": "threat"}, "branches": {"out": [{"deliver": sink}]}});
        if let Some(port) = port {
            workflow["match"]["dst.port"] = port.into();
        }
        workflow
    };
    for n in 0..POOLED {
        add(format!("p{n}"), "Workflow", workflow(Some(443), "out"), json!({"placement": "pooled"}));
    }
    for n in 0..OWN {
        add(format!("o{n}"), "Workflow", workflow(Some(443), "out"), json!({"placement": "own"}));
    }
    add("fails".into(), "Workflow", workflow(None, "sealed"), json!({"placement": "pooled"}));
    all
}

fn event(n: usize) -> String {
    let alert = alert(n);
    if n.is_multiple_of(SHARED) { alert.replace("\"dest_port\":80", "\"dest_port\":443") } else { alert }
}

/// What is done at each step, if anything.
const ACTS: [&[&str]; 9] = [
    &[],
    &["pause", "p1"],
    &["promote", "p2"],
    &["pause", "p3"],
    &["resume", "p1"],
    &["promote", "p4"],
    &["resume", "p3"],
    &["pause", "o1"],
    &["resume", "o1"],
];

fn killed(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    let eve = format!("pool-eve-{on}");
    topic::create(bootstrap, &eve, 3);
    let declared = declarations(on);
    let declared: Vec<(&str, String)> = declared.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let mut fleet = Fleet::start(bootstrap, &declared);
    let (seed, mut random) = Random::seeded();
    println!("ATIO_SOAK_SEED={seed}");
    let before = placements(&fleet);
    assert_eq!(before["p1"], "pooled");
    assert_eq!(before["o1"], "own");
    let topics = topic::names(bootstrap);
    assert!(!topics.contains(&fleet.topic("workflow.p1")), "what is pooled has no topic");
    let producer = producer(bootstrap);
    let mut kill = 0;
    for n in 0..EVENTS {
        if n > 0 && n % STEP == 0 {
            let act = ACTS[(n / STEP - 1) % ACTS.len()];
            if !act.is_empty() {
                println!("after {n} events: {act:?}");
                fleet.client(&[&["workflow"], act, &["--as", "trial"]].concat());
            }
            kill = n + usize::try_from(random.below(STEP as u64 - 20)).expect("small");
        }
        if n > 0 && n == kill {
            println!("after {n} events: kill -9 routing");
            fleet.kill_and_restart("routing");
        }
        let (key, value) = (format!("sensor-{}", n % 5), event(n));
        let record = BaseRecord::to(&eve).key(&key).payload(&value);
        producer.send(record).map_err(|(e, _)| format!("event {n}: {e}"))?;
    }
    rdkafka::producer::Producer::flush(&producer, Duration::from_secs(60))?;
    let wanted = EVENTS / SHARED * (POOLED + OWN);
    let mut last = 0;
    let settled = Deadline::after(240).every(Duration::from_secs(1), || {
        last = topic::count(bootstrap, &format!("pool-out-{on}"));
        (last >= wanted).then_some(())
    });
    let mut wrong = vec![];
    if settled.is_none() {
        wrong.push(format!("not all through in time: {last} of {wanted} out"));
        wrong.push(fleet.stderr("routing"));
    }
    wrong.extend(delivered(&fleet));
    wrong.extend(letters(&fleet));
    let after = placements(&fleet);
    for name in ["p1", "p2", "p3", "p4", "fails"] {
        if after[name] != "promoted" {
            wrong.push(format!("{name} is {}", after[name]));
        }
    }
    let log = fleet.client(&["audit", "log", "--object", "workflow/fails", "--format", "json"]);
    if !log.iter().any(|line| line.contains("\"promote\"") && line.contains("\"routing\"")) {
        wrong.push(format!("who promoted it? {log:?}"));
    }
    fleet.stop();
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

fn placements(fleet: &Fleet) -> BTreeMap<String, String> {
    let lines = fleet.client(&["workflow", "ls", "--format", "json"]);
    let read = |line: &String| serde_json::from_str::<Value>(line).expect("JSON lines");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines.iter().map(read).map(|w| (text(&w["name"]), text(&w["placement"]))).collect()
}

/// Each workflow has delivered each event once, and what is of one asset in its order.
fn delivered(fleet: &Fleet) -> Vec<String> {
    let mut order = BTreeMap::new();
    topic::each(&fleet.kafka, &fleet.topic("enriched"), |m| {
        order.insert(topic::headers(m).remove("ce_id").unwrap_or_default(), (m.partition(), m.offset()));
    });
    let mut seen: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut last: BTreeMap<(String, Vec<u8>), (i32, i64)> = BTreeMap::new();
    let mut wrong = vec![];
    topic::each(&fleet.kafka, &fleet.topic("delivery.out"), |m| {
        let mut headers = topic::headers(m);
        let workflow = headers.remove("atio_workflow").unwrap_or_default();
        let workflow = workflow.split('@').next().unwrap_or_default().to_owned();
        let event = headers.remove("ce_id").unwrap_or_default();
        let at = order.get(&event).copied().unwrap_or_default();
        let before = last.insert((workflow.clone(), m.key().unwrap_or_default().to_vec()), at);
        if before.is_some_and(|before| before.0 == at.0 && before.1 >= at.1) {
            wrong.push(format!("{workflow}: {event} out of order, {before:?} before {at:?}"));
        }
        *seen.entry(workflow).or_default().entry(event).or_default() += 1;
    });
    if seen.len() != POOLED + OWN {
        wrong.push(format!("{} workflows have delivered, of {}", seen.len(), POOLED + OWN));
    }
    for (workflow, events) in seen {
        let twice = events.values().filter(|n| **n > 1).count();
        if events.len() != EVENTS / SHARED || twice > 0 {
            wrong.push(format!("{workflow}: {} of {} events, {twice} twice", events.len(), EVENTS / SHARED));
        }
    }
    wrong
}

/// Dead letters are those of the branch that fails, each once. (The shipped workflow's sinks may not see what is red either.)
fn letters(fleet: &Fleet) -> Vec<String> {
    let mut wrong = vec![];
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    topic::each(&fleet.kafka, &fleet.topic("workflow-dlq"), |m| {
        let mut headers = topic::headers(m);
        let stage = headers.remove("atio.errors.stage").unwrap_or_default();
        let workflow = headers.remove("atio_workflow").unwrap_or_default();
        match (&*stage, &*workflow) {
            ("routing.fails.out", "fails@1") => {
                *seen.entry(headers.remove("ce_id").unwrap_or_default()).or_default() += 1;
            }
            (shipped, _) if shipped.starts_with("routing.threat-detection-response.") => {}
            _ => wrong.push(format!("a letter of {workflow} at {stage}: {headers:?}")),
        }
    });
    let twice = seen.values().filter(|n| **n > 1).count();
    if twice > 0 || seen.len() < 980 || seen.len() > EVENTS {
        wrong.push(format!("{} letters, {twice} twice", seen.len()));
    }
    wrong
}
