//! A Confluent-compatible schema registry, kept in the compacted topic `_schemas`.
//!
//! What it serves: the REST API under which Confluent's clients register, look up, check and delete Avro schemas ([`api`]). State is what the
//! topic's records add up to ([`store`]); a change is a record that was acknowledged first and applied then. One writer: two registries on one
//! topic are not meant to be.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | keys and values of the topic, in Confluent's format |
//! | [`store`] | subjects, versions, ids, levels |
//! | [`compat`] | compatibility levels and their check |
//! | [`api`] | requests and answers, without HTTP or Kafka |
//! | [`http`] | the same on HTTP |
//! | [`topic`] | the log on Kafka |

pub mod api;
pub mod compat;
pub mod http;
pub mod record;
pub mod store;
pub mod topic;

pub use api::{Log, LogError, Registry, Request, Response};

/// A registry on a topic (`_schemas` by default: [`topic::TOPIC`]), which is made with so many copies where it is not there: reads the topic to
/// its end, then answers. Returns its routes, to be merged into the process's server.
///
/// # Errors
/// The broker does not answer, or the topic is not fit to hold schemas.
pub async fn serve(
    kafka: &atio_stream::Kafka,
    topic: &str,
    replication: Option<u16>,
) -> Result<atio_runtime::http::axum::Router, LogError> {
    let log = topic::TopicLog::open(kafka, topic, replication).await?;
    Ok(http::router(std::sync::Arc::new(Registry::open(log).await?)))
}
