//! Ingestion: takes what tools send and puts it on raw topics, bytes untouched.
//!
//! Owns the doors (HTTP, file tail, watched directory) and the loading of reference tables. Must not know: what the bytes mean, beyond where a
//! record starts and ends. Adopted Kafka topics pass it by: normalization reads them where they are.

pub mod body;
mod dead;
mod directory;
pub mod door;
pub mod files;
mod glob;
mod hash;
pub mod http;
mod journal;
pub mod metrics;
mod tables;
mod tail;

pub use files::{Files, FilesError, PartState, PartStatus, Running};

pub const SERVICE: &str = "ingestion";
