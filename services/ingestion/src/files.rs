//! Everything that is read from files: tails, directories and tables, each on a thread of its own. Owns their start, stop and state; must not
//! know how any of them reads.
use crate::{
    directory::Directory, journal::JournalError, metrics::IngestionMetrics, tables::Loader, tail::Tail,
};
use atio_schemas::{Codec, Timestamp};
use atio_stream::{Kafka, Stop};
use atio_topics::{From, Source, Table};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// What file threads are made of.
#[derive(Clone)]
pub struct Deps {
    pub kafka: Kafka,
    /// Of topics and transactional ids, e.g. `atio.`.
    pub prefix: String,
    pub codec: Codec,
    pub metrics: IngestionMetrics,
    /// Of this process among its like: files belong to one machine, so each has its own; tables are loaded by the first alone.
    pub ordinal: u32,
    /// Where the user's declarations are: relative paths of tables start there.
    pub topics: PathBuf,
    /// The runtime's clock.
    pub now: fn() -> Timestamp,
    /// How often files are looked at.
    pub poll: Duration,
    /// A file that was rotated away and is quiet for so long is complete.
    pub settle: Duration,
}

impl Deps {
    /// Looks every 200 ms; a rotated file is complete after 10 quiet seconds.
    #[must_use]
    pub fn new(kafka: Kafka, prefix: &str, codec: Codec, metrics: IngestionMetrics, topics: PathBuf) -> Self {
        Self {
            kafka,
            prefix: prefix.to_owned(),
            codec,
            metrics,
            ordinal: 0,
            topics,
            now: atio_runtime::clock::now,
            poll: Duration::from_millis(200),
            settle: Duration::from_secs(10),
        }
    }
}

/// Why something could not be started, or ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    #[error("source {source_name}: {reason}")]
    Declaration { source_name: String, reason: String },
    #[error("no thread: {0}")]
    Thread(String),
    /// Another process has the transactional id, a topic does not exist, or a transaction was torn.
    #[error("{name} cannot go on: {reason}")]
    Fatal { name: String, reason: String },
}

impl FilesError {
    /// Bounded.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Declaration { .. } => "invalid_definition",
            Self::Thread(_) => "thread",
            Self::Fatal { .. } => "fatal",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PartState {
    /// Waiting for the broker, or reading back positions.
    #[default]
    Starting,
    Running,
    /// Goes on with what it can; this is what it can't.
    Degraded(String),
    Failed(String),
    Stopped,
}

/// How one tail, directory or table is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartStatus {
    pub state: PartState,
    /// Raw events committed since the start, or rows of the table.
    pub events: u64,
    pub dead_lettered: u64,
    pub committed_at: Option<Timestamp>,
}

/// Where a thread says how it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<PartStatus>>);

impl Board {
    pub(crate) fn update(&self, change: impl FnOnce(&mut PartStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
    /// Degraded with a reason, or running without one. Logs where that is news.
    pub(crate) fn health(&self, name: &str, trouble: Option<String>) {
        let state = trouble.map_or(PartState::Running, PartState::Degraded);
        self.update(|status| {
            if status.state != state {
                match &state {
                    PartState::Degraded(why) => {
                        tracing::warn!(
                            service = crate::SERVICE,
                            error_code = "degraded",
                            name,
                            why,
                            "files can't be read"
                        );
                    }
                    _ => tracing::info!(service = crate::SERVICE, name, "reading files"),
                }
                status.state = state;
            }
        });
    }
    fn read(&self) -> PartStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is to be read.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Those with another transport are none of ours.
    pub sources: Vec<Source>,
    pub tables: Vec<Table>,
}

type Job = Box<dyn FnOnce(&Stop, &Board) -> Result<(), JournalError> + Send>;

impl Files {
    /// Checks the declarations and starts a thread for each. Returns at once: threads wait for the broker by themselves.
    ///
    /// # Errors
    /// A declaration that can't be followed; nothing is started then. No more threads.
    pub fn start(self, deps: &Deps) -> Result<Running, FilesError> {
        let mut jobs: Vec<(String, Job)> = vec![];
        for source in self.sources {
            let name = source.meta.name.clone();
            let wrong = |reason| FilesError::Declaration { source_name: name.clone(), reason };
            match &source.from {
                From::Tail { .. } => {
                    let tail = Tail::new(deps, source).map_err(wrong)?;
                    jobs.push((format!("tail/{name}"), Box::new(move |stop, board| tail.run(stop, board))));
                }
                From::Directory { .. } => {
                    let directory = Directory::new(deps, source).map_err(wrong)?;
                    let run: Job = Box::new(move |stop, board| directory.run(stop, board));
                    jobs.push((format!("directory/{name}"), run));
                }
                From::Http | From::Topic { .. } => {}
            }
        }
        for table in self.tables.into_iter().filter(|_| deps.ordinal == 0) {
            let name = format!("table/{}", table.meta.name);
            let loader = Loader::new(deps, table);
            jobs.push((name, Box::new(move |stop, board| loader.run(stop, board))));
        }
        let mut running = Running { stop: Stop::new(), parts: BTreeMap::new() };
        for (name, job) in jobs {
            match begin(&name, job, &running.stop) {
                Ok(part) => {
                    running.parts.insert(name, part);
                }
                Err(error) => {
                    running.stop();
                    drop(running.join());
                    return Err(error);
                }
            }
        }
        Ok(running)
    }
}

fn begin(name: &str, job: Job, stop: &Stop) -> Result<Part, FilesError> {
    let board = Board::default();
    let (theirs, stop, label) = (board.clone(), stop.clone(), name.to_owned());
    let run = move || match job(&stop, &theirs) {
        Ok(()) | Err(JournalError::Stopped) => {
            theirs.update(|s| s.state = PartState::Stopped);
            Ok(())
        }
        Err(JournalError::Fatal(reason)) => {
            tracing::error!(
                service = crate::SERVICE,
                error_code = "fatal",
                name = label,
                reason,
                "reading files ended"
            );
            theirs.update(|s| s.state = PartState::Failed(reason.clone()));
            Err(FilesError::Fatal { name: label, reason })
        }
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    Ok(Part { board, thread: thread.map_err(|e| FilesError::Thread(e.to_string()))? })
}

struct Part {
    board: Board,
    thread: JoinHandle<Result<(), FilesError>>,
}

/// The threads. Stop, then join; dropping them leaves them running.
pub struct Running {
    stop: Stop,
    parts: BTreeMap<String, Part>,
}

impl Running {
    /// Tells all to stop; each ends after the transaction that it is in.
    pub fn stop(&self) {
        self.stop.stop();
        self.parts.values().for_each(|part| part.thread.thread().unpark());
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    /// Why some ended by themselves.
    pub fn join(self) -> Result<(), Vec<FilesError>> {
        let mut errors = vec![];
        for (name, part) in self.parts {
            match part.thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => errors.push(error),
                Err(_) => errors.push(FilesError::Fatal { name, reason: "it panicked".to_owned() }),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// How each is, by `tail/<source>`, `directory/<source>`, `table/<table>`.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, PartStatus> {
        self.parts.iter().map(|(name, part)| (name.clone(), part.board.read())).collect()
    }

    /// Whether one has ended by itself: the process should, too.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status().values().any(|s| matches!(s.state, PartState::Failed(_)))
    }
}
