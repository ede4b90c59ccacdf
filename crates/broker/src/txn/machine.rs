//! Owns how one transactional id moves: epochs, fencing, partitions, the decision and its completion. Pure: time
//! comes in, a changed copy is made durable by the caller. Must not know logs or groups.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl State {
    /// Kafka's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
        }
    }
}

/// One transactional id. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Txn {
    pub(crate) pid: i64,
    pub(crate) epoch: i16,
    /// The epoch from which its own producer moved on to this one, else −1: it may not have read the answer.
    #[serde(default = "none")]
    moved_from: i16,
    pub(crate) state: State,
    pub(crate) timeout_ms: i64,
    pub(crate) started_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) partitions: BTreeSet<(String, i32)>,
    pub(crate) groups: BTreeSet<String>,
}

fn none() -> i16 {
    -1
}

/// What a request to end it comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The decision has to be written, then finished.
    Decided,
    /// It was ended that way before: a repeated request.
    Already,
}

impl Txn {
    pub(crate) fn new(pid: i64, timeout_ms: i64, now: i64) -> Txn {
        Txn {
            pid,
            epoch: 0,
            moved_from: none(),
            state: State::Empty,
            timeout_ms,
            started_ms: -1,
            updated_ms: now,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    /// Decided and not finished: nothing else may happen to it.
    pub(crate) fn is_prepared(&self) -> bool {
        matches!(self.state, State::PrepareCommit | State::PrepareAbort)
    }

    fn owner(&self, pid: i64, epoch: i16) -> Result<(), ResponseError> {
        if pid != self.pid {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if epoch != self.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        Ok(())
    }

    /// Before a new epoch: the producer that asks, if it says who it is, must be the current one. True when it is
    /// asking again for the epoch that it already got.
    ///
    /// # Errors
    /// `PRODUCER_FENCED`, `INVALID_PRODUCER_ID_MAPPING`.
    pub(crate) fn check_init(&self, pid: i64, epoch: i16) -> Result<bool, ResponseError> {
        if pid == -1 && epoch == -1 {
            return Ok(false);
        }
        if pid == self.pid && epoch >= 0 && epoch == self.moved_from && self.state == State::Empty {
            return Ok(true);
        }
        self.owner(pid, epoch).map(|()| false)
    }

    /// A new epoch for its next producer; `None` when epochs have run out and a new producer id is due. Only when
    /// nothing is open. `from` is the epoch of the producer that asks for its own next one, else −1.
    pub(crate) fn next_epoch(&mut self, from: i16, timeout_ms: i64, now: i64) -> Option<()> {
        let epoch = self.epoch.checked_add(1).filter(|e| *e < i16::MAX)?;
        self.epoch = epoch;
        self.moved_from = from;
        self.state = State::Empty;
        self.timeout_ms = timeout_ms;
        self.started_ms = -1;
        self.updated_ms = now;
        Some(())
    }

    fn may_add(&self, pid: i64, epoch: i16) -> Result<(), ResponseError> {
        self.owner(pid, epoch)?;
        if self.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        Ok(())
    }

    fn begin(&mut self, now: i64) {
        if self.state != State::Ongoing {
            self.state = State::Ongoing;
            self.started_ms = now;
        }
        self.updated_ms = now;
    }

    /// # Errors
    /// `INVALID_PRODUCER_ID_MAPPING`, `PRODUCER_FENCED`, `CONCURRENT_TRANSACTIONS`.
    pub(crate) fn add_partitions(
        &mut self,
        pid: i64,
        epoch: i16,
        partitions: impl IntoIterator<Item = (String, i32)>,
        now: i64,
    ) -> Result<(), ResponseError> {
        self.may_add(pid, epoch)?;
        self.begin(now);
        self.partitions.extend(partitions);
        Ok(())
    }

    /// # Errors
    /// As [`Txn::add_partitions`].
    pub(crate) fn add_group(
        &mut self,
        pid: i64,
        epoch: i16,
        group: &str,
        now: i64,
    ) -> Result<(), ResponseError> {
        self.may_add(pid, epoch)?;
        self.begin(now);
        self.groups.insert(group.to_owned());
        Ok(())
    }

    /// Whether its producer may send offsets for a group.
    ///
    /// # Errors
    /// As [`Txn::add_partitions`]; `INVALID_TXN_STATE` when the group was not added.
    pub(crate) fn check_offsets(&self, pid: i64, epoch: i16, group: &str) -> Result<(), ResponseError> {
        self.may_add(pid, epoch)?;
        match self.state == State::Ongoing && self.groups.contains(group) {
            true => Ok(()),
            false => Err(ResponseError::InvalidTxnState),
        }
    }

    /// Whether its producer may write to a partition.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH` for a fenced producer; `INVALID_TXN_STATE`, `INVALID_PRODUCER_ID_MAPPING`.
    pub(crate) fn check_produce(
        &self,
        pid: i64,
        epoch: i16,
        topic: &str,
        partition: i32,
    ) -> Result<(), ResponseError> {
        match self.owner(pid, epoch) {
            Err(ResponseError::ProducerFenced) => return Err(ResponseError::InvalidProducerEpoch),
            other => other?,
        }
        let added = self.partitions.iter().any(|(t, p)| t == topic && *p == partition);
        match self.state == State::Ongoing && added {
            true => Ok(()),
            false => Err(ResponseError::InvalidTxnState),
        }
    }

    /// The producer ends its transaction.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_ID_MAPPING`, `PRODUCER_FENCED`, `INVALID_TXN_STATE`, `CONCURRENT_TRANSACTIONS`.
    pub(crate) fn end(&mut self, pid: i64, epoch: i16, commit: bool, now: i64) -> Result<End, ResponseError> {
        self.owner(pid, epoch)?;
        match (self.state, commit) {
            (State::Ongoing, _) => {
                self.decide(commit, now);
                Ok(End::Decided)
            }
            (State::CompleteCommit, true) | (State::CompleteAbort, false) => Ok(End::Already),
            (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                Err(ResponseError::ConcurrentTransactions)
            }
            _ => Err(ResponseError::InvalidTxnState),
        }
    }

    fn decide(&mut self, commit: bool, now: i64) {
        self.state = if commit { State::PrepareCommit } else { State::PrepareAbort };
        self.updated_ms = now;
    }

    /// Someone else ends it: its producer is fenced by a higher epoch, and it is to be aborted.
    pub(crate) fn fence(&mut self, now: i64) {
        self.epoch = self.epoch.saturating_add(1);
        self.decide(false, now);
    }

    /// The clock was set back while the broker was down: what is said to have begun later began now.
    pub(crate) fn not_after(&mut self, now: i64) {
        self.started_ms = self.started_ms.min(now);
        self.updated_ms = self.updated_ms.min(now);
    }

    pub(crate) fn is_overdue(&self, now: i64) -> bool {
        self.state == State::Ongoing && now.saturating_sub(self.started_ms) > self.timeout_ms
    }

    /// All markers are written.
    pub(crate) fn complete(&mut self, now: i64) {
        self.state = match self.state {
            State::PrepareCommit => State::CompleteCommit,
            _ => State::CompleteAbort,
        };
        self.partitions.clear();
        self.groups.clear();
        self.started_ms = -1;
        self.updated_ms = now;
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
