//! Reading topics without a group: to their end as it was at the start, or on and on. For looking, not for processing: nothing is committed.
//! Owns where reading starts and ends; must not know what is read.
use crate::{
    client::assigned::{Assigned, Isolation},
    config::Kafka,
    fault::{Fault, FaultKind, Tp},
};
use atio_schemas::Timestamp;
use atio_stage::Headers;
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// One wait for the client; between them ends are looked at.
const SLICE: Duration = Duration::from_millis(20);
/// Reading to an end that makes no progress for so long has failed.
const STALL: Duration = Duration::from_secs(30);

/// Where reading starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Beginning,
    /// What comes from now on.
    End,
    /// The same number on each partition; what is no more, or not yet there, gives way to the nearest.
    Offset(i64),
    /// The broker's time on topics of ours.
    Time(Timestamp),
}

/// Where reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The last stable offset, as it is when reading starts.
    End,
    Never,
}

#[derive(Clone, Debug)]
pub struct ReadSpec {
    pub kafka: Kafka,
    pub client_id: String,
    pub topics: Vec<String>,
    /// None = all.
    pub partitions: Option<Vec<i32>>,
    pub from: From,
    pub until: Until,
}

impl ReadSpec {
    /// All of one topic, from beginning to end.
    #[must_use]
    pub fn whole(kafka: &Kafka, client_id: &str, topic: &str) -> Self {
        Self {
            kafka: kafka.clone(),
            client_id: client_id.to_owned(),
            topics: vec![topic.to_owned()],
            partitions: None,
            from: From::Beginning,
            until: Until::End,
        }
    }
}

/// A record, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    /// None = tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    #[error("kafka does not answer: {0}")]
    Unreachable(String),
    /// Settings that the client does not take.
    #[error("refused: {0}")]
    Refused(String),
    #[error("more than {0} keys")]
    TooMany(usize),
}

impl ReadError {
    /// Bounded.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownTopic(_) => "unknown_topic",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::TooMany(_) => "too_many",
        }
    }
}

impl std::convert::From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        if fault.kind == FaultKind::Fatal { Self::Refused(fault.text) } else { Self::Unreachable(fault.text) }
    }
}

/// What one look gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Record(Entry),
    /// Nothing in that time.
    Idle,
    /// All is read up to the end.
    End,
}

/// read_committed, without a group. As an iterator it blocks, and ends at the end.
pub struct TopicReader {
    client: Assigned,
    until: Until,
    next: BTreeMap<Tp, i64>,
    /// Where each partition that is not read to its end ends.
    ends: BTreeMap<Tp, i64>,
    progress: Instant,
}

