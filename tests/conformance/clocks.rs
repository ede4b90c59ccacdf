//! Wall clocks jump by an hour, ahead and back. Deadlines follow the wall clock of the worker; retention, time-outs and sessions go on.
use super::{
    finish,
    lane::Worker,
    oracle,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{Broker, Deadline, On, broker::Site, clock::Clock};
use std::time::{SystemTime, UNIX_EPOCH};

const HOUR_S: i64 = 3600;
/// Ahead of the true time. What was held while the clock was ahead is due when it is there again.
const JUMPS: [i64; 5] = [HOUR_S, 0, -HOUR_S, 0, HOUR_S];
/// Longer than from the first hour to the last: nothing is old enough to be deleted.
const RETENTION: &str = "10800000";

fn world(bootstrap: &str) -> World {
    let topics = ["in", "in.dlq", "out", "state.demo.count", "state.demo.timers", "state.demo.waiting"];
    // As ATIO's own are: a record is as old as its append.
    let append = topics.map(|t| (t, "message.timestamp.type", "LogAppendTime"));
    let retention = ["in", "in.dlq", "out"].map(|t| (t, "retention.ms", RETENTION));
    World::with(bootstrap, Kind::Count, 4, &[&append[..], &retention[..]].concat())
}

/// Records go on under every hour.
fn jump(world: &World, clock: &Clock) {
    for ahead in JUMPS {
        world.further(300, Deadline::after(60));
        println!("{ahead} s ahead");
        clock.jump(ahead);
        // The library looks once a second.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        world.further(300, Deadline::after(60));
    }
}

/// That each hour is in these times, milliseconds since 1970.
fn was_seen(times: &[i64]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("a time");
    for ahead in JUMPS {
        let near = |ms: &&i64| (*ms / 1000 - now - ahead).abs() < HOUR_S / 2;
        let seen = times.iter().filter(near).count();
        assert!(seen > 100, "{seen} of {} were written {ahead} s ahead", times.len());
    }
}

pub fn broker(on: On) {
    let clock = Clock::new();
    let broker = Broker::on(on, Site::new().with(&clock.env()));
    let world = world(&broker.bootstrap);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let worker = Worker::start(&world, &broker.bootstrap, Some(0));
    jump(&world, &clock);
    finish(&world, feeder, worker, oracle::judge);
    was_seen(&world.read("out").iter().map(|seen| seen.at).collect::<Vec<_>>());
}

pub fn worker(on: On) {
    let clock = Clock::new();
    let broker = Broker::shared(on);
    let world = world(&broker.bootstrap);
    let feeder = Feeder::start(&world, 400, u64::MAX);
    let worker = Worker::with(&world, &broker.bootstrap, Some(0), &clock.env());
    jump(&world, &clock);
    finish(&world, feeder, worker, oracle::judge);
    was_seen(&world.stored_at());
}
