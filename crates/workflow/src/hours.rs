//! Business time: a time that counts only within hours of the week, in a zone. Pure: the result depends on the arguments and on the tz database
//! that is compiled in, never on the machine. Must not know: who waits, records.
use atio_schemas::{Timestamp, incident::Hours};
use jiff::{
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};
use std::sync::LazyLock;

/// Never the machine's own: a deadline must be the same everywhere.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Minutes of a day; as an end it is midnight.
pub(crate) const DAY: i32 = 24 * 60;
const MINUTE_MS: i64 = 60_000;
/// A wait whose last deadline passed with `otherwise: escalate` is kept for so long.
pub const ESCALATED_MS: i64 = 30 * 24 * 3600 * 1000;
/// A time takes at most so many weeks of business hours, so that no deadline is searched for without end.
const WEEKS_MAX: i64 = 52;
/// More than those, for hours that fall into a change of the clocks.
const DAYS_MAX: i64 = (WEEKS_MAX + 8) * 7;

/// The zones that are known, by their IANA names.
pub(crate) fn zones() -> impl Iterator<Item = String> {
    ZONES.available().map(|name| name.as_str().to_owned())
}

/// A zone, by its name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

pub(crate) fn is_zone(name: &str) -> bool {
    zone(name).is_some()
}

/// How long its window is, in minutes: one that ends before it begins ends on the next day.
const fn length(hours: &Hours) -> i32 {
    let length = hours.to_minute - hours.from_minute;
    if length > 0 { length } else { length + DAY }
}

/// Whether these are hours, and so much of them fits into a year.
#[must_use]
pub fn fits(hours: &Hours, within_ms: i64) -> bool {
    let days = (1..=7).filter(|day| hours.days.contains(day)).count();
    let known = hours.days.iter().all(|day| (1..=7).contains(day)) && days == hours.days.len();
    let times = (0..DAY).contains(&hours.from_minute) && (1..=DAY).contains(&hours.to_minute);
    if !known || !times || hours.from_minute == hours.to_minute || !is_zone(&hours.zone) {
        return false;
    }
    let weekly = i64::try_from(days).unwrap_or(0) * i64::from(length(hours)) * MINUTE_MS;
    (0..=weekly * WEEKS_MAX).contains(&within_ms)
}

/// When so much time has passed since `from`: all of it, or what lies within the hours. What does not fit ([`fits`]) passes as if there were
/// no hours.
#[must_use]
pub fn deadline(from: Timestamp, within_ms: i64, hours: Option<&Hours>) -> Timestamp {
    let found = hours.filter(|hours| fits(hours, within_ms)).and_then(|hours| search(from, within_ms, hours));
    found.unwrap_or_else(|| from.plus_millis(within_ms))
}

fn search(from: Timestamp, within_ms: i64, hours: &Hours) -> Option<Timestamp> {
    let zone = zone(&hours.zone)?;
    let start = jiff::Timestamp::from_microsecond(from.0).ok()?;
    // The window of the day before may reach into this one.
    let mut day = start.to_zoned_datetime(zone.clone()).date().yesterday().ok()?;
    let (mut left, mut counted) = (within_ms.checked_mul(1000)?, from.0);
    for _ in 0..DAYS_MAX {
        if hours.days.contains(&i32::from(day.weekday().to_monday_one_offset())) {
            let (begin, end) = window(day, hours, &zone)?;
            // Where clocks change, windows may touch: nothing counts twice.
            let begin = begin.max(counted);
            if end >= begin {
                if left <= end - begin {
                    return Some(Timestamp(begin + left));
                }
                left -= end - begin;
                counted = end;
            }
        }
        day = day.tomorrow().ok()?;
    }
    None
}

/// The window of a day, microseconds since the epoch. A time that the clocks leave out is that much later; one that they show twice is the first.
fn window(day: Date, hours: &Hours, zone: &TimeZone) -> Option<(i64, i64)> {
    let at = |day: Date, minute: i32| {
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        let time = day.at(hour, minute, 0, 0).to_zoned_datetime(zone.clone()).ok()?;
        Some(time.timestamp().as_microsecond())
    };
    let begin = at(day, hours.from_minute)?;
    let end = match hours.to_minute {
        DAY => at(day.tomorrow().ok()?, 0)?,
        to if to < hours.from_minute => at(day.tomorrow().ok()?, to)?,
        to => at(day, to)?,
    };
    Some((begin, end))
}

#[cfg(test)]
#[path = "hours_tests.rs"]
mod tests;
