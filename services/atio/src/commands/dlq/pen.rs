//! What is done with dead letters, written: the records, a mark a letter, and what the audit log is to say, in one transaction. Owns who may write at
//! a time and what follows from a fault; must not know how a record is made.
use super::{
    letter::At,
    marks::{self, Marks},
    restore::Restored,
    select::Unit,
};
use crate::{
    commands::look::Look,
    exit::{Exit, Failure},
};
use atio_runtime::{clock, lifecycle::pause};
use atio_schemas::{
    Codec, Timestamp,
    audit::AuditIntent,
    codec::Record,
    letter::{LetterAction, LetterMark},
};
use atio_stage::{Headers, Output};
use atio_stream::publish::{TransactError, Transactional, TransactionalSpec};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const CLIENT: &str = "atio-dlq";
const SOURCE: &str = "/atio/dlq";
/// A transaction is written at once; one that a killed process left open holds readers up for so long at most.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;
const WAIT: Duration = Duration::from_millis(200);

/// Who does it, and why.
#[derive(Clone, Debug)]
pub struct Order {
    pub action: LetterAction,
    pub actor: String,
    pub reason: Option<String>,
    pub run_id: String,
    /// What was dealt with before is dealt with again.
    pub again: bool,
}

/// One record, and the letters that told of it.
#[derive(Debug)]
pub struct Act {
    pub unit: Unit,
    pub stage: String,
    pub code: String,
    /// None: dropped.
    pub restored: Option<Restored>,
}

pub struct Pen<'l> {
    look: &'l Look,
    codec: Codec,
    order: Order,
    /// The dead-letter topic.
    topic: String,
    marks_topic: Arc<str>,
    intents_topic: Arc<str>,
    transactional: Transactional,
    marks: Marks,
    intents: u32,
}

