//! Times as STIX writes them, rendered once and copied everywhere. Owns the two text forms; must not know the clock.
use atio_schemas::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt;

/// A rendered time of up to 27 bytes: rendering costs more than copying, and created = modified in most objects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    text: [u8; 27],
    len: u8,
}

impl Stamp {
    /// 2024-01-01T00:00:00.000Z: created and modified of knowledge objects whose source states none.
    pub const FIXED: Self = Self { text: *b"2024-01-01T00:00:00.000Z\0\0\0", len: 24 };

    /// `2026-01-02T03:04:05.000Z`: for created, modified and every other time of SDOs and SROs.
    #[must_use]
    pub fn millis(at: Timestamp) -> Self {
        let mut text = at.text();
        text[23] = b'Z';
        text[24..].fill(0);
        Self { text, len: 24 }
    }

    /// `2026-01-02T03:04:05.1Z`, trailing zeros cut: for times that contribute to an SCO's id, where the text counts and
    /// the stix2 library hashes this form.
    #[must_use]
    pub fn shortest(at: Timestamp) -> Self {
        let mut text = at.text();
        let mut end = 26;
        while end > 20 && text[end - 1] == b'0' {
            end -= 1;
        }
        if end == 20 {
            end = 19;
        }
        text[end] = b'Z';
        text[end + 1..].fill(0);
        Self { text, len: u8::try_from(end + 1).unwrap_or(27) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Its text: digits, `-`, `:`, `.`, `T` and `Z`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Self::FIXED
    }
}
impl From<Timestamp> for Stamp {
    fn from(at: Timestamp) -> Self {
        Self::millis(at)
    }
}
impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_agree_with_the_shared_timestamp() {
        for text in
            ["2026-01-02T03:04:05.120000Z", "1969-12-31T23:59:59.999999Z", "2024-02-29T12:00:00.000000Z"]
        {
            let at = Timestamp::parse(text).unwrap();
            assert_eq!(Stamp::millis(at).as_str(), at.rfc3339_millis());
            let shortest = Stamp::shortest(at);
            assert_eq!(Timestamp::parse(shortest.as_str()).unwrap(), at);
        }
        assert_eq!(Stamp::FIXED.as_str(), crate::ids::FIXED_TIME);
    }

    /// The text that stix2.utils.format_datetime prints for a time without a precision.
    #[test]
    fn shortest_is_the_form_that_stix2_hashes() {
        let cases = [
            ("2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00Z"),
            ("2024-01-01T00:00:00.100Z", "2024-01-01T00:00:00.1Z"),
            ("2024-01-01T00:00:00.000010Z", "2024-01-01T00:00:00.00001Z"),
            ("2024-01-01T00:00:00.123456Z", "2024-01-01T00:00:00.123456Z"),
            ("2024-01-01T00:00:10.000Z", "2024-01-01T00:00:10Z"),
        ];
        for (given, expected) in cases {
            assert_eq!(Stamp::shortest(Timestamp::parse(given).unwrap()).as_str(), expected);
        }
    }
}
