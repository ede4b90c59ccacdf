//! For tests: librdkafka's own broker, of one node or several, with one topic. Owns what is written to it; must not know who reads.
use crate::config::Kafka;
use rdkafka::{
    config::ClientConfig,
    mocking::{MockCluster, MockCoordinator},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Mock {
    pub(crate) kafka: Kafka,
    topic: String,
    nodes: i32,
    // Ends before its broker.
    producer: BaseProducer,
    broker: MockCluster<'static, DefaultProducerContext>,
}

impl Mock {
    pub(crate) fn new(topic: &str, partitions: i32) -> Self {
        Self::of(1, topic, partitions)
    }
    /// Of so many nodes, each with a copy.
    pub(crate) fn of(nodes: i32, topic: &str, partitions: i32) -> Self {
        let broker = MockCluster::new(nodes).expect("a broker");
        broker.create_topic(topic, partitions, nodes).expect("a topic");
        let kafka = Kafka { bootstrap: broker.bootstrap_servers(), ..Kafka::default() };
        let producer =
            ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap).create().expect("a producer");
        Self { kafka, topic: topic.to_owned(), nodes, producer, broker }
    }
    /// From now on this node leads the partition.
    pub(crate) fn leads(&self, topic: &str, partition: i32, node: i32) {
        self.broker.partition_leader(topic, partition, Some(node)).expect("a leader");
    }
    /// This node is asked about the group.
    pub(crate) fn coordinates(&self, group: &str, node: i32) {
        self.broker.coordinator(MockCoordinator::Group(group.to_owned()), node).expect("a coordinator");
    }
    /// From now on each answer of a node takes so long.
    pub(crate) fn slow(&self, answer: Duration) {
        for node in 1..=self.nodes {
            self.broker.broker_round_trip_time(node, answer).expect("a node");
        }
    }
    /// This node is gone.
    pub(crate) fn down(&self, node: i32) {
        self.broker.broker_down(node).expect("it was there");
    }
    pub(crate) fn put(&self, partition: i32, key: &str) {
        let record = BaseRecord::to(&self.topic).partition(partition).key(key).payload("row");
        self.producer.send(record).map_err(|(e, _)| e).expect("room");
        self.producer.flush(PATIENCE).expect("it is there");
    }
}
