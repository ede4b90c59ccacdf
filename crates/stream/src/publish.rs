//! Publishing outside of a stage: what a door (HTTP) took in, commands, audit intents. Owns what callers see of it; must not know the Kafka
//! client. [`Publisher`] answers once the broker has the records; [`Transactional`] writes records and positions as one.
use crate::{
    admin::{Admin, AdminError},
    client::publisher::Running,
    config::Kafka,
};
use atio_stage::{BoxFuture, Output};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

mod transactional;
pub use transactional::{TransactError, Transactional, TransactionalSpec};

/// Where doors publish: a [`Publisher`], or a test's stand-in. One answer a record, in order.
pub trait Publish: Send + Sync {
    fn publish(&self, outputs: Vec<Output>) -> BoxFuture<'_, Vec<Result<Position, PublishError>>>;
}

impl Publish for Publisher {
    fn publish(&self, outputs: Vec<Output>) -> BoxFuture<'_, Vec<Result<Position, PublishError>>> {
        Box::pin(self.send(outputs))
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

impl Position {
    /// `topic/partition/offset`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Why a record was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Key, value, headers and 100 bytes are above the topic's `max.message.bytes` (exactly-once, rule 13).
    #[error("{bytes} bytes, {topic} takes {limit}")]
    TooLarge { topic: Arc<str>, bytes: usize, limit: usize },
    /// More is waiting for the broker than may wait. Nothing was sent: try later.
    #[error("too much is waiting for the broker")]
    Busy,
    /// The broker did not answer in time. The record may be there, or may not.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// The broker said no, for good.
    #[error("refused: {0}")]
    Refused(String),
}

impl PublishError {
    /// Bounded.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Busy => "busy",
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
        }
    }
    /// Whether the same record may pass later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_))
    }
}

impl From<AdminError> for PublishError {
    fn from(error: AdminError) -> Self {
        if error.is_unreachable() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

/// What a publisher is made of.
#[derive(Clone, Debug)]
pub struct PublisherSpec {
    pub kafka: Kafka,
    /// Seen in the broker's log: `atio-ingestion-0`.
    pub client_id: String,
    /// What it writes to; each must exist. More can be learnt later.
    pub topics: Vec<Arc<str>>,
    /// A record that the broker does not have by then is `unavailable`.
    pub deadline: Duration,
    /// What may wait for the broker; above is `busy`.
    pub waiting_records: u32,
    pub waiting_kib: u32,
}

impl PublisherSpec {
    /// Five seconds; 100,000 records or 64 MiB.
    #[must_use]
    pub fn new(kafka: &Kafka, client_id: &str, topics: &[&str]) -> Self {
        Self {
            kafka: kafka.clone(),
            client_id: client_id.to_owned(),
            topics: topics.iter().map(|t| Arc::from(*t)).collect(),
            deadline: Duration::from_secs(5),
            waiting_records: 100_000,
            waiting_kib: 65_536,
        }
    }
}

/// An idempotent producer with a thread of its own. Records of one call keep their order per partition. Shared by reference.
pub struct Publisher {
    spec: PublisherSpec,
    limits: RwLock<HashMap<Arc<str>, usize>>,
    running: Mutex<Arc<Running>>,
}

impl Publisher {
    /// Asks for the topics' limits and starts the producer. Blocks.
    ///
    /// # Errors
    /// `unavailable`; `refused` where a topic does not exist.
    pub fn open(spec: PublisherSpec) -> Result<Self, PublishError> {
        let limits = limits(&spec, &spec.topics)?;
        let running = Running::start(&spec, &limits)?;
        Ok(Self { spec, limits: RwLock::new(limits), running: Mutex::new(running) })
    }

    /// Topics that were not known at first. Blocks.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn learn(&self, topics: &[Arc<str>]) -> Result<(), PublishError> {
        let mut known = self.limits.read().unwrap_or_else(PoisonError::into_inner).clone();
        let new: Vec<Arc<str>> = topics.iter().filter(|t| !known.contains_key(*t)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        known.extend(limits(&self.spec, &new)?);
        // Batches and records are sized by the smallest and the largest limit.
        let running = Running::start(&self.spec, &known)?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// Publishes and waits until the broker has them, or the deadline passed. One answer a record, in order. Dropping the future loses the
    /// answers, not the records.
    pub async fn send(&self, outputs: Vec<Output>) -> Vec<Result<Position, PublishError>> {
        let running = match self.running() {
            Ok(running) => running,
            Err(error) => return outputs.iter().map(|_| Err(error.clone())).collect(),
        };
        let checked: Vec<Result<(), PublishError>> = outputs.iter().map(|o| self.fits(o)).collect();
        running.send(&outputs, checked).await
    }

    fn fits(&self, output: &Output) -> Result<(), PublishError> {
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let Some(limit) = limits.get(&output.topic).copied() else {
            return Err(PublishError::Refused(format!("{} is not a topic of this publisher", output.topic)));
        };
        let bytes = output.size();
        if bytes > limit {
            Err(PublishError::TooLarge { topic: output.topic.clone(), bytes, limit })
        } else {
            Ok(())
        }
    }

    /// A producer that failed for good is replaced.
    fn running(&self) -> Result<Arc<Running>, PublishError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.failed() {
            let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
            *running = Running::start(&self.spec, &limits)?;
        }
        Ok(Arc::clone(&running))
    }
}

fn limits(spec: &PublisherSpec, topics: &[Arc<str>]) -> Result<HashMap<Arc<str>, usize>, PublishError> {
    let admin = Admin::connect(&spec.kafka, &spec.client_id)?;
    let limits = admin.max_message_bytes(topics);
    admin.retire();
    let limits = limits?;
    match topics.iter().find(|t| !limits.contains_key(*t)) {
        Some(topic) => Err(PublishError::Refused(format!("{topic} does not exist"))),
        None => Ok(limits),
    }
}
