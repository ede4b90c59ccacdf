//! Owns what a partition knows of each producer: epoch, its last batches, its open transaction. Pure: takes headers,
//! gives verdicts. Must not know files or transactional ids.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

use super::batch::{Header, sequence_after};

/// How many batches back a duplicate is recognised; clients keep at most this many in flight.
const REMEMBERED: usize = 5;
/// Producers that are known at a time in a partition, some 400 bytes each; the looks at what has expired keep to it.
const MAX_PRODUCERS: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sequenced {
    pub(crate) first: i32,
    pub(crate) last: i32,
    pub(crate) base_offset: i64,
    pub(crate) timestamp: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) batches: VecDeque<Sequenced>,
    /// The first offset of its open transaction.
    pub(crate) open: Option<i64>,
    pub(crate) last_ms: i64,
}

/// All producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Producers {
    known: BTreeMap<i64, Producer>,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Append,
    /// Already in the log, at this offset and time.
    Duplicate {
        base_offset: i64,
        timestamp: i64,
    },
}

/// An aborted transaction, as fetches list it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aborted {
    pub(crate) pid: i64,
    pub(crate) first: i64,
    pub(crate) marker: i64,
    /// The last stable offset when the marker was written: later entries begin at or after it.
    pub(crate) stable: i64,
}

