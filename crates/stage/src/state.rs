//! Keyed state of one input partition: what is committed, and the overlay of the open transaction. Values are JSON text, one store one type.
use atio_schemas::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap};

/// A store's declaration: a type of its own per store.
pub trait Store {
    /// `[a-z0-9-]{1,63}`; the changelog is `atio.state.<service>.<name>`.
    const NAME: &'static str;
    /// Raised when the value's layout changes.
    const LAYOUT: i32 = 1;
    /// An entry not written for so long reads as absent, and is deleted in time. None = kept until deleted.
    const RETENTION_MS: Option<i64> = None;
    type Value: Serialize + DeserializeOwned;
}

/// Where an entry lies: store and key. The key starts with what the input's key is (state moves with the partition).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    pub store: &'static str,
    pub key: String,
}

/// A deadline that was set by [`crate::Outcome::Hold`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    pub key: StateKey,
    pub at: Timestamp,
}

/// The built-in store of what is held: a stage that holds declares it among its stores. Key = `<store>/<key>` of what is held.
pub struct Timers;

impl Store for Timers {
    const NAME: &'static str = "timers";
    type Value = Held;
}

/// When something that is held is due, and what it counts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub at: Timestamp,
    /// The input topic; the partition is the changelog's.
    pub topic: String,
    /// Records that ended as this hold and are not settled yet.
    pub records: u64,
}

/// An entry: value (JSON bytes), its layout, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    pub layout: i32,
    pub updated_at: Timestamp,
}

/// What is committed, of one input partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    stores: HashMap<String, HashMap<String, Entry>>,
}

impl State {
    #[must_use]
    pub fn get(&self, store: &str, key: &str) -> Option<&Entry> {
        self.stores.get(store)?.get(key)
    }
    /// Restoring and merging: None deletes.
    pub fn put(&mut self, store: &str, key: String, entry: Option<Entry>) {
        let entries = self.stores.entry(store.to_owned()).or_default();
        match entry {
            Some(mut entry) => {
                // It is kept for long, and was written into a buffer that doubled as it grew.
                entry.value.shrink_to_fit();
                entries.insert(key, entry)
            }
            None => entries.remove(&key),
        };
    }
    pub fn merge(&mut self, overlay: Overlay) {
        for (key, entry) in overlay.0 {
            self.put(key.store, key.key, entry);
        }
    }
    #[must_use]
    pub fn len(&self, store: &str) -> usize {
        self.stores.get(store).map_or(0, HashMap::len)
    }
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stores.values().all(HashMap::is_empty)
    }
    /// Up to `limit` keys of a store not written since `before`: what the driver deletes, in a transaction of theirs.
    #[must_use]
    pub fn expired(&self, store: &str, before: Timestamp, limit: usize) -> Vec<String> {
        let Some(entries) = self.stores.get(store) else { return vec![] };
        entries.iter().filter(|(_, e)| e.updated_at < before).take(limit).map(|(k, _)| k.clone()).collect()
    }
    pub fn iter(&self, store: &str) -> impl Iterator<Item = (&String, &Entry)> {
        self.stores.get(store).into_iter().flatten()
    }
}

/// What the open transaction has changed, of one input partition; None = deleted. Ordered, so that changelogs are reproducible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay(pub BTreeMap<StateKey, Option<Entry>>);
