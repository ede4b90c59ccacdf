//! One type for a point in time: microseconds since 1970-01-01T00:00:00Z. Owns its text form; must not know the clock.
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since the Unix epoch, UTC. In Avro `timestamp-micros`; in JSON `2026-01-02T03:04:05.000000Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1000))
    }
    /// Milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// Seconds between `earlier` and this one; negative when this one is earlier.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }
    /// `2026-01-02T03:04:05.000000Z`: what `atio normalize` prints. Outside years 0001..9999 the nearest of them.
    #[must_use]
    pub fn rfc3339_micros(self) -> String {
        self.render(6)
    }
    /// `2026-01-02T03:04:05.000Z`: STIX 2.1 §3.7 with the millisecond precision that every consumer reads.
    #[must_use]
    pub fn rfc3339_millis(self) -> String {
        self.render(3)
    }
    /// `2026-01-02T03:04:05.000000Z` as bytes: what every text form is cut from. Without the general formatter, since it is on the hot path.
    #[must_use]
    pub fn text(self) -> [u8; 27] {
        const MIN: i64 = -62_135_596_800_000_000;
        const MAX: i64 = 253_402_300_799_999_999;
        let us = self.0.clamp(MIN, MAX);
        let days = us.div_euclid(86_400_000_000);
        let rest = us.rem_euclid(86_400_000_000);
        let (year, month, day) = civil(days);
        let (secs, fraction) = (rest / 1_000_000, rest % 1_000_000);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let (secs, fraction) = (small(secs), small(fraction));
        put(&mut text[0..4], small(year));
        put(&mut text[5..7], small(month));
        put(&mut text[8..10], small(day));
        put(&mut text[11..13], secs / 3600);
        put(&mut text[14..16], secs / 60 % 60);
        put(&mut text[17..19], secs % 60);
        put(&mut text[20..26], fraction);
        text
    }
    /// The text form with `digits` (3 or 6) of fraction.
    fn render(self, digits: usize) -> String {
        let mut text = self.text();
        text[20 + digits] = b'Z';
        String::from_utf8_lossy(&text[..=20 + digits]).into_owned()
    }
    /// Reads an RFC 3339 time as this type writes it, with 0 to 9 digits of fraction and any offset; years 0001 to 9999 throughout
    /// (`9999-12-31T23:59:59Z` stands for "never" in intelligence, and is beyond the time library's own range).
    ///
    /// # Errors
    /// The parser's message, where the text is no RFC 3339 time.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pieces = jiff::fmt::temporal::Pieces::parse(text).map_err(|e| e.to_string())?;
        let (Some(time), Some(offset)) = (pieces.time(), pieces.to_numeric_offset()) else {
            return Err("a time needs a time of day and an offset".to_owned());
        };
        let epoch = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
        let local = pieces.date().to_datetime(time).duration_since(epoch).as_nanos();
        let nanos = local - i128::from(offset.seconds()) * 1_000_000_000;
        i64::try_from(nanos.div_euclid(1000)).map(Self).map_err(|e| e.to_string())
    }
}

/// What is never negative and below ten million, in a word that divides faster.
fn small(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

#[inline(always)]
fn put(out: &mut [u8], mut n: u32) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

/// Days since the epoch to year, month, day in the proleptic Gregorian calendar (Hinnant, chrono-compatible low-level date algorithms).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.serialize_str(&self.rfc3339_micros()) } else { s.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let text = String::deserialize(d)?;
            Self::parse(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(d).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in [
            "2026-01-02T03:04:05.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-02-29T12:00:00.123456Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().rfc3339_micros(), text);
        }
        assert_eq!(
            Timestamp::parse("2024-01-01T01:00:00+01:00").unwrap().rfc3339_millis(),
            "2024-01-01T00:00:00.000Z"
        );
        assert_eq!(
            Timestamp::parse("2024-01-01T00:00:00.1234567-00:30").unwrap().rfc3339_micros(),
            "2024-01-01T00:30:00.123456Z"
        );
        for bad in
            ["", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "now", "2024-01-01T25:00:00Z"]
        {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Timestamp(i64::MAX).rfc3339_millis(), "9999-12-31T23:59:59.999Z");
    }
}
