//! Where an alert's time goes: from its record on one topic to its record on the next, by the times that the broker gave them. A hop holds the
//! commit of the one before (until then nobody sees the record), the fetch, the wait for the own window and the work. Must not know who runs.
use crate::broker::Broker;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use std::{collections::HashMap, time::Duration};

/// So many records of a partition are looked at.
const SAMPLE: i64 = 5000;
const CALL: Duration = Duration::from_secs(20);

/// Topics in the order of the way, and where they ended when the load began.
pub struct Hops {
    topics: Vec<(String, TopicPartitionList)>,
}

/// What joins a record with those before and after it, and its time in milliseconds.
struct Stamp {
    /// `topic/partition/offset`, its own.
    at: String,
    /// The same of the raw record, where it says so.
    origin: Option<String>,
    id: Option<Vec<u8>>,
    time: i64,
}

impl Hops {
    pub fn before(broker: &Broker, topics: Vec<String>, partitions: i32) -> Self {
        let consumer = consumer(broker);
        let ends = topics.into_iter().map(|topic| {
            let mut ends = TopicPartitionList::new();
            for partition in 0..partitions {
                let (_, end) = consumer.fetch_watermarks(&topic, partition, CALL).expect("ends");
                ends.add_partition_offset(&topic, partition, Offset::Offset(end)).expect("a list");
            }
            (topic, ends)
        });
        Self { topics: ends.collect() }
    }

    /// Milliseconds of each hop, sorted; by the topic that it leads to.
    pub fn after(self, broker: &Broker) -> Vec<(String, Vec<f64>)> {
        let mut hops = vec![];
        let mut last: HashMap<Vec<u8>, i64> = HashMap::new();
        for (index, (topic, from)) in self.topics.iter().enumerate() {
            let stamps = read(broker, from);
            if index == 0 {
                last = stamps.into_iter().map(|s| (s.at.into_bytes(), s.time)).collect();
                continue;
            }
            let before = |s: &Stamp| match index {
                1 => last.get(s.origin.as_ref()?.as_bytes()).copied(),
                _ => last.get(s.id.as_ref()?).copied(),
            };
            let mut took: Vec<f64> =
                stamps.iter().filter_map(|s| Some((s.time - before(s)?) as f64)).collect();
            took.sort_by(f64::total_cmp);
            hops.push((topic.clone(), took));
            last = stamps.into_iter().filter_map(|s| Some((s.id?, s.time))).collect();
        }
        hops
    }
}

fn consumer(broker: &Broker) -> BaseConsumer {
    broker
        .client()
        .set("group.id", "hops")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer")
}

/// From these offsets on, each partition up to its sample or its end.
fn read(broker: &Broker, from: &TopicPartitionList) -> Vec<Stamp> {
    let consumer = consumer(broker);
    consumer.assign(from).expect("assigned");
    let mut open: HashMap<i32, i64> = from
        .elements()
        .iter()
        .map(|e| (e.partition(), e.offset().to_raw().expect("an offset") + SAMPLE))
        .collect();
    let mut stamps = vec![];
    while !open.is_empty() {
        match consumer.poll(CALL) {
            Some(Ok(message)) => {
                if open.get(&message.partition()).is_some_and(|until| message.offset() < *until) {
                    stamps.push(stamp(&message));
                } else {
                    open.remove(&message.partition());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => panic!("reading the way: {error}"),
            None => panic!("reading the way: nothing comes"),
        }
    }
    stamps
}

fn stamp(message: &BorrowedMessage<'_>) -> Stamp {
    let (mut id, mut origin) = (None, None);
    for header in message.headers().into_iter().flat_map(|h| h.iter()) {
        match header.key {
            "ce_id" => id = header.value.map(<[u8]>::to_vec),
            "atio_origin" => origin = header.value.map(|v| String::from_utf8_lossy(v).into_owned()),
            _ => {}
        }
    }
    let at = format!("{}/{}/{}", message.topic(), message.partition(), message.offset());
    Stamp { at, origin, id, time: message.timestamp().to_millis().unwrap_or(0) }
}
