//! Who is hit, how and when; how long it takes until readers see something new. Owns the rounds and the figures; judging is the oracle's.
use super::{
    bed::Bed,
    load::Load,
    look::{Group, Position},
    random::Random,
};
use crate::{
    conformance::{self, Evidence, Feeder, Kind, Worker, World},
    support::{
        Deadline, On, brief,
        cluster::Cluster,
        topic,
        watch::{Mark, Watch, ends, stamp},
    },
};
use libtest_mimic::Failed;
use rdkafka::consumer::BaseConsumer;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 25;
/// Alerts a second, and at once before a hit.
const PACE: u64 = 60;
const BURST: u64 = 150;
/// Records a second to the stage with state.
const COUNTER_PACE: u64 = 250;
/// A freeze of the broker lasts so many milliseconds, and up to so many more: longer than it takes a cluster of Kafka to go on without the node.
const PAUSE_MS: u64 = 500;
const PAUSE_MORE_MS: u64 = 3000;
const PAUSE_MORE_OF_NODE_MS: u64 = 8000;
/// One in so many hits to a service is a freeze, longer than its session of 10 s.
const FREEZE_EVERY: u64 = 8;
const FREEZE: Duration = Duration::from_secs(12);
/// Something new is seen in that time, or it is a stall.
const STALL: Duration = Duration::from_secs(30);
/// So many hits in a hundred must meet work under way.
const UNDER_WAY: u64 = 80;
/// Less may be the markers of transactions, which own offsets and are no records.
const WAITING: i64 = 10;
/// Not so where nobody writes in transactions.
const WAITING_PLAIN: i64 = 1;
/// Where nothing waits for so long, there is another burst.
const LULL: Duration = Duration::from_millis(400);

/// Who can be hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// Its name, and which of the way's groups are its.
    Service(&'static str, usize, usize),
    /// The stage with state.
    Counter,
    Broker,
}

const VICTIMS: [Victim; 6] = [
    Victim::Service("normalization", 0, 1),
    Victim::Service("enrichment", 1, 2),
    Victim::Service("routing", 2, 4),
    Victim::Service("delivery", 4, 5),
    Victim::Counter,
    Victim::Broker,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// SIGKILL, and started at once.
    Kill,
    /// SIGTERM, and started at once: a node of Kafka.
    Restart,
    /// SIGSTOP, and SIGCONT after this time.
    Freeze(Duration),
}

#[derive(Default)]
struct Figures {
    /// Seconds until something new was seen, by way.
    killed: Vec<f64>,
    frozen: Vec<f64>,
    broker: Vec<f64>,
    under_way: u64,
    hits: u64,
    ended: Vec<String>,
    stalls: Vec<String>,
    /// Seconds until a killed service said that it is ready.
    ready: Vec<f64>,
}

struct Chaos {
    bed: Bed,
    world: World,
    worker: Option<Worker>,
    counter: Group,
    load: Load,
    watch: Watch,
    reader: BaseConsumer,
    random: Random,
    deck: Vec<Victim>,
    /// What is next for the broker.
    ways: Vec<Way>,
    figures: Figures,
}

pub fn run(on: On) -> Result<(), Failed> {
    let rounds = std::env::var("ATIO_SOAK_ROUNDS")
        .map_or(ROUNDS, |n| n.parse().expect("ATIO_SOAK_ROUNDS is a number"));
    let (seed, random) = Random::seeded();
    println!("soak::{on}: {rounds} rounds, ATIO_SOAK_SEED={seed}");
    let bed = Bed::start(on);
    let bootstrap = bed.broker.bootstrap.clone();
    let world = World::new(&bootstrap, Kind::Count, 4);
    let feeder = Feeder::start(&world, COUNTER_PACE, u64::MAX);
    let load = Load::start(&bootstrap, bed.alerts(), PACE);
    let counter = Group::new(&bootstrap, format!("{}.group", world.name), world.topic("in"));
    let outputs = [&bed.way[1..], &[world.topic("out")]].concat();
    let mut chaos = Chaos {
        worker: Some(Worker::start(&world, &bootstrap, Some(0))),
        watch: Watch::start(&bootstrap, &outputs),
        reader: topic::reader(&bootstrap, "soak-marks", "read_uncommitted"),
        bed,
        world,
        counter,
        load,
        random,
        deck: vec![],
        ways: vec![],
        figures: Figures::default(),
    };
    chaos.world.further(50, Deadline::after(60));
    let started = Instant::now();
    for round in 1..=rounds {
        chaos.round(round);
    }
    println!("soak::{on}: {rounds} rounds in {:.0} s", started.elapsed().as_secs_f64());
    chaos.end(feeder)
}

