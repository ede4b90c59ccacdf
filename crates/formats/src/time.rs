//! Every text form of time seen in tools' output, into microseconds. Owns reading; must not know the clock: what is missing is guessed by
//! the caller from the time of receipt.
use atio_schemas::Timestamp;

const DAY: i64 = 86_400_000_000;
/// Years 1 to 9999.
const RANGE: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// Reads any supported form: EVE (`2024-01-07T19:54:41.712927+0000`), RFC 3339 with 0 to 9 digits of fraction, the same without an
/// offset (UTC) or with a blank for the T, plain dates (`2023_10_04`, `2023-10-04`, `20231004`), `Wed Oct  4 21:40:07 2023` with
/// an optional zone, and epoch numbers (seconds with a fraction, milliseconds, microseconds or nanoseconds by their size).
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    iso(text.as_bytes())
        .or_else(|| asctime(text))
        .or_else(|| epoch_text(text))
        .filter(|time| RANGE.contains(&time.0))
}

/// The layout of EVE and RFC 3339: `YYYY-MM-DD[T ]HH:MM[:SS[.f…]][Z|±HH[:]MM]`, or a date alone.
#[must_use]
pub fn iso(b: &[u8]) -> Option<Timestamp> {
    let (date, rest) = date(b)?;
    if rest.is_empty() {
        return Some(Timestamp(date));
    }
    if !matches!(rest[0], b'T' | b't' | b' ' | b'_') || rest.len() < 6 || rest[3] != b':' {
        return None;
    }
    let (hour, minute) = (number(&rest[1..3])?, number(&rest[4..6])?);
    let mut rest = &rest[6..];
    let mut second = 0;
    if rest.first() == Some(&b':') {
        second = number(rest.get(1..3)?)?;
        rest = &rest[3..];
    }
    let (micros, rest) = fraction(rest)?;
    let offset = offset(rest)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp(date + seconds * 1_000_000 + micros))
}

/// Microseconds of the day's start, and what follows the date.
fn date(b: &[u8]) -> Option<(i64, &[u8])> {
    if b.len() == 8 && b.iter().all(u8::is_ascii_digit) {
        return Some((days(number(&b[..4])?, number(&b[4..6])?, number(&b[6..])?)? * DAY, &[]));
    }
    let head = b.get(..10)?;
    let separator = head[4];
    if !matches!(separator, b'-' | b'_' | b'/') || head[7] != separator {
        return None;
    }
    Some((days(number(&head[..4])?, number(&head[5..7])?, number(&head[8..])?)? * DAY, &b[10..]))
}

