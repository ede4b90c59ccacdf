//! Owns what the broker tells of the state of its disk. Must not know how any of it was found.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::recovery::Recovered;

/// What a start had to mend, and what is known to be broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Partitions whose torn last batch was cut off at this start.
    pub torn: u64,
    /// Indexes that could not be read and were made anew at this start.
    pub rebuilt: u64,
    /// Bytes that had been on the disk and were gone from the ends of segments at this start.
    pub missing: u64,
    /// Batches that are broken on disk: reading one is answered with `CORRUPT_MESSAGE`.
    pub damaged: u64,
    /// Bytes verified since this start.
    pub scrubbed: u64,
    /// How often all there was has been verified since this start.
    pub scrubs: u64,
}

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    torn: AtomicU64,
    rebuilt: AtomicU64,
    missing: AtomicU64,
    scrubbed: AtomicU64,
    scrubs: AtomicU64,
}

impl Counted {
    pub(crate) fn recovered(&self, found: &Recovered) {
        self.torn.fetch_add(found.torn.into(), Ordering::Relaxed);
        self.rebuilt.fetch_add(found.rebuilt, Ordering::Relaxed);
        self.missing.fetch_add(found.missing, Ordering::Relaxed);
    }

    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.scrubbed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All there was has been verified.
    pub(crate) fn scrub_done(&self) {
        self.scrubs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn health(&self, damaged: u64) -> Health {
        let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Health {
            torn: read(&self.torn),
            rebuilt: read(&self.rebuilt),
            missing: read(&self.missing),
            damaged,
            scrubbed: read(&self.scrubbed),
            scrubs: read(&self.scrubs),
        }
    }
}
