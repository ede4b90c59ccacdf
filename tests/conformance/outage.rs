//! A broker that is gone for a while: killed, stopped and frozen under load, in the middle of commits.
use super::{
    behind_proxy, finish, goes_on,
    lane::Worker,
    oracle,
    proxy::{Act, END_TXN},
    rounds,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{Broker, Deadline, On};
use std::time::{Duration, Instant};

/// SIGKILL of the broker under load.
pub fn killed(on: On) {
    let mut broker = Broker::start(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let feeder = Feeder::start(&world, 500, u64::MAX);
    let mut worker = Worker::start(&world, &broker.bootstrap, Some(0));
    for _ in 0..3 * rounds() {
        goes_on(on, &world, &mut worker, 600);
        broker.kill();
        broker.up();
    }
    goes_on(on, &world, &mut worker, 600);
    finish(&world, feeder, worker, oracle::judge);
}

/// SIGTERM of the broker while a commit is on its way, which never arrives; started again at once.
pub fn restarted(on: On) {
    let mut broker = Broker::start(on);
    let (world, proxy, feeder, mut worker) = behind_proxy(&broker, 400);
    for _ in 0..3 * rounds() {
        goes_on(on, &world, &mut worker, 300);
        let commit = proxy.arm(&world.clients(), END_TXN, Act::Hold);
        commit.met(Deadline::after(60));
        let since = Instant::now();
        broker.stop();
        commit.discard();
        broker.up();
        println!("away for {:.1} s", since.elapsed().as_secs_f64());
        commit.over(Deadline::after(60));
    }
    goes_on(on, &world, &mut worker, 300);
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
