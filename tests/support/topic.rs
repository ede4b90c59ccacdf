//! Looking at topics from outside, with a client that knows nothing of ATIO: committed records only, to the end as it is now.
use super::Deadline;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::runtime::Runtime;

pub const CALL: Duration = Duration::from_secs(20);
/// A question about a partition waits so long for the node that led it when the client last looked.
const ANSWER: Duration = Duration::from_secs(2);
/// A topic of which nothing comes for so long is not read on.
const STALL_S: u64 = 60;

/// All topics there.
pub fn names(bootstrap: &str) -> BTreeSet<String> {
    let all = reader(bootstrap, "outside", "read_committed").fetch_metadata(None, CALL).expect("metadata");
    all.topics().iter().map(|t| t.name().to_owned()).collect()
}

/// What topics are made, changed and removed with.
pub fn admin(bootstrap: &str) -> (AdminClient<DefaultClientContext>, AdminOptions, Runtime) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = AdminOptions::new().operation_timeout(Some(CALL));
    (config.create().expect("an admin client"), options, runtime)
}

/// Makes a topic.
pub fn create(bootstrap: &str, topic: &str, partitions: i32) {
    create_with(bootstrap, topic, partitions, &[]);
}

/// A topic as somebody makes it who depends on it: a copy on every node that is named, two of them before anything is acknowledged where there
/// are three.
pub fn copied<'a>(bootstrap: &str, topic: &'a str, partitions: i32) -> NewTopic<'a> {
    let copies = i32::try_from(bootstrap.split(',').count()).expect("few");
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(copies));
    if copies > 2 { new.set("min.insync.replicas", "2") } else { new }
}

/// Makes a topic with configs of its own.
pub fn create_with(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let (admin, options, runtime) = admin(bootstrap);
    let new = copied(bootstrap, topic, partitions);
    let wanted = configs.iter().fold(new, |new, (name, value)| new.set(name, value));
    let made = runtime.block_on(admin.create_topics([&wanted], &options)).expect("an answer");
    assert_eq!(made, [Ok(topic.to_owned())], "{topic} is made");
}

/// Takes every committed record of a topic, from its beginning to its end as it is now; nothing where there is no such topic. The end is the log's:
/// what is committed and has not got its marker on every node yet is waited for, and so is a transaction that never ends, which is a failure.
pub fn each(bootstrap: &str, topic: &str, take: impl FnMut(&BorrowedMessage<'_>)) {
    each_as(bootstrap, topic, "read_committed", take);
}

pub fn each_as(bootstrap: &str, topic: &str, isolation: &str, mut take: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer = reader(bootstrap, "outside", isolation);
    let looking = reader(bootstrap, "outside", "read_uncommitted");
    let (mut assigned, mut open) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in partitions(&consumer, topic) {
        let (low, end) = span(&looking, topic, partition, CALL.as_secs())
            .unwrap_or_else(|| panic!("{topic}/{partition} has an end"));
        if low < end {
            assigned.add_partition_offset(topic, partition, Offset::Offset(low)).expect("an assignment");
            open.insert(partition, end);
        }
    }
    consumer.assign(&assigned).expect("an assignment");
    let mut deadline = Deadline::after(STALL_S);
    while !open.is_empty() {
        assert!(deadline.left().is_some(), "{topic} is read in time; open, with their ends: {open:?}");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                take(&message);
                deadline = Deadline::after(STALL_S);
                continue;
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            // Of a broker that has just started again; what does not pass ends with the time.
            Some(Err(error)) => eprintln!("{topic}: {error}"),
        }
        let positions = consumer.position().expect("positions");
        let at = |partition| match positions.find_partition(topic, partition).map(|p| p.offset()) {
            Some(Offset::Offset(next)) => next,
            _ => 0,
        };
        open.retain(|partition, end| at(*partition) < *end);
    }
}

/// How many records are on a topic; none where there is no such topic.
pub fn count(bootstrap: &str, topic: &str) -> usize {
    let mut seen = 0;
    each(bootstrap, topic, |_| seen += 1);
    seen
}

/// How often each value of a header is on a topic; records without the header count under the empty text.
pub fn by_header(bootstrap: &str, topic: &str, header: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    each(bootstrap, topic, |m| *found.entry(headers(m).remove(header).unwrap_or_default()).or_default() += 1);
    found
}

/// As text.
pub fn headers(message: &BorrowedMessage<'_>) -> BTreeMap<String, String> {
    let all = message.headers().into_iter().flat_map(Headers::iter);
    all.map(|h| (h.key.to_owned(), String::from_utf8_lossy(h.value.unwrap_or_default()).into_owned()))
        .collect()
}

/// Where a partition's log begins and ends; none while nobody says, for so many seconds.
fn span(consumer: &BaseConsumer, topic: &str, partition: i32, seconds: u64) -> Option<(i64, i64)> {
    let ask = || consumer.fetch_watermarks(topic, partition, ANSWER).ok();
    Deadline::after(seconds).every(Duration::from_millis(20), ask)
}

/// Where a partition's log ends; none while nobody says, for so many seconds.
pub fn end(consumer: &BaseConsumer, topic: &str, partition: i32, seconds: u64) -> Option<i64> {
    span(consumer, topic, partition, seconds).map(|(_, end)| end)
}

/// Reads all partitions of these topics, each from there on; of what is committed.
pub fn follow(bootstrap: &str, group: &str, topics: &[(&str, Offset)]) -> Result<BaseConsumer, KafkaError> {
    let consumer = reader(bootstrap, group, "read_committed");
    let mut from = TopicPartitionList::new();
    for (topic, offset) in topics {
        for partition in partitions(&consumer, topic) {
            from.add_partition_offset(topic, partition, *offset)?;
        }
    }
    consumer.assign(&from)?;
    Ok(consumer)
}

pub fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let all = consumer.fetch_metadata(Some(topic), CALL).expect("metadata");
    all.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id()).collect()
}

/// A consumer that says where a log ends, and commits nothing by itself.
pub fn reader(bootstrap: &str, group: &str, isolation: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", bootstrap),
        ("broker.address.family", "v4"),
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("isolation.level", isolation),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
        // The end is known only after a fetch that found nothing more.
        ("fetch.wait.max.ms", "50"),
        ("fetch.queue.backoff.ms", "5"),
        // By itself it does not look for a new leader of what it only asks about, but every 5 minutes.
        ("topic.metadata.refresh.interval.ms", "1000"),
        ("reconnect.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "200"),
    ] {
        config.set(name, value);
    }
    config.create().expect("a consumer")
}
