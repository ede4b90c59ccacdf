//! The service's two threads: one follows incidents, one looks at the cluster. Owns their pace and what happens while the broker is away; must not know
//! what is measured.
use crate::{
    SERVICE,
    cluster::Cluster,
    incidents::Incidents,
    metrics::{ClusterMetrics, IncidentMetrics},
};
use atio_metric::{MetricError, Service};
use atio_runtime::{Tasks, clock, lifecycle::pause};
use atio_schemas::{Codec, Timestamp, incident::Incident};
use atio_stream::{
    Kafka, SchemaSource,
    read::{Next, ReadError, ReadSpec, TopicReader, Until},
    survey::Survey,
};
use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

const CLIENT: &str = "atio-metrics";
/// Ages of open incidents and the state of the cluster are as old as this at most.
const EVERY: Duration = Duration::from_secs(5);
/// A look at the cluster ends within about this.
const LOOK: Duration = Duration::from_secs(4);
/// How soon a thread sees that it is to stop.
const NOTICE: Duration = Duration::from_millis(500);
/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What the service is made of.
pub struct Deps {
    pub kafka: Kafka,
    pub prefix: String,
    /// Topics outside the prefix that stages read.
    pub adopted: BTreeSet<String>,
    pub codec: Codec,
    pub schemas: Arc<dyn SchemaSource + Send + Sync>,
    pub metrics: Service,
    pub tasks: Tasks,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error("a thread of the metrics service: {0}")]
    Thread(#[from] io::Error),
}

impl StartError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Metric(e) => e.code(),
            Self::Thread(_) => "thread",
        }
    }
}

/// Starts both threads; they end when the tasks are told to stop.
///
/// # Errors
/// See [`StartError`].
pub fn start(deps: Deps) -> Result<Vec<JoinHandle<()>>, StartError> {
    let incidents = IncidentMetrics::new(&deps.metrics)?;
    let cluster = ClusterMetrics::new(&deps.metrics)?;
    cluster.up.set(&[], 0.0);
    let deps = Arc::new(deps);
    let caught_up = Arc::new(AtomicBool::new(false));
    let (theirs, flag) = (deps.clone(), caught_up.clone());
    let one = Builder::new().name("incidents".into()).spawn(move || follow(&theirs, &incidents, &flag))?;
    let two = Builder::new().name("cluster".into()).spawn(move || look(&deps, cluster, &caught_up))?;
    Ok(vec![one, two])
}

fn follow(deps: &Deps, metrics: &IncidentMetrics, caught_up: &AtomicBool) {
    let topic = format!("{}incidents", deps.prefix);
    let spec = ReadSpec { until: Until::Never, ..ReadSpec::whole(&deps.kafka, CLIENT, &topic) };
    while !deps.tasks.is_stopping() {
        match TopicReader::open(&spec) {
            Ok(reader) => {
                let incidents = Incidents::new(metrics.clone());
                return read(deps, reader, incidents, metrics, caught_up);
            }
            Err(error) => {
                tracing::warn!(service = SERVICE, error_code = error.code(), %error, "incidents can't be read; trying again");
                pause(EVERY, || deps.tasks.is_stopping());
            }
        }
    }
}

fn read(
    deps: &Deps,
    mut reader: TopicReader,
    mut incidents: Incidents,
    metrics: &IncidentMetrics,
    caught_up: &AtomicBool,
) {
    let (mut changed, mut shown) = (true, Instant::now());
    while !deps.tasks.is_stopping() {
        let next: Result<Next, ReadError> = reader.next(NOTICE);
        match next {
            Ok(Next::Record(entry)) => {
                let key = entry.key.unwrap_or_default();
                match decode(deps, entry.value.as_deref()) {
                    Ok(incident) => incidents.apply(&key, incident.as_ref()),
                    Err(error) => {
                        metrics.unreadable.inc(&[]);
                        tracing::warn!(
                            service = SERVICE,
                            error_code = "unreadable",
                            partition = entry.partition,
                            offset = entry.offset,
                            error,
                            "an incident is left out"
                        );
                    }
                }
                changed = true;
            }
            Ok(Next::Idle | Next::End) => {
                if !incidents.is_caught_up() && reader.ends().is_empty() {
                    incidents.caught_up();
                    caught_up.store(true, Relaxed);
                    changed = true;
                }
                if changed {
                    (changed, shown) = show(&incidents, clock::now());
                }
            }
            Err(error) => {
                tracing::warn!(service = SERVICE, error_code = error.code(), %error, "incidents can't be read now");
                pause(AGAIN, || deps.tasks.is_stopping());
            }
        }
        if shown.elapsed() >= EVERY {
            (changed, shown) = show(&incidents, clock::now());
        }
    }
}

/// What is shown is no longer changed, as of now.
fn show(incidents: &Incidents, now: Timestamp) -> (bool, Instant) {
    if incidents.is_caught_up() {
        incidents.show(now);
    }
    (false, Instant::now())
}

/// A registry that does not answer is waited for; what can't be read is an error.
fn decode(deps: &Deps, value: Option<&[u8]>) -> Result<Option<Incident>, String> {
    let Some(value) = value else { return Ok(None) };
    deps.schemas.ensure_of(value, &|| deps.tasks.is_stopping())?;
    deps.codec.decode(value).map(Some).map_err(|e| e.to_string())
}

fn look(deps: &Deps, metrics: ClusterMetrics, caught_up: &AtomicBool) {
    let mut cluster = Cluster::new(metrics.clone());
    let mut survey = None;
    while !deps.tasks.is_stopping() {
        let up = match looked(deps, &mut survey) {
            Ok(seen) => {
                cluster.show(&seen);
                metrics.looked.set(&[], clock::now().0 as f64 / 1e6);
                caught_up.load(Relaxed)
            }
            Err(error) => {
                tracing::warn!(service = SERVICE, error_code = error.code(), %error, "the cluster can't be looked at; what is shown is stale");
                false
            }
        };
        metrics.up.set(&[], f64::from(u8::from(up)));
        // The first look may come before the incidents are read: soon again, so that what is up is shown as up.
        pause(if up { EVERY } else { AGAIN }, || deps.tasks.is_stopping());
    }
}

fn looked(
    deps: &Deps,
    survey: &mut Option<Survey>,
) -> Result<atio_stream::survey::Seen, atio_stream::admin::AdminError> {
    if survey.is_none() {
        *survey = Some(Survey::open(&deps.kafka, CLIENT, &deps.prefix, deps.adopted.clone())?);
    }
    survey.as_mut().map_or_else(|| Ok(atio_stream::survey::Seen::default()), |s| s.look(LOOK))
}
