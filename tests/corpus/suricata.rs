//! Suricata's own verification tests, offline: every alert is exactly one threat, every other event a log; counts are upstream's.
use super::{
    batch::{self, Outcome},
    samples::{self, Sample},
    verdict::{self, Expected},
};
use crate::support::{Need, brief, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

static BATCH: OnceLock<Result<BTreeMap<String, Outcome>, String>> = OnceLock::new();

pub fn trials() -> Vec<Trial> {
    let one = |sample: Sample| {
        trial(&format!("corpus::suricata::{}", sample.name()), &[Need::Data], move || one(sample))
    };
    let mut trials: Vec<Trial> = samples::suricata().into_iter().map(one).collect();
    trials.push(trial("corpus::suricata::all", &[Need::Data], all));
    trials.push(trial("corpus::judge_complains", &[], || {
        verdict::judge_complains();
        Ok(())
    }));
    trials
}

pub fn outcomes() -> Result<&'static BTreeMap<String, Outcome>, Failed> {
    batch::outcomes(&BATCH, &samples::suricata())
}

pub fn expected(sample: Sample) -> Expected {
    let beside = sample.file().with_file_name("expect.json");
    Expected::parse(&std::fs::read(beside).expect("expect.json")).expect("alerts_total and checks")
}

fn at(outcome: &Outcome, offset: u64) -> Vec<&Value> {
    outcome.detections.iter().filter(|(o, _)| *o == offset).map(|(_, d)| d).collect()
}

fn one(sample: Sample) -> Result<(), Failed> {
    let events = verdict::events(&sample.read()?);
    let outcome = outcomes()?.get(sample.sha256).ok_or("an outcome")?;
    let (mut threats, mut wrong) = (vec![], vec![]);
    for (offset, event) in &events {
        let made = at(outcome, *offset);
        let dead = outcome.dead.iter().filter(|d| d["offset"] == *offset).count();
        match (event["event_type"].as_str(), made.as_slice()) {
            (Some("alert"), [one]) if one["kind"] == "threat" && dead == 0 => threats.push((event, *one)),
            (Some("alert"), made) => {
                wrong.push(format!("the alert at {offset} became {made:?}, {dead} dead letters"));
            }
            (_, [one]) if one["kind"] == "log" && dead == 0 => {}
            (_, []) if dead == 1 => {}
            (_, made) => wrong.push(format!("the event at {offset} became {made:?}, {dead} dead letters")),
        }
    }
    let ids: BTreeSet<&str> = outcome.detections.iter().filter_map(|(_, d)| d["event_id"].as_str()).collect();
    if ids.len() != outcome.detections.len() {
        wrong.push(format!("{} detections have {} event ids", outcome.detections.len(), ids.len()));
    }
    if outcome.detections.len() + outcome.dead.len() != events.len() {
        let (made, dead) = (outcome.detections.len(), outcome.dead.len());
        wrong.push(format!("{} events: {made} detections, {dead} dead letters", events.len()));
    }
    wrong.extend(verdict::judge(&expected(sample), &threats).0);
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

/// The whole: the sum of upstream's alerts; what became of which type of event is printed.
fn all() -> Result<(), Failed> {
    let (mut expected_alerts, mut threats, mut checks, mut by_columns) = (0, 0, 0, 0);
    let mut table = BTreeMap::<String, [usize; 3]>::new();
    let mut codes = BTreeMap::<String, usize>::new();
    let mut ids = BTreeSet::new();
    let outcomes = outcomes()?;
    for sample in samples::suricata() {
        let outcome = outcomes.get(sample.sha256).ok_or("an outcome")?;
        let events = verdict::events(&sample.read()?);
        let expected = expected(sample);
        expected_alerts += expected.alerts;
        checks += expected.checks.len();
        let mut pairs = vec![];
        for (offset, event) in &events {
            let row = table.entry(event["event_type"].as_str().unwrap_or("?").to_owned()).or_default();
            for made in at(outcome, *offset) {
                let threat = made["kind"] == "threat";
                row[usize::from(!threat)] += 1;
                ids.insert(made["event_id"].to_string());
                if threat {
                    pairs.push((event, made));
                }
            }
            for dead in outcome.dead.iter().filter(|d| d["offset"] == *offset) {
                row[2] += 1;
                *codes.entry(dead["code"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
            }
        }
        threats += pairs.len();
        by_columns += verdict::judge(&expected, &pairs).1;
    }
    println!("suricata-verify   event type: threats, logs, dead letters");
    for (event, [threat, log, dead]) in &table {
        println!("  {event:<20} {threat:>5} {log:>5} {dead:>5}");
    }
    println!(
        "  {threats} threats; {checks} checks, {by_columns} of them over columns alone; codes {codes:?}"
    );
    assert_eq!(threats, expected_alerts, "every alert is one threat");
    assert_eq!(
        ids.len(),
        table.values().map(|[t, l, _]| t + l).sum::<usize>(),
        "ids are distinct over files"
    );
    assert!(by_columns * 2 > checks, "most checks are judged over columns: {by_columns} of {checks}");
    Ok(())
}
