//! One record through a processor, and its outcome into the transaction: outputs, dead letters, counts. Owns what an outcome means; must not
//! know when a transaction begins or ends.
use crate::{
    books::Books,
    client::{consumer::Incoming, producer::TxnProducer},
    dead_letter::{self, Emitted},
    fault::{Fault, Tp},
    lane::panic_text,
    machine::Refusal,
    store::States,
    timers,
};
use atio_schemas::{Code, Timestamp, header};
use atio_stage::{
    Headers, Held, Leg, NonEmpty, Outcome, Output, Processor, Record, Reject, Replay, Stage, StateKey,
    Store as _, Tables, Timer, Timers, Tx, state::Entry,
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Kafka's default of `max.message.bytes`, for topics that did not say.
pub(crate) const DEFAULT_MESSAGE_BYTES: usize = 1_048_588;

/// `max.message.bytes` by topic.
#[derive(Debug, Default)]
pub(crate) struct TopicLimits(pub HashMap<Arc<str>, usize>);

impl TopicLimits {
    #[must_use]
    pub(crate) fn of(&self, topic: &str) -> usize {
        self.0.get(topic).copied().unwrap_or(DEFAULT_MESSAGE_BYTES)
    }
}

/// A deadline that fires.
#[derive(Clone, Debug)]
pub(crate) struct Firing {
    pub(crate) partition: i32,
    pub(crate) at: Timestamp,
    /// In the store `timers`.
    pub(crate) key: String,
}

/// How a leg ended.
struct LegEnd {
    emitted: bool,
    /// Why it has dead letters, one each.
    letters: Vec<Code>,
    otherwise: Code,
}

impl LegEnd {
    /// As a metric has it.
    const fn name(&self) -> &'static str {
        match self {
            Self { emitted: true, .. } => "emitted",
            Self { letters, .. } if !letters.is_empty() => "dead_lettered",
            Self { .. } => "dropped",
        }
    }
}

/// What a record's way through the stage touches.
pub(crate) struct Cx<'a> {
    pub stage: &'a Stage,
    pub processor: &'a dyn Processor,
    pub producer: &'a mut TxnProducer,
    pub states: &'a mut States,
    pub books: &'a mut Books,
    pub tables: &'a Tables,
    pub limits: &'a TopicLimits,
    pub outputs_per_record: usize,
    pub now: Timestamp,
    /// Records given to the producer.
    pub sent: u64,
}

