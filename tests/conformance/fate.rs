//! What is fed, and how each record of it must end. Owns the numbers that the counting stage goes by and the oracle counts with.

/// So many keys, taken in turn.
pub const KEYS: u64 = 499;
/// What a bad part consists of.
pub const BAD_PART: &[u8] = b"bad";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A whole dead letter, `invalid_json`.
    Dead,
    /// `duplicate`.
    Dropped,
    /// Emitted later: when its time is over, or with its key's next record.
    Held,
    Emitted,
    /// Emitted, and one part of it dead-lettered, `invalid_field`.
    EmittedInPart,
}

impl Fate {
    pub fn of(n: u64) -> Self {
        match n {
            n if n.is_multiple_of(50) => Self::Dead,
            n if n.is_multiple_of(70) => Self::Dropped,
            n if n % 180 == 7 => Self::Held,
            n if n.is_multiple_of(110) => Self::EmittedInPart,
            _ => Self::Emitted,
        }
    }
    pub fn is_emitted(self) -> bool {
        matches!(self, Self::Held | Self::Emitted | Self::EmittedInPart)
    }
}

pub fn key(n: u64) -> String {
    format!("k{}", n % KEYS)
}

/// The number that a record's value starts with.
pub fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.split(' ').next()?.parse().ok()
}
