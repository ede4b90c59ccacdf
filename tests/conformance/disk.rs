//! The disk is full under load, and has room again. Of Apache Kafka it is one node's (`cluster`).
use super::{
    cluster, finish,
    lane::Worker,
    oracle,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{Broker, Deadline, On, broker::Site, tmpfs::Tmpfs};
use std::time::Duration;

/// More than the broker's data grows to in this time.
const SIZE: &str = "96m";
/// So many records wait at the feeder before it is believed that the broker takes none.
const WAITING: u64 = 300;

/// For a moment, and for longer than a transaction and a session last.
pub fn full(on: On) {
    if on == On::Kafka {
        return cluster::disk_full();
    }
    let disk = Tmpfs::mount(SIZE).expect("a tmpfs, which was needed");
    let mut broker = Broker::on(on, Site::at(disk.path()));
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let worker = Worker::start(&world, &broker.bootstrap, Some(0));
    for pause in [0, 1, 12] {
        world.further(300, Deadline::after(120));
        disk.fill();
        stands_still(&world, &feeder);
        std::thread::sleep(Duration::from_secs(pause));
        assert!(!broker.ended(), "it stays up");
        disk.free();
    }
    world.further(300, Deadline::after(120));
    finish(&world, feeder, worker, oracle::judge);
}

/// Waits until the input does not grow, though more is fed.
fn stands_still(world: &World, feeder: &Feeder) {
    let (mut end, mut fed) = (world.input_end(), feeder.fed());
    Deadline::after(60).until("nothing is taken any more", || {
        let now = world.input_end();
        if now != end {
            (end, fed) = (now, feeder.fed());
        }
        (feeder.fed() >= fed + WAITING).then_some(())
    });
}
