//! How a client call failed, as the machine needs to know it (exactly-once, rule 6). Owns no client types.
use std::{fmt, sync::Arc};

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tp {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl Tp {
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for Tp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// What follows from a failed call, in the order in which they are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It may or may not have happened (rule 7): a new producer, and ask the broker.
    Unknown,
    /// `INVALID_TXN_STATE` on commit or abort: a transaction was torn. Exit.
    Torn,
    /// The group's generation moved on: abort and rewind.
    Generation,
    /// The member is gone: abort and forget everything.
    Member,
    /// The transactional id has another owner, or the broker timed the transaction out (rule 8).
    Fenced,
    /// The producer can't go on (rule 8).
    Fatal,
    /// The transaction can only be aborted.
    Abort,
    /// The same call again.
    Retry,
}

/// A failed call: kind, and the client's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}: {text}")]
pub struct Fault {
    pub kind: FaultKind,
    pub text: String,
}

impl Fault {
    #[must_use]
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}
