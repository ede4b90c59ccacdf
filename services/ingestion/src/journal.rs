//! Records and positions in one transaction, and the positions read back. Owns what follows from each way in which a transaction can end
//! (exactly-once, rules 5 to 8); must not know what is written.
use crate::files::Deps;
use atio_runtime::lifecycle::pause;
use atio_schemas::raw::Position;
use atio_stage::{Headers, Output};
use atio_stream::{
    Stop,
    publish::{TransactError, Transactional, TransactionalSpec},
    read::{self, Entry, ReadError},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Keys that are read back at most, of all sources together.
const MAX_KEYS: usize = 2_000_000;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Why a journal can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// Told to stop meanwhile: nothing is wrong.
    #[error("stopped")]
    Stopped,
    #[error("{0}")]
    Fatal(String),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Committed,
    /// It was written or it was not: read back what is there.
    Unknown,
    /// Nothing was written: this output (by index) is more than its topic takes.
    TooLarge(usize),
}

/// Of one tail, directory or table.
pub(crate) struct Journal {
    deps: Deps,
    client_id: String,
    transactional: Transactional,
    stop: Stop,
}

impl Journal {
    /// Fences the one before, and waits for the broker. `name` makes the transactional id: `<prefix>ingestion.<name>.<ordinal>.0` (rule 9).
    pub(crate) fn open(
        deps: &Deps,
        name: &str,
        topics: &[String],
        stop: &Stop,
    ) -> Result<Self, JournalError> {
        let id = format!("{}{}.{name}.{}.0", deps.prefix, crate::SERVICE, deps.ordinal);
        let spec = TransactionalSpec {
            kafka: deps.kafka.clone(),
            client_id: id.clone(),
            transactional_id: id.clone(),
            topics: topics.iter().map(|t| Arc::from(t.as_str())).collect(),
            transaction_timeout: TRANSACTION_TIMEOUT,
        };
        let transactional = until(stop, name, |_| match Transactional::open(spec.clone()) {
            Err(TransactError::Unavailable(why)) => Err(Again(why)),
            other => Ok(other.map_err(|e| JournalError::Fatal(e.to_string()))),
        })??;
        Ok(Self { deps: deps.clone(), client_id: id, transactional, stop: stop.clone() })
    }

    /// The newest record of each key of a topic; waits for the broker.
    pub(crate) fn latest(&self, topic: &str) -> Result<BTreeMap<Vec<u8>, Entry>, JournalError> {
        until(&self.stop, topic, |_| {
            match read::latest_by_key(&self.deps.kafka, &self.client_id, topic, MAX_KEYS) {
                Err(ReadError::Unreachable(why)) => Err(Again(why)),
                other => Ok(other.map_err(|e| JournalError::Fatal(format!("{topic}: {e}")))),
            }
        })?
    }

    /// The positions of a source, by file.
    pub(crate) fn positions(&self, source: &str) -> Result<BTreeMap<String, Position>, JournalError> {
        let mut all = BTreeMap::new();
        let start = key(source, "");
        for (key, entry) in self.latest(&positions_topic(&self.deps.prefix))? {
            let Some(value) = entry.value.filter(|_| key.starts_with(&start)) else { continue };
            match self.deps.codec.decode::<Position>(&value) {
                Ok(position) if position.source == source => {
                    all.insert(position.file.clone(), position);
                }
                Ok(_) => {}
                // Going on without it would read a file twice.
                Err(error) => return Err(JournalError::Fatal(format!("a position of {source}: {error}"))),
            }
        }
        Ok(all)
    }

    /// The record of a position; None = it is needed no more.
    pub(crate) fn position(
        &self,
        source: &str,
        file: &str,
        position: Option<&Position>,
    ) -> Result<Output, JournalError> {
        let value = position.map(|p| self.deps.codec.encode(p)).transpose();
        let value = value.map_err(|e| JournalError::Fatal(format!("a position: {e}")))?;
        let topic = Arc::from(positions_topic(&self.deps.prefix));
        let headers = Headers::default();
        Ok(Output { topic, partition: None, key: Some(key(source, file)), value, headers })
    }

    /// All or nothing. What was aborted is written again, a broker that does not answer is waited for.
    pub(crate) fn commit(&mut self, outputs: &[Output]) -> Result<Ended, JournalError> {
        let (stop, client, deps) = (self.stop.clone(), self.client_id.clone(), self.deps.clone());
        until(&stop, &client, |tried| {
            let error = match self.transactional.transaction(outputs) {
                Ok(()) => return Ok(Ok(Ended::Committed)),
                Err(TransactError::TooLarge { index, .. }) => return Ok(Ok(Ended::TooLarge(index))),
                Err(error) => error,
            };
            tracing::debug!(service = crate::SERVICE, client, error_code = error.code(), %error, tried, "transaction");
            deps.metrics.error(&client, "kafka", error.code());
            match error {
                TransactError::Fatal(why) => Ok(Err(JournalError::Fatal(why))),
                TransactError::Aborted(why) | TransactError::Unavailable(why) => Err(Again(why)),
                TransactError::Unknown(_) | TransactError::TooLarge { .. } => {
                    Ok(self.recover().map(|()| Ended::Unknown))
                }
            }
        })?
    }

    fn recover(&mut self) -> Result<(), JournalError> {
        let (stop, client) = (self.stop.clone(), self.client_id.clone());
        until(&stop, &client, |_| match self.transactional.recover() {
            Err(TransactError::Unavailable(why)) => Err(Again(why)),
            other => Ok(other.map_err(|e| JournalError::Fatal(e.to_string()))),
        })?
    }
}

/// Not now.
struct Again(String);

/// Tries until there is an answer, with growing waits.
fn until<T>(
    stop: &Stop,
    what: &str,
    mut call: impl FnMut(u32) -> Result<T, Again>,
) -> Result<T, JournalError> {
    let mut wait = FIRST_WAIT;
    for tried in 0.. {
        match call(tried) {
            Ok(answer) => return Ok(answer),
            Err(Again(why)) => {
                tracing::warn!(
                    service = crate::SERVICE,
                    error_code = "broker_unavailable",
                    what,
                    why,
                    "waiting for the broker"
                );
            }
        }
        pause(wait, || stop.is_stopped());
        if stop.is_stopped() {
            break;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Err(JournalError::Stopped)
}

fn positions_topic(prefix: &str) -> String {
    format!("{prefix}positions")
}

/// `<source>/<file>`.
fn key(source: &str, file: &str) -> Vec<u8> {
    format!("{source}/{file}").into_bytes()
}

/// What a source's transactions write to.
pub(crate) fn topics_of(source: &atio_topics::Source, prefix: &str) -> Vec<String> {
    vec![source.topic(prefix), source.dead_letters(prefix), positions_topic(prefix)]
}
