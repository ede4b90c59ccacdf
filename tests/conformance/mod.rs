//! The stream layer exactly once, and the embedded broker as good as Apache Kafka: every scenario runs on both.
//!
//! `fate`: what is fed and how it must end; `stages`: what is run; `lane`: in which process; `world`: its topics, and a look at them from
//! outside; `proxy`: what spoils requests; `oracle`: what judges. `ATIO_SOAK_ROUNDS` makes the random ones longer (one round by default).
mod batches;
mod broker_check;
mod crashes;
mod fate;
mod faults;
mod lane;
mod members;
mod oracle;
mod proxy;
mod stages;
mod world;

pub use lane::{Worker, run_if_asked};
pub use oracle::{Evidence, judge};
pub use stages::Kind;
pub use world::{Feeder, World};

use crate::support::{
    Deadline,
    On::{self, Embedded, Kafka},
    trial,
};
use libtest_mimic::Trial;

/// Its name, what it runs on, itself.
type Scenario = (&'static str, &'static [On], fn(On));

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
    ("broker_killed", &[Embedded], crashes::brokers),
    ("end_txn", BOTH, faults::end_txn),
    ("requests", BOTH, faults::requests),
    ("late_requests", BOTH, faults::late),
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
        for on in brokers.iter().copied() {
            let run = move || {
                run(on);
                Ok(())
            };
            all.push(trial(&format!("conformance::{name}::{on}"), on.needs(), run));
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
