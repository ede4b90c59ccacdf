//! The thread that watches the topics that monitoring alone writes. Owns its pace, what happens while the broker is away, and when a suspicion is told;
//! what is suspicious is said by `compare`.
use crate::{
    SERVICE,
    checkpoint::{CheckpointError, Checkpoints},
    commands::SOURCE,
    compare::{Compare, Heads, Look, Meaning, Place},
    metrics::WatchMetrics,
    noted::{self, NotedError},
    report::Report,
    written::{Topic, digest},
};
use atio_metric::{MetricError, Service};
use atio_runtime::{Tasks, clock, lifecycle};
use atio_schemas::{
    Codec,
    audit::{AuditEntry, AuditIntent, ChainHead},
    codec::Record,
    definition::{Change, Definition},
};
use atio_stage::{Headers, Output};
use atio_stream::{
    Kafka, SchemaSource,
    admin::{Admin, AdminError},
    publish::{PublishError, Publisher, PublisherSpec},
    read::{Entry, Next, ReadError, ReadSpec, TopicReader, Until},
};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

const CLIENT: &str = "atio-monitoring-watch";
/// The topics are compared at least so often, and after something new at most so often.
const EVERY: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(1);
/// What stands for so long, in two looks, is told: one topic may be read ahead of another.
const STANDS: Duration = Duration::from_secs(1);
/// While a transaction is open on one of the topics its other half may not be seen yet. Nobody keeps one open to hide behind it for longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Reading up to the end that was asked for, without a record.
const STALL: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_secs(1);
const NOTICE: Duration = Duration::from_millis(200);
/// Checkpoints while chains move.
const CHECKPOINT: Duration = Duration::from_secs(60);
/// A process that ends does not wait longer for a broker that does not answer.
const GOODBYE: Duration = Duration::from_secs(5);

/// What the watcher is made of.
pub struct Deps {
    pub kafka: Kafka,
    pub prefix: String,
    pub codec: Codec,
    pub schemas: Arc<dyn SchemaSource + Send + Sync>,
    pub metrics: Service,
    pub tasks: Tasks,
    /// Where keys and checkpoints are.
    pub data: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("a thread of the watcher: {0}")]
    Thread(#[from] io::Error),
}

impl StartError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Metric(e) => e.code(),
            Self::Checkpoint(e) => e.code(),
            Self::Thread(_) => "thread",
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Noted(#[from] NotedError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("{0} is not read to its end in time")]
    Behind(String),
    #[error("a report can't be written: {0}")]
    Report(String),
}

impl WatchError {
    const fn code(&self) -> &'static str {
        match self {
            Self::Noted(e) => e.code(),
            Self::Admin(e) => e.code(),
            Self::Read(e) => e.code(),
            Self::Publish(e) => e.code(),
            Self::Behind(_) => "behind",
            Self::Report(_) => "report",
        }
    }
}

/// Starts the thread. It ends when the tasks are told to stop, which wait for it no longer than they must for a broker that answers.
///
/// # Errors
/// See [`StartError`].
pub fn start(deps: Deps) -> Result<(), StartError> {
    let metrics = WatchMetrics::new(&deps.metrics)?;
    metrics.up.set(&[], 0.0);
    for gauge in [&metrics.untrusted, &metrics.suspicions, &metrics.unverifiable] {
        gauge.set(&[], 0.0);
    }
    for topic in Topic::ALL {
        // Shown from the beginning: an alert needs a 0 before the first.
        metrics.tampering.add(&[topic.as_str(), "foreign"], 0);
        metrics.tampering.add(&[topic.as_str(), "deleted"], 0);
    }
    let checkpoints = Checkpoints::open(&deps.data)?;
    let io = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = deps.tasks.clone();
    let (ended, end) = oneshot::channel::<()>();
    let watcher = Watcher { deps, metrics, checkpoints, io, signed: Instant::now() };
    let run = move || {
        watcher.run();
        drop(ended);
    };
    thread::Builder::new().name("watch".into()).spawn(run)?;
    let stopping = tasks.clone();
    tasks.spawn(async move {
        stopping.stopped().await;
        // Ended, or given up: what it was about to do it does after the next start.
        if tokio::time::timeout(GOODBYE, end).await.is_err() {
            tracing::warn!(service = SERVICE, "the watcher waits for the broker; left alone");
        }
    });
    Ok(())
}

struct Watcher {
    deps: Deps,
    metrics: WatchMetrics,
    checkpoints: Checkpoints,
    io: tokio::runtime::Runtime,
    /// When the last checkpoint was due.
    signed: Instant,
}

