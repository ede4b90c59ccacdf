//! Brings a partition's state back from its changelogs (exactly-once, rule 16). Owns the order of reading; must not know the group.
//!
//! The committed offsets are read before this is called (that waits for pending transactions); then the high watermark by a
//! read_uncommitted client; then everything below it, read_committed, from an absolute offset.
use super::apply;
use crate::{
    catchup::read_to,
    client::assigned::{Assigned, Isolation},
    config::Kafka,
    fault::{Fault, Tp},
    ledger::{Span, Spans},
};
use atio_schemas::Codec;
use atio_stage::{State, StoreSpec};
use std::collections::BTreeMap;

/// Reads changelogs; kept for the life of a lane.
pub(crate) struct Restorer {
    committed: Assigned,
    uncommitted: Assigned,
}

impl Restorer {
    /// # Errors
    /// `Fatal`: settings that librdkafka refuses.
    pub(crate) fn new(kafka: &Kafka, client_id: &str) -> Result<Self, Fault> {
        Ok(Self {
            committed: Assigned::new(kafka, &format!("{client_id}-restore"), Isolation::Committed)?,
            uncommitted: Assigned::new(kafka, &format!("{client_id}-watermarks"), Isolation::Uncommitted)?,
        })
    }

    /// The ends of the log, also above the last stable offset.
    ///
    /// # Errors
    /// `Retry`: no answer in time.
    pub(crate) fn watermarks(&self, tp: &Tp) -> Result<(i64, i64), Fault> {
        self.uncommitted.watermarks(tp)
    }

    /// Takes in what idle clients have to say, so that it does not pile up.
    pub(crate) fn serve(&self) {
        self.committed.serve();
        self.uncommitted.serve();
    }

    /// How many partitions a topic has; 0 where there is none.
    ///
    /// # Errors
    /// `Retry`: no answer in time.
    pub(crate) fn partitions(&self, topic: &str) -> Result<i32, Fault> {
        self.uncommitted.partitions(topic)
    }

    /// What there is of the changelogs of these input partitions, also above the last stable offset.
    ///
    /// # Errors
    /// `Retry`: no answer in time.
    pub(crate) fn spans(
        &self,
        partitions: &[i32],
        specs: &[StoreSpec],
    ) -> Result<BTreeMap<i32, Spans>, Fault> {
        let mut spans: BTreeMap<i32, Spans> = partitions.iter().map(|p| (*p, Spans::new())).collect();
        for (partition, of) in &mut spans {
            for spec in specs {
                let (low, end) = self.watermarks(&Tp::new(spec.changelog.clone(), *partition))?;
                of.insert(spec.name.to_owned(), Span { low, end });
            }
        }
        Ok(spans)
    }

    /// The states of these input partitions, from so much of their changelogs. `alive` is called now and then: the group must see that we are.
    ///
    /// # Errors
    /// `Retry`: the broker did not answer or went quiet. `Fatal`: a changelog that does not fit (partitions, records).
    pub(crate) fn restore(
        &self,
        spans: &BTreeMap<i32, Spans>,
        specs: &[StoreSpec],
        codec: &Codec,
        ensure: &dyn Fn(&[u8]) -> Result<(), String>,
        alive: &dyn Fn(),
    ) -> Result<BTreeMap<i32, State>, Fault> {
        let mut states: BTreeMap<i32, State> = spans.keys().map(|p| (*p, State::default())).collect();
        let mut from = BTreeMap::new();
        let mut to = BTreeMap::new();
        for (partition, of) in spans {
            for spec in specs {
                let tp = Tp::new(spec.changelog.clone(), *partition);
                if let Some(span) = of.get(spec.name).filter(|s| s.low < s.end) {
                    from.insert(tp.clone(), span.low);
                    to.insert(tp, span.end);
                }
            }
        }
        if from.is_empty() {
            return Ok(states);
        }
        self.committed.assign(&from)?;
        let read = read_to(&self.committed, &to, alive, |record| {
            let spec = specs.iter().find(|s| *s.changelog == *record.topic());
            let (Some(spec), Some(state)) = (spec, states.get_mut(&record.partition())) else {
                return Ok(());
            };
            if let Some(value) = record.value() {
                ensure(value)?;
            }
            apply(state, spec.name, record.key().unwrap_or_default(), record.value(), codec)
        });
        self.committed.assign(&BTreeMap::new())?;
        read.map(|()| states)
    }
}
