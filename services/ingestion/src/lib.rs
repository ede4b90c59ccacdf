//! Ingestion: takes what tools send and puts it on raw topics, bytes untouched.
//!
//! Owns the doors (HTTP, file tail, watched directory) and the loading of reference tables. Must not know: what the bytes mean, beyond where a
//! record starts and ends. Adopted Kafka topics pass it by: normalization reads them where they are.

pub mod body;
pub mod door;
pub mod http;
pub mod metrics;

pub const SERVICE: &str = "ingestion";
