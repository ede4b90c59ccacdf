//! Records and positions written as one, for sources that read where Kafka keeps no offsets (files): rules 5 to 8 of exactly-once.
//! Owns what follows from each fault; must not know what is written.
use crate::{
    admin::{Admin, AdminError},
    client::producer::{ProducerSpec, TxnProducer},
    config::Kafka,
    fault::{Fault, FaultKind},
};
use atio_stage::Output;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Fenced twice within this: another one lives under the same id.
const FENCED_TWICE: Duration = Duration::from_secs(60);
const RETRIES: u32 = 50;
const RETRY_WAIT: Duration = Duration::from_millis(20);
const FENCED_WAIT: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub struct TransactionalSpec {
    pub kafka: Kafka,
    pub client_id: String,
    /// The same after each start, and of one process at a time (rule 9).
    pub transactional_id: String,
    pub topics: Vec<Arc<str>>,
    pub transaction_timeout: Duration,
}

/// How a transaction ended, where it did not commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactError {
    /// Nothing was begun: this output (by index) is above its topic's `max.message.bytes`, or of a topic that was not named. Leave it out.
    #[error("output {index}: {bytes} bytes, {topic} takes {limit}")]
    TooLarge { index: usize, topic: Arc<str>, bytes: usize, limit: usize },
    /// Nothing of it will be seen: the same again, later.
    #[error("aborted: {0}")]
    Aborted(String),
    /// It was written, or it was not. [`Transactional::recover`], then read the positions from their topic, and go on from there.
    #[error("result unknown: {0}")]
    Unknown(String),
    /// No broker: nothing was begun.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// Not to be repaired from here: another process has the id, or a transaction was torn. Exit.
    #[error("cannot go on: {0}")]
    Fatal(String),
}

impl TransactError {
    /// Bounded.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Aborted(_) => "aborted",
            Self::Unknown(_) => "unknown",
            Self::Unavailable(_) => "unavailable",
            Self::Fatal(_) => "fatal",
        }
    }
}

impl From<AdminError> for TransactError {
    fn from(error: AdminError) -> Self {
        if error.is_unreachable() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Fatal(error.to_string())
        }
    }
}

/// One transactional producer under a fixed id. Every call blocks; one thread owns it.
pub struct Transactional {
    spec: ProducerSpec,
    limits: HashMap<Arc<str>, usize>,
    /// None after a fault, until it has recovered.
    producer: Option<TxnProducer>,
    fenced_at: Option<Instant>,
}

impl Transactional {
    /// Fences whoever had the id before and ends its transaction: what is read from the positions' topic after this stays true.
    ///
    /// # Errors
    /// `unavailable`; `fatal` where a topic does not exist or settings are refused.
    pub fn open(spec: TransactionalSpec) -> Result<Self, TransactError> {
        let admin = Admin::connect(&spec.kafka, &spec.client_id)?;
        let limits = admin.max_message_bytes(&spec.topics);
        admin.retire();
        let limits = limits?;
        if let Some(topic) = spec.topics.iter().find(|t| !limits.contains_key(*t)) {
            return Err(TransactError::Fatal(format!("{topic} does not exist")));
        }
        let smallest = limits.values().min().copied().unwrap_or(1_000_000);
        let largest = limits.values().max().copied().unwrap_or(1_000_000);
        let spec = ProducerSpec {
            kafka: spec.kafka,
            client_id: spec.client_id,
            transactional_id: spec.transactional_id,
            transaction_timeout: spec.transaction_timeout,
            batch_bytes: smallest.saturating_sub(4096).clamp(1, 1_000_000),
            message_bytes: (largest + 4096).min(1_000_000_000),
            linger: Duration::from_millis(1),
        };
        let mut made = Self { spec, limits, producer: None, fenced_at: None };
        made.recover()?;
        Ok(made)
    }

    /// A new producer under the same id: whatever was open is ended, and late copies of old requests do nothing any more.
    ///
    /// # Errors
    /// `unavailable`: try again, later. `fatal`.
    pub fn recover(&mut self) -> Result<(), TransactError> {
        self.producer = None;
        match self.spec.init(&|| true) {
            Ok(producer) => {
                self.producer = Some(producer);
                Ok(())
            }
            Err(fault) if matches!(fault.kind, FaultKind::Unknown | FaultKind::Retry) => {
                Err(TransactError::Unavailable(fault.text))
            }
            Err(fault) => Err(TransactError::Fatal(fault.to_string())),
        }
    }

    /// All of these, or none. Returns when it is committed.
    ///
    /// # Errors
    /// See [`TransactError`].
    pub fn transaction(&mut self, outputs: &[Output]) -> Result<(), TransactError> {
        self.check(outputs)?;
        let Some(producer) = self.producer.as_mut() else {
            return Err(TransactError::Unknown("not recovered since the last fault".to_owned()));
        };
        match run(producer, outputs) {
            Ok(()) => Ok(()),
            Err(fault) => {
                let why = producer.fatal().unwrap_or(fault);
                Err(self.react(why))
            }
        }
    }

    fn check(&self, outputs: &[Output]) -> Result<(), TransactError> {
        for (index, output) in outputs.iter().enumerate() {
            let limit = self.limits.get(&output.topic).copied().unwrap_or(0);
            let bytes = output.size();
            if bytes > limit {
                return Err(TransactError::TooLarge { index, topic: output.topic.clone(), bytes, limit });
            }
        }
        Ok(())
    }

    fn react(&mut self, fault: Fault) -> TransactError {
        let text = fault.to_string();
        match fault.kind {
            FaultKind::Abort | FaultKind::Generation | FaultKind::Member | FaultKind::Retry => {
                let aborted = self.producer.as_mut().map(|p| p.drain().and_then(|()| p.abort()));
                if let Some(Ok(())) = aborted {
                    return TransactError::Aborted(text);
                }
                self.producer = None;
                TransactError::Unknown(text)
            }
            FaultKind::Fenced => {
                self.producer = None;
                let twice = self.fenced_at.is_some_and(|at| at.elapsed() < FENCED_TWICE);
                self.fenced_at = Some(Instant::now());
                if twice {
                    return TransactError::Fatal(format!(
                        "{text}; twice within {} s",
                        FENCED_TWICE.as_secs()
                    ));
                }
                crate::clock::pause(FENCED_WAIT);
                TransactError::Unknown(text)
            }
            FaultKind::Torn => {
                self.producer = None;
                TransactError::Fatal(text)
            }
            FaultKind::Unknown | FaultKind::Fatal => {
                self.producer = None;
                TransactError::Unknown(text)
            }
        }
    }
}

fn run(producer: &mut TxnProducer, outputs: &[Output]) -> Result<(), Fault> {
    again(|| producer.begin())?;
    for output in outputs {
        producer.send(output)?;
        producer.poll();
    }
    producer.drain()?;
    again(|| producer.commit())
}

/// Retriable = the same call again (rule 6).
fn again(mut call: impl FnMut() -> Result<(), Fault>) -> Result<(), Fault> {
    for _ in 0..RETRIES {
        match call() {
            Err(fault) if fault.kind == FaultKind::Retry => crate::clock::pause(RETRY_WAIT),
            other => return other,
        }
    }
    call()
}
