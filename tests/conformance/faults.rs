//! Requests of transactions that are delayed, cut, not answered and delivered late, on their way to the broker.
use super::{
    Random, behind_proxy, behind_proxy_of, finish,
    lane::Worker,
    oracle,
    proxy::{
        ADD_OFFSETS, ADD_PARTITIONS, Act, END_TXN, HEARTBEAT, INIT_PRODUCER, OFFSET_COMMIT, OFFSET_FETCH,
        PRODUCE, Proxy,
    },
    rounds,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{Broker, Deadline, On};
use std::{collections::BTreeMap, thread, time::Duration};

const ACTS: [Act; 7] = [
    Act::Delay(300),
    Act::Delay(1500),
    Act::SwallowAnswer,
    Act::CutAfter,
    Act::CutBefore,
    Act::CutThenDeliver(150),
    Act::CutThenDeliver(600),
];

fn spoil(on: On, faults: impl Iterator<Item = (i16, Act)>) {
    let broker = Broker::shared(on);
    spoil_one(behind_proxy(&broker, 500), faults);
}

/// A world for each of these, all at the same time.
fn spoil_each(on: On, faults: &[(i16, Act)]) {
    let broker = Broker::shared(on);
    thread::scope(|all| {
        for fault in faults {
            let broker = &broker;
            all.spawn(move || spoil_one(behind_proxy(broker, 200), [*fault].into_iter()));
        }
    });
}

fn spoil_one(
    (world, proxy, feeder, worker): (World, Proxy, Feeder, Worker),
    faults: impl Iterator<Item = (i16, Act)>,
) {
    let mut asked = BTreeMap::<i16, usize>::new();
    for (key, act) in faults {
        println!("{act:?} on {key}");
        *asked.entry(key).or_default() += 1;
        world.further(50, Deadline::after(60));
        let fault = proxy.arm(&world.clients(), key, act);
        fault.met(Deadline::after(60));
        fault.over(Deadline::after(60));
    }
    world.further(200, Deadline::after(60));
    finish(&world, feeder, worker, oracle::judge);
    assert_eq!(proxy.spoilt(), asked, "requests that were spoilt, by API key");
}

/// Everything that can happen to the request that ends a transaction.
pub fn end_txn(on: On) {
    spoil(on, ACTS.into_iter().map(|act| (END_TXN, act)));
}

/// The others, and more of all where the soak is asked for.
pub fn requests(on: On) {
    let always = [
        (PRODUCE, Act::CutAfter),
        (PRODUCE, Act::CutThenDeliver(150)),
        (ADD_PARTITIONS, Act::CutThenDeliver(150)),
        (ADD_OFFSETS, Act::CutBefore),
        (ADD_OFFSETS, Act::CutThenDeliver(600)),
        (OFFSET_COMMIT, Act::SwallowAnswer),
        (OFFSET_COMMIT, Act::CutAfter),
        (OFFSET_COMMIT, Act::CutThenDeliver(150)),
    ];
    let mut random = Random(11);
    let keys = [PRODUCE, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, END_TXN, OFFSET_COMMIT];
    let more = (1..rounds()).flat_map(|_| 0..20).map(|_| (random.of(&keys), random.of(&ACTS)));
    spoil(on, always.into_iter().chain(more));
}

/// What is sought again after an abort, where each partition has a queue of its own.
pub fn requests_shares(on: On) {
    let faults = [(PRODUCE, Act::CutAfter), (OFFSET_COMMIT, Act::SwallowAnswer), (END_TXN, Act::CutBefore)];
    spoil_one(behind_proxy_of(&Broker::shared(on), Kind::Shares, 500), faults.into_iter());
}

/// Held up for longer than a commit may take (3 s) and than the client waits for an answer (4 s); a commit also for longer than its transaction
/// lasts (10 s).
pub fn late(on: On) {
    let late = Act::Delay(5000);
    let faults = [
        (END_TXN, late),
        (END_TXN, Act::Delay(12_000)),
        (OFFSET_COMMIT, late),
        (PRODUCE, late),
        (ADD_PARTITIONS, late),
    ];
    spoil_each(on, &faults);
}

/// Cut, and repeated by the client; the first copy arrives when the next transaction is about to be committed. (A commit itself: `late_commit`.)
pub fn late_copies(on: On) {
    let broker = Broker::shared(on);
    let one = |key| {
        let (world, proxy, feeder, worker) = behind_proxy(&broker, 200);
        for _ in 0..2 * rounds() {
            world.further(100, Deadline::after(60));
            let first = proxy.arm(&world.clients(), key, Act::CutThenHold);
            first.met(Deadline::after(60));
            let commit = proxy.arm(&world.clients(), END_TXN, Act::Hold);
            commit.met(Deadline::after(60));
            first.deliver();
            first.over(Deadline::after(60));
            commit.deliver();
            commit.over(Deadline::after(60));
        }
        world.further(200, Deadline::after(60));
        finish(&world, feeder, worker, oracle::judge);
    };
    thread::scope(|all| {
        let one = &one;
        for key in [OFFSET_COMMIT, PRODUCE, ADD_PARTITIONS, ADD_OFFSETS] {
            all.spawn(move || one(key));
        }
    });
}

/// The coordinator is loading, not to be had, or another.
pub fn moved(on: On) {
    let errors = [14, 15, 16].map(Act::Refuse);
    let of = |key| errors.into_iter().map(move |act| (key, act));
    spoil(on, of(END_TXN).chain(of(ADD_OFFSETS)).chain(of(HEARTBEAT)));
}

/// The answers that the others do not lose: of what opens a transaction, and of what fetches an epoch.
pub fn lost(on: On) {
    let broker = Broker::shared(on);
    let start = |act| {
        let (world, proxy, feeder, mut first) = behind_proxy(&broker, 200);
        world.further(100, Deadline::after(60));
        first.kill();
        let fault = proxy.arm(&world.clients(), INIT_PRODUCER, act);
        let second = Worker::start(&world, &proxy.bootstrap, Some(0));
        fault.over(Deadline::after(60));
        world.further(200, Deadline::after(60));
        finish(&world, feeder, second, oracle::judge);
    };
    thread::scope(|all| {
        let (broker, start) = (&broker, &start);
        let acts = [Act::SwallowAnswer, Act::CutAfter];
        all.spawn(move || {
            spoil_one(behind_proxy(broker, 200), acts.into_iter().map(|act| (ADD_OFFSETS, act)))
        });
        for act in acts {
            all.spawn(move || start(act));
        }
    });
}

/// A commit of receipts whose end is not known, while the group's positions, which would tell, are not answered either: what a sink takes meanwhile
/// must wait. Once the commit never arrives, once it does.
pub fn deliveries_in_doubt(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Deliver, 4);
    let proxy = Proxy::start(&broker.bootstrap);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let worker = Worker::start(&world, &proxy.bootstrap, Some(0));
    for act in [Act::Hold, Act::CutAfter] {
        world.further(200, Deadline::after(60));
        let asked = proxy.arm(&world.clients(), OFFSET_FETCH, Act::SwallowAnswer);
        let commit = proxy.arm(&world.clients(), END_TXN, act);
        // The lane has given the commit up by then, and its successor has ended the transaction.
        asked.met(Deadline::after(60));
        commit.discard();
        commit.over(Deadline::after(60));
        asked.over(Deadline::after(60));
    }
    world.further(400, Deadline::after(60));
    finish(&world, feeder, worker, oracle::judge_deliveries);
}

/// A request is overtaken by its own retry.
pub fn reordered(on: On) {
    let keys = [END_TXN, OFFSET_COMMIT, PRODUCE, ADD_PARTITIONS, ADD_OFFSETS];
    spoil_each(on, &keys.map(|key| (key, Act::CutThenReorder)));
}

/// Nobody can be reached in the middle of a commit, whose request arrives first, or never.
pub fn gone(on: On) {
    let broker = Broker::shared(on);
    let run = |arrives: bool| {
        let (world, proxy, feeder, worker) = behind_proxy(&broker, 200);
        world.further(200, Deadline::after(60));
        let commit = proxy.arm(&world.clients(), END_TXN, Act::Hold);
        commit.met(Deadline::after(60));
        proxy.gone(Duration::from_secs(5));
        if arrives {
            commit.deliver()
        } else {
            commit.discard()
        }
        commit.over(Deadline::after(60));
        world.further(300, Deadline::after(60));
        finish(&world, feeder, worker, oracle::judge);
    };
    thread::scope(|all| {
        let run = &run;
        for arrives in [true, false] {
            all.spawn(move || run(arrives));
        }
    });
}
