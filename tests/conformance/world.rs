//! What a scenario has: topics of its own, a feeder, and a look at them with a client that knows nothing of ATIO.
use super::{
    fate::key,
    stages::{Counted, Kind, codec, delivery},
};
use crate::support::{Deadline, topic, unique};
use atio_schemas::state::StateEntry;
use atio_stage::Store as _;
use atio_stream::Ledger;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const CALL: Duration = Duration::from_secs(15);

pub fn client(bootstrap: &str) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        // By itself it does not look for a new leader of what it only asks about, but every 5 minutes.
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set("reconnect.backoff.max.ms", "500");
    c
}

/// One record, as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970; 0 where it has none.
    pub at: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(n, _)| n == name)?;
        std::str::from_utf8(value).ok()
    }
    pub fn key(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }
    pub fn value(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }
}

/// Where the group is on a partition of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Committed; none before the first commit.
    pub next: Option<i64>,
    /// The log's end.
    pub end: i64,
    /// What the offset carries.
    pub ledger: Option<Ledger>,
}

/// What the changelogs of a counting stage hold.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// By key.
    pub counts: BTreeMap<String, u64>,
    /// What is left in the other stores.
    pub waiting: Vec<String>,
}

pub struct World {
    /// The broker itself, whatever the lanes go through.
    pub bootstrap: String,
    pub name: String,
    pub kind: Kind,
    pub partitions: i32,
    group: BaseConsumer,
}

impl World {
    /// A world and its topics; `configs`: (topic's ending, setting, value).
    pub fn with(bootstrap: &str, kind: Kind, partitions: i32, configs: &[(&str, &str, &str)]) -> Self {
        let name = unique("conformance");
        let group = client(bootstrap)
            .set("group.id", format!("{name}.group"))
            .set("isolation.level", "read_committed")
            .create()
            .expect("a client");
        let world = Self { bootstrap: bootstrap.to_owned(), name, kind, partitions, group };
        let changelogs = Kind::STORES.map(|s| format!("state.demo.{s}"));
        let mut topics: Vec<(&str, i32, bool)> =
            ["in", "in.dlq", "out"].map(|t| (t, partitions, false)).to_vec();
        match kind {
            Kind::Count | Kind::Shares => {
                topics.extend(changelogs.iter().map(|t| (t.as_str(), partitions, true)))
            }
            Kind::Join => topics.extend([("rows", 3, true), ("epochs", 1, true)]),
            Kind::Pass | Kind::Deliver => {}
        }
        world.create(&topics, configs);
        world
    }
    pub fn new(bootstrap: &str, kind: Kind, partitions: i32) -> Self {
        Self::with(bootstrap, kind, partitions, &[])
    }

    fn create(&self, topics: &[(&str, i32, bool)], configs: &[(&str, &str, &str)]) {
        let (admin, options, runtime) = topic::admin(&self.bootstrap);
        let names: Vec<String> = topics.iter().map(|t| self.topic(t.0)).collect();
        let new = topics.iter().zip(&names).map(|((ending, partitions, compact), name)| {
            let mut t = topic::copied(&self.bootstrap, name, *partitions);
            let set = |(of, setting, _): &(&str, &str, &str)| of == ending && *setting == "cleanup.policy";
            if *compact && !configs.iter().any(set) {
                t = t.set("cleanup.policy", "compact");
            }
            configs.iter().filter(|c| c.0 == *ending).fold(t, |t, (_, setting, value)| t.set(setting, value))
        });
        let new: Vec<_> = new.collect();
        let made = runtime.block_on(admin.create_topics(&new, &options)).expect("an answer");
        made.into_iter().for_each(|r| drop(r.expect("a topic")));
        // A topic is made before its partitions have a leader.
        for (topic, (_, partitions, _)) in names.iter().zip(topics) {
            let all = || (0..*partitions).all(|p| self.end(topic, p).is_some());
            Deadline::after(60).until("the topic is there", || all().then_some(()));
        }
    }

