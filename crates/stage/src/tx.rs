//! What a processor may touch while it handles a record: time, stores, tables. All of it is one transaction.
use crate::{
    outcome::{Outcome, StageError},
    record::Output,
    state::{Entry, Overlay, State, StateKey, Store},
    table::{Tables, View},
};
use atio_schemas::{Code, Timestamp};
use std::marker::PhantomData;

/// The longest note of a partition, in bytes.
pub const NOTE_MAX: usize = 1024;

/// One input partition's part of the open transaction.
pub struct Tx<'a> {
    now: Timestamp,
    state: &'a State,
    overlay: &'a mut Overlay,
    tables: &'a Tables,
    settled: Vec<(StateKey, Outcome)>,
    shown: Vec<Output>,
    note: Option<String>,
    note_changed: bool,
}

impl<'a> Tx<'a> {
    /// For whoever runs stages: the driver and the harness.
    pub fn new(now: Timestamp, state: &'a State, overlay: &'a mut Overlay, tables: &'a Tables) -> Self {
        Self { now, state, overlay, tables, settled: vec![], shown: vec![], note: None, note_changed: false }
    }
    /// The partition's note as the transaction has it so far: for whoever runs stages.
    #[must_use]
    pub fn with_note(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }
    /// The note, where this call changed it: for whoever runs stages.
    pub fn take_note(&mut self) -> Option<String> {
        if std::mem::take(&mut self.note_changed) { self.note.take() } else { None }
    }
    /// What this input partition's last transaction left in its offset commit, e.g. the head of the audit chain. It commits with the batch
    /// and is back at the next assignment, also after a crash; it is gone only where the committed offsets are.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
    /// # Errors
    /// `internal`: longer than [`NOTE_MAX`], or not printable ASCII.
    pub fn set_note(&mut self, note: impl Into<String>) -> Result<(), StageError> {
        let note = note.into();
        if note.len() > NOTE_MAX || !note.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            let message = format!("a note is at most {NOTE_MAX} bytes of printable ASCII");
            return Err(StageError { code: Code::Internal, message });
        }
        self.note = Some(note);
        self.note_changed = true;
        Ok(())
    }
    /// Live: wall clock; replay: the record's time. The same for a whole batch.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }
    pub fn store<S: Store>(&mut self) -> Keyed<'_, 'a, S> {
        Keyed { tx: self, store: PhantomData }
    }
    /// The view of a table.
    ///
    /// # Errors
    /// `internal`, where the stage did not declare this table with this type.
    pub fn table<V: View>(&self, name: &str) -> Result<&'a V, StageError> {
        self.tables.get(name).ok_or_else(|| StageError {
            code: Code::Internal,
            message: format!("table {name} is not declared by this stage"),
        })
    }
    /// Ends something that was held, with its outcome.
    pub fn settle(&mut self, key: StateKey, end: Outcome) {
        self.settled.push((key, end));
    }
    /// A record in this transaction, whatever becomes of the input record: state as it is now, for a compacted topic; or what a record gives while
    /// it goes on being held, as a schedule does at each due time. Not for what an input record becomes: that is its outcome, and counted. Goes out
    /// after what is settled and before the outcome.
    pub fn show(&mut self, output: Output) {
        self.shown.push(output);
    }
    /// What was shown in this call: for whoever runs stages.
    pub fn take_shown(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.shown)
    }
    /// What was settled in this call: for whoever runs stages.
    pub fn take_settled(&mut self) -> Vec<(StateKey, Outcome)> {
        std::mem::take(&mut self.settled)
    }
    fn entry(&self, key: &StateKey) -> Option<&Entry> {
        match self.overlay.0.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.state.get(key.store, &key.key),
        }
    }
}

/// One store in a transaction: each put is a changelog record of it.
pub struct Keyed<'t, 'a, S: Store> {
    tx: &'t mut Tx<'a>,
    store: PhantomData<S>,
}

impl<S: Store> Keyed<'_, '_, S> {
    fn key(key: &str) -> StateKey {
        StateKey { store: S::NAME, key: key.to_owned() }
    }
    /// # Errors
    /// `internal`: what is stored does not read as this type.
    pub fn get(&self, key: &str) -> Result<Option<S::Value>, StageError> {
        let Some(entry) = self.tx.entry(&Self::key(key)) else { return Ok(None) };
        if S::RETENTION_MS.is_some_and(|ms| entry.updated_at.plus_millis(ms) < self.tx.now) {
            return Ok(None);
        }
        let read = serde_json::from_slice(&entry.value);
        read.map(Some)
            .map_err(|e| StageError { code: Code::Internal, message: format!("store {}: {e}", S::NAME) })
    }
    /// # Errors
    /// `internal`: the value can't be written as JSON.
    pub fn put(&mut self, key: &str, value: &S::Value) -> Result<(), StageError> {
        let value = serde_json::to_vec(value)
            .map_err(|e| StageError { code: Code::Internal, message: format!("store {}: {e}", S::NAME) })?;
        let entry = Entry { value, layout: S::LAYOUT, updated_at: self.tx.now };
        self.tx.overlay.0.insert(Self::key(key), Some(entry));
        Ok(())
    }
    pub fn delete(&mut self, key: &str) {
        self.tx.overlay.0.insert(Self::key(key), None);
    }
    /// Visits every entry whose key begins so, in no order. It takes as long as the store is large: for upkeep, now and then.
    ///
    /// # Errors
    /// `internal`: what is stored does not read as this type.
    pub fn each(&self, prefix: &str, mut visit: impl FnMut(&str, S::Value)) -> Result<(), StageError> {
        let changed = &self.tx.overlay.0;
        let ours = |key: &StateKey| key.store == S::NAME && key.key.starts_with(prefix);
        let fresh = changed.iter().filter(|(key, _)| ours(key)).map(|(key, _)| &key.key);
        let untouched = |key: &&String| key.starts_with(prefix) && !changed.contains_key(&Self::key(key));
        let committed = self.tx.state.iter(S::NAME).map(|(key, _)| key).filter(untouched);
        for key in committed.chain(fresh) {
            if let Some(value) = self.get(key)? {
                visit(key, value);
            }
        }
        Ok(())
    }
}
