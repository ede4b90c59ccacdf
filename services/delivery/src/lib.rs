//! Delivery: hands each converted payload to its sink, once as far as the sink can tell, and records the receipt.
//!
//! Owns the sinks and how their answers are judged. Must not know: how payloads are made (routing), offsets and retries' timing (stream).
//! A stranger adds a sink in `sinks/x.rs` and a line in `stage`.

pub mod metrics;
pub mod sinks;

use atio_runtime::secret::SecretError;
use atio_schemas::Codec;
use atio_stage::{Deliver, Input, Pace, Run, Sink, Stage};
use atio_topics::sink::Target;
use metrics::DeliveryMetrics;
use std::sync::Arc;

pub const SERVICE: &str = "delivery";

/// What delivery is built from.
#[derive(Clone)]
pub struct Deps {
    pub prefix: String,
    pub codec: Codec,
    pub sinks: Vec<atio_topics::Sink>,
    /// Internal networks that HTTP sinks may reach without `allow_internal` of their own.
    pub allow_internal: Vec<atio_runtime::http::outbound::IpNet>,
    pub metrics: DeliveryMetrics,
}

/// Why a sink can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("sink {sink}: {source}")]
    Secret { sink: String, source: SecretError },
    #[error("sink {sink}: {reason}")]
    Setup { sink: String, reason: String },
}

impl DeliveryError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "sink_secret",
            Self::Setup { .. } => "sink_setup",
        }
    }
}

/// One stage a sink.
///
/// # Errors
/// A secret is missing, a url leads inside, a file can't be opened: named with its sink.
pub fn stages(deps: &Deps) -> Result<Vec<Stage>, DeliveryError> {
    deps.sinks.iter().map(|sink| stage(deps, sink)).collect()
}

fn stage(deps: &Deps, declared: &atio_topics::Sink) -> Result<Stage, DeliveryError> {
    let name = &declared.meta.name;
    let receipts: Arc<str> = Arc::from(format!("{}receipts", deps.prefix));
    let deliver = |sink: Box<dyn Sink>| {
        Run::Deliver(Deliver { sink, codec: deps.codec.clone(), receipts: receipts.clone() })
    };
    let mut outputs = vec![receipts.clone()];
    let run = match &declared.target {
        // A topic is written in the transaction of its delivery: exactly once, which a delivery from outside could not promise.
        Target::Kafka { topic } => {
            outputs.push(Arc::from(topic.as_str()));
            Run::Transform(Box::new(sinks::kafka::KafkaSink::new(topic, &receipts, deps.codec.clone())))
        }
        Target::File { path } => {
            let opened = sinks::file::FileSink::open(path).map_err(|e| setup(name, e))?;
            deliver(Box::new(deps.metrics.timed(name, opened)))
        }
        Target::Webhook { http, secret } => {
            let secret = atio_runtime::secret::read(secret)
                .map_err(|source| DeliveryError::Secret { sink: name.clone(), source })?;
            let endpoint = sinks::http::Endpoint::new(name, http, &deps.allow_internal)?;
            deliver(Box::new(deps.metrics.timed(name, sinks::webhook::Webhook::new(endpoint, secret))))
        }
        Target::OpenSearch { http, index } => {
            let endpoint = sinks::http::Endpoint::new(name, http, &deps.allow_internal)?;
            deliver(Box::new(deps.metrics.timed(
                name,
                sinks::opensearch::OpenSearch::new(endpoint, index).map_err(|e| setup(name, e))?,
            )))
        }
    };
    Ok(Stage {
        name: format!("delivery.{name}"),
        service: SERVICE,
        group: format!("{}delivery.{name}", deps.prefix),
        inputs: vec![Input::new(&declared.topic(&deps.prefix))],
        outputs,
        stores: vec![],
        tables: vec![],
        pace: Pace::Interactive,
        run,
    })
}

fn setup(sink: &str, reason: impl std::fmt::Display) -> DeliveryError {
    DeliveryError::Setup { sink: sink.to_owned(), reason: reason.to_string() }
}
