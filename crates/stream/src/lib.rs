//! Runs stages on Kafka, exactly once (the rules: `docs/exactly-once.md`).
//!
//! Owns lanes: one thread, one consumer and one transactional producer each. Must not know: a service, HTTP, YAML.
//! `client/` holds the only files that name the Kafka client.

pub mod client;
pub mod config;

pub use config::{Identity, Kafka};
