//! The stream layer exactly once, and the embedded broker as good as Apache Kafka: every scenario runs on both.
//!
//! `fate`: what is fed and how it must end; `stages`: what is run; `lane`: in which process; `world`: its topics, and a look at them from
//! outside; `proxy`: what spoils requests; `oracle`: what judges; `naive`: what becomes of a client that believes. `ATIO_SOAK_ROUNDS` makes the random ones longer (one round by default).
mod batches;
mod broker_check;
mod clocks;
mod crashes;
mod disk;
mod fate;
mod faults;
mod lane;
mod members;
mod naive;
mod oracle;
mod outage;
mod proxy;
mod stages;
mod stale;
mod world;

pub use lane::{Worker, run_if_asked};
pub use oracle::{Evidence, judge};
pub use stages::Kind;
pub use world::{Feeder, World};

use crate::support::{
    Deadline, Need,
    On::{self, Embedded, Kafka},
    trial,
};
use libtest_mimic::Trial;

/// Its name, what it runs on, itself.
type Scenario = (&'static str, &'static [On], fn(On));

/// What some need besides a broker.
const NEEDS: &[(&str, Need)] =
    &[("disk_full", Need::Tmpfs), ("broker_clock", Need::Faketime), ("worker_clock", Need::Faketime)];

/// Not asked of Apache Kafka but with `ATIO_SOAK_RESTART_KAFKA`. Alone in its cluster and started again, 4.3.1 may complete the abort of a
/// transaction before it knows its partitions' leaders, and leaves their markers out for ever.
const RESTARTS: &[&str] = &["broker_killed", "broker_restarted", "disk_full"];

const BOTH: &[On] = &[Embedded, Kafka];

const SCENARIOS: &[Scenario] = &[
    ("commit", BOTH, batches::commit),
    ("abort", BOTH, batches::abort),
    ("tables", BOTH, batches::tables),
    ("poison", BOTH, batches::poison),
    ("all_poison", BOTH, batches::all_poison),
    ("oversize", BOTH, batches::oversize),
    ("crash", BOTH, crashes::in_each_step),
    ("late_commit", BOTH, crashes::late_commit),
    ("worker_killed", BOTH, crashes::workers),
    ("delivery", BOTH, crashes::deliveries),
    ("broker_killed", BOTH, outage::killed),
    ("broker_restarted", BOTH, outage::restarted),
    ("broker_frozen", BOTH, outage::frozen),
    ("disk_full", BOTH, disk::full),
    ("broker_clock", BOTH, clocks::broker),
    ("worker_clock", BOTH, clocks::worker),
    ("stale_state", BOTH, stale::changelogs),
    ("torn_where_ok_is_believed", BOTH, naive::torn),
    ("moved_back_where_ok_is_believed", BOTH, naive::moved_back),
    ("end_txn", BOTH, faults::end_txn),
    ("requests", BOTH, faults::requests),
    ("late_requests", BOTH, faults::late),
    ("late_copies", BOTH, faults::late_copies),
    ("coordinator_moved", BOTH, faults::moved),
    ("lost_answers", BOTH, faults::lost),
    ("reordered", BOTH, faults::reordered),
    ("broker_gone", BOTH, faults::gone),
    ("join_in_commit", BOTH, members::join_in_commit),
    ("zombie", BOTH, members::zombie),
    ("twins", BOTH, members::twins),
    ("rebalance", BOTH, members::rebalance),
];

pub fn trials() -> Vec<Trial> {
    let mut all = broker_check::trials();
    for (name, brokers, run) in SCENARIOS {
        let asked = |on: &&On| **on == Embedded || !RESTARTS.contains(name) || restarts_kafka();
        for on in brokers.iter().filter(asked).copied() {
            let run = move || {
                run(on);
                Ok(())
            };
            let more = NEEDS.iter().filter(|(of, _)| of == name).map(|(_, need)| *need);
            let needs: Vec<Need> = on.needs().iter().copied().chain(more).collect();
            all.push(trial(&format!("conformance::{name}::{on}"), &needs, run));
        }
    }
    all
}

/// Ends the feeding and then the worker, which has lived to see it, and judges.
fn finish(world: &World, feeder: Feeder, mut worker: Worker, judge: fn(&Evidence) -> Result<(), String>) {
    let fed = feeder.stop();
    world.done(Deadline::after(60));
    assert_eq!(worker.ended(), None, "the worker lives through it");
    worker.stop();
    judge(&Evidence::of(world, fed)).unwrap_or_else(|found| panic!("{found}"));
}

/// Waits for so many records more. A worker that ended as `fenced`, twice without its session within a minute, is started again, as whoever runs it
/// would do; its words are printed.
fn goes_on(world: &World, worker: &mut Worker, records: i64) {
    let deadline = Deadline::after(120);
    let from = deadline.until("the broker answers", || Some(world.progress()).filter(|p| *p >= 0));
    deadline.until("the group goes on", || {
        worker.mend(world);
        (world.progress() >= from + records).then_some(())
    });
}

/// Whether Kafka is stopped and killed too, though it may not be as it was after that.
pub fn restarts_kafka() -> bool {
    std::env::var_os("ATIO_SOAK_RESTART_KAFKA").is_some()
}

/// How often the random scenarios go round.
fn rounds() -> u64 {
    std::env::var("ATIO_SOAK_ROUNDS").map_or(1, |n| n.parse().expect("ATIO_SOAK_ROUNDS is a number"))
}

/// Numbers that look random, the same in every run.
struct Random(u64);
impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("small")]
    }
}