impl TopicReader {
    /// # Errors
    /// See [`ReadError`].
    pub fn open(spec: &ReadSpec) -> Result<Self, ReadError> {
        let client = Assigned::new(&spec.kafka, &spec.client_id, Isolation::Committed)?;
        let (mut next, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for topic in &spec.topics {
            let count = client.partitions(topic)?;
            if count == 0 {
                return Err(ReadError::UnknownTopic(topic.clone()));
            }
            let wanted = (0..count).filter(|p| spec.partitions.as_ref().is_none_or(|w| w.contains(p)));
            for tp in wanted.map(|p| Tp::new(topic.as_str(), p)) {
                let (low, stable) = client.watermarks(&tp)?;
                let start = match spec.from {
                    From::Beginning => low,
                    From::End => stable,
                    From::Offset(n) => n.clamp(low, stable),
                    From::Time(at) => {
                        client.offset_at(&tp, at.0.div_euclid(1000))?.unwrap_or(stable).clamp(low, stable)
                    }
                };
                if spec.until == Until::Never || start < stable {
                    next.insert(tp.clone(), start);
                }
                if start < stable {
                    ends.insert(tp, stable);
                }
            }
        }
        client.assign(&next)?;
        Ok(Self { client, until: spec.until, next, ends, progress: Instant::now() })
    }

    /// What was there when reading started and is not read yet: where it ends, by partition. Empty = caught up, once [`Self::next`] was idle.
    #[must_use]
    pub const fn ends(&self) -> &BTreeMap<Tp, i64> {
        &self.ends
    }

    /// What is read next, by partition: below it all that is committed was handed out, markers passed.
    #[must_use]
    pub const fn positions(&self) -> &BTreeMap<Tp, i64> {
        &self.next
    }

    /// The next record, waiting up to `wait`.
    ///
    /// # Errors
    /// `unreachable`: no progress for 30 s on the way to an end.
    pub fn next(&mut self, wait: Duration) -> Result<Next, ReadError> {
        let deadline = Instant::now() + wait;
        loop {
            if self.until == Until::End && self.ends.is_empty() {
                return Ok(Next::End);
            }
            // To an end, markers are looked at between waits; what has no end waits as long as it may.
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(entry) = self.poll(if self.until == Until::Never { left } else { SLICE }) {
                return Ok(Next::Record(entry));
            }
            if self.until == Until::End && self.progress.elapsed() > STALL {
                return Err(ReadError::Unreachable(format!("no progress for {} s", STALL.as_secs())));
            }
            if Instant::now() >= deadline && !(self.until == Until::End && self.ends.is_empty()) {
                return Ok(Next::Idle);
            }
        }
    }

    fn poll(&mut self, wait: Duration) -> Option<Entry> {
        let entry = match self.client.poll(wait) {
            Ok(Some(incoming)) => Some(Entry {
                topic: Arc::from(incoming.topic()),
                partition: incoming.partition(),
                offset: incoming.offset(),
                timestamp: Timestamp(incoming.timestamp_ms().saturating_mul(1000)),
                key: incoming.key().map(<[u8]>::to_vec),
                value: incoming.value().map(<[u8]>::to_vec),
                headers: incoming.headers(),
            }),
            Ok(None) => None,
            Err(fault) => {
                tracing::debug!(error_code = "kafka_reader", error = %fault, "reading");
                self.catch_up_with_retention();
                None
            }
        };
        let Some(entry) = entry else {
            self.pass_markers();
            return None;
        };
        self.progress = Instant::now();
        let tp = Tp { topic: entry.topic.clone(), partition: entry.partition };
        if self.until == Until::End {
            let end = self.ends.get(&tp).copied()?;
            if entry.offset + 1 >= end {
                self.ends.remove(&tp);
            }
            if entry.offset >= end {
                return None;
            }
        }
        self.next.insert(tp, entry.offset + 1);
        Some(entry)
    }

    /// Commit markers own offsets: a partition can end without a last record.
    fn pass_markers(&mut self) {
        for (tp, position) in self.client.positions() {
            let next = self.next.entry(tp.clone()).or_insert(position);
            if position > *next {
                *next = position;
                self.progress = Instant::now();
            }
            if self.ends.get(&tp).is_some_and(|end| position >= *end) {
                self.ends.remove(&tp);
            }
        }
    }

    /// What was to be read next may be gone: go on from the oldest that is there.
    fn catch_up_with_retention(&mut self) {
        let mut moved = false;
        for (tp, next) in &mut self.next {
            if let Ok((low, _)) = self.client.watermarks(tp)
                && *next < low
            {
                *next = low;
                moved = true;
                if self.ends.get(tp).is_some_and(|end| low >= *end) {
                    self.ends.remove(tp);
                }
            }
        }
        if moved && let Err(fault) = self.client.assign(&self.next) {
            tracing::warn!(error_code = "kafka_reader", error = %fault, "reading on");
        }
    }

    /// Each record to `each`, until the end, a break, or `stop` says so (looked at between waits).
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn for_each(
        mut self,
        stop: impl Fn() -> bool,
        mut each: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        while !stop() {
            match self.next(Duration::from_millis(200))? {
                Next::Record(entry) => {
                    if each(entry).is_break() {
                        return Ok(());
                    }
                }
                Next::End => return Ok(()),
                Next::Idle => {}
            }
        }
        Ok(())
    }

    /// For async callers: a thread reads, up to `ahead` records. It ends at the end, after an error, or when the receiver is dropped.
    ///
    /// # Errors
    /// `refused`: no thread.
    pub fn into_channel(
        mut self,
        ahead: usize,
    ) -> Result<mpsc::Receiver<Result<Entry, ReadError>>, ReadError> {
        let (to, receiver) = mpsc::channel(ahead.max(1));
        let read = move || {
            while !to.is_closed() {
                let item = match self.next(Duration::from_millis(200)) {
                    Ok(Next::Record(entry)) => Ok(entry),
                    Ok(Next::Idle) => continue,
                    Ok(Next::End) => return,
                    Err(error) => Err(error),
                };
                let last = item.is_err();
                if to.blocking_send(item).is_err() || last {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("topic-reader".to_owned())
            .spawn(read)
            .map_err(|e| ReadError::Refused(e.to_string()))?;
        Ok(receiver)
    }
}

impl Iterator for TopicReader {
    type Item = Result<Entry, ReadError>;
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match Self::next(self, STALL) {
                Ok(Next::Record(entry)) => return Some(Ok(entry)),
                Ok(Next::Idle) => {}
                Ok(Next::End) => return None,
                Err(error) => {
                    self.until = Until::End;
                    self.ends.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The newest record of each key of a compacted topic, up to its end as it is now; tombstones take their key away.
///
/// # Errors
/// See [`ReadError`]; `too_many` above `limit` keys.
pub fn latest_by_key(
    kafka: &Kafka,
    client_id: &str,
    topic: &str,
    limit: usize,
) -> Result<BTreeMap<Vec<u8>, Entry>, ReadError> {
    let mut latest = BTreeMap::new();
    for entry in TopicReader::open(&ReadSpec::whole(kafka, client_id, topic))? {
        let entry = entry?;
        let Some(key) = entry.key.clone() else { continue };
        if entry.value.is_some() {
            latest.insert(key, entry);
        } else {
            latest.remove(&key);
        }
        if latest.len() > limit {
            return Err(ReadError::TooMany(limit));
        }
    }
    Ok(latest)
}
