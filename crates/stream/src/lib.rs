//! Runs stages on Kafka, exactly once. Comments name the rules of exactly-once that they follow by number.
//!
//! Owns lanes: one thread, one consumer and one transactional producer each. Must not know: a service, HTTP, YAML.
//! `client/` holds the only files that name the Kafka client.

pub mod admin;
mod books;
mod catchup;
pub mod client;
mod clock;
pub mod config;
mod dead_letter;
mod deliver;
mod driver;
pub mod fault;
pub mod intake;
pub mod lane;
pub mod ledger;
pub mod machine;
mod metrics;
pub mod publish;
pub mod read;
mod store;
pub mod survey;
mod table;
mod timers;
mod transform;

pub use config::{Identity, Kafka};
pub use fault::Tp;
pub use lane::{Lane, LaneConfig, LaneState, LaneStatus, Limits, SchemaSource, Stop, StreamError, run_lane};
pub use ledger::{Counts, Ledger, Span};
pub use metrics::StreamMetrics;
pub use table::SharedTables;
