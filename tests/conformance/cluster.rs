//! Apache Kafka as it is where something depends on it: three nodes, of which one after the other is killed, stopped, and has no room on its
//! disk, under load. What it does is done without that node, then it is back. Alone in its cluster 4.3.1 may leave markers of transactions out after
//! a restart, so this is not asked of a lone one.
use super::{
    finish,
    lane::Worker,
    oracle,
    proxy::{Act, END_TXN, Proxy},
    rounds,
    stages::Kind,
    world::{Feeder, World},
};
use crate::support::{
    Broker, Deadline, On,
    broker::{NODES, Site},
    cluster::{Cluster, Part},
    tmpfs::Tmpfs,
    topic,
    watch::{Mark, Watch, ends, stamp},
};
use rdkafka::consumer::BaseConsumer;
use std::time::{Duration, Instant};

/// What there is on the one disk: more than the node's data grows to in this time.
const SIZE: &str = "96m";
/// Longer than a transaction and a session last.
const LONG: Duration = Duration::from_secs(12);

/// A counting stage under load, and a look at the cluster that it runs on.
struct Scene {
    world: World,
    feeder: Feeder,
    worker: Worker,
    cluster: Cluster,
    watch: Watch,
    reader: BaseConsumer,
}

impl Scene {
    /// The worker reaches the cluster by this address.
    fn start(broker: &Broker, bootstrap: &str, pace: u64) -> Self {
        let world = World::new(&broker.bootstrap, Kind::Count, 4);
        Self {
            feeder: Feeder::start(&world, pace, u64::MAX),
            worker: Worker::start(&world, bootstrap, Some(0)),
            cluster: Cluster::of(&broker.bootstrap),
            watch: Watch::start(&broker.bootstrap, &[world.topic("out")]),
            reader: topic::reader(&broker.bootstrap, "marks", "read_uncommitted"),
            world,
        }
    }

    /// Waits for so many records more. A worker that was twice in a minute without its coordinator for longer than its session is started again.
    fn goes_on(&mut self, records: i64) {
        let deadline = Deadline::after(120);
        let from = deadline.until("the cluster answers", || Some(self.world.progress()).filter(|p| *p >= 0));
        deadline.until("the group goes on", || {
            self.worker.mend(&self.world);
            (self.world.progress() >= from + records).then_some(())
        });
    }

    fn marks(&self) -> Vec<Mark> {
        let partitions: Vec<i32> = (0..self.world.partitions).collect();
        ends(&self.reader, &self.world.topic("out"), &partitions).expect("the cluster answers")
    }

    /// Does something to a node, and waits until the group goes on without it.
    fn without(&mut self, what: &str, hit: impl FnOnce()) {
        let (marks, from) = (self.marks(), Instant::now());
        hit();
        let gone = from.elapsed();
        self.watch.arm_since(marks, stamp());
        self.goes_on(300);
        let seen = self.watch.seen(&[self.world.topic("out")], Duration::from_secs(10));
        let seen = seen.expect("what is committed is seen").saturating_duration_since(from);
        println!(
            "{what}: gone after {:.2} s, new output after {:.2} s",
            gone.as_secs_f64(),
            seen.as_secs_f64()
        );
    }

    /// Waits until every copy is there again.
    fn whole(&self) {
        let from = Instant::now();
        self.cluster.whole();
        println!("  every copy is there {:.2} s after it is up", from.elapsed().as_secs_f64());
    }

    fn end(mut self) {
        self.goes_on(300);
        finish(&self.world, self.feeder, self.worker, oracle::judge);
    }
}

/// SIGKILL of the node that coordinates the transactions, of the one that coordinates the group, of one that leads a partition of the input. The
/// last one stays away to the end: what is held comes when it is due without it too.
pub fn killed() {
    let mut broker = Broker::lasting(On::Kafka);
    let mut scene = Scene::start(&broker, &broker.bootstrap, 500);
    let (transactions, group, input) =
        (scene.world.transactional_id(), scene.world.group_id(), scene.world.topic("in"));
    let mut away = None;
    for _ in 0..rounds() {
        for part in [Part::Transactions(&transactions), Part::Group(&group), Part::Leader(&input, 0)] {
            if let Some(node) = away {
                broker.node(node).up();
                scene.whole();
            }
            scene.goes_on(600);
            let node = scene.cluster.node(part);
            scene.without(&format!("node {node}, {part:?}"), || broker.node(node).kill());
            away = Some(node);
        }
    }
    scene.end();
}

/// SIGTERM of one node after the other while a commit is on its way, which never arrives.
pub fn restarted() {
    let mut broker = Broker::lasting(On::Kafka);
    let proxy = Proxy::start(&broker.bootstrap);
    let mut scene = Scene::start(&broker, &proxy.bootstrap, 400);
    for node in (0..NODES).cycle().take(NODES * usize::try_from(rounds()).expect("few")) {
        scene.goes_on(300);
        let commit = proxy.arm(&scene.world.clients(), END_TXN, Act::Hold);
        let coordinator = commit.met(Deadline::after(60));
        scene.without(&format!("node {node}, with a commit to node {coordinator}"), || {
            broker.node(node).stop();
            commit.discard();
        });
        commit.over(Deadline::after(60));
        broker.node(node).up();
        scene.whole();
    }
    scene.end();
}

/// The disk of one node is full: it halts. It has room again, and the node is started: as soon as the others go on, and long after.
pub fn disk_full() {
    let disk = Tmpfs::mount(SIZE).expect("a tmpfs, which was needed");
    let others = (1..NODES).map(|_| Site::new());
    let mut broker = Broker::cluster([Site::at(disk.path())].into_iter().chain(others).collect());
    let mut scene = Scene::start(&broker, &broker.bootstrap, 400);
    for pause in [Duration::ZERO, LONG] {
        scene.goes_on(300);
        scene.without("node 0, its disk is full", || {
            disk.fill();
            Deadline::after(60).until("it halts", || broker.node(0).ended().then_some(()));
        });
        std::thread::sleep(pause);
        disk.free();
        broker.node(0).up();
        scene.whole();
    }
    scene.end();
}
