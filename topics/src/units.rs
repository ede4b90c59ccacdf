//! Durations (`30s`, `7d`), sizes (`4MiB`), names, and times of day as declarations write them.
use serde::{Deserialize, Deserializer};
use std::{fmt, time::Duration};

/// `250ms`, `30s`, `5m`, `1h`, `7d`: a whole number and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    #[must_use]
    pub fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Bytes: `512B`, `64KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// None where the text is no duration, or beyond ten years.
#[must_use]
pub fn parse_span(text: &str) -> Option<Span> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.checked_mul(millis)?;
    (total <= 3_660 * 86_400_000).then(|| Span(Duration::from_millis(total)))
}

/// None where the text is no size.
#[must_use]
pub fn parse_size(text: &str) -> Option<Size> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes).map(Size)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        parse_span(&text).ok_or_else(|| {
            serde::de::Error::custom("not a duration: write a whole number with ms, s, m, h or d, like `30s`")
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        parse_size(&text).ok_or_else(|| {
            serde::de::Error::custom("not a size: write a whole number with B, KiB, MiB or GiB, like `16MiB`")
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.millis();
        match [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")]
            .iter()
            .find(|(n, _)| ms % n == 0 && ms > 0)
        {
            Some((n, unit)) => write!(f, "{}{unit}", ms / n),
            None => write!(f, "{ms}ms"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .iter()
            .find(|(n, _)| self.0.is_multiple_of(*n) && self.0 > 0)
        {
            Some((n, unit)) => write!(f, "{} {unit}", self.0 / n),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Names of declarations: `[a-z0-9-]{1,63}`, since they become parts of topic names and labels.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// What Kafka takes as a topic's name: `[a-zA-Z0-9._-]{1,249}`, not `.` or `..`.
#[must_use]
pub fn is_topic(text: &str) -> bool {
    (1..=249).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["250ms", "30s", "90s", "5m", "1h", "7d"] {
            assert_eq!(parse_span(text).unwrap().to_string(), text);
        }
        for bad in ["", "30", "s", "1.5h", "-1s", "1 s", "1w", "99999999999999999999s", "99999d"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        assert_eq!(parse_size("16448KiB").unwrap().0, (16 << 20) + (64 << 10));
        assert_eq!(parse_size("16MiB").unwrap().to_string(), "16 MiB");
        assert_eq!(parse_size("99999999999GiB"), None);
    }

    #[test]
    fn names() {
        for good in ["a", "threat-detection-response", "0"] {
            assert!(is_name(good));
        }
        for bad in ["", "A", "a.b", "a_b", "ä", "a b", "a/../b", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(
            is_topic("Their.Topic_1-x") && !is_topic("..") && !is_topic("a/b") && !is_topic(&"x".repeat(250))
        );
    }
}