impl Producers {
    /// Judges a client's batch before it is appended.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    pub(crate) fn check(&self, header: &Header) -> Result<Check, ResponseError> {
        if header.pid < 0 {
            return Ok(Check::Append);
        }
        // Unknown (never seen, or expired with its records): any sequence may start.
        let Some(known) = self.known.get(&header.pid) else {
            return Ok(Check::Append);
        };
        if header.epoch < known.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if header.epoch > known.epoch {
            return match header.sequence {
                0 => Ok(Check::Append),
                _ => Err(ResponseError::OutOfOrderSequenceNumber),
            };
        }
        let (first, last) = (header.sequence, header.last_sequence());
        if let Some(same) = known.batches.iter().find(|b| b.first == first && b.last == last) {
            return Ok(Check::Duplicate { base_offset: same.base_offset, timestamp: same.timestamp });
        }
        let expected = known.batches.back().map_or(0, |b| sequence_after(b.last, 1));
        if first == expected { Ok(Check::Append) } else { Err(ResponseError::OutOfOrderSequenceNumber) }
    }

    /// Notes a batch that is now in the log (or is read back from it). `now` is when.
    pub(crate) fn appended(&mut self, header: &Header, now: i64) {
        if header.pid < 0 {
            return;
        }
        let entry = self.entry(header.pid, header.epoch, now);
        if entry.batches.len() >= REMEMBERED {
            entry.batches.pop_front();
        }
        entry.batches.push_back(Sequenced {
            first: header.sequence,
            last: header.last_sequence(),
            base_offset: header.base_offset,
            timestamp: if header.is_append_time() { header.max_ts } else { -1 },
        });
        if header.is_transactional() && entry.open.is_none() {
            entry.open = Some(header.base_offset);
        }
    }

    /// Notes a marker at `offset`; returns the aborted transaction that it ended, if it was one.
    pub(crate) fn ended(
        &mut self,
        pid: i64,
        epoch: i16,
        commit: bool,
        offset: i64,
        now: i64,
    ) -> Option<Aborted> {
        let entry = self.entry(pid, epoch, now);
        let first = entry.open.take()?;
        if commit {
            return None;
        }
        let stable = self.first_open().unwrap_or(offset + 1);
        Some(Aborted { pid, first, marker: offset, stable })
    }

    fn entry(&mut self, pid: i64, epoch: i16, now: i64) -> &mut Producer {
        let entry = self.known.entry(pid).or_insert_with(|| Producer {
            epoch,
            batches: VecDeque::new(),
            open: None,
            last_ms: now,
        });
        if entry.epoch != epoch {
            entry.epoch = epoch;
            entry.batches.clear();
        }
        entry.last_ms = now;
        entry
    }

    /// The first offset of the earliest open transaction.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.known.values().filter_map(|p| p.open).min()
    }

    pub(crate) fn open_of(&self, pid: i64) -> Option<i64> {
        self.known.get(&pid)?.open
    }

    /// Forgets producers idle for longer than `after_ms`, and beyond the limit those idle for longest; never those with an
    /// open transaction. Times ahead of `now` come from a clock that was set back: they count as now.
    pub(crate) fn expire(&mut self, now: i64, after_ms: i64) {
        for producer in self.known.values_mut() {
            producer.last_ms = producer.last_ms.min(now);
        }
        let horizon = now.saturating_sub(after_ms);
        self.known.retain(|_, p| p.open.is_some() || p.last_ms >= horizon);
        if self.known.len() > MAX_PRODUCERS {
            let mut idle: Vec<_> = self.known.iter().filter(|(_, p)| p.open.is_none()).collect();
            idle.sort_by_key(|(_, p)| p.last_ms);
            let over = self.known.len() - MAX_PRODUCERS;
            let gone: Vec<i64> = idle.into_iter().take(over).map(|(pid, _)| *pid).collect();
            gone.iter().for_each(|pid| drop(self.known.remove(pid)));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.known.iter().map(|(pid, p)| (*pid, p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::records::tests::batch_of;

    fn header(pid: i64, epoch: i16, sequence: i32, count: usize, base_offset: i64) -> Header {
        let records = vec![(Some("k"), Some("v")); count];
        let batch = batch_of(&records, 0, (pid, epoch, sequence), false, 0);
        Header { base_offset, ..Header::parse(&batch).unwrap() }
    }

    #[test]
    fn gaps_fences_and_duplicates() {
        let mut producers = Producers::default();
        for n in 0..7 {
            let h = header(1, 0, n * 2, 2, i64::from(n) * 2);
            assert_eq!(producers.check(&h), Ok(Check::Append));
            producers.appended(&h, 0);
        }
        let dup = Check::Duplicate { base_offset: 12, timestamp: -1 };
        assert_eq!(producers.check(&header(1, 0, 12, 2, 0)), Ok(dup));
        let dup = Check::Duplicate { base_offset: 4, timestamp: -1 };
        assert_eq!(producers.check(&header(1, 0, 4, 2, 0)), Ok(dup));
        // The sixth last is no longer known, so it is out of order.
        let gap = Err(ResponseError::OutOfOrderSequenceNumber);
        assert_eq!(producers.check(&header(1, 0, 2, 2, 0)), gap);
        assert_eq!(producers.check(&header(1, 0, 15, 1, 0)), gap);
        assert_eq!(producers.check(&header(1, 1, 5, 1, 0)), gap);
        assert_eq!(producers.check(&header(1, 1, 0, 1, 0)), Ok(Check::Append));
        producers.ended(1, 2, true, 20, 0);
        assert_eq!(producers.check(&header(1, 1, 0, 1, 0)), Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(producers.check(&header(1, 2, 0, 1, 0)), Ok(Check::Append));
    }

    proptest::proptest! {
        /// Whatever a client resends or skips, the accepted batches are its sequence without gap or repeat.
        #[test]
        fn accepted_batches_form_one_sequence(tries in proptest::collection::vec((0i32..12, 1usize..4), 1..80)) {
            let mut producers = Producers::default();
            let (mut next, mut offset) = (0, 0);
            for (sequence, count) in tries {
                let h = header(9, 0, sequence, count, offset);
                if producers.check(&h) == Ok(Check::Append) {
                    proptest::prop_assert!(sequence == next || offset == 0);
                    producers.appended(&h, 0);
                    next = h.last_sequence() + 1;
                    offset += count as i64;
                }
            }
        }
    }
}