impl<'l> Pen<'l> {
    /// Ends whoever else writes for this topic, and their open transaction: what [`Self::marks`] says after that stays true.
    pub fn open(
        look: &'l Look,
        codec: Codec,
        topic: &str,
        to: &BTreeSet<String>,
        order: Order,
    ) -> anyhow::Result<Self> {
        marks::must_be_there(look)?;
        let marks_topic: Arc<str> = Arc::from(marks::topic(look));
        let intents_topic: Arc<str> = Arc::from(format!("{}audit-intents", look.config.prefix));
        let to = to.iter().map(|t| Arc::from(t.as_str()));
        let spec = TransactionalSpec {
            kafka: look.kafka.clone(),
            client_id: CLIENT.to_owned(),
            transactional_id: format!("{}dlq.{topic}", look.config.prefix),
            topics: to.chain([marks_topic.clone(), intents_topic.clone()]).collect(),
            transaction_timeout: TRANSACTION_TIMEOUT,
        };
        let transactional = Transactional::open(spec).map_err(failed)?;
        let marks = Marks::whole(look)?;
        let topic = topic.to_owned();
        Ok(Self { look, codec, order, topic, marks_topic, intents_topic, transactional, marks, intents: 0 })
    }

    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Writes them as one. What comes back was written; what is missing somebody else has dealt with in the meantime.
    pub fn write(&mut self, mut acts: Vec<Act>) -> anyhow::Result<Vec<Act>> {
        for attempt in 1.. {
            if acts.is_empty() {
                break;
            }
            let marks = self.made(&acts, clock::now());
            let outputs = self.outputs(&acts, &marks)?;
            match self.transactional.transaction(&outputs) {
                Ok(()) => {
                    self.intents += 1;
                    marks.into_iter().for_each(|mark| self.marks.put(mark));
                    break;
                }
                Err(TransactError::Aborted(_)) if attempt < TRIES => pause(WAIT, || self.look.is_stopped()),
                Err(TransactError::Unknown(_)) if attempt < TRIES => {
                    self.transactional.recover().map_err(failed)?;
                    self.marks = Marks::whole(self.look)?;
                    if marks.iter().all(|mark| self.mark(mark.into()) == Some(mark)) {
                        self.intents += 1;
                        break;
                    }
                    let before = |act: &Act| act.unit.letters().all(|at| self.mark(at).is_none());
                    if !self.order.again {
                        acts.retain(before);
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(acts)
    }

    fn mark(&self, at: At) -> Option<&LetterMark> {
        self.marks.of(&self.topic, at)
    }

    fn made(&self, acts: &[Act], now: Timestamp) -> Vec<LetterMark> {
        let order = &self.order;
        let one = |act: &Act, at: At| {
            let (before, after) = act.restored.as_ref().and_then(|r| r.edited.clone()).unzip();
            let replays = self.mark(at).map_or(0, |mark| mark.replays);
            LetterMark {
                topic: self.topic.clone(),
                partition: at.partition,
                offset: at.offset,
                action: order.action,
                replays: replays + i32::from(order.action == LetterAction::Replayed),
                to: act.restored.as_ref().map(|r| r.output.topic.to_string()),
                sha256_before: before,
                sha256_after: after,
                actor: order.actor.clone(),
                reason: order.reason.clone(),
                run_id: order.run_id.clone(),
                at: now,
            }
        };
        acts.iter().flat_map(|act| act.unit.letters().map(move |at| one(act, at))).collect()
    }

    fn outputs(&self, acts: &[Act], marks: &[LetterMark]) -> anyhow::Result<Vec<Output>> {
        let mut outputs: Vec<Output> =
            acts.iter().filter_map(|act| act.restored.as_ref()).map(|r| r.output.clone()).collect();
        for mark in marks {
            outputs.push(self.output(&self.marks_topic, &mark.key(), mark, &mark.key(), mark.at)?);
        }
        let intent = self.intent(acts, marks.first().map_or_else(clock::now, |mark| mark.at))?;
        let key = intent.object.clone();
        outputs.push(self.output(&self.intents_topic, &key, &intent, &intent.intent_id, intent.at)?);
        Ok(outputs)
    }

    fn output<R: Record>(
        &self,
        topic: &Arc<str>,
        key: &str,
        value: &R,
        id: &str,
        at: Timestamp,
    ) -> anyhow::Result<Output> {
        let mut headers = Headers::default();
        headers.describe(R::SUBJECT, id, SOURCE, Some(at));
        Ok(Output::new(topic.clone(), key, self.codec.encode(value)?, headers))
    }

    fn intent(&self, acts: &[Act], at: Timestamp) -> anyhow::Result<AuditIntent> {
        let order = &self.order;
        let letters: Vec<Value> = acts.iter().map(told).collect();
        let details =
            json!({"run_id": order.run_id, "reason": order.reason, "again": order.again, "letters": letters});
        let verb = if order.action == LetterAction::Replayed { "dlq_replay" } else { "dlq_drop" };
        Ok(AuditIntent {
            intent_id: format!("{}-{}", order.run_id, self.intents + 1),
            actor: order.actor.clone(),
            action: verb.to_owned(),
            object: format!("dlq/{}", self.topic),
            details: serde_json::to_string(&details)?,
            at,
        })
    }
}

/// A record as the audit log has it: which letters, why they were there, where it went, and whether as it was.
fn told(act: &Act) -> Value {
    let letters: Vec<String> = act.unit.letters().map(|at| at.to_string()).collect();
    let mut told = json!({"letters": letters, "stage": act.stage, "code": act.code});
    if let Some(restored) = &act.restored {
        told["to"] = json!(*restored.output.topic);
        if let Some((before, after)) = &restored.edited {
            told["sha256_before"] = json!(before);
            told["sha256_after"] = json!(after);
        }
    }
    told
}

fn failed(error: TransactError) -> anyhow::Error {
    let exit = match &error {
        TransactError::Unavailable(_) => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let hint = "what was written is marked: the same command goes on from there";
    Failure::with(exit, format!("{error}; {hint}"))
}
