//! A running system, or a part of it: what services share, and the order in which they come up.
//!
//! Owns wiring only. Must not know: what a service does with what it is given.
pub mod applied;
pub mod boot;
pub mod branches;
pub mod declared;
pub mod disk;
pub mod fair;
pub mod files;
pub mod lanes;
pub mod page;
pub mod services;
pub mod wanted;
pub mod workflows;

use crate::exit::Failure;
use anyhow::Context;
use atio_metric::Metrics;
use atio_runtime::{Config, RegistryIds, Tasks, http::auth::Keys};
use atio_schemas::Codec;
use atio_stream::Kafka;
use atio_topics::Declarations;
use lanes::Lanes;
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// How long a broker or registry is waited for at the start.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What services are built from.
#[derive(Clone)]
pub struct System {
    pub config: Arc<Config>,
    pub kafka: Kafka,
    pub codec: Codec,
    /// What the codec asks: fetches ids that others registered.
    pub ids: Arc<RegistryIds>,
    pub declarations: Arc<Declarations>,
    pub metrics: Metrics,
    pub keys: Keys,
    pub tasks: Tasks,
    pub lanes: Lanes,
    pub files: files::FileThreads,
    /// Threads that end when the tasks are told to stop, and are waited for.
    pub threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// StatefulSet ordinal; `up` is 0.
    pub ordinal: Option<u32>,
}

impl System {
    /// Registers our schemas and makes the rest.
    pub async fn new(
        config: Config,
        kafka: Kafka,
        registry: &str,
        ordinal: Option<u32>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("data directory {}", config.data.display()))?;
        let declarations = declared::load(&config)?;
        let ids = register(registry).await?;
        let keys = Keys::open(&config.data)?;
        let metrics = Metrics::default();
        let codec = Codec::new(ids.clone());
        let lanes = Lanes::new(&config, &kafka, &codec, &ids, &metrics, ordinal);
        let tasks = Tasks::default();
        Ok(Self {
            config: Arc::new(config),
            kafka,
            codec,
            ids,
            declarations: Arc::new(declarations),
            metrics,
            keys,
            tasks,
            lanes,
            files: files::FileThreads::default(),
            threads: Arc::default(),
            ordinal,
        })
    }

    /// What must end the process: a lane or a file thread that failed for good.
    pub fn fatal(&self) -> Option<anyhow::Error> {
        let lane = self.lanes.fatal().map(|e| anyhow::Error::new(e).context("a stage failed"));
        lane.or_else(|| self.files.failed().map(|why| anyhow::anyhow!(why)))
    }

    /// Ends lanes (commit, leave), then tasks.
    pub async fn shutdown(&self) {
        let (lanes, files) = (self.lanes.clone(), self.files.clone());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.tasks.stop();
        // Joining blocks: not on a thread that others' futures need. Doors close first; who starts lanes ends before they do.
        let stop = move || {
            files.stop();
            threads
                .into_iter()
                .filter_map(|t| t.join().err())
                .for_each(|_| tracing::error!("a thread panicked"));
            lanes.stop_all();
        };
        if tokio::task::spawn_blocking(stop).await.is_err() {
            tracing::error!("lanes did not end in order");
        }
        if !self.tasks.shutdown(Duration::from_secs(10)).await {
            tracing::warn!("some tasks did not end in time");
        }
    }
}

/// The Kafka that a configuration and a bootstrap address stand for.
pub fn kafka(config: &Config, bootstrap: &str) -> Kafka {
    Kafka { bootstrap: bootstrap.to_owned(), properties: config.kafka.properties.clone() }
}

/// Registers our schemas; a registry that is still starting is waited for.
async fn register(url: &str) -> anyhow::Result<Arc<RegistryIds>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match RegistryIds::register(url).await {
            Ok(ids) => return Ok(ids),
            Err(error) if tokio::time::Instant::now() >= deadline || error.code() == "registry_refused" => {
                return Err(Failure::unreachable(error.to_string()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// A codec for reading topics: ids and schemas of this registry.
pub async fn codec(registry: &str) -> anyhow::Result<(Codec, Arc<RegistryIds>)> {
    let ids = register(registry).await?;
    Ok((Codec::new(ids.clone()), ids))
}
