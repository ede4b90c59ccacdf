//! Several under one name, and several in one group.
use super::{
    behind_proxy, finish,
    lane::Worker,
    oracle,
    proxy::{Act, END_TXN, JOIN_GROUP, Proxy},
    rounds,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{Broker, Deadline, On};

/// One that was frozen in the middle of a commit wakes up when another has taken its place: it is fenced, and nothing of it is seen.
pub fn zombie(on: On) {
    let broker = Broker::shared(on);
    let (world, proxy, feeder, mut zombie) = behind_proxy(&broker, 400);
    world.further(300, Deadline::after(60));
    let commit = proxy.arm(&world.clients(), END_TXN, Act::Hold);
    commit.met(Deadline::after(60));
    zombie.freeze();
    let successor = Worker::start(&world, &broker.bootstrap, Some(0));
    world.further(300, Deadline::after(60));
    commit.deliver();
    commit.over(Deadline::after(60));
    zombie.thaw();
    let said = zombie.failed(Deadline::after(60));
    assert!(said.contains("fenced"), "{said}");
    world.further(300, Deadline::after(60));
    finish(&world, feeder, successor, oracle::judge);
}

/// A second instance under the name of one that runs: the first ends by itself, and they do not fight.
pub fn twins(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let first = Worker::start(&world, &broker.bootstrap, Some(0));
    world.further(300, Deadline::after(60));
    let second = Worker::start(&world, &broker.bootstrap, Some(0));
    let said = first.failed(Deadline::after(60));
    assert!(said.contains("fenced"), "{said}");
    world.further(300, Deadline::after(60));
    finish(&world, feeder, second, oracle::judge);
}

/// Members join, leave, die and freeze under load, one of the joins in the middle of a commit.
pub fn rebalance(on: On) {
    rebalances(on, Kind::Count);
}

/// The same where each partition has a queue of its own.
pub fn rebalance_shares(on: On) {
    rebalances(on, Kind::Shares);
}

fn rebalances(on: On, kind: Kind) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, kind, 6);
    let proxy = Proxy::start(&broker.bootstrap);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let join = || {
        let mut worker = Worker::start(&world, &proxy.bootstrap, None);
        worker.state("running");
        worker
    };
    let on_it = |records| world.further(records, Deadline::after(60));
    let mut first = join();
    on_it(200);
    for _ in 0..rounds() {
        let commit = proxy.arm(&world.clients(), END_TXN, Act::Delay(1500));
        commit.met(Deadline::after(60));
        let second = join();
        on_it(200);
        let mut third = join();
        on_it(200);
        second.stop();
        on_it(200);
        third.kill();
        on_it(200);
        let late = join();
        on_it(200);
        // Longer than its session: the others take its partitions over.
        first.freeze();
        on_it(600);
        first.thaw();
        on_it(200);
        if first.ended().is_some() {
            first = join();
        }
        late.stop();
    }
    finish(&world, feeder, first, oracle::judge);
}

/// Another joins while a commit is under way, and the commit arrives only after it has joined.
pub fn join_in_commit(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 6);
    let proxy = Proxy::start(&broker.bootstrap);
    let joiners = Proxy::start(&broker.bootstrap);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let first = Worker::start(&world, &proxy.bootstrap, None);
    world.further(200, Deadline::after(60));
    let commit = proxy.arm(&world.clients(), END_TXN, Act::Hold);
    let join = joiners.arm(&world.clients(), JOIN_GROUP, Act::Delay(0));
    commit.met(Deadline::after(60));
    let mut second = Worker::start(&world, &joiners.bootstrap, None);
    join.met(Deadline::after(60));
    commit.deliver();
    commit.over(Deadline::after(60));
    second.state("running");
    world.further(300, Deadline::after(60));
    second.stop();
    finish(&world, feeder, first, oracle::judge);
}

/// One for which no partition is left is ready all the same, and takes over.
pub fn standby(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 1);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let mut first = Worker::start(&world, &broker.bootstrap, None);
    world.further(200, Deadline::after(60));
    let mut second = Worker::start(&world, &broker.bootstrap, None);
    second.state("running");
    world.further(200, Deadline::after(60));
    first.kill();
    world.further(200, Deadline::after(60));
    finish(&world, feeder, second, oracle::judge);
}
