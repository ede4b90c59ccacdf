//! Runs a processor in memory: batches, commits, aborts and the ledger as the driver has them, without Kafka.
use crate::{
    outcome::{Outcome, Reject, StageError},
    record::{Headers, Output, Record},
    spec::{Processor, TableSpec},
    state::{Overlay, State, StateKey, Timer},
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

/// What is held: until when, and for how many records it stands.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    until: Timestamp,
    records: u64,
}

/// What a call of the processor ended besides its own record.
struct Besides {
    settled: Vec<(StateKey, Outcome)>,
    /// See [`Tx::show`].
    shown: Vec<Output>,
}

/// A processor with its state per partition.
pub struct Harness<P> {
    processor: P,
    now: Timestamp,
    next: HashMap<(String, i32), i64>,
    states: HashMap<i32, State>,
    notes: HashMap<(String, i32), String>,
    held: BTreeMap<(i32, StateKey), Waiting>,
    tables: Tables,
    pub outputs: Vec<Output>,
    pub dead_letters: Vec<Reject>,
    /// Of legs: whose each of their dead letters is.
    pub letters_of: Vec<String>,
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
            held: BTreeMap::new(),
            tables,
            outputs: vec![],
            dead_letters: vec![],
            letters_of: vec![],
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
            let (outcome, besides) = self.step(given, &mut overlays);
            self.counts.read += 1;
            self.besides(given.partition, besides);
            self.count(given.partition, outcome, 1);
        }
        self.merge(overlays);
    }
    /// Fires what is held and due by now, in a transaction of its own. Returns how many deadlines fired.
    pub fn fire(&mut self) -> usize {
        let due: Vec<_> = self
            .held
            .iter()
            .filter(|(_, w)| w.until <= self.now)
            .map(|(k, w)| (k.clone(), w.until))
            .collect();
        let mut overlays: HashMap<i32, Overlay> = HashMap::new();
        for ((partition, key), at) in &due {
            // Settled by an earlier one of this transaction.
            if !self.held.contains_key(&(*partition, key.clone())) {
                continue;
            }
            let state = self.states.entry(*partition).or_default();
            let mut tx = Tx::new(self.now, state, overlays.entry(*partition).or_default(), &self.tables);
            let outcome = self.processor.on_timer(&Timer { key: key.clone(), at: *at }, &mut tx);
            let besides = Besides { settled: tx.take_settled(), shown: tx.take_shown() };
            self.besides(*partition, besides);
            self.settle(*partition, vec![(key.clone(), outcome)]);
        }
        self.merge(overlays);
        due.len()
    }
    /// When what is held next is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.held.values().map(|w| w.until).min()
    }

    fn merge(&mut self, overlays: HashMap<i32, Overlay>) {
        for (partition, overlay) in overlays {
            self.states.entry(partition).or_default().merge(overlay);
        }
    }
    fn besides(&mut self, partition: i32, besides: Besides) {
        self.settle(partition, besides.settled);
        self.outputs.extend(besides.shown);
    }
    /// Ends holds, each once; what is not held is left alone.
    fn settle(&mut self, partition: i32, settled: Vec<(StateKey, Outcome)>) {
        for (key, end) in settled {
            if let Some(waiting) = self.held.remove(&(partition, key)) {
                self.counts.held -= waiting.records;
                self.count(partition, end, waiting.records);
            }
        }
    }
    /// The same transaction, aborted: nothing of it may be seen afterwards. Returns the outcomes.
    pub fn abort(&mut self, records: &[Given]) -> Vec<Outcome> {
        let (next, notes) = (self.next.clone(), self.notes.clone());
        let mut overlays = HashMap::new();
        let outcomes = records.iter().map(|r| self.step(r, &mut overlays).0).collect();
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

    fn step(&mut self, given: &Given, overlays: &mut HashMap<i32, Overlay>) -> (Outcome, Besides) {
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
        (outcome, Besides { settled: tx.take_settled(), shown: tx.take_shown() })
    }

    /// `records`: so many input records end so.
    fn count(&mut self, partition: i32, outcome: Outcome, records: u64) {
        match outcome {
            Outcome::Emit { outputs, rejected } => {
                self.counts.emitted += records;
                self.outputs.extend(outputs.into_vec());
                self.dead_letters.extend(rejected);
            }
            Outcome::Hold { key, until } => {
                self.counts.held += records;
                let waiting = self.held.entry((partition, key)).or_insert(Waiting { until, records: 0 });
                waiting.until = until;
                waiting.records += records;
            }
            Outcome::Legs { outputs, legs } => {
                let letters =
                    legs.as_slice().iter().flat_map(|leg| leg.rejected.iter().map(|_| leg.stage.clone()));
                self.letters_of.extend(letters);
                self.count(partition, Outcome::together(outputs, legs), records);
            }
            Outcome::Drop(code) => *self.counts.dropped.entry(code).or_default() += records,
            Outcome::DeadLetter(rejects) => {
                *self.counts.dead_lettered.entry(rejects.as_slice()[0].code).or_default() += records;
                self.dead_letters.extend(rejects.into_vec());
            }
            Outcome::Fail(error) => {
                self.counts.failed += records;
                self.failures.push(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Headers, Store};

    struct Kept;
    impl Store for Kept {
        const NAME: &'static str = "kept";
        type Value = String;
    }
    /// Gathers by key; `now` ends what is gathered at once.
    struct Gather;
    impl Gather {
        fn end(key: &str, tx: &mut Tx<'_>) -> Outcome {
            let text = tx.store::<Kept>().get(key).unwrap().unwrap_or_default();
            tx.store::<Kept>().delete(key);
            Outcome::emit(Output::new("out", key, text.into_bytes(), Headers::default()))
        }
    }
    impl Processor for Gather {
        fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            let held = StateKey { store: Kept::NAME, key: key.clone() };
            let value = std::str::from_utf8(record.value.unwrap()).unwrap();
            if value == "now" {
                let end = Self::end(&key, tx);
                tx.settle(held, end);
                return Outcome::Drop(Code::Other);
            }
            let text = tx.store::<Kept>().get(&key).unwrap().unwrap_or_default() + value;
            tx.store::<Kept>().put(&key, &text).unwrap();
            Outcome::Hold { key: held, until: tx.now().plus_millis(1000) }
        }
        fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
            Self::end(&timer.key.key, tx)
        }
    }

    /// Gives the time at each deadline, and is held on until the third.
    struct Bell;
    impl Processor for Bell {
        fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            Outcome::Hold { key: StateKey { store: Kept::NAME, key }, until: tx.now().plus_millis(10) }
        }
        fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
            tx.show(Output::new("out", "x", timer.at.0.to_string().into_bytes(), Headers::default()));
            if timer.at < Timestamp::from_millis(30) {
                return Outcome::Hold { key: timer.key.clone(), until: timer.at.plus_millis(10) };
            }
            Outcome::Drop(Code::Other)
        }
    }

    #[test]
    fn what_is_held_may_give_something_and_be_held_on() {
        let mut harness = Harness::new(Bell, &[], Timestamp::from_millis(0));
        harness.commit(&[given("a", "")]);
        for ms in 1..=40 {
            harness.set_now(Timestamp::from_millis(ms));
            harness.fire();
            assert_eq!(harness.counts.held, u64::from(ms < 30));
            assert!(harness.counts.balanced());
        }
        assert_eq!((harness.outputs.len(), harness.counts.emitted), (3, 0));
        assert_eq!(harness.counts.dropped.get(&Code::Other), Some(&1));
    }

    fn given(key: &str, value: &str) -> Given {
        Given { topic: "in".into(), key: Some(key.into()), value: Some(value.into()), ..Given::default() }
    }

    #[test]
    fn what_is_held_ends_once_by_its_deadline_or_by_another_record() {
        let mut harness = Harness::new(Gather, &[], Timestamp::from_millis(0));
        harness.commit(&[given("a", "1"), given("b", "x"), given("a", "2")]);
        assert_eq!((harness.counts.held, harness.fire()), (3, 0));
        harness.set_now(Timestamp::from_millis(500));
        harness.commit(&[given("a", "3"), given("b", "now"), given("b", "now")]);
        assert_eq!((harness.counts.held, harness.counts.emitted), (3, 1));
        assert_eq!(harness.next_deadline(), Some(Timestamp::from_millis(1500)));
        harness.set_now(Timestamp::from_millis(1500));
        assert_eq!((harness.fire(), harness.fire()), (1, 0));
        assert_eq!((harness.counts.held, harness.counts.emitted), (0, 4));
        assert!(harness.counts.balanced());
        let values: Vec<_> = harness.outputs.iter().map(|o| o.value.clone().unwrap()).collect();
        assert_eq!(values, [b"x".to_vec(), b"123".to_vec()]);
    }
}
