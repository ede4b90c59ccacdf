//! Shares in a made-up world: sources that have so much, a downstream that does so much.
use super::{Look, Share, shares::Shares};
use proptest::prelude::*;

const BATCH: usize = 500;

/// Of one source in the world.
#[derive(Clone, Debug)]
struct Flow {
    tenant: &'static str,
    weight: u32,
    /// There from the beginning, and that come each millisecond.
    backlog: f64,
    rate: f64,
    /// Outputs of a record.
    outputs: u64,
}

const fn flood(tenant: &'static str, weight: u32) -> Flow {
    Flow { tenant, weight, backlog: 1e9, rate: 0.0, outputs: 1 }
}

struct World {
    shares: Shares,
    flows: Vec<Flow>,
    /// Taken records and outputs of each, and the longest time that it had a record and nothing was taken.
    taken: Vec<(u64, u64)>,
    since: Vec<u64>,
    longest: Vec<u64>,
    downstream: f64,
    /// Records a millisecond that get through downstream.
    pace: f64,
    looks: bool,
    /// Milliseconds that a turn takes.
    turn: u64,
    now: u64,
    most: f64,
}

impl World {
    fn new(flows: Vec<Flow>, pace: f64, looks: bool) -> Self {
        let shares: Vec<Share> = flows
            .iter()
            .enumerate()
            .map(|(n, f)| Share { source: n.to_string(), tenant: f.tenant.to_owned(), weight: f.weight })
            .collect();
        let n = flows.len();
        let (taken, since, longest) = (vec![(0, 0); n], vec![0; n], vec![0; n]);
        Self {
            shares: Shares::new(&shares),
            flows,
            taken,
            since,
            longest,
            downstream: 0.0,
            pace,
            looks,
            turn: 10,
            now: 0,
            most: 0.0,
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += self.turn;
            self.downstream = (self.downstream - self.pace * self.turn as f64).max(0.0);
            for (n, flow) in self.flows.iter_mut().enumerate() {
                flow.backlog += flow.rate * self.turn as f64;
                if flow.backlog < 1.0 {
                    self.since[n] = self.now;
                }
            }
            let look = (self.looks && self.shares.is_busy() && self.now % 150 < self.turn).then(|| Look {
                waiting: self.downstream as u64,
                largest: self.downstream as u64,
                pace: self.pace * 1000.0,
                committed: self.shares.committed(),
            });
            self.shares.begin(self.now, look);
            self.turn();
            self.shares.merged();
            self.most = self.most.max(self.downstream);
        }
    }

    fn turn(&mut self) {
        let mut left = BATCH;
        let mut batch = vec![0; self.flows.len()];
        while left > 0 {
            let Some((n, records)) = self.shares.next() else { break };
            assert!(records > 0, "who is asked may give something");
            let there = self.flows[n].backlog as usize;
            let taken = records.min(left).min(there);
            self.flows[n].backlog -= taken as f64;
            self.shares.took(n, taken, taken < records.min(left));
            left -= taken;
            batch[n] += taken as u64;
        }
        for (n, records) in batch.into_iter().enumerate().filter(|(_, records)| *records > 0) {
            let outputs = records * self.flows[n].outputs;
            self.shares.made(n, records, outputs);
            self.downstream += outputs as f64;
            self.taken[n].0 += records;
            self.taken[n].1 += outputs;
            self.longest[n] = self.longest[n].max(self.now - self.since[n]);
            self.since[n] = self.now;
        }
    }
}

/// What the issue asks for: one source's flood, another's few.
#[test]
fn a_flood_waits_at_home_and_another_source_is_not_held_back() {
    let few = Flow { tenant: "a", weight: 4, backlog: 0.0, rate: 0.005, outputs: 1 };
    let mut world = World::new(vec![flood("a", 4), few], 3.5, true);
    world.run(20_000);
    assert!(world.most < 3.5 * 500.0 + 600.0, "{} at most wait downstream", world.most);
    let all = world.taken[0].1 as f64;
    assert!(all > 0.95 * 20_000.0 * 3.5, "downstream has always something to do: {all}");
    assert_eq!(world.taken[1].0, 99 + 1, "all of the few");
    assert!(world.longest[1] <= 10, "each in its turn: {} ms", world.longest[1]);
}

/// One record becomes hundreds: they count, not it.
#[test]
fn what_records_become_is_paid_for() {
    let reports = Flow { outputs: 300, ..flood("a", 1) };
    let mut world = World::new(vec![reports, flood("a", 1)], 3.0, true);
    world.run(30_000);
    let (reports, alerts) = (world.taken[0].1 as f64, world.taken[1].1 as f64);
    assert!((0.7..1.4).contains(&(reports / alerts)), "{reports} of reports, {alerts} alerts");
    assert!(world.most < 3.0 * 500.0 + 10_500.0, "before it is known: {}", world.most);
}

