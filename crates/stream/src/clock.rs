//! The driver's clocks. Owns the only look at them here; a stage gets its time from the transaction.
use crate::machine::Millis;
use atio_schemas::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since it was made; never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[must_use]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
    #[must_use]
    pub(crate) fn now(&self) -> Millis {
        Millis::try_from(self.0.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }
}

/// The wall clock.
#[must_use]
#[allow(clippy::disallowed_methods)] // the driver is where time comes from
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A short wait of the driver's thread, always under a deadline of the caller's.
#[allow(clippy::disallowed_methods)] // the driver is where waits belong
pub(crate) fn pause(wait: Duration) {
    std::thread::sleep(wait);
}
