//! A broker that is away: for longer than a session, and while a lane is told to stop. Owns the outages; must not know what a lane does.
use crate::{
    conformance::{self, Evidence, Feeder, Kind, Worker, World},
    support::{Broker, Deadline, On},
};
use libtest_mimic::Failed;
use std::time::{Duration, Instant};

/// Longer than the session of a static member.
const OUTAGE: Duration = Duration::from_secs(12);
/// A stop takes 10 s at most; the rest is for a machine that has other things to do.
const STOPPED: Duration = Duration::from_secs(15);

/// A static member whose broker was away for longer than its session, and which nobody has replaced, goes on.
pub fn outlived(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let feeder = Feeder::start(&world, 200, u64::MAX);
    let mut worker = Worker::start(&world, &broker.bootstrap, Some(0));
    world.further(200, Deadline::after(60));
    broker.signal("STOP");
    std::thread::sleep(OUTAGE);
    let back = Instant::now();
    broker.signal("CONT");
    world.further(200, Deadline::after(60));
    println!("goes on after {:.2} s", back.elapsed().as_secs_f64());
    let fed = feeder.stop();
    world.done(Deadline::after(60));
    assert_eq!(worker.ended(), None, "the worker lives through it");
    worker.stop();
    Ok(conformance::judge(&Evidence::of(&world, fed))?)
}

/// Told to stop while the broker does not answer: in the middle of its work, when it has begun to recover, and before it was there at all.
pub fn stopped(on: On) -> Result<(), Failed> {
    let mut broker = Broker::start(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let feeder = Feeder::start(&world, 200, u64::MAX);
    for (when, wait) in [("at work", 0), ("waiting for an answer", 2000), ("recovering", 6000)] {
        let worker = Worker::start(&world, &broker.bootstrap, Some(0));
        world.further(100, Deadline::after(60));
        broker.signal("STOP");
        std::thread::sleep(Duration::from_millis(wait));
        ends(when, worker)?;
        broker.signal("CONT");
    }
    broker.signal("STOP");
    let mut worker = Worker::start(&world, &broker.bootstrap, Some(0));
    worker.state("stalled");
    ends("starting", worker)?;
    broker.signal("CONT");
    let worker = Worker::start(&world, &broker.bootstrap, Some(0));
    world.further(100, Deadline::after(60));
    broker.kill();
    ends("broker gone", worker)?;
    broker.up();
    let worker = Worker::start(&world, &broker.bootstrap, Some(0));
    let fed = feeder.stop();
    world.done(Deadline::after(60));
    worker.stop();
    Ok(conformance::judge(&Evidence::of(&world, fed))?)
}

fn ends(when: &str, worker: Worker) -> Result<(), Failed> {
    let asked = Instant::now();
    worker.stop();
    let took = asked.elapsed();
    println!("told to stop, {when}: ends after {:.2} s", took.as_secs_f64());
    if took < STOPPED { Ok(()) } else { Err(format!("{when}: ends only after {took:?}").into()) }
}
