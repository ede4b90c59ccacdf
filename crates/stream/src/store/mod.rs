//! State on its way: the open transaction's overlays, their changelog records, the sweep of what has expired. Owns the states of the
//! partitions that a lane has, and how far their changelogs go; must not know Kafka (restoring is `restore`).
use crate::ledger::{Span, Spans};
use atio_schemas::{Codec, Timestamp, state::StateEntry};
use atio_stage::{Headers, Output, Overlay, State, StateKey, StoreSpec, state::Entry};
use std::collections::{BTreeMap, HashMap};

pub(crate) mod restore;

/// Entries that one transaction deletes at most, a partition and store, because they have expired.
const SWEEP_LIMIT: usize = 500;
/// A transaction's marker owns an offset.
const MARKER: i64 = 1;

/// The states of a lane, by input partition.
#[derive(Default)]
pub(crate) struct States {
    committed: HashMap<i32, State>,
    open: BTreeMap<i32, Overlay>,
    /// How far the changelogs go at least, by partition.
    spans: HashMap<i32, Spans>,
}

impl States {
    /// State and overlay of a partition.
    pub(crate) fn pair(&mut self, partition: i32) -> (&State, &mut Overlay) {
        (self.committed.entry(partition).or_default(), self.open.entry(partition).or_default())
    }
    #[must_use]
    pub(crate) fn has(&self, partition: i32) -> bool {
        self.committed.contains_key(&partition)
    }
    #[cfg(test)]
    pub(crate) fn get(&self, partition: i32) -> Option<&State> {
        self.committed.get(&partition)
    }
    pub(crate) fn restored(&mut self, partition: i32, state: State, spans: Spans) {
        self.committed.insert(partition, state);
        self.spans.insert(partition, spans);
    }
    /// How far a partition's changelogs go with the open transaction. Its marker does not count: it may come after that of the offsets.
    pub(crate) fn spans(&self, partition: i32) -> Spans {
        let mut spans = self.spans.get(&partition).cloned().unwrap_or_default();
        if let Some(overlay) = self.open.get(&partition) {
            extend(&mut spans, overlay, 0);
        }
        spans
    }
    pub(crate) fn release(&mut self, partition: i32) {
        self.committed.remove(&partition);
        self.open.remove(&partition);
        self.spans.remove(&partition);
    }
    /// What the open transaction has changed, by partition.
    pub(crate) fn open(&self) -> impl Iterator<Item = (i32, &Overlay)> {
        self.open.iter().map(|(partition, overlay)| (*partition, overlay))
    }
    pub(crate) fn merge(&mut self) {
        for (partition, overlay) in std::mem::take(&mut self.open) {
            if let Some(spans) = self.spans.get_mut(&partition) {
                extend(spans, &overlay, MARKER);
            }
            if let Some(state) = self.committed.get_mut(&partition) {
                state.merge(overlay);
            }
        }
    }
    pub(crate) fn discard(&mut self) {
        self.open.clear();
    }

    /// Marks what has expired as deleted, in the open transaction; what the transaction has written stays.
    pub(crate) fn sweep(&mut self, specs: &[StoreSpec], now: Timestamp) {
        for (partition, state) in &self.committed {
            for spec in specs {
                let Some(retention) = spec.retention_ms else { continue };
                let overlay = self.open.entry(*partition).or_default();
                for key in state.expired(spec.name, now.plus_millis(-retention), SWEEP_LIMIT) {
                    overlay.0.entry(StateKey { store: spec.name, key }).or_insert(None);
                }
            }
        }
    }

    /// The changelog records of the open transaction.
    ///
    /// # Errors
    /// Text for people: an entry that can't be written, or of a store that the stage did not declare.
    pub(crate) fn changelog(&self, specs: &[StoreSpec], codec: &Codec) -> Result<Vec<Output>, String> {
        let mut outputs = vec![];
        for (partition, overlay) in &self.open {
            for (key, entry) in &overlay.0 {
                let spec = specs.iter().find(|s| s.name == key.store);
                let spec =
                    spec.ok_or_else(|| format!("store {} is not declared by this stage", key.store))?;
                let value = entry.as_ref().map(|e| encode(key.store, e, codec)).transpose()?;
                outputs.push(Output {
                    topic: spec.changelog.clone(),
                    partition: Some(*partition),
                    key: Some(key.key.clone().into_bytes()),
                    value,
                    headers: Headers::default(),
                });
            }
        }
        Ok(outputs)
    }
}

/// A record an entry, and what a transaction leaves in each partition that it wrote to.
fn extend(spans: &mut Spans, overlay: &Overlay, marker: i64) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for key in overlay.0.keys() {
        *counts.entry(key.store).or_insert(marker) += 1;
    }
    for (store, records) in counts {
        if let Some(span) = spans.get_mut(store) {
            span.end += records;
        }
    }
}

/// A changelog is not what the committed offsets say: it was deleted, made anew, or cut. Compaction alone moves neither its first offset nor
/// its end, and transactions that came after the note only add to it.
#[must_use]
pub(crate) fn is_stale(noted: Span, found: Span) -> bool {
    found.end < noted.end || found.low > noted.low
}

