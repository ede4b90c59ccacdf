//! SHA-256 as text. Pure.
use sha2::{Digest, Sha256};

/// All 64 hex digits.
#[must_use]
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes), 32)
}

/// The first 16 hex digits: enough to tell files of one machine apart.
#[must_use]
pub(crate) fn short(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes), 8)
}

/// The digest as text, its first `count` bytes.
#[must_use]
pub(crate) fn hex(digest: &[u8], count: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(count * 2);
    for byte in digest.iter().take(count) {
        // Writing to a String can't fail.
        if write!(text, "{byte:02x}").is_err() {
            break;
        }
    }
    text
}
