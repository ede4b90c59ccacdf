//! Looking at groups from outside, with a client that knows nothing of ATIO: positions at the moment of a kill.
use crate::support::{
    topic::{partitions, reader},
    watch::ends,
};
use atio_stream::Ledger;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::time::Duration;

const CALL: Duration = Duration::from_secs(10);

/// A group on one topic.
pub struct Group {
    pub name: String,
    pub topic: String,
    pub partitions: Vec<i32>,
    consumer: BaseConsumer,
}

/// Where a group is: sums over the partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub committed: i64,
    pub end: i64,
}

impl Position {
    pub fn waiting(self) -> i64 {
        self.end - self.committed
    }
}

impl Group {
    pub fn new(bootstrap: &str, name: String, topic: String) -> Self {
        // Uncommitted: committed offsets are told as they are, pending transactions are not waited for.
        let consumer = reader(bootstrap, &name, "read_uncommitted");
        let partitions = partitions(&consumer, &topic);
        Self { name, topic, partitions, consumer }
    }

    pub fn end(&self) -> Option<i64> {
        Some(ends(&self.consumer, &self.topic, &self.partitions)?.iter().map(|(_, end)| end).sum())
    }

    fn offsets(&self) -> Option<Vec<(i64, Option<Ledger>)>> {
        let mut list = TopicPartitionList::new();
        for partition in &self.partitions {
            list.add_partition(&self.topic, *partition);
        }
        let found = self.consumer.committed_offsets(list, CALL).ok()?;
        let each = found.elements().into_iter().map(|e| match e.offset() {
            Offset::Offset(next) => (next, Ledger::from_metadata(e.metadata())),
            _ => (0, None),
        });
        Some(each.collect())
    }

    pub fn committed(&self) -> Option<i64> {
        Some(self.offsets()?.iter().map(|(next, _)| next).sum())
    }

    pub fn position(&self) -> Option<Position> {
        let committed = self.committed()?;
        Some(Position { committed, end: self.end()? })
    }

    /// As they were committed with the offsets, of the partitions that have any.
    pub fn ledgers(&self) -> Vec<Option<Ledger>> {
        let all = self.offsets().expect("the broker answers");
        all.into_iter().filter(|(next, _)| *next > 0).map(|(_, ledger)| ledger).collect()
    }
}