impl Cx<'_> {
    /// Processes one record of `tp`.
    ///
    /// # Errors
    /// The stage or the producer can't go on.
    pub(crate) fn record(
        &mut self,
        tp: &Tp,
        incoming: &Incoming<'_>,
        dead_letters: &Arc<str>,
    ) -> Result<(), Refusal> {
        let headers = incoming.headers();
        let record = Record {
            topic: &tp.topic,
            partition: tp.partition,
            offset: incoming.offset(),
            timestamp: Timestamp::from_millis(incoming.timestamp_ms()),
            key: incoming.key(),
            value: incoming.value(),
            headers: &headers,
        };
        self.books.page(tp).counts.read += 1;
        // It was replayed for another branch: this one had it before.
        let runs = |stage: &str| stage == self.stage.name || self.processor.runs_for(stage);
        if Replay::of(&headers).is_some_and(|replay| !replay.is_for(runs)) {
            self.books.page(tp).counts.count_dropped(Code::OtherStage, 1);
            return Ok(());
        }
        let outcome = self.run(tp, |processor, tx| processor.process(&record, tx))?;
        self.end(tp, &record, dead_letters, outcome, 1)
    }

    /// A deadline that has passed: what was held ends, or is held on.
    ///
    /// # Errors
    /// The stage or the producer can't go on.
    pub(crate) fn fire(&mut self, firing: &Firing) -> Result<(), Refusal> {
        let Some(key) = timers::held_key(&firing.key, &self.stage.stores) else { return Ok(()) };
        // Settled or moved on in this very transaction.
        let Some(held) = self.held(firing.partition, &key).filter(|held| held.at == firing.at) else {
            return Ok(());
        };
        let tp = Tp::new(held.topic, firing.partition);
        let timer = Timer { key: key.clone(), at: firing.at };
        let outcome = self.run(&tp, |processor, tx| processor.on_timer(&timer, tx))?;
        self.settle(firing.partition, &key, outcome)
    }

    /// Calls the processor for `tp`; what it settles besides is ended here.
    fn run(
        &mut self,
        tp: &Tp,
        call: impl FnOnce(&dyn Processor, &mut Tx<'_>) -> Outcome,
    ) -> Result<Outcome, Refusal> {
        let note = self.books.note(tp).map(str::to_owned);
        let (state, overlay) = self.states.pair(tp.partition);
        let mut tx = Tx::new(self.now, state, overlay, self.tables).with_note(note);
        // A library that panics on a record must not stop the partition for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| call(self.processor, &mut tx)));
        if let Some(note) = tx.take_note() {
            self.books.page(tp).note = Some(note);
        }
        let shown = tx.take_shown();
        for (key, end) in tx.take_settled() {
            self.settle(tp.partition, &key, end)?;
        }
        for output in shown {
            let (size, limit) = (output.size(), self.limits.of(&output.topic));
            if size > limit {
                let message = format!("state shown on {} is {size} bytes, it takes {limit}", output.topic);
                return Err(Refusal::Stage(message));
            }
            self.send(&output)?;
        }
        Ok(outcome.unwrap_or_else(|payload| {
            let text = panic_text(&*payload);
            tracing::error!(stage = self.stage.name, error_code = "processor_panicked", partition = %tp, text, "processor panicked");
            Outcome::dead_letter(Code::Internal, format!("the stage panicked: {text}"))
        }))
    }

    /// `records`: so many input records end so.
    fn end(
        &mut self,
        tp: &Tp,
        record: &Record<'_>,
        dead_letters: &Arc<str>,
        outcome: Outcome,
        records: u64,
    ) -> Result<(), Refusal> {
        // What a record gave that is replayed.
        let before = Replay::of(record.headers).map_or("", Replay::emitted);
        match outcome {
            Outcome::Emit { outputs, rejected } => {
                let (mut outputs, rejected) = self.bounded(outputs.into_vec(), rejected);
                let mut emitted = Emitted::read(before);
                outputs.retain(|output| !emitted.has(output));
                if outputs.is_empty() && rejected.is_empty() {
                    // A replay that came to nothing but what the record gave the first time.
                    self.books.page(tp).counts.count_dropped(Code::Duplicate, records);
                    return Ok(());
                }
                if !rejected.is_empty() {
                    emitted.add(&outputs);
                }
                if outputs.is_empty() {
                    return self.dead(tp, record, dead_letters, &rejected, records, &emitted.text());
                }
                for output in &outputs {
                    self.send(output)?;
                }
                let stage = self.stage;
                self.letters(record, dead_letters, &stage.name, &rejected, &emitted.text())?;
                let counts = &mut self.books.page(tp).counts;
                counts.emitted += records;
                counts.parts += rejected.len() as u64;
                Ok(())
            }
            Outcome::Drop(code) => {
                self.books.page(tp).counts.count_dropped(code, records);
                Ok(())
            }
            Outcome::DeadLetter(rejects) => {
                self.dead(tp, record, dead_letters, rejects.as_slice(), records, before)
            }
            Outcome::Legs { outputs, legs } => self.legs(tp, record, dead_letters, (outputs, legs), records),
            Outcome::Fail(error) => Err(Refusal::Stage(format!("{}: {error}", record.origin()))),
            Outcome::Hold { key, until } => self.hold(tp, &key, until, records),
        }
    }

    /// Each leg ends as if its stage had had the record to itself; the record is counted once.
    fn legs(
        &mut self,
        tp: &Tp,
        record: &Record<'_>,
        dead_letters: &Arc<str>,
        (outputs, legs): (Vec<Output>, NonEmpty<Leg>),
        records: u64,
    ) -> Result<(), Refusal> {
        let (stage, workflow) = (self.stage.name.clone(), String::new());
        let whole = Leg { stage, workflow, outputs, rejected: vec![], otherwise: Code::Other };
        let whole = self.leg(record, dead_letters, whole)?;
        let (mut emitted, mut letters) = (whole.emitted, whole.letters);
        let mut dropped = None;
        for leg in legs.into_vec() {
            let name = leg.stage.clone();
            let end = self.leg(record, dead_letters, leg)?;
            *self.books.page(tp).legs.entry((name, end.name())).or_default() += records;
            emitted |= end.emitted;
            letters.extend(end.letters);
            dropped.get_or_insert(end.otherwise);
        }
        let page = self.books.page(tp);
        match letters.first() {
            _ if emitted => {
                page.counts.emitted += records;
                page.counts.parts += letters.len() as u64;
            }
            Some(code) => {
                // Whoever runs for others looks after those that fail (exactly-once, rule 14).
                page.of_legs += records;
                page.counts.count_dead_lettered(*code, records);
            }
            None => page.counts.count_dropped(dropped.unwrap_or(Code::Other), records),
        }
        Ok(())
    }

    fn leg(&mut self, record: &Record<'_>, dead_letters: &Arc<str>, leg: Leg) -> Result<LegEnd, Refusal> {
        let (mut outputs, rejected) = self.bounded(leg.outputs, leg.rejected);
        let mut emitted = Emitted::read(Replay::of(record.headers).map_or("", Replay::emitted));
        let before = outputs.len();
        outputs.retain(|output| !emitted.has(output));
        // A replay that came to nothing but what the record gave the first time.
        let otherwise = if before > outputs.len() { Code::Duplicate } else { leg.otherwise };
        if !rejected.is_empty() {
            emitted.add(&outputs);
        }
        for output in &outputs {
            self.send(output)?;
        }
        if !rejected.is_empty() {
            let mut headers = record.headers.clone();
            if !leg.workflow.is_empty() {
                headers.set(header::WORKFLOW, leg.workflow);
            }
            let record = Record { headers: &headers, ..*record };
            self.letters(&record, dead_letters, &leg.stage, &rejected, &emitted.text())?;
        }
        let letters = rejected.iter().map(|reject| reject.code).collect();
        Ok(LegEnd { emitted: !outputs.is_empty(), letters, otherwise })
    }

    fn hold(&mut self, tp: &Tp, key: &StateKey, until: Timestamp, records: u64) -> Result<(), Refusal> {
        if !self.stage.stores.iter().any(|s| s.name == Timers::NAME) {
            return Err(Refusal::Stage(
                "the stage holds records and does not declare the store `timers`".into(),
            ));
        }
        let before = self.held(tp.partition, key).map_or(0, |held| held.records);
        let held = Held { at: until, topic: tp.topic.to_string(), records: before + records };
        let value = serde_json::to_vec(&held).map_err(|e| Refusal::Stage(format!("timers: {e}")))?;
        let entry = Entry { value, layout: Timers::LAYOUT, updated_at: self.now };
        self.states.pair(tp.partition).1.0.insert(timers::timer_key(key), Some(entry));
        self.books.page(tp).counts.held += i64::try_from(records).unwrap_or(0);
        Ok(())
    }

    /// What is held under this key, as the open transaction has it.
    fn held(&mut self, partition: i32, key: &StateKey) -> Option<Held> {
        let key = timers::timer_key(key);
        let (state, overlay) = self.states.pair(partition);
        let entry = match overlay.0.get(&key) {
            Some(changed) => changed.as_ref(),
            None => state.get(key.store, &key.key),
        };
        entry.and_then(timers::read)
    }

    /// Ends a hold, once.
    fn settle(&mut self, partition: i32, key: &StateKey, end: Outcome) -> Result<(), Refusal> {
        let Some(held) = self.held(partition, key) else {
            tracing::debug!(stage = self.stage.name, key = key.key, "settled what is not held");
            return Ok(());
        };
        self.states.pair(partition).1.0.insert(timers::timer_key(key), None);
        let tp = Tp::new(held.topic, partition);
        self.books.page(&tp).counts.held -= i64::try_from(held.records).unwrap_or(0);
        let stage = self.stage;
        let Some(input) = stage.inputs.iter().find(|i| i.topic == tp.topic) else {
            return Err(Refusal::Stage(format!("held records of {tp}, which is no input any more")));
        };
        // The record itself is gone; what is kept of it is the processor's.
        let headers = Headers::default();
        let record = Record {
            topic: &tp.topic,
            partition,
            offset: -1,
            timestamp: held.at,
            key: Some(key.key.as_bytes()),
            value: None,
            headers: &headers,
        };
        self.end(&tp, &record, &input.dead_letters, end, held.records)
    }

    /// Takes out what Kafka would refuse: one such record fails its whole transaction (rule 13).
    fn bounded(&self, outputs: Vec<Output>, mut rejected: Vec<Reject>) -> (Vec<Output>, Vec<Reject>) {
        if outputs.len() > self.outputs_per_record {
            let message =
                format!("{} outputs of one record, at most {} go", outputs.len(), self.outputs_per_record);
            return (vec![], vec![Reject::whole(Code::TooMany, message)]);
        }
        let mut kept = Vec::with_capacity(outputs.len());
        for output in outputs {
            let (size, limit) = (output.size(), self.limits.of(&output.topic));
            if size > limit {
                let message = format!("output of {size} bytes, {} takes {limit}", output.topic);
                rejected.push(Reject::whole(Code::TooLarge, message));
            } else {
                kept.push(output);
            }
        }
        (kept, rejected)
    }

    fn dead(
        &mut self,
        tp: &Tp,
        record: &Record<'_>,
        dead_letters: &Arc<str>,
        rejects: &[Reject],
        records: u64,
        emitted: &str,
    ) -> Result<(), Refusal> {
        let stage = self.stage;
        self.letters(record, dead_letters, &stage.name, rejects, emitted)?;
        let code = rejects.first().map_or(Code::Internal, |r| r.code);
        self.books.page(tp).counts.count_dead_lettered(code, records);
        Ok(())
    }

    fn letters(
        &mut self,
        record: &Record<'_>,
        topic: &Arc<str>,
        stage: &str,
        rejects: &[Reject],
        emitted: &str,
    ) -> Result<(), Refusal> {
        for reject in rejects {
            // A part of a record is replayed by itself, and gives nothing of what the others gave.
            let is_part = reject.part.as_ref().is_some_and(|part| part.offset.is_some());
            let emitted = if is_part { "" } else { emitted };
            let context = dead_letter::Context { stage, attempt: 1, now: self.now, emitted };
            let letter = dead_letter::output(topic, record, reject, context);
            let (size, limit) = (letter.size(), self.limits.of(topic));
            if size > limit {
                return Err(Refusal::Stage(format!(
                    "dead letter of {} is {size} bytes, {topic} takes {limit}: raise its max.message.bytes to its source's and 64 KiB",
                    record.origin()
                )));
            }
            self.send(&letter)?;
        }
        Ok(())
    }

    fn send(&mut self, output: &Output) -> Result<(), Refusal> {
        self.sent += 1;
        self.producer.send(output).map_err(|fault: Fault| Refusal::Producer(fault))
    }
}
