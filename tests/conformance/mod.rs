//! The stream layer exactly once, and the embedded broker as good as Apache Kafka: every scenario runs on both.
//!
//! `fate`: what is fed and how it must end; `stages`: what is run; `lane`: in which process; `world`: its topics, and a look at them from
//! outside; `proxy`: what spoils requests; `oracle`: what judges; `naive`: what becomes of a client that believes; `cluster`: Kafka as three nodes. `ATIO_SOAK_ROUNDS` makes the random ones longer (one round by default).
mod batches;
mod broker_check;
mod clocks;
mod cluster;
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
mod shared;
mod stages;
mod stale;
mod world;

pub use lane::{Worker, run_if_asked};
pub use oracle::{Evidence, judge};
pub use stages::Kind;
pub use world::{Feeder, World};

use crate::support::{
    Broker, Deadline, Need,
    On::{self, Embedded, Kafka},
    trial,
};
use libtest_mimic::Trial;
use proxy::Proxy;

/// Its name, itself.
type Scenario = (&'static str, fn(On));

/// What some need besides a broker.
const NEEDS: &[(&str, Need)] =
    &[("disk_full", Need::Tmpfs), ("broker_clock", Need::Faketime), ("worker_clock", Need::Faketime)];

const SCENARIOS: &[Scenario] = &[
    ("commit", batches::commit),
    ("abort", batches::abort),
    ("tables", batches::tables),
    ("tables_shared", shared::tables),
    ("poison", batches::poison),
    ("all_poison", batches::all_poison),
    ("oversize", batches::oversize),
    ("crash", crashes::in_each_step),
    ("late_commit", crashes::late_commit),
    ("worker_killed", crashes::workers),
    ("worker_killed_shares", crashes::workers_shares),
    ("delivery", crashes::deliveries),
    ("broker_killed", outage::killed),
    ("broker_restarted", outage::restarted),
    ("broker_frozen", outage::frozen),
    ("disk_full", disk::full),
    ("broker_clock", clocks::broker),
    ("worker_clock", clocks::worker),
    ("stale_state", stale::changelogs),
    ("torn_where_ok_is_believed", naive::torn),
    ("moved_back_where_ok_is_believed", naive::moved_back),
    ("end_txn", faults::end_txn),
    ("requests", faults::requests),
    ("requests_shares", faults::requests_shares),
    ("late_requests", faults::late),
    ("late_copies", faults::late_copies),
    ("coordinator_moved", faults::moved),
    ("lost_answers", faults::lost),
    ("delivery_in_doubt", faults::deliveries_in_doubt),
    ("reordered", faults::reordered),
    ("broker_gone", faults::gone),
    ("join_in_commit", members::join_in_commit),
    ("standby", members::standby),
    ("zombie", members::zombie),
    ("twins", members::twins),
    ("rebalance", members::rebalance),
    ("rebalance_shares", members::rebalance_shares),
];

pub fn trials() -> Vec<Trial> {
    let mut all = broker_check::trials();
    all.push(trial("conformance::proxy_lets_go", &[], proxy::lets_go));
    for (name, run) in SCENARIOS {
        for on in [Embedded, Kafka] {
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

/// A counting stage under a load of `pace` records a second, its worker behind a proxy: how most scenarios begin.
fn behind_proxy(broker: &Broker, pace: u64) -> (World, Proxy, Feeder, Worker) {
    behind_proxy_of(broker, Kind::Count, pace)
}

fn behind_proxy_of(broker: &Broker, kind: Kind, pace: u64) -> (World, Proxy, Feeder, Worker) {
    let world = World::new(&broker.bootstrap, kind, 4);
    let proxy = Proxy::start(&broker.bootstrap);
    let feeder = Feeder::start(&world, pace, u64::MAX);
    let worker = Worker::start(&world, &proxy.bootstrap, Some(0));
    (world, proxy, feeder, worker)
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