    /// A log's end; none while the broker does not say.
    fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        topic::end(&self.group, topic, partition, CALL.as_secs())
    }

    pub fn topic(&self, ending: &str) -> String {
        format!("{}.{ending}", self.name)
    }

    /// Client ids of its lanes start so.
    pub fn clients(&self) -> String {
        format!("{}.", self.name)
    }

    /// What the static worker's producer is called.
    pub fn transactional_id(&self) -> String {
        format!("{}.demo.group.0.0", self.name)
    }

    pub fn group_id(&self) -> String {
        format!("{}.group", self.name)
    }

    /// Produces these, in their order, to one partition of the topic.
    pub fn put(&self, ending: &str, partition: i32, records: &[(&str, &[u8])]) {
        let producer: BaseProducer<DefaultProducerContext> = client(&self.bootstrap)
            .set("linger.ms", "5")
            .set("batch.size", "50000")
            .create()
            .expect("a client");
        let topic = self.topic(ending);
        let end = || self.end(&topic, partition).expect("an answer");
        let before = end();
        for (key, value) in records {
            let record =
                BaseRecord::to(&topic).partition(partition).key(*key).payload(*value).headers(marks(key));
            producer.send(record).expect("queued");
        }
        producer.flush(CALL).expect("produced");
        assert_eq!(end() - before, records.len() as i64, "all of them were taken");
    }

    /// What was committed, in order by partition.
    pub fn read(&self, ending: &str) -> Vec<Seen> {
        self.read_as(ending, "read_committed")
    }

    pub fn read_as(&self, ending: &str, isolation: &str) -> Vec<Seen> {
        let mut seen = vec![];
        topic::each_as(&self.bootstrap, &self.topic(ending), isolation, |m| {
            seen.push(Seen {
                partition: m.partition(),
                offset: m.offset(),
                at: m.timestamp().to_millis().unwrap_or(0),
                key: m.key().map(<[u8]>::to_vec),
                value: m.payload().map(<[u8]>::to_vec),
                headers: m.headers().map_or_else(Vec::new, |h| {
                    h.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect()
                }),
            });
        });
        seen
    }

    /// Cuts a changelog's partitions before this part of their records: 1 for all of them, 2 for the half.
    pub fn cut(&self, ending: &str, part: i64) {
        let topic = self.topic(ending);
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let end = self.end(&topic, partition).expect("an answer");
            list.add_partition_offset(&topic, partition, Offset::Offset(end / part)).expect("an offset");
        }
        let (admin, options, runtime) = topic::admin(&self.bootstrap);
        let cut = runtime.block_on(admin.delete_records(&list, &options)).expect("an answer");
        cut.elements().iter().for_each(|e| e.error().expect("cut"));
    }

    /// Deletes a topic and makes it again.
    pub fn anew(&self, ending: &str) {
        let topic = self.topic(ending);
        let (admin, options, runtime) = topic::admin(&self.bootstrap);
        let gone = runtime.block_on(admin.delete_topics(&[&topic], &options)).expect("an answer");
        gone.into_iter().for_each(|r| drop(r.expect("deleted")));
        // It is deleted for good a while after it is said to be.
        let again = || {
            let new = topic::copied(&self.bootstrap, &topic, self.partitions);
            let new = new.set("cleanup.policy", "compact");
            let made = runtime.block_on(admin.create_topics([&new], &options)).expect("an answer");
            made.into_iter().all(|r| r.is_ok()).then_some(())
        };
        Deadline::after(60).until("the topic is made again", again);
        let empty = || (0..self.partitions).all(|p| self.end(&topic, p) == Some(0)).then_some(());
        Deadline::after(60).until("the new topic is there", empty);
    }

    /// When, by the worker's clock, each entry of its counts was written.
    pub fn stored_at(&self) -> Vec<i64> {
        let entries = self.read(&format!("state.demo.{}", Counted::NAME));
        let decode =
            |value: &[u8]| codec().decode::<StateEntry>(value).expect("an entry").updated_at.0 / 1000;
        entries.iter().filter_map(|s| s.value.as_deref()).map(decode).collect()
    }

    /// Where the input ends, all partitions together; 0 while the broker does not say.
    pub fn input_end(&self) -> i64 {
        (0..self.partitions).filter_map(|p| self.end(&self.topic("in"), p)).sum()
    }

    /// The last of each key in the changelogs, as a restarted stage would find it; nothing where the stage has none.
    pub fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for store in Kind::STORES.iter().filter(|_| self.kind.counts()) {
            let mut last: BTreeMap<(i32, String), StateEntry> = BTreeMap::new();
            for seen in self.read(&format!("state.demo.{store}")) {
                let key = (seen.partition, seen.key());
                match seen.value.as_deref() {
                    Some(value) => drop(last.insert(key, codec().decode(value).expect("an entry"))),
                    None => drop(last.remove(&key)),
                }
            }
            if *store != Counted::NAME {
                stored.waiting.extend(last.into_keys().map(|(p, key)| format!("{store}/{p}/{key}")));
                continue;
            }
            for ((_, key), entry) in last {
                *stored.counts.entry(key).or_default() += entry.value.parse::<u64>().expect("a count");
            }
        }
        stored
    }

    /// Where the group is, pending transactions waited for; none while the broker does not say.
    pub fn positions(&self) -> Option<Vec<Position>> {
        let input = self.topic("in");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&input, 0, self.partitions - 1);
        let found =
            self.group.committed_offsets(list, CALL).inspect_err(|e| eprintln!("positions: {e}")).ok()?;
        let each = found.elements().into_iter().map(|e| {
            let end = self.end(&input, e.partition())?;
            let next = match e.offset() {
                Offset::Offset(next) => Some(next),
                _ => None,
            };
            Some(Position { next, end, ledger: Ledger::from_metadata(e.metadata()) })
        });
        each.collect()
    }

    /// Records that the group has committed.
    pub fn progress(&self) -> i64 {
        self.positions().map_or(-1, |all| all.iter().map(|p| p.next.unwrap_or(0)).sum())
    }

    /// Waits until the group has committed so many records more.
    pub fn further(&self, records: i64, deadline: Deadline) {
        let from = deadline.until("the broker answers", || Some(self.progress()).filter(|p| *p >= 0));
        deadline.until("the group goes on", || (self.progress() >= from + records).then_some(()));
    }

    /// Waits until everything that is there is committed and nothing is held.
    pub fn done(&self, deadline: Deadline) {
        let mut last = None;
        let done = deadline.every(Duration::from_millis(50), || {
            last = self.positions();
            let all = last.as_ref()?;
            let held = |l: &Option<Ledger>| l.as_ref().is_some_and(|l| l.counts.held != 0);
            all.iter().all(|p| p.next.unwrap_or(0) == p.end && !held(&p.ledger)).then_some(())
        });
        assert!(done.is_some(), "everything is committed in time: {last:?}");
    }
}