impl Chaos {
    fn round(&mut self, round: u64) {
        let (victim, way) = self.pick(round);
        if victim == Victim::Broker && self.bed.broker.nodes() > 1 {
            // The node before is back: with two of three away nothing can go on.
            Cluster::of(&self.bed.broker.bootstrap).whole();
        }
        self.until_under_way(victim);
        let ended = self.figures.ended.len();
        let (position, took) = match victim {
            Victim::Broker => self.hit_broker(way),
            _ => self.hit(victim, way),
        };
        let under_way = position.is_some_and(|p| p.waiting() >= least(victim));
        self.figures.hits += 1;
        self.figures.under_way += u64::from(under_way);
        let place = position.map_or("positions unknown".into(), |p| {
            format!("input at {}, committed {}, {} waiting", p.end, p.committed, p.waiting())
        });
        println!(
            "round {round}: {way:?} {} at {place}{}: new output after {}",
            name(victim),
            if under_way { "" } else { " (idle)" },
            took.map_or("never".into(), |t| format!("{t:.2} s")),
        );
        match took {
            None => {
                if let Victim::Service(service, ..) = victim {
                    println!("{}", self.bed.fleet.stderr(service));
                }
                self.figures.stalls.push(format!("round {round}: {way:?} {} stalls", name(victim)));
            }
            Some(took) => {
                let other = self.figures.ended.len() > ended;
                let list = match (victim, way) {
                    (Victim::Broker, _) => &mut self.figures.broker,
                    (_, Way::Kill) if !other => &mut self.figures.killed,
                    _ => &mut self.figures.frozen,
                };
                list.push(took);
            }
        }
    }

