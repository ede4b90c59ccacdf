//! The machine's vocabulary: what it is told, what it asks for, why it ends. Owns no behaviour.
use crate::{
    fault::{Fault, Tp},
    ledger::Span,
};
use std::collections::BTreeMap;

/// Milliseconds on a clock that never goes back.
pub type Millis = u64;
pub type Positions = BTreeMap<Tp, i64>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The group's, in its order.
    Assigned(Vec<Tp>),
    Revoked {
        partitions: Vec<Tp>,
        lost: bool,
    },
    /// State is in memory; per partition where it goes on, and whether that is committed already.
    Restored(Result<BTreeMap<Tp, Base>, End>),
    /// Records are at hand; per partition the position after them. Empty: a whole poll returned nothing.
    Polled {
        ends: Positions,
        bytes: usize,
    },
    Begun(Result<(), Fault>),
    /// What was at hand is processed and given to the producer.
    Processed(Result<(), Refusal>),
    /// Everything is produced; the positions that the consumer has by now, where it has a number.
    Sealed(Result<Positions, Fault>),
    OffsetsSent(Result<(), Fault>),
    Committed(Result<(), Fault>),
    Aborted(Result<(), Fault>),
    Rebuilt(Result<(), Fault>),
    /// Committed offsets, stable; none where none was ever committed.
    Resolved(Result<BTreeMap<Tp, Option<Committed>>, Fault>),
    Sought(Result<(), Fault>),
    /// The positions asked for when idle.
    Positions(Positions),
    /// Something that is held is due; there may be nothing else at hand.
    Due,
    /// Records that were read can't be taken up, in a transaction or out of one.
    Refused(Refusal),
    Tick,
    Stop,
}

/// Why what was at hand could not be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The stage can't go on; nothing is wrong with the producer.
    Stage(String),
    /// The producer lost records (rule 13).
    Producer(Fault),
    /// Not to be tried again.
    Final(End),
}

/// What is committed of a partition. A transaction in which only a timer fired moves no offset: its mark tells it from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub next: i64,
    /// Counts the partition's transactions; each adds one.
    pub mark: u64,
}

/// Where a partition's transaction starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    pub next: i64,
    pub mark: u64,
    /// Whether `next` is committed; else it is the declared start.
    pub stored: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Committed offsets, check, state (rules 12, 16) → `Restored`.
    Restore(Vec<Tp>),
    /// Drops a partition's state and whatever of it is at hand.
    Release(Vec<Tp>),
    /// Acknowledges an assignment, with explicit offsets; null: closing, no record will be read.
    Assign(BTreeMap<Tp, Option<i64>>),
    /// Acknowledges a revocation.
    Unassign(Vec<Tp>),
    /// → `Begun`
    Begin,
    /// → `Processed`
    Process,
    /// Changelogs, then drain → `Sealed`
    Seal,
    /// → `OffsetsSent`
    SendOffsets(Positions),
    /// → `Committed`
    Commit,
    /// The transaction is in: merge what it changed.
    Merge(Positions),
    /// It is not: drop what it changed, and whatever is at hand.
    Discard,
    /// Drain, abort → `Aborted`
    Abort,
    /// A new producer under the same transactional id → `Rebuilt`
    Rebuild,
    /// → `Resolved`
    Resolve(Vec<Tp>),
    /// → `Sought`
    Seek(Positions),
    /// → `Positions`
    AskPositions,
    Pause(Vec<Tp>),
    Resume(Vec<Tp>),
    Exit(End),
}

/// Why a lane ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    #[error("stopped")]
    Asked,
    /// What was under way is left to whoever comes next: as after a crash.
    #[error("stopped without an answer from the broker: {0}")]
    Left(String),
    #[error("fenced: another instance runs under this name ({0})")]
    Fenced(String),
    #[error("a transaction was torn: {0}")]
    Torn(String),
    #[error("{partition} is committed at {committed}, neither at the batch's start nor at its end")]
    Moved { partition: Tp, committed: i64 },
    #[error("{partition} is committed at {committed}, outside of {low}..{high}")]
    OutOfRange { partition: Tp, committed: i64, low: i64, high: i64 },
    #[error(
        "state is stale: {changelog} went from {noted} when {input} was committed, and is {found} now; bring the topic back, or go on with \
         what is left of it: stop the stage, `kafka-consumer-groups --group {group} --topic {}:{} --reset-offsets --to-current --execute`, \
         start it", input.topic, input.partition
    )]
    StaleState { changelog: Tp, noted: Span, found: Span, input: Tp, group: String },
    #[error("{0}")]
    Failed(String),
    #[error("nearly everything is dead-lettered: {dead_lettered} of the last {of} records")]
    Poisoned { dead_lettered: u64, of: u64 },
}

/// When to commit, how long to wait (rules 4, 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// At the latest so long after the first record.
    pub commit_interval: Millis,
    /// Earlier where the input is dry and the last commit is so long ago; null: wait for the interval.
    pub pace: Option<Millis>,
    /// Or at so many bytes of input, or records.
    pub max_bytes: usize,
    pub max_polls: u32,
    /// The first wait after a failure; doubles up to the last.
    pub back_off: Millis,
    pub back_off_max: Millis,
}
