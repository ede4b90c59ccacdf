//! A lane from outside: how it is configured, started, watched and stopped. Owns the shared status; must not know how the driver works.
use crate::{
    clock,
    config::{Identity, Kafka},
    driver,
    fault::Tp,
    intake::Intake,
    ledger::Counts,
    machine,
    metrics::StreamMetrics,
    table::SharedTables,
};
use atio_schemas::{
    Codec, SchemaIds, Timestamp,
    codec::{StaticIds, schema_id},
    state::TableOffset,
};
use atio_stage::Stage;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

/// A registry that can't be asked is asked again after this.
const SCHEMA_AGAIN: Duration = Duration::from_millis(500);

/// Where schema ids come from.
pub trait SchemaSource: SchemaIds {
    /// Fetches what an id stands for. Blocks, under a deadline of its own. Ok also when the registry says that there is no such id: then
    /// `schema_of` goes on answering none, and the record is dead-lettered as `unknown_schema`.
    ///
    /// # Errors
    /// Text for people: the registry can't be asked now. The lane waits and tries again.
    fn ensure(&self, id: i32) -> Result<(), String>;
    /// For whoever follows a topic outside of a stage: what a value's id stands for, waited for while the registry can't be asked.
    ///
    /// # Errors
    /// `stop` said so meanwhile: why it could not be had.
    fn ensure_of(&self, value: &[u8], stop: &dyn Fn() -> bool) -> Result<(), String> {
        let Some(id) = schema_id(value) else { return Ok(()) };
        let mut told = false;
        while let Err(error) = self.ensure(id) {
            if stop() {
                return Err(error);
            }
            if !told {
                tracing::warn!(
                    error_code = "registry_unreachable",
                    error,
                    schema = id,
                    "a schema can't be fetched; trying again"
                );
                told = true;
            }
            std::thread::park_timeout(SCHEMA_AGAIN);
        }
        Ok(())
    }
}

/// Nothing to fetch: for tests, and where every schema is ours.
impl SchemaSource for StaticIds {
    fn ensure(&self, _id: i32) -> Result<(), String> {
        Ok(())
    }
}

/// How much at once, how long. The defaults are the rules'.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first record to the commit at the latest; none: by the stage's pace (20 ms interactive, 100 ms bulk).
    pub commit_interval: Option<Duration>,
    /// Interactive lanes commit before the interval is over where their input is dry and their last commit is so long ago.
    pub pace: Duration,
    /// Records taken from the consumer at once, and in one transaction.
    pub batch_records: usize,
    /// Input bytes taken from the consumer at once; one record can be larger.
    pub batch_bytes: usize,
    /// Input bytes of one transaction.
    pub transaction_bytes: usize,
    /// The longest record that the producer takes.
    pub message_bytes: usize,
    /// Outputs of one record; more is `too_many`.
    pub outputs_per_record: usize,
    /// Of so many records in a row ..
    pub poison_window: u64,
    /// .. so many dead-lettered, in per mille, stop the stage.
    pub poison_per_mille: u64,
    /// The first wait after a stage's failure; doubles up to the last.
    pub back_off: Duration,
    pub back_off_max: Duration,
    /// Deliveries under way, per partition.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commit_interval: None,
            pace: Duration::from_millis(20),
            batch_records: 500,
            batch_bytes: 4 * 1024 * 1024,
            transaction_bytes: 16 * 1024 * 1024,
            message_bytes: 26 * 1024 * 1024,
            outputs_per_record: 10_000,
            poison_window: 1000,
            poison_per_mille: 980,
            back_off: Duration::from_millis(200),
            back_off_max: Duration::from_secs(10),
            in_flight: 64,
        }
    }
}

/// All that a lane needs besides its stage.
#[derive(Clone)]
pub struct LaneConfig {
    pub kafka: Kafka,
    pub identity: Identity,
    pub codec: Codec,
    pub schemas: Arc<dyn SchemaSource>,
    pub metrics: StreamMetrics,
    /// Runs sinks and administrative calls.
    pub io: tokio::runtime::Handle,
    pub limits: Limits,
    /// Of the process: lanes that declare the same tables read them once.
    pub tables: SharedTables,
    /// Where table advances are noted (`atio.epochs`); none: not noted.
    pub epochs: Option<Arc<str>>,
    /// How its inputs share it; none: records are taken as they come.
    pub intake: Option<Intake>,
}

/// Why a lane ended other than by being stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("lane cannot start: {0}")]
    Start(String),
    #[error(transparent)]
    Lane(#[from] machine::End),
    #[error("the lane's thread panicked: {0}")]
    Panicked(String),
}

impl StreamError {
    /// Bounded, for metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        use machine::End as S;
        match self {
            Self::Start(_) => "lane_start",
            Self::Panicked(_) => "lane_panicked",
            Self::Lane(S::Asked) => "stopped",
            Self::Lane(S::Left(_)) => "stopped_unanswered",
            Self::Lane(S::Fenced(_)) => "fenced",
            Self::Lane(S::Torn(_)) => "torn_transaction",
            Self::Lane(S::Moved { .. }) => "offset_moved",
            Self::Lane(S::OutOfRange { .. }) => "offset_out_of_range",
            Self::Lane(S::StaleState { .. }) => "state_stale",
            Self::Lane(S::Poisoned { .. }) => "poisoned",
            Self::Lane(S::Failed(_)) => "lane_failed",
        }
    }
}

