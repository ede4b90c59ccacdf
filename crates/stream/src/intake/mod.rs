//! Fairness between a lane's inputs: a flood waits on its own topic, not on those that everybody shares. Owns what a lane is told of shares and of
//! what waits downstream; must not know sources' formats, nor how a record is taken.
//!
//! It is pace alone: which records are taken, in which order of a partition, and what becomes of them does not depend on it.
mod downstream;
pub(crate) mod shares;
#[cfg(test)]
mod tests;

pub use downstream::{Branches, Downstream, Hop, Watched};

use std::{collections::BTreeMap, sync::Arc};

/// Of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// A label of metrics, so bounded.
    pub source: String,
    /// Tenants have equal shares.
    pub tenant: String,
    /// Among the sources of its tenant.
    pub weight: u32,
}

/// What a lane is told.
#[derive(Clone)]
pub struct Intake {
    /// By topic; an input without one is a source and a tenant of its own.
    pub shares: BTreeMap<Arc<str>, Share>,
    pub downstream: Downstream,
}

impl Intake {
    pub(crate) fn share(&self, topic: &str) -> Share {
        let own = || Share { source: topic.to_owned(), tenant: topic.to_owned(), weight: 1 };
        self.shares.get(topic).cloned().unwrap_or_else(own)
    }
}

/// How it stands downstream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// Records that have been written and wait for those who read them.
    pub(crate) waiting: u64,
    /// The most of them at one place.
    pub(crate) largest: u64,
    /// Records a second that get through.
    pub(crate) pace: f64,
    /// What the lane had committed when the look began.
    pub(crate) committed: u64,
}
