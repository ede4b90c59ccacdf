//! Routing's lanes follow the definitions: branches start, stop and change with them. Owns when; which there must be says routing.
use crate::system::{System, applied, lanes::Lanes, services, wanted};
use atio_routing::{Definitions, Deps, SERVICE};
use atio_runtime::{Config, Tasks, http::axum::Router, lifecycle::pause};
use atio_stage::View as _;
use atio_stream::{
    Kafka,
    read::{Next, ReadError, ReadSpec, TopicReader, Until},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

const CLIENT: &str = "atio-branches";
/// How soon the thread sees that it is to stop.
const NOTICE: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_secs(1);
const OWN_AGAIN: Duration = Duration::from_secs(5);

/// Starts the router, and a thread that starts and stops branches as definitions come and go.
pub async fn route(system: &System) -> anyhow::Result<Option<Router>> {
    let deps = services::routing(&system.config, &system.declarations, &system.codec);
    let definitions = deps.definitions();
    atio_routing::router_stages(&deps, &definitions)
        .into_iter()
        .try_for_each(|stage| system.lanes.start(stage))?;
    let followed = Arc::new(AtomicI64::new(0));
    let mut follower = Follower {
        lanes: system.lanes.clone(),
        kafka: system.kafka.clone(),
        topic: format!("{}workflows", system.config.prefix),
        stop: system.tasks.clone(),
        deps,
        definitions,
        config: system.config.clone(),
        own: BTreeSet::new(),
        again: None,
        followed: followed.clone(),
    };
    let follow = move || {
        while !follower.stop.is_stopping() {
            if let Err(error) = follower.follow() {
                tracing::warn!(service = SERVICE, error_code = error.code(), %error, "definitions can't be read; trying again");
                pause(AGAIN, || follower.stop.is_stopping());
            }
        }
    };
    let thread = std::thread::Builder::new().name("definitions".into()).spawn(follow)?;
    system.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    applied::tell(system, followed).await?;
    Ok(None)
}

struct Follower {
    lanes: Lanes,
    kafka: Kafka,
    topic: String,
    stop: Tasks,
    deps: Deps,
    definitions: Definitions,
    config: Arc<Config>,
    /// Workflows whose topics are there, of those that have been promoted.
    own: BTreeSet<String>,
    /// Some are not: when to look again.
    again: Option<Instant>,
    /// The offset up to which (exclusive) branches are as the definitions say.
    followed: Arc<AtomicI64>,
}

impl Follower {
    fn follow(&mut self) -> Result<(), ReadError> {
        let spec = ReadSpec { until: Until::Never, ..ReadSpec::whole(&self.kafka, CLIENT, &self.topic) };
        let mut reader = TopicReader::open(&spec)?;
        // Up to here it is read, and not acted upon: only what is in force when all is read counts, and what comes together is one change.
        let mut read = None;
        while !self.stop.is_stopping() {
            let rests = read.is_none() || !reader.ends().is_empty();
            match reader.next(if rests { NOTICE } else { Duration::ZERO })? {
                Next::Record(entry) => {
                    let key = entry.key.unwrap_or_default();
                    if let Err(error) = self.definitions.apply(&key, entry.value.as_deref()) {
                        tracing::warn!(service = SERVICE, error_code = error.code.as_str(), %error, "definition left out");
                    }
                    read = Some(entry.offset + 1);
                }
                Next::Idle if reader.ends().is_empty() => {
                    if let Some(read) = read.take() {
                        self.definitions.settle();
                        self.change();
                        self.followed.fetch_max(read, Ordering::Relaxed);
                    }
                }
                Next::Idle if self.again.is_some_and(|at| Instant::now() >= at) => self.change(),
                Next::Idle | Next::End => {}
            }
        }
        Ok(())
    }

    /// Starts what is new, stops what is gone; the routers of detections stay.
    fn change(&mut self) {
        self.own_topics();
        let ready = |name: &str| self.own.contains(name);
        let wanted = atio_routing::changing_stages(&self.deps, &self.definitions, &ready);
        let running = self.lanes.names(SERVICE).into_iter();
        let changing: Vec<String> = running.filter(|name| atio_routing::is_changing(name)).collect();
        for (stage, error) in self.lanes.replace(&changing, wanted) {
            tracing::error!(stage, %error, "stage can't be started");
        }
    }

    /// Sees to it that those that have been promoted have topics. Before that they can't leave the pool, which says so.
    fn own_topics(&mut self) {
        let missing: Vec<&str> =
            atio_routing::promoted(&self.definitions).filter(|name| !self.own.contains(*name)).collect();
        self.again = None;
        if missing.is_empty() {
            return;
        }
        match wanted::make_own(&self.kafka, &self.config, &missing) {
            Ok(()) => {
                let made: Vec<String> = missing.into_iter().map(str::to_owned).collect();
                self.own.extend(made);
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    service = SERVICE,
                    error_code = "own_topic",
                    error,
                    "a topic of a workflow can't be made; trying again"
                );
                self.again = Some(Instant::now() + OWN_AGAIN);
            }
        }
    }
}
