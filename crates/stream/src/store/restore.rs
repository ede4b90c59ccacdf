//! Brings a partition's state back from its changelogs (exactly-once, rule 16). Owns the order of reading; must not know the group.
//!
//! The committed offsets are read before this is called (that waits for pending transactions); then the high watermark by a
//! read_uncommitted client; then everything below it, read_committed, from an absolute offset.
use super::apply;
use crate::{
    catchup::read_to,
    client::{
        assigned::{Assigned, Isolation},
        consumer::Incoming,
    },
    config::Kafka,
    fault::{Fault, FaultKind, Tp},
    ledger::{Span, Spans},
};
use atio_schemas::Codec;
use atio_stage::{State, StoreSpec};
use std::collections::{BTreeMap, HashMap};

/// Reads changelogs; kept for the life of a lane.
pub(crate) struct Restorer {
    /// Only where there is state: a client is some threads and connections.
    committed: Option<Assigned>,
    uncommitted: Assigned,
}

impl Restorer {
    /// # Errors
    /// `Fatal`: settings that librdkafka refuses.
    pub(crate) fn new(kafka: &Kafka, client_id: &str, state: bool) -> Result<Self, Fault> {
        let committed = || Assigned::new(kafka, &format!("{client_id}-restore"), Isolation::Committed);
        Ok(Self {
            committed: state.then(committed).transpose()?,
            uncommitted: Assigned::new(kafka, &format!("{client_id}-watermarks"), Isolation::Uncommitted)?,
        })
    }

    /// What there is of these partitions, also above the last stable offset.
    ///
    /// # Errors
    /// `Retry`: no answer in time.
    pub(crate) fn ends(&self, partitions: &[Tp]) -> Result<BTreeMap<Tp, Span>, Fault> {
        self.uncommitted.spans(partitions)
    }

    /// Takes in what idle clients have to say, so that it does not pile up.
    pub(crate) fn serve(&self) {
        self.committed.iter().for_each(Assigned::serve);
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
        let of = |spec: &StoreSpec, partition: i32| Tp::new(spec.changelog.clone(), partition);
        let all: Vec<Tp> =
            partitions.iter().flat_map(|p| specs.iter().map(move |spec| of(spec, *p))).collect();
        let found = self.uncommitted.spans(&all)?;
        let named = |partition: i32| {
            let span = |spec: &StoreSpec| Some((spec.name.to_owned(), *found.get(&of(spec, partition))?));
            (partition, specs.iter().filter_map(span).collect())
        };
        Ok(partitions.iter().map(|p| named(*p)).collect())
    }

    /// The states of these input partitions, from so much of their changelogs. `wanted`: see [`read_to`].
    ///
    /// # Errors
    /// `Retry`: the broker did not answer or went quiet. `Fatal`: a changelog that does not fit (partitions, records).
    pub(crate) fn restore(
        &self,
        spans: &BTreeMap<i32, Spans>,
        specs: &[StoreSpec],
        codec: &Codec,
        ensure: &dyn Fn(&[u8]) -> Result<(), String>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<BTreeMap<i32, State>, Fault> {
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
        let mut latest = Latest::default();
        if let Some(committed) = self.committed.as_ref().filter(|_| !from.is_empty()) {
            committed.find(from.keys())?;
            committed.assign(&from)?;
            let read = read_to(committed, &to, wanted, |record| {
                if let Some(spec) = specs.iter().find(|s| *s.changelog == *record.topic()) {
                    latest.put(spec.name, record);
                }
                Ok(())
            });
            committed.assign(&BTreeMap::new())?;
            read?;
        }
        let mut states: BTreeMap<i32, State> = spans.keys().map(|p| (*p, State::default())).collect();
        for ((partition, store), entries) in latest.0 {
            let Some(state) = states.get_mut(&partition) else { continue };
            for (key, (offset, value)) in entries {
                let read = value.as_deref().map_or(Ok(()), ensure);
                read.and_then(|()| apply(state, store, &key, value.as_deref(), codec)).map_err(|e| {
                    Fault::new(FaultKind::Fatal, format!("store {store}/{partition} at {offset}: {e}"))
                })?;
            }
        }
        Ok(states)
    }
}

/// The last record of each key, with its offset: what was overwritten since is not decoded.
#[derive(Default)]
struct Latest(BTreeMap<(i32, &'static str), Entries>);
type Entries = HashMap<Vec<u8>, (i64, Option<Vec<u8>>)>;

impl Latest {
    fn put(&mut self, store: &'static str, record: &Incoming<'_>) {
        let entries = self.0.entry((record.partition(), store)).or_default();
        let key = record.key().unwrap_or_default();
        let last = (record.offset(), record.value().map(<[u8]>::to_vec));
        match entries.get_mut(key) {
            Some(entry) => *entry = last,
            None => drop(entries.insert(key.to_vec(), last)),
        }
    }
}
