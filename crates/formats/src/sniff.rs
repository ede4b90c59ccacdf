//! What kind of thing the first bytes are. Owns the head and the score; the marks of each format are in its own file.
use crate::split::without_bom;

/// Bytes that a reader may look at to say whether the input is its own.
pub const HEAD: usize = 16 << 10;

/// How sure a reader is that the input is its own: 0 not at all, 100 certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(pub u8);

impl Score {
    pub const NO: Self = Self(0);
    pub const WEAK: Self = Self(30);
    pub const LIKELY: Self = Self(60);
    pub const SURE: Self = Self(90);
}

/// The start of an input, without byte order mark and blanks.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub bytes: &'a [u8],
}

impl<'a> Head<'a> {
    #[must_use]
    pub fn of(raw: &'a [u8]) -> Self {
        let bytes = without_bom(raw).trim_ascii_start();
        Self { bytes: &bytes[..bytes.len().min(HEAD)] }
    }
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        memchr::memmem::find(self.bytes, text.as_bytes()).is_some()
    }
    #[must_use]
    pub fn starts_with(&self, byte: u8) -> bool {
        self.bytes.first() == Some(&byte)
    }
    /// Starts as JSON does.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.starts_with(b'{') || self.starts_with(b'[')
    }
    /// Up to the first line break.
    #[must_use]
    pub fn first_line(&self) -> &'a [u8] {
        let end = memchr::memchr(b'\n', self.bytes).unwrap_or(self.bytes.len());
        self.bytes[..end].trim_ascii_end()
    }
}
