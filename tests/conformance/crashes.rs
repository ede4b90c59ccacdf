//! Whoever dies, in whatever step: nothing is lost, nothing is there twice.
use super::{
    Random, behind_proxy, finish,
    lane::Worker,
    oracle::{self, Evidence},
    proxy::{ADD_OFFSETS, ADD_PARTITIONS, Act, END_TXN, OFFSET_COMMIT, PRODUCE},
    rounds,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{Broker, Deadline, On};

/// What becomes of the request that was under way when its sender was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Lost,
    /// The broker gets it before there is a successor.
    Early,
    /// The broker gets it when the successor has committed.
    Late,
}

/// SIGKILL between any two requests of a transaction: the next one is held in the proxy, its sender killed.
pub fn in_each_step(on: On) {
    let broker = Broker::shared(on);
    let (world, proxy, feeder, mut worker) = behind_proxy(&broker, 500);
    for (key, last) in [
        (ADD_PARTITIONS, Last::Lost),
        (PRODUCE, Last::Lost),
        (PRODUCE, Last::Late),
        (ADD_OFFSETS, Last::Lost),
        (OFFSET_COMMIT, Last::Lost),
        (OFFSET_COMMIT, Last::Late),
        (END_TXN, Last::Lost),
        (END_TXN, Last::Early),
        (END_TXN, Last::Late),
    ] {
        println!("killed before {key}, which is {last:?}");
        world.further(100, Deadline::after(60));
        let held = proxy.arm(&world.clients(), key, Act::Hold);
        held.met(Deadline::after(60));
        worker.kill();
        match last {
            Last::Lost => held.discard(),
            Last::Early => {
                held.deliver();
                held.over(Deadline::after(60));
            }
            Last::Late => {}
        }
        worker = Worker::start(&world, &proxy.bootstrap, Some(0));
        world.further(1, Deadline::after(60));
        if last == Last::Late {
            held.deliver();
            held.over(Deadline::after(60));
        }
    }
    finish(&world, feeder, worker, oracle::judge);
}

/// A commit whose connection is cut is repeated by the client, which hides it. The first copy arrives when the next transaction has written
/// outputs and no offsets: it must not commit those. (Here they would be seen, and written again by the successor.)
pub fn late_commit(on: On) {
    let broker = Broker::shared(on);
    let (world, proxy, feeder, mut worker) = behind_proxy(&broker, 500);
    for _ in 0..2 * rounds() {
        world.further(200, Deadline::after(60));
        let first = proxy.arm(&world.clients(), END_TXN, Act::CutThenHold);
        first.met(Deadline::after(60));
        let offsets = proxy.arm(&world.clients(), ADD_OFFSETS, Act::Hold);
        offsets.met(Deadline::after(60));
        first.deliver();
        first.over(Deadline::after(60));
        worker.kill();
        offsets.discard();
        worker = Worker::start(&world, &proxy.bootstrap, Some(0));
    }
    world.further(200, Deadline::after(60));
    finish(&world, feeder, worker, oracle::judge);
}

/// SIGKILL at any moment, under load.
fn soak(on: On, kind: Kind, judge: fn(&Evidence) -> Result<(), String>) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, kind, 4);
    let feeder = Feeder::start(&world, 600, u64::MAX);
    let mut worker = Worker::start(&world, &broker.bootstrap, Some(0));
    let mut random = Random(7);
    for _ in 0..3 * rounds() {
        world.further(300 + i64::try_from(random.below(900)).expect("small"), Deadline::after(60));
        worker.kill();
        worker = Worker::start(&world, &broker.bootstrap, Some(0));
    }
    world.further(300, Deadline::after(60));
    finish(&world, feeder, worker, judge);
}

pub fn workers(on: On) {
    soak(on, Kind::Count, oracle::judge);
}

/// The same where each partition has a queue of its own.
pub fn workers_shares(on: On) {
    soak(on, Kind::Shares, oracle::judge);
}

/// The same for a sink: each delivery has one receipt.
pub fn deliveries(on: On) {
    soak(on, Kind::Deliver, oracle::judge_deliveries);
}