#[test]
fn tenants_have_equal_shares_and_classes_within_them() {
    let mut world = World::new(vec![flood("a", 16), flood("a", 4), flood("a", 4), flood("b", 1)], 4.0, true);
    world.run(30_000);
    let all: u64 = world.taken.iter().map(|t| t.0).sum();
    let share = |n: usize| world.taken[n].0 as f64 / all as f64;
    for (n, wanted) in [(0, 1.0 / 3.0), (1, 1.0 / 12.0), (2, 1.0 / 12.0), (3, 0.5)] {
        assert!((share(n) - wanted).abs() < 0.03, "{n}: {} of {wanted}", share(n));
    }
}

/// Whoever was idle for long does not get the past back.
#[test]
fn what_was_idle_saves_up_nothing() {
    let late = Flow { backlog: 0.0, ..flood("a", 1) };
    let mut world = World::new(vec![flood("a", 1), late], 4.0, true);
    world.run(20_000);
    world.flows[1].backlog = 1e9;
    let before = world.taken[0].0;
    world.run(4000);
    let (first, second) = (world.taken[0].0 - before, world.taken[1].0);
    assert!(second < first * 2, "{first} of who went on, {second} of who came back");
}

#[test]
fn nothing_is_held_back_where_nobody_looks() {
    let mut world = World::new(vec![flood("a", 1)], 1.0, false);
    world.run(45_000);
    assert!(world.taken[0].0 > 10_000, "the broker does not answer: {}", world.taken[0].0);
    let mut calm = World::new(vec![Flow { rate: 0.1, ..flood("a", 1) }], 0.0, false);
    calm.flows[0].backlog = 0.0;
    calm.run(60_000);
    assert!(!calm.shares.is_busy() && calm.flows[0].backlog < 2.0, "a hundred a second is no flood");
}

/// What gets through is less than what counts as busy.
#[test]
fn a_slow_downstream_is_not_taken_for_calm() {
    let mut world = World::new(vec![flood("a", 1), flood("a", 1)], 0.1, true);
    world.run(60_000);
    assert!(world.most < 2200.0, "{} at most wait downstream", world.most);
}

/// As on a machine that has too much to do.
#[test]
fn turns_that_take_longer_than_a_second_are_not_taken_for_calm() {
    let mut world = World::new(vec![flood("a", 1), flood("a", 1)], 0.2, true);
    world.turn = 1500;
    world.run(60_000);
    assert!(world.shares.is_busy());
    assert!(world.most < 2500.0, "{} at most wait downstream", world.most);
}

fn flow() -> impl Strategy<Value = Flow> {
    let tenant = prop::sample::select(vec!["a", "b", "c"]);
    let backlog = prop::sample::select(vec![0.0, 300.0, 1e9]);
    let outputs = prop::sample::select(vec![0, 1, 1, 1, 3, 40]);
    (tenant, prop::sample::select(vec![1, 4, 16]), backlog, 0.0..5.0, outputs)
        .prop_map(|(tenant, weight, backlog, rate, outputs)| Flow { tenant, weight, backlog, rate, outputs })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever floods: nobody starves, and who stays below half of his fair share is taken from within a few
    /// batches.
    #[test]
    fn nobody_starves(flows in prop::collection::vec(flow(), 1..12), pace in 1.0..10.0) {
        let few = Flow { tenant: "few", weight: 1, backlog: 0.0, rate: 0.02, outputs: 1 };
        let count = flows.len();
        let mut world = World::new([flows, vec![few]].concat(), pace, true);
        world.run(15_000);
        for (n, flow) in world.flows.iter().enumerate().take(count) {
            let longest = world.longest[n].max(if flow.backlog >= 1.0 { world.now - world.since[n] } else { 0 });
            // One record of forty, at the smallest share of the slowest world.
            prop_assert!(longest < 8000, "{} was not taken from for {} ms: {:?}", n, longest, flow);
        }
        prop_assert!(world.longest[count] <= 60, "{} ms", world.longest[count]);
    }

    /// While there is room downstream, everything that is there is taken.
    #[test]
    fn nothing_waits_while_there_is_room(rates in prop::collection::vec(0.0..0.5_f64, 1..8)) {
        let flows: Vec<Flow> = rates
            .iter()
            .map(|rate| Flow { tenant: "a", weight: 1, backlog: 0.0, rate: *rate, outputs: 1 })
            .collect();
        let mut world = World::new(flows, 10.0, true);
        world.run(10_000);
        prop_assert!(world.flows.iter().all(|f| f.backlog < 6.0), "{:?}", world.flows);
    }
}
