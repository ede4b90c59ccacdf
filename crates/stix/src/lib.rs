//! STIX 2.1: objects, ids, bundles, the ATIO extension, graphs. Pure.
//!
//! Owns what STIX says and how ATIO says it. Must not know: Kafka, tools, the clock, I/O.
pub mod bundle;
pub mod canon;
pub mod constants;
pub mod extension;
pub mod graph;
pub mod ids;
mod json;
pub mod known;
pub mod lift;
pub mod markings;
pub mod object;
pub mod pattern;
pub mod scan;
pub mod stamp;
pub mod validate;

pub use bundle::{Bundle, BundleError};
pub use ids::Id;
pub use known::Known;
pub use stamp::Stamp;