/// Headers that a dead letter must keep.
fn marks(id: &str) -> OwnedHeaders {
    OwnedHeaders::new()
        .insert(Header { key: "ce_id", value: Some(id) })
        .insert(Header { key: "bin", value: Some(&[0xff_u8, 0][..]) })
}

/// Feeds numbered records until it is told to stop.
pub struct Feeder {
    enough: Arc<AtomicBool>,
    fed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Feeder {
    /// At this pace; 0: as fast as it goes. Ends by itself after `most`.
    pub fn start(world: &World, per_second: u64, most: u64) -> Self {
        let (enough, fed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (topic, kind, bootstrap) = (world.topic("in"), world.kind, world.bootstrap.clone());
        let (told, count) = (enough.clone(), fed.clone());
        let thread = std::thread::spawn(move || {
            let producer: BaseProducer<DefaultProducerContext> = client(&bootstrap)
                .set("linger.ms", "5")
                .set("enable.idempotence", "true")
                // With more, librdkafka sends again under a new epoch what may be in already, where a leader is gone: it would be there twice.
                .set("max.in.flight.requests.per.connection", "1")
                .set("compression.type", "lz4")
                .set("partitioner", "murmur2_random")
                .create()
                .expect("a client");
            let (started, pad) = (Instant::now(), "x".repeat(100));
            for n in 0..most {
                if told.load(SeqCst) {
                    break;
                }
                let key = key(n);
                let value =
                    if kind == Kind::Deliver { delivery(n) } else { format!("{n} {pad}").into_bytes() };
                let mut record = BaseRecord::to(&topic).key(&key).payload(&value).headers(marks(&key));
                while let Err((_, back)) = producer.send(record) {
                    record = back;
                    producer.poll(Duration::from_millis(5));
                }
                count.store(n + 1, SeqCst);
                while per_second > 0 && n as f64 > started.elapsed().as_secs_f64() * per_second as f64 {
                    producer.poll(Duration::from_millis(2));
                }
            }
            producer.flush(CALL * 6).expect("produced");
        });
        Self { enough, fed, thread }
    }
    /// How many records it has fed by now, though the broker may not have them yet.
    pub fn fed(&self) -> u64 {
        self.fed.load(SeqCst)
    }
    /// Ends it; how many records it fed.
    pub fn stop(self) -> u64 {
        self.enough.store(true, SeqCst);
        self.end()
    }
    /// Waits until it has fed all.
    pub fn end(self) -> u64 {
        self.thread.join().expect("fed");
        self.fed.load(SeqCst)
    }
}
