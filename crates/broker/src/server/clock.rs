//! Owns the broker's clocks, and how far the machine's wall clock is believed: one that leaps may be wrong, and what is
//! deleted or aborted by its word does not come back. Must not know what is timed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::api::Now;

/// A difference that is no leap: what time servers correct, and a machine that was busy.
const LEAP_MS: i64 = 60_000;

/// How far the wall clock is ahead of the monotonic one, as far as it is believed. Pure.
#[derive(Debug, Clone, Copy)]
struct Steady {
    ahead: i64,
    /// The wall clock has leapt, seen first at this monotonic time.
    leapt: Option<i64>,
    grace: i64,
}

/// What came of a look at the wall clock.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    /// By so much, seen for the first time.
    Leapt(i64),
    /// It has stayed where it went.
    Believed,
}

impl Steady {
    fn look(&mut self, wall: i64, mono: i64) -> Look {
        let by = wall - mono - self.ahead;
        if by.abs() <= LEAP_MS {
            (self.ahead, self.leapt) = (wall - mono, None);
            return Look::Same;
        }
        match self.leapt {
            None => {
                self.leapt = Some(mono);
                Look::Leapt(by)
            }
            Some(since) if mono - since >= self.grace => {
                (self.ahead, self.leapt) = (wall - mono, None);
                Look::Believed
            }
            Some(_) => Look::Same,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// As `steady` has it: requests ask for the time without its lock.
    ahead: AtomicI64,
    steady: Mutex<Steady>,
}

// The broker's clock: everything below is handed the time.
#[allow(clippy::disallowed_methods)]
fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

impl Clock {
    /// The wall clock is believed at the start, and later when a leap has lasted for `grace`.
    pub(crate) fn start(grace: Duration) -> Clock {
        let steady = Steady { ahead: wall(), leapt: None, grace: grace.as_millis() as i64 };
        Clock { started: Instant::now(), ahead: AtomicI64::new(steady.ahead), steady: Mutex::new(steady) }
    }

    pub(crate) fn now(&self) -> Now {
        let mono = self.started.elapsed().as_millis() as i64;
        Now { wall: wall(), mono, steady: mono + self.ahead.load(Ordering::Relaxed) }
    }

    /// Looks whether the wall clock goes as it did; to be called about once a second.
    pub(crate) fn look(&self) {
        let Now { wall, mono, .. } = self.now();
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        match steady.look(wall, mono) {
            Look::Same => {}
            Look::Leapt(by_ms) => {
                let grace_ms = steady.grace;
                warn!(
                    by_ms,
                    grace_ms,
                    "the clock has leapt; nothing is deleted or aborted for that until it has stayed so"
                );
            }
            Look::Believed => warn!("the clock has stayed where it leapt: it is believed from now on"),
        }
        self.ahead.store(steady.ahead, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn a_leap_counts_only_when_it_stays() {
        let mut steady = Steady { ahead: 1_000 * DAY, leapt: None, grace: 600_000 };
        let at = |days: i64, mono: i64| days * DAY + mono;
        assert_eq!(steady.look(at(1_000, 5_000) + 300, 5_000), Look::Same);
        for (days, back) in [(1_030, 1_000), (970, 1_000)] {
            assert!(matches!(steady.look(at(days, 10_000), 10_000), Look::Leapt(by) if by.abs() > 29 * DAY));
            assert_eq!(steady.look(at(days, 11_000), 11_000), Look::Same);
            assert_eq!(steady.ahead / DAY, 1_000);
            // Set right in time: as if nothing had been.
            assert_eq!(steady.look(at(back, 12_000), 12_000), Look::Same);
            assert_eq!(steady.leapt, None);
        }
        assert!(matches!(steady.look(at(1_030, 20_000), 20_000), Look::Leapt(_)));
        assert_eq!(steady.look(at(1_030, 620_000), 620_000), Look::Believed);
        assert_eq!(steady.ahead / DAY, 1_030);
    }
}
