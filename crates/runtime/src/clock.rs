//! The wall clock, for whatever is not a stage. The one place outside the driver that asks it.
use atio_schemas::Timestamp;

/// Now, UTC. A clock before 1970 reads as 1970.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
