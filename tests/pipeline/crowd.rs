//! A crowd of incidents waits, is acknowledged, approved by two, escalated along a rota and left to policy, while the services are killed at
//! random: none is lost, none ends twice. What was delivered is counted from topics, by a client that knows nothing of ATIO.
//! `docs/soak.md` says how to run it with more of them.
use super::incidents::{System, ack, delivered_once, ledgers, wait};
use crate::{
    soak::random::Random,
    support::{Author, Broker, Deadline, On, Running, brief, topic, trial},
};
use atio_schemas::incident::{Ack, Level, Otherwise, Wait};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::time::Duration;

/// Without `ATIO_CROWD`.
const INCIDENTS: usize = 240;
/// They come in so many waves, each with two kills.
const WAVES: usize = 4;
const SERVICES: [(&str, u64); 4] = [("incidents", 0), ("incidents", 1), ("delivery", 0), ("monitoring", 0)];
const INPUTS: [&str; 4] = ["incident-events", "waits", "acks", "receipts"];

pub fn trials() -> Vec<Trial> {
    [("killed_at_random", On::Embedded), ("killed_at_random_on_kafka", On::Kafka)]
        .map(|(name, on)| {
            let run = move || crowd(&Broker::start(on).bootstrap);
            trial(&format!("pipeline::crowd::{name}"), on.needs(), run)
        })
        .into()
}

/// What becomes of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// By two people, one of whom says it twice.
    Approved,
    /// Nobody answers in time; who is asked next does.
    Escalated,
    /// Nobody answers at all.
    Left,
}

const FATES: [Fate; 4] = [Fate::Acknowledged, Fate::Approved, Fate::Escalated, Fate::Left];

fn fate(n: usize) -> Fate {
    FATES[n % FATES.len()]
}

const HOUR_MS: i64 = 3_600_000;

fn waiting(n: usize) -> (String, Wait) {
    let level = |within_ms| Level { role: "engineer".into(), within_ms, hours: None };
    let (within_ms, escalate, otherwise, approvers) = match fate(n) {
        Fate::Acknowledged => (HOUR_MS, vec![], Otherwise::Escalate, None),
        Fate::Approved => (HOUR_MS, vec![], Otherwise::Escalate, Some(2)),
        Fate::Escalated => (1000, vec![level(HOUR_MS)], Otherwise::Stop, None),
        Fate::Left => (1000, vec![level(1000)], Otherwise::Continue, None),
    };
    let (incident, wait) = wait(n, within_ms, otherwise);
    (incident, Wait { escalate, approvers, ..wait })
}

/// The answers to an incident, in their order.
fn answers(n: usize) -> Vec<(String, Ack)> {
    let by = |actor: &str, id: &str| {
        let (incident, ack) = ack(n);
        (incident, Ack { ack_id: format!("{}-{id}", ack.ack_id), actor: actor.to_owned(), ..ack })
    };
    match fate(n) {
        Fate::Acknowledged | Fate::Escalated => vec![by("carol", "1")],
        Fate::Approved => vec![by("carol", "1"), by("carol", "2"), by("dave", "3")],
        Fate::Left => vec![],
    }
}

/// The services, one process each; any of them may be killed, and comes back.
struct Services<'s> {
    system: &'s System,
    running: Vec<Running>,
    random: Random,
}

impl<'s> Services<'s> {
    fn start(system: &'s System, random: Random) -> Self {
        let running = SERVICES.iter().map(|(name, ordinal)| Self::run(system, name, *ordinal)).collect();
        Self { system, running, random }
    }
    fn run(system: &System, name: &str, ordinal: u64) -> Running {
        // Who routes definitions and who keeps them go together.
        let services: &[&str] = if name == "monitoring" { &["monitoring", "routing"] } else { &[name] };
        system.run_as(services, ordinal)
    }
    /// kill -9 of one of them, and started again.
    fn kill_one(&mut self) {
        let victim = usize::try_from(self.random.below(SERVICES.len() as u64)).expect("small");
        let (name, ordinal) = SERVICES[victim];
        // At once: what was sent a moment ago is under way.
        self.running[victim].child.kill();
        println!("kill -9 {name}-{ordinal}, {} to be read", self.lag());
        self.running[victim] = Self::run(self.system, name, ordinal);
    }
    fn lag(&self) -> i64 {
        self.system.lag(&INPUTS.map(|name| self.system.topic(name)))
    }
}