fn fraction(b: &[u8]) -> Option<(i64, &[u8])> {
    if !matches!(b.first(), Some(b'.' | b',')) {
        return Some((0, b));
    }
    let digits = b[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let mut micros = 0;
    for at in 0..6 {
        let digit = if at < digits { i64::from(b[1 + at] - b'0') } else { 0 };
        micros = micros * 10 + digit;
    }
    Some((micros, &b[1 + digits..]))
}

/// Seconds east of UTC; nothing means UTC.
fn offset(b: &[u8]) -> Option<i64> {
    let b = b.trim_ascii();
    if b.is_empty() || b == b"Z" || b == b"z" || b == b"UTC" || b == b"GMT" {
        return Some(0);
    }
    let sign = match b[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match b.len() {
        3 => (number(&b[1..3])?, 0),
        5 => (number(&b[1..3])?, number(&b[3..5])?),
        6 if b[3] == b':' => (number(&b[1..3])?, number(&b[4..6])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn number(digits: &[u8]) -> Option<i64> {
    let mut n = 0;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        n = n * 10 + i64::from(byte - b'0');
    }
    Some(n)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar (Hinnant, chrono-compatible low-level date algorithms).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > length {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468)
}

/// `Wed Oct  4 21:40:07 2023`, the weekday optional, a zone (UTC, GMT, ±HHMM) before or after the year.
fn asctime(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.len() > 6 || !text.is_ascii() {
        return None;
    }
    let is_month = |word: &str| {
        MONTHS.iter().position(|month| word.get(..3).is_some_and(|head| head.eq_ignore_ascii_case(month)))
    };
    if words.first().is_some_and(|word| is_month(word).is_none()) {
        words.remove(0);
    }
    let [month, day, clock, rest @ ..] = words.as_slice() else { return None };
    let month = i64::try_from(is_month(month)?).ok()? + 1;
    let (year, zone) = match rest {
        [year] => (*year, ""),
        [year, zone] if year.len() == 4 && number(year.as_bytes()).is_some() => (*year, *zone),
        [zone, year] => (*year, *zone),
        _ => return None,
    };
    let date = days(
        number(year.as_bytes()).filter(|y| *y <= 9999)?,
        month,
        number(day.trim_end_matches(',').as_bytes())?,
    )?;
    let mut parts = clock.split(':').map(|part| number(part.as_bytes()).filter(|_| part.len() == 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if hour > 23 || minute > 59 || second > 60 || parts.next().is_some() {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second - offset(zone.as_bytes())?;
    Some(Timestamp(date * DAY + seconds * 1_000_000))
}

fn epoch_text(text: &str) -> Option<Timestamp> {
    if let Ok(whole) = text.parse::<i64>() {
        return epoch(whole);
    }
    let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && s.abs() < 2.6e11)?;
    #[allow(clippy::cast_possible_truncation)]
    Some(Timestamp((seconds * 1e6).round() as i64))
}

/// A whole number since the epoch; its size tells the unit: seconds up to 10¹¹, then milli-, micro- and nanoseconds.
#[must_use]
pub fn epoch(n: i64) -> Option<Timestamp> {
    let size = n.checked_abs()?;
    Some(Timestamp(match size {
        0..100_000_000_000 => n * 1_000_000,
        100_000_000_000..100_000_000_000_000 => n * 1000,
        100_000_000_000_000..100_000_000_000_000_000 => n,
        _ => n / 1000,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        for (text, expected) in [
            ("2024-01-07T19:54:41.712927+0000", "2024-01-07T19:54:41.712927Z"),
            ("2024-01-03T10:59:59.869444+0100", "2024-01-03T09:59:59.869444Z"),
            ("2024-01-03T10:59:59-05:30", "2024-01-03T16:29:59.000000Z"),
            ("2009-11-18T08:00:20.0934109Z", "2009-11-18T08:00:20.093410Z"),
            ("2009-11-18T08:00:20.123456789Z", "2009-11-18T08:00:20.123456Z"),
            ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05.000000Z"),
            ("2020-01-02T03:04:05", "2020-01-02T03:04:05.000000Z"),
            ("2020-01-02 03:04:05.5", "2020-01-02T03:04:05.500000Z"),
            ("2020-01-02T03:04Z", "2020-01-02T03:04:00.000000Z"),
            ("2023_10_04", "2023-10-04T00:00:00.000000Z"),
            ("2018-01-30", "2018-01-30T00:00:00.000000Z"),
            ("20180130", "2018-01-30T00:00:00.000000Z"),
            ("Wed Oct  4 21:40:07 2023", "2023-10-04T21:40:07.000000Z"),
            ("Wed Oct  4 21:40:07 2023 UTC", "2023-10-04T21:40:07.000000Z"),
            ("Wed Oct 4 21:40:07 UTC 2023", "2023-10-04T21:40:07.000000Z"),
            ("1700000000", "2023-11-14T22:13:20.000000Z"),
            ("1700000000.25", "2023-11-14T22:13:20.250000Z"),
            ("1700000000123", "2023-11-14T22:13:20.123000Z"),
            ("1700000000123456", "2023-11-14T22:13:20.123456Z"),
            ("1700000000123456789", "2023-11-14T22:13:20.123456Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ] {
            assert_eq!(parse(text).map(Timestamp::rfc3339_micros).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn not_times() {
        for text in [
            "",
            "now",
            "2023-02-29",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00 East",
            "NaN",
            "inf",
            "Wed Oct 4",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_type(us in -62_135_596_800_000_000_i64..253_402_300_799_999_999) {
            prop_assert_eq!(parse(&Timestamp(us).rfc3339_micros()), Some(Timestamp(us)));
        }
        #[test]
        fn never_panics(text in ".{0,40}") {
            if let Some(time) = parse(&text) {
                prop_assert!(RANGE.contains(&time.0));
            }
        }
    }
}
