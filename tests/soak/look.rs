//! Looking at topics and groups from outside, with a client that knows nothing of ATIO: positions at the moment of a kill, what is committed
//! since.
use crate::support::topic::{partitions, reader};
use atio_stream::Ledger;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

const CALL: Duration = Duration::from_secs(10);

/// Ends of the logs of a topic, what is not committed included; none while the broker does not say.
pub fn ends(consumer: &BaseConsumer, topic: &str, partitions: &[i32]) -> Option<Vec<((String, i32), i64)>> {
    let end = |p: &i32| {
        let (_, end) = consumer.fetch_watermarks(topic, *p, CALL).ok()?;
        Some(((topic.to_owned(), *p), end))
    };
    partitions.iter().map(end).collect()
}

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

#[derive(Default)]
struct Marks {
    from: HashMap<(String, i32), i64>,
    seen: HashMap<String, Instant>,
    enough: bool,
}

/// A reader of committed records that notes when a topic has something behind a mark.
pub struct Watch {
    shared: Arc<(Mutex<Marks>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(bootstrap: &str, topics: &[String]) -> Self {
        let consumer = reader(bootstrap, "soak-watch", "read_committed");
        let mut list = TopicPartitionList::new();
        for topic in topics {
            for partition in partitions(&consumer, topic) {
                list.add_partition_offset(topic, partition, Offset::Offset(0)).expect("an offset");
            }
        }
        consumer.assign(&list).expect("assigned");
        let shared = Arc::new((Mutex::new(Marks::default()), Condvar::new()));
        let inside = shared.clone();
        let thread = std::thread::spawn(move || {
            while !inside.0.lock().unwrap().enough {
                let Some(Ok(m)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let mut marks = inside.0.lock().unwrap();
                let at = (m.topic().to_owned(), m.partition());
                if marks.from.get(&at).is_some_and(|from| m.offset() >= *from) {
                    marks.seen.entry(at.0).or_insert_with(Instant::now);
                    inside.1.notify_all();
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// From now on these are the marks.
    pub fn arm(&self, from: Vec<((String, i32), i64)>) {
        let mut marks = self.shared.0.lock().unwrap();
        (marks.from, marks.seen) = (from.into_iter().collect(), HashMap::new());
    }

    /// When the last of these topics had something new, if all have within this time.
    pub fn seen(&self, topics: &[String], limit: Duration) -> Option<Instant> {
        let all = |marks: &Marks| topics.iter().all(|t| marks.seen.contains_key(t));
        let guard = self.shared.0.lock().unwrap();
        let (marks, _) = self.shared.1.wait_timeout_while(guard, limit, |marks| !all(marks)).unwrap();
        all(&marks).then(|| topics.iter().map(|t| marks.seen[t]).max()).flatten()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Ok(mut marks) = self.shared.0.lock() {
            marks.enough = true;
        }
        drop(self.thread.take().map(JoinHandle::join));
    }
}