fn until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) -> Result<(), Failed> {
    let found = Deadline::after(seconds).every(Duration::from_millis(500), || holds().then_some(()));
    found.ok_or_else(|| format!("{what}: not within {seconds} s").into())
}

fn crowd(bootstrap: &str) -> Result<(), Failed> {
    let total: usize =
        std::env::var("ATIO_CROWD").map_or(INCIDENTS, |n| n.parse().expect("ATIO_CROWD is a number"));
    let patience = 120 + total as u64 / 20;
    let (seed, random) = Random::seeded();
    println!("{total} incidents, ATIO_SOAK_SEED={seed}");
    let system = System::bare(bootstrap);
    let mut services = Services::start(&system, random);
    system.client(&["apply"]);
    let author = Author::open(bootstrap, &system.registry, &system.prefix, &["waits", "acks"]);
    let (mut waits, mut acks) = (0, 0);
    let mut send_acks = |all: &[(String, Ack)]| {
        author.send("acks", all);
        acks += all.len() as u64;
    };
    for wave in 0..WAVES {
        let numbers = wave * total / WAVES..(wave + 1) * total / WAVES;
        let opened: Vec<_> = numbers.clone().map(waiting).collect();
        author.send("waits", &opened);
        services.kill_one();
        // The branch's later events, and those that are written again after a crash.
        author.send("waits", &opened);
        waits += 2 * opened.len() as u64;
        // Whoever answers has seen what waits.
        until("incidents show what waits", patience, || system.incidents(&[]).len() >= numbers.end)?;
        let at_once = |n: &usize| matches!(fate(*n), Fate::Acknowledged | Fate::Approved);
        let said: Vec<_> = numbers.filter(at_once).flat_map(answers).collect();
        let (first, second) = said.split_at(said.len() / 2);
        send_acks(first);
        services.kill_one();
        send_acks(second);
        send_acks(&said);
    }
    let late = |fate: Fate| {
        total / FATES.len() + usize::from(FATES.iter().position(|f| *f == fate) < Some(total % FATES.len()))
    };
    let expected = late(Fate::Escalated) + late(Fate::Left);
    let escalated = |i: &Value| i["escalations"].as_i64().is_some_and(|n| n > 0);
    until("all are escalated", patience, || {
        system.incidents(&[]).iter().filter(|i| escalated(i)).count() >= expected
    })?;
    services.kill_one();
    let said: Vec<_> = (0..total).filter(|n| fate(*n) == Fate::Escalated).flat_map(answers).collect();
    send_acks(&said);
    services.kill_one();
    send_acks(&said);
    let delivery = system.topic("delivery.tool");
    until("all is delivered and read", patience, || {
        services.lag() == 0 && topic::count(bootstrap, &delivery) >= total
    })?;
    until("all is handed over", patience, || {
        system.incidents(&[]).iter().all(|i| i["handed_over_at"].is_string())
    })?;
    until("the last receipts are read", patience, || services.lag() == 0)?;
    let mut wrong = delivered_once(&system, bootstrap, total);
    let all = system.incidents(&[]);
    if all.len() != total {
        wrong.push(format!("{} incidents of {total}", all.len()));
    }
    wrong.extend(all.iter().filter_map(amiss));
    wrong.extend(ledgers(&system, acks, waits));
    for ((name, _), running) in SERVICES.iter().zip(services.running) {
        running.stop(name);
    }
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

/// What an incident shows that it should not.
fn amiss(incident: &Value) -> Option<String> {
    let id = incident["incident_id"].as_str().unwrap_or_default();
    let n: usize = id.trim_start_matches("incident-").parse().ok()?;
    let (answer, by, escalations) = match fate(n) {
        Fate::Acknowledged => ("acknowledged", vec!["carol"], None),
        Fate::Approved => ("acknowledged", vec!["carol", "dave"], None),
        Fate::Escalated => ("acknowledged", vec!["carol"], Some(1)),
        Fate::Left => ("unanswered", vec![], Some(1)),
    };
    let who = if fate(n) == Fate::Left { "policy" } else { "human" };
    let ended = &incident["answers"];
    let is_one = ended.as_array().is_some_and(|a| a.len() == 1);
    let right = is_one
        && ended[0]["answer"] == answer
        && ended[0]["by"] == serde_json::json!(by)
        && incident["escalations"].as_i64() == escalations
        && incident["acked_as"] == who
        && incident["waits"] == serde_json::json!([]);
    (!right).then(|| format!("{:?}: {incident}", fate(n)))
}
