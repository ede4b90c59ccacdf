//! State that is not what was committed: a changelog that was cut, emptied or made anew behind the back of its stage.
use super::{
    lane::Worker,
    oracle::{self, Evidence},
    stages::Kind,
    world::{Feeder, Position, Seen, World},
};
use crate::support::{Broker, Deadline, On};
use std::thread;

const COUNTS: &str = "state.demo.count";

/// What was done to the changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Its first records are deleted.
    Cut,
    /// All of them are.
    Emptied,
    /// The topic is deleted and made again.
    Anew,
}

/// A restarted stage says so and ends; it does not go on from nothing, and reads and writes no more.
pub fn changelogs(on: On) {
    let broker = Broker::shared(on);
    thread::scope(|all| {
        for done in [Done::Cut, Done::Emptied, Done::Anew] {
            let bootstrap = &broker.bootstrap;
            all.spawn(move || one(bootstrap, done));
        }
    });
}

fn outputs(world: &World) -> Vec<Seen> {
    let mut all = world.read("out");
    all.sort_by_key(|seen| (seen.partition, seen.offset));
    all
}

fn one(bootstrap: &str, done: Done) {
    // Records of a topic that is only compacted can't be deleted, by either broker.
    let policy = [(COUNTS, "cleanup.policy", if done == Done::Anew { "compact" } else { "compact,delete" })];
    let world = World::with(bootstrap, Kind::Count, 4, &policy);
    let worker = Worker::start(&world, bootstrap, Some(0));
    let fed = Feeder::start(&world, 0, 1000).end();
    world.done(Deadline::after(60));
    worker.stop();
    oracle::judge(&Evidence::of(&world, fed)).unwrap_or_else(|found| panic!("before: {found}"));
    let (out, positions) = (outputs(&world), world.positions().expect("the broker answers"));
    println!("{done:?}");
    match done {
        Done::Cut => world.cut(COUNTS, 2),
        Done::Emptied => world.cut(COUNTS, 1),
        Done::Anew => world.anew(COUNTS),
    }
    // There is work for it, which it must not do.
    world.put("in", 0, &[("k1", b"1001")]);
    let said = Worker::start(&world, bootstrap, Some(0)).failed(Deadline::after(60));
    let changelog = world.topic(COUNTS);
    assert!(said.contains("state_stale") && said.contains(&changelog), "{done:?}: {said}");
    let next = |all: &[Position]| all.iter().map(|p| p.next).collect::<Vec<_>>();
    let now = world.positions().expect("the broker answers");
    assert_eq!(next(&now), next(&positions), "{done:?}: nothing is committed");
    assert_eq!(outputs(&world), out, "{done:?}: nothing is written");
}
