//! Metrics of the whole system: times of incidents, ledgers, lag, dead letters. Owns what is derived from topics; must not know how others count.

pub mod cluster;
pub mod follow;
pub mod incidents;
pub mod metrics;
pub mod report;
pub mod times;

pub use follow::{Deps, start};

pub const SERVICE: &str = "metrics";

#[cfg(test)]
mod tests;
