//! Metrics of the whole system: times of incidents, ledgers, lag, dead letters. Owns what is derived from topics; must not know how others count.

pub const SERVICE: &str = "metrics";
