//! Asks and changes the cluster: topics, settings, watermarks, committed offsets. Owns the errors and the order of changes; must not know
//! what the topics are for. Every call blocks for up to 10 s and a little more: call it where blocking is allowed.
use crate::{
    client::admin::{CALL, Connection},
    config::Kafka,
};
use atio_topics::{Change, ClusterState, Plan};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Why the cluster gave no answer, or not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No broker answered in time: exit code 6.
    #[error("kafka at {bootstrap} does not answer: {text}")]
    Unreachable { bootstrap: String, text: String },
    /// The broker, or the client on its behalf, said no.
    #[error("{what} was refused: {text}")]
    Refused { what: String, text: String },
}

impl AdminError {
    /// Bounded.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
        }
    }
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A partition's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub partition: i32,
    pub low: i64,
    /// Where the next record goes.
    pub high: i64,
    /// Last stable offset: what read_committed sees up to (exclusive).
    pub stable: i64,
}

/// A group's position on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub topic: String,
    pub partition: i32,
    /// None: the group has none.
    pub offset: Option<i64>,
    pub metadata: String,
}

/// How far a group is behind on a partition: last stable offset minus committed (exactly-once, rule 11); without a committed offset,
/// all that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub topic: String,
    pub partition: i32,
    pub committed: Option<i64>,
    pub stable: i64,
    pub lag: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// As the broker says: Stable, Empty, PreparingRebalance …
    pub state: String,
    pub members: usize,
}

/// How one change of a plan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub change: Change,
    pub result: Result<(), AdminError>,
}

/// See the module's head.
pub struct Admin(Connection);

impl Admin {
    /// Makes the client; whether a broker answers shows at the first call.
    ///
    /// # Errors
    /// `refused`: settings that the client does not take.
    pub fn connect(kafka: &Kafka, client_id: &str) -> Result<Self, AdminError> {
        Connection::open(kafka, client_id).map(Self)
    }

    /// Lets go of it without waiting for its threads: for who has more to do.
    pub fn retire(self) {
        crate::client::retire(self);
    }

    /// Topics with their partition counts, internal ones (`__…`) aside.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn topics(&self) -> Result<BTreeMap<String, u32>, AdminError> {
        self.0.topics()
    }

    /// Topics with partitions and every setting.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn cluster_state(&self) -> Result<ClusterState, AdminError> {
        self.0.cluster_state()
    }

    /// Makes the changes, in order, and waits until created topics can be written to. A refused change does not keep the others from being
    /// made; an unreachable broker does.
    ///
    /// # Errors
    /// `unreachable`: what was done before is done; planning again shows what is left.
    pub fn apply(&self, plan: &Plan) -> Result<Vec<Done>, AdminError> {
        let mut done = Vec::with_capacity(plan.changes.len());
        let mut created = vec![];
        for change in &plan.changes {
            let result = self.make(change);
            if let Err(error @ AdminError::Unreachable { .. }) = result {
                return Err(error);
            }
            if let (Change::Create { topic, .. }, Ok(())) = (change, &result) {
                created.push(topic.as_str());
            }
            done.push(Done { change: change.clone(), result });
        }
        self.0.wait_for(&created)?;
        Ok(done)
    }

    fn make(&self, change: &Change) -> Result<(), AdminError> {
        match change {
            Change::Create { topic, partitions, replication, configs } => {
                self.0.create(topic, *partitions, *replication, configs)
            }
            Change::Partitions { topic, to, .. } => self.0.raise_partitions(topic, *to),
            Change::Configs { topic, set } => {
                let set = set.iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect();
                self.0.set_configs(topic, &set)
            }
            Change::Delete { topic } => self.0.delete(topic),
        }
    }

    /// # Errors
    /// See [`AdminError`].
    pub fn delete_topic(&self, topic: &str) -> Result<(), AdminError> {
        self.0.delete(topic)
    }

    /// The ends of every partition of a topic.
    ///
    /// # Errors
    /// See [`AdminError`]; `refused` also for a topic that does not exist.
    pub fn watermarks(&self, topic: &str) -> Result<Vec<Marks>, AdminError> {
        self.0.watermarks(topic)
    }

    /// Where a group stands on every partition of these topics. Waits for pending transactions.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn committed(&self, group: &str, topics: &[&str]) -> Result<Vec<Committed>, AdminError> {
        self.0.committed(group, topics)
    }

    /// How far a group is behind.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn lag(&self, group: &str, topics: &[&str]) -> Result<Vec<Lag>, AdminError> {
        let mut marks: BTreeMap<(String, i32), Marks> = BTreeMap::new();
        for topic in topics {
            marks
                .extend(self.watermarks(topic)?.into_iter().map(|m| (((*topic).to_owned(), m.partition), m)));
        }
        let committed = self.committed(group, topics)?;
        let lags = committed.into_iter().filter_map(|c| {
            let m = marks.get(&(c.topic.clone(), c.partition))?;
            let lag = (m.stable - c.offset.unwrap_or(m.low)).max(0);
            Some(Lag { topic: c.topic, partition: c.partition, committed: c.offset, stable: m.stable, lag })
        });
        Ok(lags.collect())
    }

    /// `max.message.bytes` by topic, for those that exist.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn max_message_bytes(&self, topics: &[Arc<str>]) -> Result<HashMap<Arc<str>, usize>, AdminError> {
        let sizes = self.numbers(topics, "max.message.bytes")?.into_iter();
        Ok(sizes.filter_map(|(topic, bytes)| Some((topic, usize::try_from(bytes).ok()?))).collect())
    }

    /// A setting that is a whole number, by topic, for those that exist.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn numbers(&self, topics: &[Arc<str>], setting: &str) -> Result<HashMap<Arc<str>, i64>, AdminError> {
        let configs = self.0.configs(topics)?;
        let number = |c: BTreeMap<String, String>| c.get(setting).and_then(|v| v.parse().ok());
        Ok(configs.into_iter().filter_map(|(topic, c)| Some((topic, number(c)?))).collect())
    }

    /// Every consumer group.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn groups(&self) -> Result<Vec<Group>, AdminError> {
        self.0.groups()
    }

    /// The longest that one question to a broker takes.
    #[must_use]
    pub const fn patience() -> std::time::Duration {
        CALL
    }
}
