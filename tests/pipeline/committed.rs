//! What is committed on a topic, by id: read from outside, with a client that knows nothing of ATIO.
use crate::support::Deadline;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often each value of a header is on a topic; records without the header count under the empty text.
pub fn by_header(bootstrap: &str, topic: &str, header: &str) -> BTreeMap<String, usize> {
    let consumer = consumer(bootstrap);
    let all = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).expect("metadata");
    let partitions: Vec<i32> = all.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id()).collect();
    let mut open: BTreeSet<i32> = partitions.iter().copied().collect();
    let mut assigned = TopicPartitionList::new();
    for partition in partitions {
        assigned.add_partition_offset(topic, partition, Offset::Beginning).expect("an assignment");
    }
    consumer.assign(&assigned).expect("an assignment");
    let deadline = Deadline::after(60);
    let mut found = BTreeMap::new();
    while !open.is_empty() {
        assert!(deadline.left().is_some(), "{topic} is read in time; open {open:?}");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(m)) => {
                let value = m.headers().and_then(|all| all.iter().find(|h| h.key == header)?.value);
                *found.entry(String::from_utf8_lossy(value.unwrap_or_default()).into_owned()).or_default() +=
                    1;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
    }
    found
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    let set = [
        ("bootstrap.servers", bootstrap),
        ("group.id", "outside"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
    ];
    for (name, value) in set {
        config.set(name, value);
    }
    config.create().expect("a consumer")
}
