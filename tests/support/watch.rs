//! When readers of committed records see something new: behind marks that are set at a kill.
use super::topic::{end, partitions, reader};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const PATIENCE_S: u64 = 10;

/// A partition, and the end of its log.
pub type Mark = ((String, i32), i64);

/// Milliseconds since 1970, as records are stamped.
pub fn stamp() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("not for a while")
}

/// Ends of the logs of a topic, what is not committed included; none while the broker does not say.
pub fn ends(consumer: &BaseConsumer, topic: &str, partitions: &[i32]) -> Option<Vec<Mark>> {
    let end = |p: &i32| Some(((topic.to_owned(), *p), end(consumer, topic, *p, PATIENCE_S)?));
    partitions.iter().map(end).collect()
}

#[derive(Default)]
struct Marks {
    from: HashMap<(String, i32), i64>,
    /// Milliseconds since 1970.
    since: i64,
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
                let late = m.timestamp().to_millis().is_some_and(|at| at >= marks.since);
                if late && marks.from.get(&at).is_some_and(|from| m.offset() >= *from) {
                    marks.seen.entry(at.0).or_insert_with(Instant::now);
                    inside.1.notify_all();
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// From now on these are the marks.
    pub fn arm(&self, from: Vec<Mark>) {
        self.arm_since(from, 0);
    }

    /// And what is older, in milliseconds since 1970, is not new either: where marks can't be had in the very moment.
    pub fn arm_since(&self, from: Vec<Mark>, since: i64) {
        let mut marks = self.shared.0.lock().unwrap();
        *marks = Marks { from: from.into_iter().collect(), since, ..Marks::default() };
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
