//! Runs a processor in memory: batches, commits, aborts and the ledger as the driver has them, without Kafka.
use crate::{
    outcome::{Outcome, Reject, StageError},
    record::{Headers, Output, Record},
    spec::{Processor, TableSpec},
    state::{Overlay, State},
    table::Tables,
    tx::Tx,
};
use atio_schemas::{Code, Timestamp};
use std::collections::{BTreeMap, HashMap};

/// How many records ended how. In = the sum of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub emitted: u64,
    pub dropped: BTreeMap<Code, u64>,
    pub dead_lettered: BTreeMap<Code, u64>,
    pub held: u64,
    pub failed: u64,
}

impl Counts {
    #[must_use]
    pub fn balanced(&self) -> bool {
        let ends = self.dropped.values().sum::<u64>() + self.dead_lettered.values().sum::<u64>();
        self.read == self.emitted + ends + self.held + self.failed
    }
}

/// An input record that the harness owns.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub topic: String,
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
    pub timestamp: Timestamp,
}

/// A processor with its state per partition.
pub struct Harness<P> {
    processor: P,
    now: Timestamp,
    next: HashMap<(String, i32), i64>,
    states: HashMap<i32, State>,
    notes: HashMap<(String, i32), String>,
    tables: Tables,
    pub outputs: Vec<Output>,
    pub dead_letters: Vec<Reject>,
    pub failures: Vec<StageError>,
    pub counts: Counts,
}

impl<P: Processor> Harness<P> {
    #[must_use]
    pub fn new(processor: P, tables: &[TableSpec], now: Timestamp) -> Self {
        let tables = Tables(tables.iter().map(|t| (t.name.clone(), (t.make)())).collect());
        Self {
            processor,
            now,
            next: HashMap::new(),
            states: HashMap::new(),
            notes: HashMap::new(),
            tables,
            outputs: vec![],
            dead_letters: vec![],
            failures: vec![],
            counts: Counts::default(),
        }
    }
    /// Moves the clock that [`Tx::now`] shows.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }
    /// A table's record, in force from the next batch on.
    ///
    /// # Errors
    /// What the view says of it; `internal` for an unknown table.
    pub fn table(&mut self, name: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        let view = self.tables.0.get_mut(&crate::TableName::new(name));
        let Some(view) = view else {
            return Err(StageError { code: Code::Internal, message: format!("no table {name}") });
        };
        let applied = view.apply(key, value);
        view.settle();
        applied
    }
    /// One transaction over these records, committed.
    pub fn commit(&mut self, records: &[Given]) {
        let mut overlays: HashMap<i32, Overlay> = HashMap::new();
        for given in records {
            let outcome = self.step(given, &mut overlays);
            self.count(outcome);
        }
        for (partition, overlay) in overlays {
            self.states.entry(partition).or_default().merge(overlay);
        }
    }
    /// The same transaction, aborted: nothing of it may be seen afterwards. Returns the outcomes.
    pub fn abort(&mut self, records: &[Given]) -> Vec<Outcome> {
        let (next, notes) = (self.next.clone(), self.notes.clone());
        let mut overlays = HashMap::new();
        let outcomes = records.iter().map(|r| self.step(r, &mut overlays)).collect();
        (self.next, self.notes) = (next, notes);
        outcomes
    }
    /// The note of an input partition.
    #[must_use]
    pub fn note(&self, topic: &str, partition: i32) -> Option<&str> {
        self.notes.get(&(topic.to_owned(), partition)).map(String::as_str)
    }
    #[must_use]
    pub fn state(&self, partition: i32) -> Option<&State> {
        self.states.get(&partition)
    }

    fn step(&mut self, given: &Given, overlays: &mut HashMap<i32, Overlay>) -> Outcome {
        let next = self.next.entry((given.topic.clone(), given.partition)).or_default();
        let offset = *next;
        *next += 1;
        let record = Record {
            topic: &given.topic,
            partition: given.partition,
            offset,
            timestamp: given.timestamp,
            key: given.key.as_deref(),
            value: given.value.as_deref(),
            headers: &given.headers,
        };
        let state = self.states.entry(given.partition).or_default();
        let overlay = overlays.entry(given.partition).or_default();
        let place = (given.topic.clone(), given.partition);
        let note = self.notes.get(&place).cloned();
        let mut tx = Tx::new(self.now, state, overlay, &self.tables).with_note(note);
        let outcome = self.processor.process(&record, &mut tx);
        if let Some(note) = tx.take_note() {
            self.notes.insert(place, note);
        }
        outcome
    }

    fn count(&mut self, outcome: Outcome) {
        self.counts.read += 1;
        match outcome {
            Outcome::Emit { outputs, rejected } => {
                self.counts.emitted += 1;
                self.outputs.extend(outputs.into_vec());
                self.dead_letters.extend(rejected);
            }
            Outcome::Hold { .. } => self.counts.held += 1,
            Outcome::Drop(code) => *self.counts.dropped.entry(code).or_default() += 1,
            Outcome::DeadLetter(rejects) => {
                *self.counts.dead_lettered.entry(rejects.as_slice()[0].code).or_default() += 1;
                self.dead_letters.extend(rejects.into_vec());
            }
            Outcome::Fail(error) => {
                self.counts.failed += 1;
                self.failures.push(error);
            }
        }
    }
}
