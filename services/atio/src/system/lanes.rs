//! The lanes of a process: started, watched, stopped. Owns which stage runs; must not know what a stage does.
use atio_metric::Metrics;
use atio_runtime::{Config, RegistryIds};
use atio_schemas::Codec;
use atio_stage::Stage;
use atio_stream::{
    Identity, Kafka, Lane, LaneConfig, LaneState, LaneStatus, Limits, SharedTables, Stop, StreamError,
    StreamMetrics, intake::Intake, run_lane,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

struct Running {
    stage: Arc<Stage>,
    stop: Stop,
    lane: Lane,
}

struct Inner {
    prefix: String,
    kafka: Kafka,
    codec: Codec,
    ids: Arc<RegistryIds>,
    metrics: Metrics,
    ordinal: Option<u32>,
    io: tokio::runtime::Handle,
    tables: SharedTables,
    running: Mutex<BTreeMap<String, Running>>,
}

/// Shared by reference.
#[derive(Clone)]
pub struct Lanes(Arc<Inner>);

/// A stage as `lag`, `/readyz` and the status page show it.
#[derive(Clone, Debug)]
pub struct StageStatus {
    pub name: String,
    pub service: &'static str,
    pub status: LaneStatus,
}

impl Lanes {
    pub fn new(
        config: &Config,
        kafka: &Kafka,
        codec: &Codec,
        ids: &Arc<RegistryIds>,
        metrics: &Metrics,
        ordinal: Option<u32>,
    ) -> Self {
        Self(Arc::new(Inner {
            prefix: config.prefix.clone(),
            kafka: kafka.clone(),
            codec: codec.clone(),
            ids: ids.clone(),
            metrics: metrics.clone(),
            ordinal,
            io: tokio::runtime::Handle::current(),
            tables: SharedTables::default(),
            running: Mutex::new(BTreeMap::new()),
        }))
    }

    /// Starts a stage's lane; one that runs already is left alone.
    pub fn start(&self, stage: Stage) -> anyhow::Result<()> {
        self.start_shared(stage, None)
    }

    /// The same; its inputs share it so.
    pub fn start_shared(&self, stage: Stage, intake: Option<Intake>) -> anyhow::Result<()> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(&stage.name) {
            return Ok(());
        }
        let stage = Arc::new(stage);
        let stop = Stop::new();
        let inner = &self.0;
        let config = LaneConfig {
            kafka: inner.kafka.clone(),
            identity: Identity { prefix: inner.prefix.clone(), ordinal: inner.ordinal, lane: 0 },
            codec: inner.codec.clone(),
            schemas: inner.ids.clone(),
            metrics: StreamMetrics::new(&inner.metrics.service(stage.service))?,
            io: inner.io.clone(),
            limits: Limits::default(),
            tables: inner.tables.clone(),
            epochs: Some(Arc::from(format!("{}epochs", inner.prefix))),
            intake,
        };
        let lane = run_lane(stage.clone(), config, stop.clone())?;
        running.insert(stage.name.clone(), Running { stage, stop, lane });
        Ok(())
    }

    /// Names of the stages that run, of one service.
    pub fn names(&self, service: &str) -> Vec<String> {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().filter(|r| r.stage.service == service).map(|r| r.stage.name.clone()).collect()
    }

    /// Of the named ones and those wanted, the latter run: as they run already, where nothing of them has changed, else anew. What could not
    /// be started, and why. Blocks until what is to end has ended.
    pub fn replace(&self, names: &[String], wanted: Vec<Stage>) -> Vec<(String, anyhow::Error)> {
        let gone = |r: &Running| !wanted.iter().any(|w| w.name == r.stage.name && w.is_wired_as(&r.stage));
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<String> =
            names.iter().filter(|name| running.get(*name).is_some_and(gone)).cloned().collect();
        let ended: Vec<_> = ended.into_iter().filter_map(|name| running.remove_entry(&name)).collect();
        drop(running);
        end(ended);
        let start = |stage: Stage| {
            let name = stage.name.clone();
            self.start(stage).err().map(|error| (name, error))
        };
        wanted.into_iter().filter_map(start).collect()
    }

    /// Stops all. Blocks.
    pub fn stop_all(&self) {
        end(std::mem::take(&mut *self.0.running.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    pub fn status(&self) -> Vec<StageStatus> {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(name, r): (&String, &Running)| StageStatus {
            name: name.clone(),
            service: r.stage.service,
            status: r.lane.status(),
        };
        running.iter().map(of).collect()
    }

    /// None when every lane runs, else the first that does not, and why.
    pub fn waiting(&self) -> Option<String> {
        self.status().into_iter().find_map(|s| match s.status.state {
            LaneState::Running => None,
            LaneState::Starting => Some(format!("{} is starting", s.name)),
            LaneState::Stalled { why } => Some(format!("{} is stalled: {why}", s.name)),
            LaneState::Failed(error) => Some(format!("{} failed: {error}", s.name)),
            LaneState::Stopped => Some(format!("{} has stopped", s.name)),
        })
    }

    /// A failure after which the process must not go on: somebody else runs under its name, or a transaction is torn. A stage that
    /// stopped because nearly everything was dead-lettered, or because its offsets or its state are gone, leaves its neighbours alone.
    pub fn fatal(&self) -> Option<StreamError> {
        self.status().into_iter().find_map(|s| match s.status.state {
            LaneState::Failed(error)
                if !matches!(
                    error.code(),
                    "poisoned" | "offset_out_of_range" | "offset_moved" | "state_stale"
                ) =>
            {
                Some(error)
            }
            _ => None,
        })
    }
}

/// Tells every one to stop, then waits for them.
fn end(all: impl IntoIterator<Item = (String, Running)>) {
    let all: Vec<_> = all.into_iter().inspect(|(_, r)| r.stop.stop()).collect();
    for (name, running) in all {
        report(&name, running.lane.join());
    }
}

fn report(name: &str, end: Result<(), StreamError>) {
    if let Err(error) = end {
        tracing::error!(stage = name, error_code = error.code(), %error, "lane ended");
    }
}