    /// Until it has work before it, at a moment of chance.
    fn until_under_way(&mut self, victim: Victim) {
        let (deadline, mut burst) = (Deadline::after(60), None::<Instant>);
        loop {
            if burst.is_none_or(|at| at.elapsed() > LULL) {
                self.load.burst(BURST);
                burst = Some(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(self.random.below(40)));
            if self.waiting(victim) >= least(victim) * 2 || deadline.left().is_none() {
                return;
            }
        }
    }

    /// Everybody gets a turn, in an order of chance.
    fn pick(&mut self, round: u64) -> (Victim, Way) {
        if self.deck.is_empty() {
            self.deck = victims();
            self.random.shuffle(&mut self.deck);
        }
        let victim = self.deck.pop().expect("somebody");
        let way = match victim {
            Victim::Broker => self.way_of_broker(),
            _ if round % FREEZE_EVERY == 5 => Way::Freeze(FREEZE),
            _ => Way::Kill,
        };
        (victim, way)
    }

    /// Each has its turn here too.
    fn way_of_broker(&mut self) -> Way {
        if self.ways.is_empty() {
            let kafka = self.bed.broker.on == On::Kafka;
            let alone = self.bed.broker.nodes() == 1;
            let more = if alone { PAUSE_MORE_MS } else { PAUSE_MORE_OF_NODE_MS };
            let pause = Way::Freeze(Duration::from_millis(PAUSE_MS + self.random.below(more)));
            self.ways = match (kafka, alone) {
                // Alone and started again it may leave the markers of an abort out.
                (true, true) => vec![pause],
                (true, false) => vec![Way::Kill, Way::Kill, pause, Way::Restart],
                (false, _) => vec![Way::Kill, Way::Kill, pause],
            };
            self.random.shuffle(&mut self.ways);
        }
        self.ways.pop().expect("a way")
    }

    fn groups(&self, victim: Victim) -> Vec<&Group> {
        match victim {
            Victim::Service(_, first, end) => self.bed.groups[first..end].iter().collect(),
            Victim::Counter => vec![&self.counter],
            Victim::Broker => self.bed.groups.iter().chain([&self.counter]).collect(),
        }
    }

    fn outputs(&self, victim: Victim) -> Vec<String> {
        match victim {
            Victim::Service(_, first, end) => self.bed.way[first + 1..=end].to_vec(),
            Victim::Counter => vec![self.world.topic("out")],
            Victim::Broker => vec![self.bed.way[5].clone(), self.world.topic("out")],
        }
    }

    /// The most that one of its groups has before it.
    fn waiting(&self, victim: Victim) -> i64 {
        let all = self.groups(victim).into_iter().filter_map(Group::position);
        all.map(Position::waiting).max().unwrap_or(0)
    }

    /// Ends of its inputs, for [`Self::position`].
    fn input_ends(&self, victim: Victim) -> Vec<Option<i64>> {
        self.groups(victim).into_iter().map(Group::end).collect()
    }

    /// The group that had the most before it: the input's end before the hit, and what was committed after it.
    fn position(&self, victim: Victim, ends: &[Option<i64>]) -> Option<Position> {
        let all = self.groups(victim).into_iter().zip(ends);
        let all =
            all.filter_map(|(group, end)| Some(Position { committed: group.committed()?, end: (*end)? }));
        all.max_by_key(|p| p.waiting())
    }

    /// From here on its output is new.
    fn marks(&self, victim: Victim) -> Vec<Mark> {
        let partitions = [0, 1, 2, 3];
        let of = |topic: &String| {
            let n = if *topic == self.world.topic("out") { 4 } else { 3 };
            ends(&self.reader, topic, &partitions[..n]).unwrap_or_default()
        };
        self.outputs(victim).iter().flat_map(of).collect()
    }

    fn hit(&mut self, victim: Victim, way: Way) -> (Option<Position>, Option<f64>) {
        let input = self.input_ends(victim);
        match way {
            Way::Freeze(time) => {
                self.freeze(victim, "STOP");
                let position = self.position(victim, &input);
                std::thread::sleep(time);
                self.watch.arm(self.marks(victim));
                let woken = Instant::now();
                self.freeze(victim, "CONT");
                (position, self.new_output(victim, woken))
            }
            Way::Kill | Way::Restart => {
                let killed = Instant::now();
                match victim {
                    Victim::Service(service, ..) => self.bed.fleet.kill(service),
                    _ => self.worker.as_mut().expect("it runs").kill(),
                }
                let position = self.position(victim, &input);
                self.watch.arm(self.marks(victim));
                match victim {
                    Victim::Service(service, ..) => {
                        self.bed.fleet.start_again(service);
                        self.figures.ready.push(killed.elapsed().as_secs_f64());
                    }
                    _ => self.start_counter(),
                }
                (position, self.new_output(victim, killed))
            }
        }
    }

    fn start_counter(&mut self) {
        self.worker = Some(Worker::start(&self.world, &self.world.bootstrap, Some(0)));
    }

    fn freeze(&mut self, victim: Victim, signal: &str) {
        match victim {
            Victim::Service(service, ..) => self.bed.fleet.signal(service, signal),
            _ if signal == "STOP" => self.worker.as_mut().expect("it runs").freeze(),
            _ => self.worker.as_mut().expect("it runs").thaw(),
        }
    }

    /// The broker, or one node of it.
    fn hit_broker(&mut self, way: Way) -> (Option<Position>, Option<f64>) {
        let node = usize::try_from(self.random.below(self.bed.broker.nodes() as u64)).expect("few");
        println!("  node {node} of {}", self.bed.broker.nodes());
        let groups = self.groups(Victim::Broker);
        let all = groups.into_iter().filter_map(Group::position);
        let position = all.max_by_key(|p| p.waiting());
        let marks = self.marks(Victim::Broker);
        let hit = Instant::now();
        let victim = self.bed.broker.node(node);
        match way {
            Way::Freeze(_) => victim.signal("STOP"),
            Way::Restart => victim.stop(),
            Way::Kill => victim.kill(),
        }
        self.watch.arm_since(marks, stamp());
        if let Way::Freeze(time) = way {
            std::thread::sleep(time);
            victim.signal("CONT");
        } else {
            victim.up();
        }
        (position, self.new_output(Victim::Broker, hit))
    }

    /// Seconds until each of its outputs has something new; whoever has ended meanwhile is started again.
    fn new_output(&mut self, victim: Victim, from: Instant) -> Option<f64> {
        let (outputs, limit) = (self.outputs(victim), Instant::now() + STALL);
        loop {
            if let Some(seen) = self.watch.seen(&outputs, Duration::from_millis(100)) {
                return Some(seen.saturating_duration_since(from).as_secs_f64());
            }
            self.mend();
            if Instant::now() > limit {
                return None;
            }
        }
    }

    fn mend(&mut self) {
        let ended = self.bed.mend().into_iter().map(|(service, said)| format!("{service}: {said}"));
        self.figures.ended.extend(ended);
        if self.worker.as_mut().and_then(Worker::ended).is_some() {
            println!("  the counter has ended by itself and is started again");
            self.figures.ended.push("counter".into());
            self.start_counter();
        }
    }

    fn end(mut self, feeder: Feeder) -> Result<(), Failed> {
        let (fed, counted) = (self.load.stop(), feeder.stop());
        let mut wrong = self.figures.wrong();
        let findings = self.bed.judge(fed);
        println!("{fed} alerts, {counted} records to the stage with state: {:?}", findings.lines());
        wrong.extend(findings.lines());
        self.world.done(Deadline::after(120));
        if let Err(found) = conformance::judge(&Evidence::of(&self.world, counted)) {
            wrong.push(format!("the stage with state: {found}"));
        }
        self.worker.take().expect("it runs").stop();
        self.bed.fleet.stop();
        if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
    }
}

/// All, or those that `ATIO_SOAK_ONLY` names, with commas between them.
fn victims() -> Vec<Victim> {
    let only = std::env::var("ATIO_SOAK_ONLY").unwrap_or_default();
    let named = |v: &Victim| only.is_empty() || only.split(',').any(|n| n == name(*v));
    let some: Vec<Victim> = VICTIMS.into_iter().filter(named).collect();
    assert!(!some.is_empty(), "ATIO_SOAK_ONLY={only} names nobody");
    some
}

/// So many records before it are work under way.
fn least(victim: Victim) -> i64 {
    match victim {
        Victim::Counter | Victim::Service("normalization", ..) => WAITING_PLAIN,
        _ => WAITING,
    }
}

fn name(victim: Victim) -> &'static str {
    match victim {
        Victim::Service(name, ..) => name,
        Victim::Counter => "counter",
        Victim::Broker => "broker",
    }
}

impl Figures {
    /// Prints them; what of them is a failure.
    fn wrong(&mut self) -> Vec<String> {
        let lists = [
            ("a service killed and started at once (target p50 0.60, p99 1.50)", &mut self.killed),
            ("(of these, until it said that it is ready)", &mut self.ready),
            ("frozen, or ended by itself meanwhile; from the thaw or kill", &mut self.frozen),
            ("the broker down or frozen; from its end", &mut self.broker),
        ];
        for (what, list) in lists {
            list.sort_by(f64::total_cmp);
            let at = |share: f64| list[((list.len() as f64 * share).ceil() as usize).max(1) - 1];
            if !list.is_empty() {
                println!(
                    "seconds to new output, {what}: n {} p50 {:.2} p99 {:.2} max {:.2}",
                    list.len(),
                    at(0.5),
                    at(0.99),
                    at(1.0)
                );
            }
        }
        println!(
            "work under way at {} of {} hits; ended by themselves: {:?}",
            self.under_way, self.hits, self.ended
        );
        let mut wrong = std::mem::take(&mut self.stalls);
        if self.under_way * 100 < self.hits * UNDER_WAY {
            wrong.push(format!("only {} of {} hits met work under way", self.under_way, self.hits));
        }
        wrong
    }
}