/// Clients, and what is known: one life of them.
struct Session {
    admin: Admin,
    reader: TopicReader,
    /// Opened when there is something to tell.
    publisher: Option<Publisher>,
    compare: Compare,
    /// Suspicions by id: since when they stand.
    standing: BTreeMap<String, Instant>,
    heads: BTreeMap<String, ChainHead>,
    /// Something was read since the last look.
    news: bool,
}

impl Watcher {
    fn run(mut self) {
        while !self.stopping() {
            match self.open() {
                Ok(session) => self.follow(session),
                Err(error) => {
                    self.failed(&error);
                    self.pause(AGAIN);
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.deps.tasks.is_stopping()
    }

    fn pause(&self, wait: Duration) {
        lifecycle::pause(wait, || self.stopping());
    }

    fn failed(&self, error: &WatchError) {
        self.metrics.up.set(&[], 0.0);
        tracing::warn!(service = SERVICE, error_code = error.code(), %error, "topics can't be compared with the audit log now");
    }

    fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.deps.prefix, topic.as_str())
    }

    fn open(&self) -> Result<Session, WatchError> {
        let topics: Vec<String> = Topic::ALL.iter().map(|t| self.topic(*t)).collect();
        let whole = ReadSpec::whole(&self.deps.kafka, CLIENT, &topics[0]);
        let reader = TopicReader::open(&ReadSpec { topics, until: Until::Never, ..whole })?;
        Ok(Session {
            admin: Admin::connect(&self.deps.kafka, CLIENT)?,
            reader,
            publisher: None,
            compare: Compare::default(),
            standing: BTreeMap::new(),
            heads: BTreeMap::new(),
            news: true,
        })
    }

    fn follow(&mut self, mut session: Session) {
        let mut looked: Option<Instant> = None;
        while !self.stopping() {
            match session.reader.next(NOTICE) {
                Ok(Next::Record(entry)) => self.take(&mut session, entry),
                Ok(Next::Idle | Next::End) => {}
                Err(error) => return self.failed(&error.into()),
            }
            let pace = if session.news || !session.standing.is_empty() { SOON } else { EVERY };
            if looked.is_none_or(|at| at.elapsed() >= pace) {
                if let Err(error) = self.look(&mut session) {
                    self.failed(&error);
                    self.pause(AGAIN);
                }
                looked = Some(Instant::now());
                self.sign(&session.heads, false);
            }
        }
        if session.news
            && let Err(error) = self.look(&mut session)
        {
            self.failed(&error);
        }
        self.sign(&session.heads, true);
    }

    /// One comparison, and what is told after it.
    fn look(&self, session: &mut Session) -> Result<(), WatchError> {
        // Heads first: what they vouch for is there when the topics are read to their end after that.
        let heads: Heads = noted::heads(&session.admin, &self.deps.prefix)?;
        let open = self.catch_up(session)?;
        let look = session.compare.look(&heads);
        session.news = false;
        for (topic, kind) in &look.told {
            self.metrics.tampering.inc(&[topic.as_str(), kind.as_str()]);
        }
        if let Some(untrusted) = look.untrusted {
            self.metrics.untrusted.set(&[], untrusted as f64);
        }
        self.metrics.suspicions.set(&[], look.suspicions.len() as f64);
        self.metrics.unverifiable.set(&[], look.unverifiable as f64);
        self.metrics.looked.set(&[], clock::now().0 as f64 / 1e6);
        let due = due(&mut session.standing, &look, open, Instant::now());
        session.heads = look.heads;
        for report in due {
            self.tell(session, &report)?;
        }
        self.metrics.up.set(&[], 1.0);
        Ok(())
    }

    /// Reads each topic up to where it ends now; true where a transaction is open on one.
    fn catch_up(&self, session: &mut Session) -> Result<bool, WatchError> {
        let (mut open, mut ends) = (false, BTreeMap::new());
        for topic in Topic::ALL.map(|t| self.topic(t)) {
            for marks in session.admin.watermarks(&topic)? {
                open |= marks.stable < marks.high;
                ends.insert(atio_stream::Tp::new(topic.as_str(), marks.partition), marks.stable);
            }
        }
        let mut progress = Instant::now();
        loop {
            let positions = session.reader.positions();
            let behind = ends.iter().find(|(tp, end)| positions.get(tp).is_none_or(|at| at < end));
            let Some((tp, _)) = behind else { return Ok(open) };
            if progress.elapsed() > STALL || self.stopping() && progress.elapsed() > AGAIN {
                return Err(WatchError::Behind(tp.topic.to_string()));
            }
            match session.reader.next(NOTICE)? {
                Next::Record(entry) => {
                    self.take(session, entry);
                    progress = Instant::now();
                }
                Next::Idle | Next::End => {}
            }
        }
    }

    fn take(&self, session: &mut Session, entry: Entry) {
        session.news = true;
        let place = Place {
            key: String::from_utf8_lossy(entry.key.as_deref().unwrap_or_default()).into_owned(),
            offset: entry.offset,
            timestamp: entry.timestamp,
            hash: entry.value.as_deref().map(digest),
        };
        let value = entry.value.as_deref();
        let compare = &mut session.compare;
        let name = entry.topic.strip_prefix(self.deps.prefix.as_str());
        match Topic::ALL.into_iter().find(|t| name == Some(t.as_str())) {
            Some(Topic::Audit) => {
                let read = value.map(|v| self.decode::<AuditEntry>(v)).transpose();
                compare.audit(place, read.as_ref().map(Option::as_ref).map_err(Clone::clone));
            }
            Some(Topic::Workflows) => {
                let read = value.and_then(|v| self.decode::<Definition>(v).ok());
                let meaning = read.map_or(Meaning::Other, |d| Meaning::Definition {
                    pointer: d.pointer,
                    version: d.version,
                    text: d.definition.into(),
                });
                compare.record(Topic::Workflows, place, meaning);
            }
            Some(Topic::Changes) => {
                let read = value.and_then(|v| self.decode::<Change>(v).ok());
                let meaning = read.map_or(Meaning::Other, |c| Meaning::Change { command_id: c.command_id });
                compare.record(Topic::Changes, place, meaning);
            }
            None => {}
        }
    }

    /// A registry that does not answer is waited for; an id that it does not know makes the record unreadable.
    fn decode<R: Record>(&self, value: &[u8]) -> Result<R, String> {
        self.deps.schemas.ensure_of(value, &|| self.stopping())?;
        self.deps.codec.decode(value).map_err(|e| e.to_string())
    }

    /// Sends the intent; once the broker has it, it is known.
    fn tell(&self, session: &mut Session, report: &Report) -> Result<(), WatchError> {
        let unwritable = |e: &dyn std::fmt::Display| WatchError::Report(e.to_string());
        let intent = report.intent(clock::now()).map_err(|e| unwritable(&e))?;
        let value = self.deps.codec.encode(&intent).map_err(|e| unwritable(&e))?;
        let mut headers = Headers::default();
        headers.describe(AuditIntent::SUBJECT, &intent.intent_id, SOURCE, Some(intent.at));
        let topic = format!("{}audit-intents", self.deps.prefix);
        // The same report always goes to the same partition, where it is known.
        let output = Output::new(topic.as_str(), intent.intent_id.as_bytes(), value, headers);
        let publisher = match session.publisher.take() {
            Some(publisher) => publisher,
            None => Publisher::open(PublisherSpec::new(&self.deps.kafka, CLIENT, &[&topic]))?,
        };
        let answers = self.io.block_on(publisher.send(vec![output]));
        session.publisher = Some(publisher);
        answers.into_iter().try_for_each(|answer| answer.map(drop))?;
        let (topic, kind) = (report.topic.as_str(), report.finding.as_str());
        tracing::error!(
            service = SERVICE,
            error_code = kind,
            topic,
            key = report.key,
            offset = report.offset,
            message = report.message,
            "tampering"
        );
        if session.compare.reported(report) {
            self.metrics.tampering.inc(&[topic, kind]);
        }
        Ok(())
    }

    /// A checkpoint where one is due, or at the end. Failing to write one keeps nobody from watching.
    fn sign(&mut self, heads: &BTreeMap<String, ChainHead>, last: bool) {
        if !last && !self.checkpoints.last().is_empty() && self.signed.elapsed() < CHECKPOINT {
            return;
        }
        self.signed = Instant::now();
        match self.checkpoints.append(clock::now(), heads) {
            Ok(true) => self.metrics.checkpoints.inc(&["written"]),
            Ok(false) => {}
            Err(error) => {
                self.metrics.checkpoints.inc(&["failed"]);
                tracing::error!(service = SERVICE, error_code = error.code(), %error, "no checkpoint was written");
            }
        }
    }
}

/// Suspicions that have stood long enough. Those that this look does not have any more were none.
fn due(standing: &mut BTreeMap<String, Instant>, look: &Look, open: bool, now: Instant) -> Vec<Report> {
    let limit = if open { PATIENCE } else { STANDS };
    let mut still = BTreeMap::new();
    let mut due = vec![];
    for report in &look.suspicions {
        let id = report.id();
        match standing.get(&id) {
            Some(since) if now.duration_since(*since) >= limit => due.push(report.clone()),
            Some(since) => drop(still.insert(id, *since)),
            None => drop(still.insert(id, now)),
        }
    }
    // What is due and can't be told now has to stand anew.
    *standing = still;
    due
}
