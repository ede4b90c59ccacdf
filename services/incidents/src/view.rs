//! The incidents in memory, as their topic says: for looking. Owns what is kept when there are too many; must not know HTTP.
use crate::SERVICE;
use atio_runtime::lifecycle::pause;
use atio_schemas::{Codec, Timestamp, incident::Incident};
use atio_stream::{
    Kafka, SchemaSource,
    read::{ReadError, ReadSpec, TopicReader, Until},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

/// Incidents in memory at most, about 1 KB each; closed ones leave first, then those that nothing was heard of for longest.
pub const INCIDENTS_MAX: usize = 20_000;

/// Where an incident stands; each is in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has answered, nothing waits.
    Open,
    /// A branch waits for an answer.
    Waiting,
    /// Somebody has answered, or a policy; nothing waits.
    Acknowledged,
    Closed,
}

impl State {
    pub const NAMES: [&'static str; 4] = ["open", "waiting", "acknowledged", "closed"];

    #[must_use]
    pub fn of(incident: &Incident) -> Self {
        if incident.closed_at.is_some() {
            Self::Closed
        } else if !incident.waits.is_empty() {
            Self::Waiting
        } else if incident.acked_at.is_some() {
            Self::Acknowledged
        } else {
            Self::Open
        }
    }
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Waiting, Self::Acknowledged, Self::Closed].into_iter().find(|s| s.as_str() == text)
    }
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }
}

/// Order of leaving: closed first, then by the newest change.
type Rank = (bool, Option<Timestamp>, Arc<str>);

#[derive(Default)]
struct Kept {
    incidents: BTreeMap<Arc<str>, Arc<Incident>>,
    ranks: BTreeSet<Rank>,
}

/// Shared by reference.
#[derive(Clone)]
pub struct View {
    kept: Arc<RwLock<Kept>>,
    limit: usize,
}

impl Default for View {
    fn default() -> Self {
        Self::with_limit(INCIDENTS_MAX)
    }
}

impl View {
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { kept: Arc::default(), limit }
    }

    /// The newest state of an incident; None = it is gone from its topic.
    pub fn put(&self, incident_id: &str, incident: Option<Incident>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let id: Arc<str> = Arc::from(incident_id);
        if let Some(old) = kept.incidents.remove(&id) {
            kept.ranks.remove(&rank(&id, &old));
        }
        let Some(incident) = incident else { return };
        kept.ranks.insert(rank(&id, &incident));
        kept.incidents.insert(id, Arc::new(incident));
        while kept.incidents.len() > self.limit {
            let Some((.., first)) = kept.ranks.pop_first() else { return };
            kept.incidents.remove(&first);
        }
    }

    #[must_use]
    pub fn get(&self, incident_id: &str) -> Option<Arc<Incident>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.incidents.get(incident_id).cloned()
    }

    /// Of this state, those that changed last first.
    #[must_use]
    pub fn list(&self, state: Option<State>, limit: usize) -> Vec<Arc<Incident>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = |i: &&Arc<Incident>| state.is_none_or(|s| s == State::of(i));
        let mut all: Vec<Arc<Incident>> = kept.incidents.values().filter(wanted).cloned().collect();
        all.sort_by(|a, b| (b.updated_at, &b.incident_id).cmp(&(a.updated_at, &a.incident_id)));
        all.truncate(limit);
        all
    }
}

fn rank(id: &Arc<str>, incident: &Incident) -> Rank {
    (incident.closed_at.is_none(), incident.updated_at, id.clone())
}

/// Keeps a view at what `topic` says, on a thread of its own, until `stop` says so.
///
/// # Errors
/// No thread.
pub fn follow(
    view: View,
    (kafka, topic): (Kafka, String),
    (codec, schemas): (Codec, Arc<dyn SchemaSource>),
    stop: impl Fn() -> bool + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    let run = move || {
        while !stop() {
            let spec = ReadSpec { until: Until::Never, ..ReadSpec::whole(&kafka, "atio-incidents", &topic) };
            if let Err(error) = read(&view, &spec, &codec, &*schemas, &stop) {
                tracing::warn!(service = SERVICE, error_code = error.code(), %error, "incidents can't be read; trying again");
                pause(Duration::from_secs(1), &stop);
            }
        }
    };
    thread::Builder::new().name("incidents-view".into()).spawn(run)
}

fn read(
    view: &View,
    spec: &ReadSpec,
    codec: &Codec,
    schemas: &dyn SchemaSource,
    stop: &(impl Fn() -> bool + Send),
) -> Result<(), ReadError> {
    TopicReader::open(spec)?.for_each(stop, |entry| {
        let key = entry.key.unwrap_or_default();
        let id = String::from_utf8_lossy(&key);
        let Some(value) = entry.value else {
            view.put(&id, None);
            return ControlFlow::Continue(());
        };
        let read = schemas.ensure_of(&value, stop).and_then(|()| codec.decode::<Incident>(&value).map_err(|e| e.to_string()));
        match read {
            Ok(incident) => view.put(&id, Some(incident)),
            Err(error) => {
                tracing::warn!(service = SERVICE, error_code = "incident_unreadable", %error, incident = %id, "left out");
            }
        }
        ControlFlow::Continue(())
    })
}
