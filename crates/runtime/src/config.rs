//! The configuration of a process, layered: defaults < file < environment (`ATIO__A__B`) < flags. Unknown keys are refused with a suggestion.
//! Owns the shape and the layering; must not know what a service does with it.
use figment::{
    Figment,
    providers::{Env, Serialized},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// A configuration file above this size is refused.
const MAX_FILE: u64 = 1 << 20;

/// The whole file. Every field has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Prefix of every topic, group and transactional id.
    pub prefix: String,
    pub tenant: String,
    /// Where state, keys and the embedded broker live.
    pub data: PathBuf,
    /// Declarations of sources, workflows, sinks and tables (`sources/*.yaml` …); default `<data>/topics`.
    pub topics: Option<PathBuf>,
    /// Partitions of keyed topics when they are created. Never changes afterwards. Default 12; 3 on the embedded broker.
    pub partitions: Option<i32>,
    /// Copies of each partition of topics that are created; 0 = the broker's default.
    pub replication: u16,
    /// Networks that are ours: the side of a flow inside them is the asset.
    pub home_networks: Vec<IpNet>,
    /// Addresses that outgoing requests may reach although they are internal.
    pub allow_internal: Vec<IpNet>,
    pub kafka: KafkaConfig,
    pub registry: RegistryConfig,
    pub http: HttpConfig,
    pub workflows: WorkflowsConfig,
    pub log: LogConfig,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkflowsConfig {
    /// Branches with a consumer group of their own, of all workflows in force; where there would be more, a workflow is pooled. Read by monitoring, and
    /// by who makes topics.
    pub own_branches: u32,
}

impl Default for WorkflowsConfig {
    fn default() -> Self {
        Self { own_branches: 32 }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port[,host:port]`; none = the embedded broker of `atio up`.
    pub bootstrap: Option<String>,
    /// Handed to librdkafka as they are (TLS, SASL, tuning).
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// A Confluent-compatible registry; none = ATIO's own.
    pub url: Option<String>,
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Seconds that a request may take as a whole.
    pub timeout: u64,
    /// Requests per second and key; above it 429.
    pub rate: u32,
    /// Requests under way at once; above it 503.
    pub concurrency: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, or a filter such as `info,atio_stream=debug`.
    pub level: String,
    pub json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prefix: "atio.".into(),
            tenant: "default".into(),
            data: "./atio-data".into(),
            topics: None,
            partitions: None,
            replication: 0,
            home_networks: networks(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
            allow_internal: vec![],
            kafka: KafkaConfig::default(),
            registry: RegistryConfig::default(),
            http: HttpConfig::default(),
            workflows: WorkflowsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// Copies of each partition of topics that are created, where it is ours to say.
    #[must_use]
    pub fn copies(&self) -> Option<u16> {
        (self.replication > 0).then_some(self.replication)
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { url: None, listen: SocketAddr::from(([127, 0, 0, 1], 8081)) }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        Self { listen, max_body: 16 << 20, timeout: 30, rate: 1000, concurrency: 256 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), json: false }
    }
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|t| t.parse().ok()).collect()
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("configuration: {0}")]
    Invalid(String),
}

impl ConfigError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "config_file",
            Self::Invalid(_) => "config_invalid",
        }
    }
}

/// Where the file is looked for when no flag names it: `ATIO_CONFIG`, ./atio.yaml, /etc/atio/atio.yaml.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "ATIO_CONFIG is read here and nowhere else")]
pub fn find_file(flag: Option<&Path>) -> Option<PathBuf> {
    let named = flag.map(Path::to_owned).or_else(|| std::env::var("ATIO_CONFIG").ok().map(PathBuf::from));
    named.or_else(|| ["./atio.yaml", "/etc/atio/atio.yaml"].iter().map(PathBuf::from).find(|p| p.is_file()))
}

/// Loads a configuration. `flags` holds what the command line set, as a (partial) tree.
///
/// # Errors
/// The file can't be read or is not YAML; a key is unknown or a value has the wrong type.
pub fn load(file: Option<&Path>, flags: &serde_json::Value) -> Result<Config, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(path) = file {
        figment = figment.merge(Serialized::defaults(read_file(path)?));
    }
    figment = figment.merge(Env::prefixed("ATIO__").split("__"));
    figment = figment.merge(Serialized::defaults(flags));
    figment.extract().map_err(|e| ConfigError::Invalid(explain(&e)))
}

fn read_file(path: &Path) -> Result<serde_json::Value, ConfigError> {
    let fail = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if size > MAX_FILE {
        return Err(fail(format!("is {size} bytes, more than {MAX_FILE}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    let tree: serde_json::Value = serde_saphyr::from_str(&text).map_err(|e| fail(e.to_string()))?;
    Ok(if tree.is_null() { serde_json::json!({}) } else { tree })
}

/// One sentence for each mistake; an unknown key comes with the nearest known one.
fn explain(error: &figment::Error) -> String {
    let one = |e: figment::Error| {
        let place = e.path.join(".");
        match &e.kind {
            figment::error::Kind::UnknownField(name, known) => {
                let best = known
                    .iter()
                    .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
                let hint = best.map_or_else(String::new, |b| format!("; did you mean `{b}`?"));
                let at = if place.is_empty() { String::new() } else { format!(" in `{place}`") };
                format!("unknown key `{name}`{at}{hint}")
            }
            kind => format!("`{place}`: {kind}"),
        }
    };
    error.clone().into_iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = file("prefix: a.\nhttp: {rate: 5}\nlog: {level: debug}\n");
        let config = load(Some(file.path()), &serde_json::json!({"prefix": "b."})).unwrap();
        assert_eq!((config.prefix.as_str(), config.http.rate, config.http.max_body), ("b.", 5, 16 << 20));
        assert_eq!(config.log.level, "debug");
    }

    #[test]
    fn an_unknown_key_is_refused_with_a_suggestion() {
        let file = file("kafka: {bootsrap: x}\n");
        let error = load(Some(file.path()), &serde_json::json!({})).unwrap_err().to_string();
        assert!(error.contains("bootsrap") && error.contains("did you mean `bootstrap`"), "{error}");
    }

    #[test]
    fn an_empty_file_and_none_are_the_defaults() {
        let file = file("");
        assert_eq!(load(Some(file.path()), &serde_json::json!({})).unwrap().prefix, "atio.");
        assert!(load(None, &serde_json::json!({"http": {"listen": "nonsense"}})).is_err());
    }
}
