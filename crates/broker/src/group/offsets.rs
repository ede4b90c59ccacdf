//! Owns what a group has committed, and what open transactions have sent for it. Pure. Must not know members.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Topic and partition.
pub(crate) type At = (String, i32);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offset {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_ms: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) committed: BTreeMap<At, Offset>,
    /// By producer id.
    pub(crate) pending: BTreeMap<i64, BTreeMap<At, Offset>>,
}

impl Offsets {
    /// Whether an open transaction has sent an offset for it.
    pub(crate) fn is_pending(&self, at: &At) -> bool {
        self.pending.values().any(|sent| sent.contains_key(at))
    }

    pub(crate) fn send(&mut self, pid: i64, at: At, offset: Offset) {
        self.pending.entry(pid).or_default().insert(at, offset);
    }

    /// Ends `pid`'s transaction.
    pub(crate) fn end(&mut self, pid: i64, commit: bool) {
        let sent = self.pending.remove(&pid).unwrap_or_default();
        if commit {
            self.committed.extend(sent);
        }
    }

    /// What an end would change: (committed now, no longer pending).
    pub(crate) fn ending(&self, pid: i64, commit: bool) -> (Vec<(At, Offset)>, Vec<At>) {
        let sent = self.pending.get(&pid).into_iter().flatten();
        let gone = sent.clone().map(|(at, _)| at.clone()).collect();
        let committed = sent.filter(|_| commit).map(|(at, offset)| (at.clone(), offset.clone()));
        (committed.collect(), gone)
    }

    /// Times ahead of `now` come from a clock that was set back: they count as now.
    pub(crate) fn not_after(&mut self, now: i64) {
        for offset in self.committed.values_mut() {
            offset.committed_ms = offset.committed_ms.min(now);
        }
    }

    /// What was committed before `horizon`.
    pub(crate) fn expired(&self, horizon: i64) -> BTreeSet<At> {
        let old = self.committed.iter().filter(|(_, offset)| offset.committed_ms < horizon);
        old.map(|(at, _)| at.clone()).collect()
    }

    pub(crate) fn of_topic(&self, topic: &str) -> BTreeSet<At> {
        self.committed.keys().filter(|at| at.0 == topic).cloned().collect()
    }
}
