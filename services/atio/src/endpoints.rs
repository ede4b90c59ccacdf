//! Where a running system is: DIR/endpoints.json, written by `up` and `run`, read by every client command.
use crate::exit::Failure;
use anyhow::Context;
use atio_runtime::{Config, config, http::auth::write_private};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `up` prints when it is ready, and keeps in DIR/endpoints.json (0600).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    pub ready: bool,
    /// host:port
    pub kafka: String,
    /// http://host:port
    pub http: String,
    pub registry: String,
    pub data: PathBuf,
    pub pid: u32,
}

pub fn file(data: &Path) -> PathBuf {
    data.join("endpoints.json")
}

impl Endpoints {
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self)?;
        write_private(&file(data), &text).with_context(|| format!("writing {}", file(data).display()))
    }

    /// What a system left in its data directory; none where there is none.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = file(data);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("{} is not what atio writes", path.display()))
    }
}

/// How a client command finds the system: its flags, else DIR/endpoints.json, else the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Target {
    /// Kafka bootstrap servers, separated by commas
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Schema registry
    #[arg(long, global = true, value_name = "URL")]
    pub registry: Option<String>,
    /// API key (Bearer); default: the content of DIR/admin.key
    #[arg(long, global = true, value_name = "KEY", env = "ATIO_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Data directory of the system
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Declarations (sources, workflows, sinks, tables); default DATA/topics
    #[arg(long, global = true, value_name = "DIR")]
    pub topics: Option<PathBuf>,
}

impl Target {
    /// The layered configuration with these flags on top.
    pub fn configuration(&self, mut flags: serde_json::Value) -> anyhow::Result<Config> {
        if let Some(data) = &self.data {
            flags["data"] = serde_json::json!(data);
        }
        if let Some(topics) = &self.topics {
            flags["topics"] = serde_json::json!(topics);
        }
        let file = config::find_file(self.config.as_deref());
        config::load(file.as_deref(), &flags).map_err(|e| Failure::usage(e.to_string()))
    }

    /// Kafka's bootstrap servers.
    pub fn kafka(&self, config: &Config) -> anyhow::Result<String> {
        let left = Endpoints::read(&config.data)?.map(|e| e.kafka);
        let found = self.kafka.clone().or(left).or_else(|| config.kafka.bootstrap.clone());
        found.ok_or_else(|| {
            Failure::usage("which Kafka? give --kafka HOST:PORT, or --data DIR of a running `atio up`")
        })
    }

    /// The registry's URL.
    pub fn registry(&self, config: &Config) -> anyhow::Result<String> {
        let left = Endpoints::read(&config.data)?.map(|e| e.registry);
        let found = self.registry.clone().or(left).or_else(|| config.registry.url.clone());
        found.ok_or_else(|| {
            Failure::usage("which schema registry? give --registry URL, or --data DIR of a running `atio up`")
        })
    }
}
