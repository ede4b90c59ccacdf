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

pub mod api;
pub mod compat;
pub mod http;
pub mod record;
pub mod store;

pub use api::{Log, LogError, Registry, Request, Response};