fn encode(store: &str, entry: &Entry, codec: &Codec) -> Result<Vec<u8>, String> {
    let value = String::from_utf8(entry.value.clone()).map_err(|e| format!("store {store}: {e}"))?;
    let record =
        StateEntry { store: store.to_owned(), layout: entry.layout, value, updated_at: entry.updated_at };
    codec.encode(&record).map_err(|e| format!("store {store}: {e}"))
}

/// A changelog record, into a state.
///
/// # Errors
/// Text for people: the record is not one of ours.
pub(crate) fn apply(
    state: &mut State,
    store: &str,
    key: &[u8],
    value: Option<&[u8]>,
    codec: &Codec,
) -> Result<(), String> {
    let key = String::from_utf8(key.to_vec()).map_err(|e| format!("key: {e}"))?;
    let entry = match value {
        None => None,
        Some(bytes) => {
            let record: StateEntry = codec.decode(bytes).map_err(|e| e.to_string())?;
            Some(Entry {
                value: record.value.into_bytes(),
                layout: record.layout,
                updated_at: record.updated_at,
            })
        }
    };
    state.put(store, key, entry);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::codec::StaticIds;
    use std::sync::Arc;

    fn spec(retention_ms: Option<i64>) -> StoreSpec {
        StoreSpec { name: "seen", changelog: Arc::from("atio.state.x.seen"), retention_ms }
    }
    fn entry(value: &str, at: i64) -> Entry {
        Entry { value: value.as_bytes().to_vec(), layout: 1, updated_at: Timestamp::from_millis(at) }
    }
    fn put(states: &mut States, partition: i32, key: &str, entry: Option<Entry>) {
        states.pair(partition).1.0.insert(StateKey { store: "seen", key: key.into() }, entry);
    }

    #[test]
    fn a_changelog_brings_back_what_was_merged() {
        let codec = Codec::new(Arc::new(StaticIds::new()));
        let mut states = States::default();
        put(&mut states, 2, "a", Some(entry("1", 1)));
        put(&mut states, 2, "b", Some(entry("2", 2)));
        let mut log = states.changelog(&[spec(None)], &codec).unwrap();
        states.merge();
        put(&mut states, 2, "a", None);
        log.extend(states.changelog(&[spec(None)], &codec).unwrap());
        states.merge();
        put(&mut states, 2, "c", Some(entry("3", 3)));
        states.discard();
        let mut restored = State::default();
        for record in &log {
            assert_eq!((&*record.topic, record.partition), ("atio.state.x.seen", Some(2)));
            apply(&mut restored, "seen", record.key.as_ref().unwrap(), record.value.as_deref(), &codec)
                .unwrap();
        }
        assert_eq!(Some(&restored), states.get(2));
        assert_eq!(restored.len("seen"), 1);
    }

    #[test]
    fn the_changelogs_span_grows_with_what_is_committed() {
        let mut states = States::default();
        let spans = |end| Spans::from([("seen".to_owned(), Span { low: 2, end })]);
        states.restored(0, State::default(), spans(10));
        put(&mut states, 0, "a", Some(entry("1", 1)));
        put(&mut states, 0, "b", None);
        assert_eq!(states.spans(0), spans(12), "what is sent with the offsets: records, no marker yet");
        states.discard();
        assert_eq!(states.spans(0), spans(10), "what was aborted may have left more; less it never is");
        put(&mut states, 0, "a", Some(entry("1", 1)));
        states.merge();
        assert_eq!(states.spans(0), spans(12), "a record and its transaction's marker");
        states.merge();
        assert_eq!(states.spans(0), spans(12), "a transaction without state leaves nothing there");
        states.release(0);
        assert_eq!(states.spans(0), Spans::new());
    }

    #[test]
    fn a_cut_changelog_is_stale_and_a_compacted_or_longer_one_is_not() {
        let noted = Span { low: 0, end: 100 };
        for (low, end, stale) in
            [(0, 100, false), (0, 250, false), (0, 99, true), (0, 0, true), (1, 100, true), (300, 300, true)]
        {
            assert_eq!(is_stale(noted, Span { low, end }), stale, "{low}-{end}");
        }
    }

    #[test]
    fn what_expired_is_swept_but_not_what_was_just_written() {
        let mut states = States::default();
        for key in ["old", "new", "again"] {
            put(&mut states, 0, key, Some(entry("1", if key == "new" { 900 } else { 100 })));
        }
        states.merge();
        put(&mut states, 0, "again", Some(entry("2", 1000)));
        states.sweep(&[spec(Some(500))], Timestamp::from_millis(1000));
        states.merge();
        let state = states.get(0).unwrap();
        assert_eq!(state.get("seen", "old"), None);
        assert!(state.get("seen", "new").is_some());
        assert_eq!(state.get("seen", "again").unwrap().value, b"2");
    }

    #[test]
    fn an_undeclared_store_is_refused() {
        let mut states = States::default();
        put(&mut states, 0, "a", None);
        assert!(states.changelog(&[], &Codec::new(Arc::new(StaticIds::new()))).unwrap_err().contains("seen"));
    }
}
