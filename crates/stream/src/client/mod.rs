//! The Kafka client: every setting, and the wrappers that keep its types in here. Owns what is said to librdkafka and how its answers are
//! read; must not know stages, state or the ledger.
use crate::config::Kafka;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

pub(crate) mod admin;
pub mod assigned;
pub mod consumer;
pub mod error;
mod leaders;
pub mod limits;
#[cfg(test)]
pub(crate) mod mock;
mod offsets;
pub mod producer;
pub(crate) mod publisher;
mod queues;
pub(crate) mod reader;
pub(crate) mod survey;
mod waiting;

/// What every client of ours starts from. `client_id` names it in the broker's log and metrics, e.g. `atio-normalization-0`.
/// Pass-through properties are applied last, so call the role's own setters on the result only for what must not be overridden.
#[must_use]
pub fn base(kafka: &Kafka, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", client_id)
        .set("broker.address.family", "v4")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in &kafka.properties {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &kafka.bootstrap);
    config
}

/// Lays the user's properties over a role's defaults; to be called before what exactly-once rests on is set.
pub fn pass_through(config: &mut ClientConfig, kafka: &Kafka) {
    for (name, value) in &kafka.properties {
        config.set(name, value);
    }
}

/// Lets go of a client that is no longer needed. Its threads take up to 100 ms to end, which nobody should wait for.
pub(crate) fn retire<T: Send + 'static>(client: T) {
    let ending = std::thread::Builder::new().name("kafka-retire".to_owned()).spawn(move || drop(client));
    if let Err(error) = ending {
        // The closure is gone, and the client with it.
        tracing::debug!(error_code = "thread", %error, "a client ended here");
    }
}

/// librdkafka's log, into ours.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as L;
    match level {
        L::Emerg | L::Alert | L::Critical | L::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}")
        }
        L::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        L::Notice | L::Info => tracing::debug!(target: "librdkafka", facility, "{message}"),
        L::Debug => tracing::trace!(target: "librdkafka", facility, "{message}"),
    }
}
