//! A stage as a value: wiring, ACLs and graphs are derived from it.
use crate::{
    outcome::{Outcome, StageError},
    record::Record,
    sink::Sink,
    state::{Store, Timer},
    table::{TableName, View},
    tx::Tx,
};
use atio_schemas::{Code, Codec};
use std::{fmt, sync::Arc};

pub trait Processor: Send + Sync {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome;
    /// Settles what was held, exactly once. Stages that hold nothing leave it.
    fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
        let _unused = tx;
        Outcome::Fail(StageError {
            code: Code::Internal,
            message: format!("no timers here: {:?}", timer.key),
        })
    }
    /// Whether it runs what is another stage's by name, see [`crate::Leg`]: it gets what is replayed for that one.
    fn runs_for(&self, stage: &str) -> bool {
        let _unused = stage;
        false
    }
}

/// Where a group starts on a topic that it has no committed offset for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Beginning,
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub topic: Arc<str>,
    /// Where its dead letters go, whole.
    pub dead_letters: Arc<str>,
    pub start: Start,
}

impl Input {
    /// From the beginning, dead letters to `<topic>.dlq`.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        Self {
            topic: Arc::from(topic),
            dead_letters: Arc::from(format!("{topic}.dlq")),
            start: Start::Beginning,
        }
    }
}

/// A store with its changelog topic, which has the input's partition count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    pub name: &'static str,
    pub changelog: Arc<str>,
    pub retention_ms: Option<i64>,
}

impl StoreSpec {
    #[must_use]
    pub fn of<S: Store>(prefix: &str, service: &str) -> Self {
        Self {
            name: S::NAME,
            changelog: Arc::from(format!("{prefix}state.{service}.{}", S::NAME)),
            retention_ms: S::RETENTION_MS,
        }
    }
}

/// A table that the stage reads, and how its view is made. Lanes of a process share the view of a spec and of its clones.
#[derive(Clone)]
pub struct TableSpec {
    pub name: TableName,
    pub topic: Arc<str>,
    pub make: Arc<dyn Fn() -> Box<dyn View> + Send + Sync>,
}

impl TableSpec {
    /// Whether one is a clone of the other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.topic == other.topic && Arc::ptr_eq(&self.make, &other.make)
    }
}

impl fmt::Debug for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} on {}", self.name.0, self.topic)
    }
}

/// How often a lane commits (exactly-once, rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// 20 ms at the latest, 5 ms after the input ran dry.
    Interactive,
    /// 100 ms.
    Bulk,
}

/// A sink and where its receipts go.
pub struct Deliver {
    pub sink: Box<dyn Sink>,
    /// Reads `atio_schemas::delivery::Delivery` from the input, writes `ReceiptRecord`.
    pub codec: Codec,
    pub receipts: Arc<str>,
}

pub enum Run {
    Transform(Box<dyn Processor>),
    Deliver(Deliver),
}

pub struct Stage {
    /// Unique in the system, e.g. `normalization`, `routing.threat-detection-response.siem`; bounded: it is a metric's label.
    pub name: String,
    pub service: &'static str,
    /// Kafka consumer group, prefix included.
    pub group: String,
    pub inputs: Vec<Input>,
    /// Every topic that it may write, dead letters, changelogs and receipts aside: ACLs come from here.
    pub outputs: Vec<Arc<str>>,
    pub stores: Vec<StoreSpec>,
    pub tables: Vec<TableSpec>,
    pub pace: Pace,
    pub run: Run,
}

impl Stage {
    /// Whether both are connected alike: group, topics, stores, tables and pace.
    #[must_use]
    pub fn is_wired_as(&self, other: &Self) -> bool {
        let same_tables = || self.tables.iter().zip(&other.tables).all(|(one, another)| one.is_same(another));
        self.group == other.group
            && self.inputs == other.inputs
            && self.outputs == other.outputs
            && self.stores == other.stores
            && self.tables.len() == other.tables.len()
            && same_tables()
            && self.pace == other.pace
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("name", &self.name)
            .field("group", &self.group)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}
