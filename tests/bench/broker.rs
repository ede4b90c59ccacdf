//! The broker that a part runs on, in a process of its own, and what is asked of it: topics, ends, committed offsets. Must not know what a
//! contestant is.
use crate::support::{self, Deadline, On, Running, atio, topic};
use rdkafka::{
    Message, TopicPartitionList,
    admin::{NewTopic, TopicReplication},
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use std::{collections::HashSet, time::Duration};
use tempfile::TempDir;

const CALL: Duration = Duration::from_secs(20);

pub struct Broker {
    pub on: On,
    pub bootstrap: String,
    pub registry: String,
    // What runs on it ends first.
    _registry: Running,
    broker: support::Broker,
    _dir: TempDir,
}

impl Broker {
    /// The broker and a registry on it.
    pub fn start(on: On) -> Self {
        let broker = support::Broker::start(on);
        let (bootstrap, dir) = (broker.bootstrap.clone(), tempfile::tempdir().expect("a directory"));
        let mut command = atio();
        command.arg("--data").arg(dir.path()).args(["--kafka", &bootstrap]);
        let registry = Running::start("registry", command.args(["run", "registry", "--http", "127.0.0.1:0"]));
        Self { on, bootstrap, registry: registry.said("registry"), _registry: registry, broker, _dir: dir }
    }

    pub fn name(&self) -> &'static str {
        self.on.name()
    }

    pub fn pid(&self) -> u32 {
        self.broker.pid()
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("broker.address.family", "v4");
        config
    }

    /// Makes topics and waits until each has a leader.
    pub fn create(&self, topics: &[(&str, i32)]) {
        let (admin, options, runtime) = topic::admin(&self.bootstrap);
        let new: Vec<_> =
            topics.iter().map(|(t, n)| NewTopic::new(t, *n, TopicReplication::Fixed(1))).collect();
        let made = runtime.block_on(admin.create_topics(&new, &options)).expect("an answer");
        made.into_iter().for_each(|topic| drop(topic.expect("a topic")));
        let watch = self.watch("ends");
        for (topic, partitions) in topics {
            for partition in 0..*partitions {
                Deadline::after(60)
                    .until("a topic is there", || watch.0.fetch_watermarks(topic, partition, CALL).ok());
            }
        }
    }

    /// The topic's name, where there is no such topic.
    pub fn missing(&self, topic: &str) -> Option<String> {
        let all = self.watch("names").0.fetch_metadata(None, CALL).expect("metadata");
        (!all.topics().iter().any(|t| t.name() == topic)).then(|| topic.to_owned())
    }

    /// Removes every topic that starts so: what was written there is measured.
    pub fn remove(&self, prefix: &str) {
        let all = self.watch("names").0.fetch_metadata(None, CALL).expect("metadata");
        let names: Vec<&str> =
            all.topics().iter().map(|t| t.name()).filter(|n| n.starts_with(prefix)).collect();
        if names.is_empty() {
            return;
        }
        let (admin, options, runtime) = topic::admin(&self.bootstrap);
        let gone = runtime.block_on(admin.delete_topics(&names, &options)).expect("an answer");
        gone.into_iter().for_each(|topic| drop(topic.expect("removed")));
    }

    /// Watches a group's committed offsets and the ends of topics.
    pub fn watch(&self, group: &str) -> Watch {
        Watch(self.client().set("group.id", group).create().expect("a client"))
    }

    pub fn producer(&self) -> BaseProducer<DefaultProducerContext> {
        self.client()
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "50000")
            .set("partitioner", "murmur2_random")
            .create()
            .expect("a producer")
    }

    /// Fills a topic with `n` records, spread over its partitions; bytes of all.
    pub fn fill(&self, topic: &str, partitions: i32, n: u64, text: impl Fn(u64) -> String) -> f64 {
        let producer = self.producer();
        let mut bytes = 0;
        for i in 0..n {
            let value = text(i);
            bytes += value.len();
            let partition = i32::try_from(i % u64::from(partitions.unsigned_abs())).expect("a partition");
            let record = || BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
            while producer.send(record()).is_err() {
                producer.poll(Duration::from_millis(2));
            }
            if i % 256 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(Duration::from_secs(120)).expect("filled");
        bytes as f64
    }

    /// Reads a topic to its end, as readers of committed records see it.
    pub fn read(&self, topic: &str) -> Read {
        let mut read = Read::default();
        topic::each(&self.bootstrap, topic, |m| read.take(m));
        read
    }
}

/// What was on a topic.
#[derive(Default)]
pub struct Read {
    pub records: usize,
    /// Key, value and headers of all.
    pub bytes: usize,
    ids: HashSet<Vec<u8>>,
    pub first: Vec<u8>,
}

impl Read {
    /// An event's id where it has one, else all of its value.
    fn take<M: Message>(&mut self, message: &M) {
        let value = message.payload().unwrap_or_default();
        let (mut id, mut size) = (None, 0);
        for header in message.headers().into_iter().flat_map(|h| h.iter()) {
            size += header.key.len() + header.value.map_or(0, <[u8]>::len);
            if header.key == "ce_id" {
                id = header.value;
            }
        }
        if self.records == 0 {
            self.first = value.to_vec();
        }
        self.ids.insert(id.unwrap_or(value).to_vec());
        self.records += 1;
        self.bytes += value.len() + message.key().map_or(0, <[u8]>::len) + size;
    }
    pub fn unique(&self) -> usize {
        self.ids.len()
    }
    /// Mean bytes of a record.
    pub fn size(&self) -> f64 {
        self.bytes as f64 / self.records.max(1) as f64
    }
}

pub struct Watch(BaseConsumer);

impl Watch {
    /// The sum of a group's committed offsets on a topic; 0 before the first.
    pub fn committed(&self, topic: &str, partitions: i32) -> u64 {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let Ok(found) = self.0.committed_offsets(list, CALL) else { return 0 };
        found.elements().iter().filter_map(|e| u64::try_from(e.offset().to_raw()?).ok()).sum()
    }
    /// The sum of a topic's ends.
    pub fn ends(&self, topic: &str, partitions: i32) -> u64 {
        let end = |p| self.0.fetch_watermarks(topic, p, CALL).map_or(0, |(_, high)| high);
        (0..partitions).map(end).filter_map(|end| u64::try_from(end).ok()).sum()
    }
}