/// Asks lanes to stop: commit what they have, leave the group, end. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    pub fn stop(&self) {
        self.0.store(true, SeqCst);
    }
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(SeqCst)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LaneState {
    /// Not yet in the group, or restoring.
    #[default]
    Starting,
    /// In its group, also where no partition is left for it: it takes over when another ends.
    Running,
    /// Waits and tries again.
    Stalled {
        why: String,
    },
    Failed(StreamError),
    Stopped,
}

/// How a lane is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneStatus {
    pub state: LaneState,
    /// Input partitions that it reads.
    pub assigned: Vec<Tp>,
    /// How records ended, of these partitions, since their ledgers' epochs began.
    pub ledger: Counts,
    pub last_commit: Option<Timestamp>,
    /// Transactions since the lane started.
    pub commits: u64,
    pub aborts: u64,
    /// Producers made anew (rule 7).
    pub rebuilds: u64,
    /// Where the stage's tables are: everything below is in force here (`atio.applied` is made of it).
    pub tables: Vec<TableOffset>,
}

#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<LaneStatus>>);

impl Shared {
    pub(crate) fn update(&self, f: impl FnOnce(&mut LaneStatus)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
    fn get(&self) -> LaneStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running lane. Dropping it does not stop it.
pub struct Lane {
    shared: Shared,
    thread: JoinHandle<Result<(), StreamError>>,
}

impl Lane {
    #[must_use]
    pub fn status(&self) -> LaneStatus {
        self.shared.get()
    }
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
    /// Waits for its end.
    ///
    /// # Errors
    /// Why it ended, where nobody asked it to.
    pub fn join(self) -> Result<(), StreamError> {
        self.thread.join().unwrap_or_else(|payload| Err(StreamError::Panicked(panic_text(&*payload))))
    }
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

/// Starts a lane of this stage on a thread of its own.
///
/// # Errors
/// The thread can't be made. All else is in the lane's status: brokers that are not there yet are waited for.
pub fn run_lane(stage: Arc<Stage>, config: LaneConfig, stop: Stop) -> Result<Lane, StreamError> {
    let shared = Shared::default();
    let status = shared.clone();
    let name = format!("lane-{}-{}", stage.name, config.identity.lane);
    let run = move || {
        let lane = config.identity.lane;
        let metrics = config.metrics.clone();
        let name = stage.name.clone();
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            driver::run(stage, config, stop, &status)
        }));
        let result = lived.unwrap_or_else(|payload| Err(StreamError::Panicked(panic_text(&*payload))));
        let state = match &result {
            Ok(()) => LaneState::Stopped,
            Err(error) => {
                tracing::error!(stage = name, lane, error_code = error.code(), error = %error, "lane failed");
                LaneState::Failed(error.clone())
            }
        };
        metrics.state(&name, lane, false, 0, 0);
        status.update(|s| {
            s.state = state;
            s.assigned.clear();
        });
        result
    };
    let thread =
        std::thread::Builder::new().name(name).spawn(run).map_err(|e| StreamError::Start(e.to_string()))?;
    Ok(Lane { shared, thread })
}

/// `<prefix><service>.<group>.<ordinal>.<lane>` (rule 9); without an ordinal, unique to this process and start.
pub(crate) fn instance_name(stage: &Stage, identity: &Identity) -> String {
    let group = stage.group.strip_prefix(&identity.prefix).unwrap_or(&stage.group);
    let who = match identity.ordinal {
        Some(ordinal) => ordinal.to_string(),
        None => format!("{}-{:x}", std::process::id(), clock::wall().0),
    };
    format!("{}{}.{group}.{who}.{}", identity.prefix, stage.service, identity.lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// A registry that is away for the first two questions.
    #[derive(Default)]
    struct Late(AtomicU32);
    impl SchemaIds for Late {
        fn id_of(&self, _: &str) -> Option<i32> {
            None
        }
        fn schema_of(&self, _: i32) -> Option<Arc<apache_avro::Schema>> {
            None
        }
    }
    impl SchemaSource for Late {
        fn ensure(&self, id: i32) -> Result<(), String> {
            assert_eq!(id, 7);
            let asked = self.0.fetch_add(1, SeqCst);
            if asked < 2 { Err("away".into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_follower_waits_for_the_registry_until_it_is_told_to_stop() {
        let value = [0, 0, 0, 0, 7, 1];
        let late = Late::default();
        assert_eq!(late.ensure_of(&value, &|| false), Ok(()));
        assert_eq!(late.0.load(SeqCst), 3);
        assert_eq!(Late::default().ensure_of(&value, &|| true), Err("away".into()));
        assert_eq!(Late::default().ensure_of(b"bare", &|| true), Ok(()), "it names no schema");
    }
}
