//! The embedded broker: one node, Kafka's protocol and semantics, for a laptop, a test and a single machine.
//!
//! Advertised: what `api::APIS` lists, in the versions that it lists, and all of it is implemented: produce and fetch with
//! idempotence, transactions and read_committed, classic groups with static members, topics and their configs,
//! offsets, and what describes them. Not advertised: KIP-848 groups, KIP-890 epoch bumps, share groups, fetch sessions
//! (declined by session id 0), ACLs, SASL and TLS (hence loopback only, unless told otherwise), quotas, replication,
//! message formats before v2.
//!
//! `docs/broker.md` has semantics, the fsync policy, limits and configs. Inside: `server` has all sockets, tasks and clocks;
//! `api` one file a request; `log` what is on disk for a partition; `group` and `txn` pure state machines with
//! shells that make them durable; `store` the metadata file; `topics` the topics. This crate imports none of ours.

mod api;
mod config;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod group;
mod health;
mod log;
mod node;
mod partition;
mod scrub;
mod server;
mod store;
mod topics;
mod txn;

pub use config::{Config, Fsync};
pub use error::BrokerError;
pub use health::Health;
pub use server::Broker;
