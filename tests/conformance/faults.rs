//! Requests of transactions that are delayed, cut, not answered and delivered late, on their way to the broker.
use super::{
    Random,
    broker::{Broker, On},
    finish,
    lane::Worker,
    oracle,
    proxy::{ADD_OFFSETS, ADD_PARTITIONS, Act, END_TXN, OFFSET_COMMIT, PRODUCE, Proxy},
    rounds,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::Deadline;

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
    let broker = Broker::start(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let proxy = Proxy::start(&broker.bootstrap);
    let feeder = Feeder::start(&world, 500, u64::MAX);
    let worker = Worker::start(&world, &proxy.bootstrap, Some(0));
    for (key, act) in faults {
        println!("{act:?} on {key}");
        world.further(50, Deadline::after(60));
        let fault = proxy.arm(&world.clients(), key, act);
        fault.met(Deadline::after(60));
        fault.over(Deadline::after(60));
    }
    world.further(200, Deadline::after(60));
    finish(&world, feeder, worker, oracle::judge);
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
