//! One record through a processor, and its outcome into the transaction: outputs, dead letters, counts. Owns what an outcome means; must not
//! know when a transaction begins or ends.
use crate::{
    books::Books,
    client::{consumer::Incoming, producer::TxnProducer},
    dead_letter,
    fault::{Fault, Tp},
    lane::panic_text,
    machine::Refusal,
    store::States,
};
use atio_schemas::{Code, Timestamp};
use atio_stage::{NonEmpty, Outcome, Output, Processor, Record, Reject, Stage, StageError, Tables, Tx};
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

/// What a record's way through the stage touches.
pub(crate) struct Cx<'a> {
    pub stage: &'a Stage,
    pub processor: &'a dyn Processor,
    pub producer: &'a TxnProducer,
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
        let outcome = self.process(tp, &record);
        self.books.page(tp).counts.read += 1;
        self.end(tp, &record, dead_letters, outcome)
    }

    fn process(&mut self, tp: &Tp, record: &Record<'_>) -> Outcome {
        let note = self.books.note(tp).map(str::to_owned);
        let (state, overlay) = self.states.pair(tp.partition);
        let mut tx = Tx::new(self.now, state, overlay, self.tables).with_note(note);
        // A library that panics on a record must not stop the partition for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.processor.process(record, &mut tx)));
        if let Some(note) = tx.take_note() {
            self.books.page(tp).note = Some(note);
        }
        outcome.unwrap_or_else(|payload| {
            let text = panic_text(&*payload);
            tracing::error!(
                stage = self.stage.name,
                error_code = "processor_panicked",
                origin = record.origin(),
                text,
                "processor panicked"
            );
            Outcome::dead_letter(Code::Internal, format!("the stage panicked: {text}"))
        })
    }

    fn end(
        &mut self,
        tp: &Tp,
        record: &Record<'_>,
        dead_letters: &Arc<str>,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        match outcome {
            Outcome::Emit { outputs, rejected } => {
                let (outputs, rejected) = self.bounded(outputs.into_vec(), rejected);
                let Some(outputs) = NonEmpty::from_vec(outputs) else {
                    return self.dead(tp, record, dead_letters, &rejected);
                };
                for output in outputs.as_slice() {
                    self.send(output)?;
                }
                self.letters(record, dead_letters, &rejected)?;
                let counts = &mut self.books.page(tp).counts;
                counts.emitted += 1;
                counts.parts += rejected.len() as u64;
            }
            Outcome::Drop(code) => self.books.page(tp).counts.count_dropped(code, 1),
            Outcome::DeadLetter(rejects) => self.dead(tp, record, dead_letters, rejects.as_slice())?,
            Outcome::Fail(error) => return Err(Refusal::Stage(format!("{}: {error}", record.origin()))),
            Outcome::Hold { .. } => {
                let error = StageError { code: Code::NotYetSupported, message: "holding records".into() };
                return Err(Refusal::Stage(format!("{}: {error}", record.origin())));
            }
        }
        Ok(())
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
    ) -> Result<(), Refusal> {
        self.letters(record, dead_letters, rejects)?;
        let code = rejects.first().map_or(Code::Internal, |r| r.code);
        self.books.page(tp).counts.count_dead_lettered(code, 1);
        Ok(())
    }

    fn letters(&mut self, record: &Record<'_>, topic: &Arc<str>, rejects: &[Reject]) -> Result<(), Refusal> {
        let context = dead_letter::Context { stage: &self.stage.name, attempt: 1, now: self.now };
        for reject in rejects {
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
