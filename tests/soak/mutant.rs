//! That the oracle can say no: somebody sits in the middle and leaves one record of a thousand out, and doubles another.
use super::{
    bed::Bed,
    load::{Load, host, producer, send},
    oracle::{Findings, numbers},
};
use crate::support::{Deadline, On, topic, unique};
use libtest_mimic::Failed;
use rdkafka::{Message, producer::Producer};
use std::{collections::BTreeSet, time::Duration};

const ALERTS: u64 = 3000;
const LOST: u64 = 499;
const TWICE: u64 = 777;

pub fn run(on: On) -> Result<(), Failed> {
    let mut bed = Bed::start(on);
    let before = unique("soak-before");
    topic::create(&bed.broker.bootstrap, &before, 3);
    let load = Load::start(&bed.broker.bootstrap, &before, 0);
    load.burst(ALERTS);
    Deadline::after(60).until("all are fed", || (load.fed() >= ALERTS).then_some(()));
    let fed = load.stop();
    copy(&bed, &before);
    let findings = bed.judge(fed);
    println!("the oracle says: {:?}", findings.lines());
    bed.fleet.stop();
    seen(&findings, &bed.way).map_err(Failed::from)
}

/// Copies what was fed to where the services read it, but for what is left out and doubled.
fn copy(bed: &Bed, before: &str) {
    let producer = producer(&bed.broker.bootstrap);
    topic::each(&bed.broker.bootstrap, before, |m| {
        let value = m.payload().unwrap_or_default();
        let n = *numbers(&String::from_utf8_lossy(value)).first().expect("a number");
        let times = match n % 1000 {
            LOST => 0,
            TWICE => 2,
            _ => 1,
        };
        for _ in 0..times {
            send(&producer, bed.alerts(), &host(n), value);
        }
    });
    producer.flush(Duration::from_secs(60)).expect("produced");
}

/// It names each of them, on every topic, and complains of nothing else but of what follows from them.
fn seen(findings: &Findings, way: &[String]) -> Result<(), String> {
    let every = |first: u64| (0..ALERTS).filter(|n| n % 1000 == first).collect::<BTreeSet<u64>>();
    for topic in way {
        let (lost, twice) = (findings.lost.get(topic), findings.twice.get(topic));
        if lost != Some(&every(LOST)) || twice != Some(&every(TWICE)) {
            return Err(format!("{topic}: the oracle sees {lost:?} lost and {twice:?} twice"));
        }
    }
    // A double has an id of its own; that as many were lost hides both from the ledger's sums.
    let others: Vec<_> = findings.other.keys().filter(|sort| **sort != "id").collect();
    if others.is_empty() { Ok(()) } else { Err(format!("it says more: {others:?}: {:?}", findings.lines())) }
}
