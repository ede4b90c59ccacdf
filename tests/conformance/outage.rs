//! A broker that is gone for a while: killed, stopped and frozen under load, in the middle of commits. Apache Kafka is killed and stopped as a
//! cluster, node by node (`cluster`); frozen it is alone.
use super::{
    behind_proxy, cluster, finish,
    lane::Worker,
    oracle,
    proxy::{Act, END_TXN},
    rounds,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{Broker, Deadline, On};
use std::time::Duration;

/// SIGKILL of the broker under load.
pub fn killed(on: On) {
    if on == On::Kafka {
        return cluster::killed();
    }
    let mut broker = Broker::start(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let feeder = Feeder::start(&world, 500, u64::MAX);
    let worker = Worker::start(&world, &broker.bootstrap, Some(0));
    for _ in 0..3 * rounds() {
        world.further(600, Deadline::after(120));
        broker.kill();
        broker.up();
    }
    world.further(600, Deadline::after(120));
    finish(&world, feeder, worker, oracle::judge);
}

/// SIGTERM of the broker while a commit is on its way, which never arrives; started again at once.
pub fn restarted(on: On) {
    if on == On::Kafka {
        return cluster::restarted();
    }
    let mut broker = Broker::start(on);
    let (world, proxy, feeder, worker) = behind_proxy(&broker, 400);
    for _ in 0..3 * rounds() {
        world.further(300, Deadline::after(120));
        let commit = proxy.arm(&world.clients(), END_TXN, Act::Hold);
        commit.met(Deadline::after(60));
        broker.stop();
        commit.discard();
        broker.up();
        commit.over(Deadline::after(60));
    }
    world.further(300, Deadline::after(120));
    finish(&world, feeder, worker, oracle::judge);
}

/// SIGSTOP of the broker with a commit on its way: for less than a commit may take (3 s), for more, for more than the client waits for an answer
/// (4 s), and always for less than a session and a transaction last (10 s).
pub fn frozen(on: On) {
    let broker = Broker::start(on);
    let (world, proxy, feeder, worker) = behind_proxy(&broker, 400);
    for pause in [1000, 3500, 6000] {
        world.further(300, Deadline::after(60));
        let commit = proxy.arm(&world.clients(), END_TXN, Act::Hold);
        commit.met(Deadline::after(60));
        broker.signal("STOP");
        commit.deliver();
        std::thread::sleep(Duration::from_millis(pause));
        broker.signal("CONT");
        commit.over(Deadline::after(60));
    }
    world.further(300, Deadline::after(60));
    finish(&world, feeder, worker, oracle::judge);
}
