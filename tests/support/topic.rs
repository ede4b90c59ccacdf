//! Looking at topics from outside, with a client that knows nothing of ATIO: committed records only, to the end as it is now.
use super::Deadline;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::{collections::BTreeSet, time::Duration};

/// All topics there.
pub fn names(bootstrap: &str) -> BTreeSet<String> {
    let consumer = consumer(bootstrap);
    let all = consumer.fetch_metadata(None, Duration::from_secs(20)).expect("metadata");
    all.topics().iter().map(|t| t.name().to_owned()).collect()
}

/// Makes a topic.
pub fn create(bootstrap: &str, topic: &str, partitions: i32) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", bootstrap).create().expect("an admin client");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let made = runtime.block_on(admin.create_topics([&wanted], &options)).expect("an answer");
    assert_eq!(made, [Ok(topic.to_owned())], "{topic} is made");
}

/// How many records are on a topic; none where there is no such topic.
pub fn count(bootstrap: &str, topic: &str) -> usize {
    let consumer = consumer(bootstrap);
    let limit = Duration::from_secs(20);
    let all = consumer.fetch_metadata(Some(topic), limit).expect("metadata");
    let partitions: Vec<i32> = all.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id()).collect();
    let mut open = BTreeSet::new();
    let mut assigned = TopicPartitionList::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, limit).expect("watermarks");
        if low == high {
            continue;
        }
        assigned.add_partition_offset(topic, partition, Offset::Beginning).expect("an assignment");
        open.insert(partition);
    }
    consumer.assign(&assigned).expect("an assignment");
    let deadline = Deadline::after(60);
    let mut seen = 0;
    while !open.is_empty() {
        assert!(deadline.left().is_some(), "{topic} is read in time; open {open:?}");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(_)) => seen += 1,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
    }
    seen
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", bootstrap),
        ("group.id", "outside"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
        // The end is known only after a fetch that found nothing more.
        ("fetch.wait.max.ms", "50"),
    ] {
        config.set(name, value);
    }
    config.create().expect("a consumer")
}
