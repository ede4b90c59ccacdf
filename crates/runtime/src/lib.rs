//! What every service needs around its stages: configuration, lifecycle, telemetry, schema ids, HTTP.
//!
//! The only crate that names axum, reqwest and schema_registry_converter; it re-exports what handlers need. Must not know: a service,
//! a stage, a format.

pub mod clock;
pub mod config;
pub mod http;
pub mod lifecycle;
pub mod schema_ids;
pub mod secret;
pub mod telemetry;

pub use config::{Config, ConfigError};
pub use lifecycle::Tasks;
pub use schema_ids::RegistryIds;
