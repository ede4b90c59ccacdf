//! Limits that every reader keeps, and the cheap checks that come before parsing. Owns numbers and byte scans; knows no format.
use atio_schemas::Code;
use std::borrow::Cow;

/// What a reader takes at most. The defaults are the product's; tests make them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one input.
    pub size: usize,
    /// Nesting of JSON containers or XML elements.
    pub depth: usize,
    /// Findings and rejects of one input.
    pub count: usize,
    /// Bytes of one long text (description, rule); longer is cut at a character.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 16 << 20, depth: 64, count: 10_000, text: 64 << 10 }
    }
}

/// The longest name, title or identifier, in bytes.
pub const NAME: usize = 4096;
/// Items of one list inside one finding (answers, CVEs, files …).
pub const LIST: usize = 1000;

/// # Errors
/// `Empty` for nothing but white space, `TooLarge` over `size`.
pub fn check_size(raw: &[u8], limits: &Limits) -> Result<(), Code> {
    if raw.len() > limits.size {
        return Err(Code::TooLarge);
    }
    if crate::split::without_bom(raw).trim_ascii().is_empty() {
        return Err(Code::Empty);
    }
    Ok(())
}

/// True where the JSON containers of `raw` nest deeper than `depth`. Counts before any parser recurses: first all openers (a
/// vectorised pass that settles almost every input), then, only where they are many, the nesting outside strings.
#[must_use]
pub fn json_too_deep(raw: &[u8], depth: usize) -> bool {
    openers_exceed(raw, depth) && atio_stix::scan::deeper_than(raw, depth)
}

fn openers_exceed(raw: &[u8], depth: usize) -> bool {
    let mut openers = 0_usize;
    // Chunks whose count fits a byte let the compiler use byte lanes.
    for chunk in raw.chunks(128) {
        let mut here = 0_u8;
        for byte in chunk {
            here += u8::from(*byte | 0x20 == b'{');
        }
        openers += usize::from(here);
        if openers > depth {
            return true;
        }
    }
    false
}

/// The offset after the closing quote of the string whose content starts at `at`.
pub(crate) fn end_of_string(raw: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = raw.get(at..)?;
        let found = memchr::memchr2(b'"', b'\\', rest)?;
        if rest[found] == b'"' {
            return Some(at + found + 1);
        }
        at += found + 2;
    }
}

/// Cuts a text to at most `max` bytes, at a character. True where something was cut.
pub fn cap(text: &mut Cow<'_, str>, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    match text {
        Cow::Borrowed(whole) => *whole = &whole[..end],
        Cow::Owned(whole) => whole.truncate(end),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_outside_strings() {
        let three = br#"{"a":[{"b":"[[[{\"{{"}]}"#;
        assert!(json_too_deep(three, 2) && !json_too_deep(three, 3));
        let deep = "[".repeat(100_000);
        assert!(json_too_deep(deep.as_bytes(), 64));
        let flat = format!("[{}1]", "[1],".repeat(500));
        assert!(!json_too_deep(flat.as_bytes(), 64));
        assert!(!json_too_deep(format!("{{\"a\":\"{}\"}}", "[".repeat(500)).as_bytes(), 64));
        assert!(!json_too_deep(b"\"never closed [[[", 0));
    }

    #[test]
    fn cuts_at_a_character() {
        let mut text = Cow::Borrowed("aé");
        assert!(cap(&mut text, 2));
        assert_eq!(text, "a");
        assert!(!cap(&mut text, 2));
    }

    #[test]
    fn refuses_empty_and_large() {
        let small = Limits { size: 4, ..Limits::default() };
        assert_eq!(check_size(b"", &small), Err(Code::Empty));
        assert_eq!(check_size(b"\xef\xbb\xbf\n", &small), Err(Code::Empty));
        assert_eq!(check_size(b"12345", &small), Err(Code::TooLarge));
        assert_eq!(check_size(b"1234", &small), Ok(()));
    }
}
