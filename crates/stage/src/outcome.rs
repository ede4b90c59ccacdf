//! How a record ended at a stage. The return type is the ledger: emitting nothing can't be written down.
use crate::{record::Output, state::StateKey};
use atio_schemas::{Code, Timestamp};

/// At least one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonEmpty<T>(Vec<T>);

impl<T> NonEmpty<T> {
    #[must_use]
    pub fn one(item: T) -> Self {
        Self(vec![item])
    }
    /// None when there is nothing in it.
    #[must_use]
    pub fn from_vec(items: Vec<T>) -> Option<Self> {
        (!items.is_empty()).then_some(Self(items))
    }
    pub fn push(&mut self, item: T) {
        self.0.push(item);
    }
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

/// The bad part of a record that is otherwise good: its bytes as they stood in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub bytes: Vec<u8>,
    /// Byte offset in the record's payload, and line (from 1), where known.
    pub offset: Option<u64>,
    pub line: Option<u64>,
}

/// One dead letter: the whole record (`part` = None), or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub code: Code,
    /// What is wrong and where, for people; cut to 1 KiB on the wire.
    pub message: String,
    pub part: Option<Part>,
}

impl Reject {
    #[must_use]
    pub fn whole(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), part: None }
    }
}

/// Why a stage cannot go on at all (not: a bad record). The driver aborts, backs off and tells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct StageError {
    pub code: Code,
    pub message: String,
}

/// What one of several stages makes of a record, where one runs them all: as if that stage had had the record to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The stage that it stands for: its dead letters are that stage's, and a replay of one is for it alone.
    pub stage: String,
    /// `name@version` of its workflow: its dead letters say so.
    pub workflow: String,
    pub outputs: Vec<Output>,
    pub rejected: Vec<Reject>,
    /// Why there is neither.
    pub otherwise: Code,
}

#[must_use = "an outcome that is not returned loses a record"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Emit {
        outputs: NonEmpty<Output>,
        rejected: Vec<Reject>,
    },
    /// What several stages make of it. Where one of them can't deliver, the others do; a dead letter of each names what it gave, and no more.
    /// The record counts as emitted where anything is, else as a dead letter where there is one, else as dropped.
    Legs {
        /// Of the record as a whole, beside the legs.
        outputs: Vec<Output>,
        legs: NonEmpty<Leg>,
    },
    /// Kept in a store of this transaction until the timer settles it.
    Hold {
        key: StateKey,
        until: Timestamp,
    },
    Drop(Code),
    DeadLetter(NonEmpty<Reject>),
    Fail(StageError),
}

impl Outcome {
    /// Of a record whose legs are not told apart: as it counts.
    pub fn together(mut outputs: Vec<Output>, legs: NonEmpty<Leg>) -> Self {
        let (mut rejected, mut otherwise) = (vec![], None);
        for leg in legs.into_vec() {
            outputs.extend(leg.outputs);
            rejected.extend(leg.rejected);
            otherwise.get_or_insert(leg.otherwise);
        }
        Self::of(outputs, rejected, otherwise.unwrap_or(Code::Other))
    }
    /// One output, nothing rejected.
    pub fn emit(output: Output) -> Self {
        Self::Emit { outputs: NonEmpty::one(output), rejected: vec![] }
    }
    pub fn dead_letter(code: Code, message: impl Into<String>) -> Self {
        Self::DeadLetter(NonEmpty::one(Reject::whole(code, message)))
    }
    /// Emit where there is output, else dead letters where there are rejects, else dropped for the reason given.
    pub fn of(outputs: Vec<Output>, rejected: Vec<Reject>, otherwise: Code) -> Self {
        match (NonEmpty::from_vec(outputs), NonEmpty::from_vec(rejected)) {
            (Some(outputs), rejected) => {
                Self::Emit { outputs, rejected: rejected.map_or_else(Vec::new, NonEmpty::into_vec) }
            }
            (None, Some(rejected)) => Self::DeadLetter(rejected),
            (None, None) => Self::Drop(otherwise),
        }
    }
}
