//! Waits of the file threads: ended early by a stop. Must not know what is waited for.
use atio_stream::Stop;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Waits, unless stopped. Whoever stops also unparks the thread; without that the stop is seen within 100 ms.
pub(crate) fn pause(stop: &Stop, wait: Duration) {
    let until = Instant::now() + wait;
    while !stop.is_stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left.min(Duration::from_millis(100)));
    }
}
