//! Where an alert's time goes: from its record on one topic to its record on the next, by the times that the broker gave them. A hop holds the
//! commit of the one before (until then nobody sees the record), the fetch, the wait for the own window and the work. Must not know who runs.
use crate::{
    broker::Broker,
    support::topic::{headers, reader},
};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use std::{collections::HashMap, time::Duration};

/// So many records of a partition are looked at.
const SAMPLE: i64 = 5000;
const CALL: Duration = Duration::from_secs(20);

/// Where topics ended when the load began, in the order of the way.
pub struct Hops {
    way: Vec<TopicPartitionList>,
}

/// What joins a record with those before and after it, and its time in milliseconds.
struct Stamp {
    /// `topic/partition/offset`, its own.
    at: String,
    /// The same of the raw record, where it says so.
    origin: Option<String>,
    id: Option<String>,
    time: i64,
}

impl Hops {
    pub fn before(broker: &Broker, topics: Vec<String>, partitions: i32) -> Self {
        let consumer = consumer(broker);
        let way = topics.into_iter().map(|topic| {
            let mut ends = TopicPartitionList::new();
            for partition in 0..partitions {
                let (_, end) = consumer.fetch_watermarks(&topic, partition, CALL).expect("ends");
                ends.add_partition_offset(&topic, partition, Offset::Offset(end)).expect("a list");
            }
            ends
        });
        Self { way: way.collect() }
    }

    /// Milliseconds of each hop, sorted.
    pub fn after(self, broker: &Broker) -> Vec<Vec<f64>> {
        let mut hops = vec![];
        let mut last: HashMap<String, i64> = HashMap::new();
        for (index, from) in self.way.iter().enumerate() {
            let stamps = read(broker, from);
            if index == 0 {
                last = stamps.into_iter().map(|s| (s.at, s.time)).collect();
                continue;
            }
            let before = |s: &Stamp| match index {
                1 => last.get(s.origin.as_ref()?).copied(),
                _ => last.get(s.id.as_ref()?).copied(),
            };
            let mut took: Vec<f64> =
                stamps.iter().filter_map(|s| Some((s.time - before(s)?) as f64)).collect();
            took.sort_by(f64::total_cmp);
            hops.push(took);
            last = stamps.into_iter().filter_map(|s| Some((s.id?, s.time))).collect();
        }
        hops
    }
}

fn consumer(broker: &Broker) -> BaseConsumer {
    reader(&broker.bootstrap, "hops", "read_committed")
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
    let mut headers = headers(message);
    let (id, origin) = (headers.remove("ce_id"), headers.remove("atio_origin"));
    let at = format!("{}/{}/{}", message.topic(), message.partition(), message.offset());
    Stamp { at, origin, id, time: message.timestamp().to_millis().unwrap_or(0) }
}
