//! JSON strings, appended to a buffer: byte for byte what serde_json writes, in less time. Every event is written with it.
//!
//! Owns the text. Relies on what serde_json can't: texts seldom need escapes, so that they are looked through eight bytes at a time and copied
//! whole. Must not know: what is written.

/// Appends a text in quotes.
#[inline]
pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// Appends a text as it stands between quotes.
#[inline]
pub(crate) fn escaped(text: &str, out: &mut Vec<u8>) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape(text, out);
    }
}

/// RFC 8259 §7, with the short forms where there are any: what RFC 8785 §3.2.2.2 asks for, too.
#[cold]
fn escape(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[
                b'0',
                b'0',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The top bit of the first of eight bytes that is a quote or a backslash (of later ones perhaps): a byte is zero where subtracting one
/// borrows into its top bit (Hacker's Delight, "Find First 0-Byte").
#[inline]
fn quotes(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    (zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))) & TOPS
}

/// Where the first quote or backslash is. Names and ids are short: words find them sooner than a call of memchr, which long texts get.
#[inline]
pub(crate) fn quote(bytes: &[u8]) -> Option<usize> {
    const WORDS: usize = 8;
    let words = bytes.as_chunks::<8>().0;
    for (nth, word) in words.iter().take(WORDS).enumerate() {
        let found = quotes(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(nth * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let from = words.len().min(WORDS) * 8;
    memchr::memchr2(b'"', b'\\', bytes.get(from..)?).map(|at| from + at)
}

/// Whether no byte needs an escape: no control character, quote or backslash.
#[inline]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    // As with zeros above: a byte is under 0x20 where subtracting that borrows into its top bit.
    let odd = |word: u64| (word.wrapping_sub(ONES * 0x20) & !word & TOPS) | quotes(word);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut found = words.iter().fold(0, |found, word| found | odd(u64::from_le_bytes(*word)));
    if let Some(last) = bytes.last_chunk::<8>() {
        found |= odd(u64::from_le_bytes(*last));
    } else {
        let mut last = [b' '; 8];
        for (place, byte) in last.iter_mut().zip(rest) {
            *place = *byte;
        }
        found = odd(u64::from_le_bytes(last));
    }
    found == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any text of up to 99 characters; those that matter to JSON are more than chance would have.
    pub(crate) fn strings() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec!['"', '\\', '/', '\n', '\u{7f}', '\u{2028}', '\u{ffff}', '😀']);
        let character = prop_oneof![
            6 => prop::char::range(' ', '~'),
            1 => any::<char>(),
            1 => prop::char::range('\0', '\u{1f}'),
            1 => odd,
        ];
        prop::collection::vec(character, 0..100).prop_map(String::from_iter)
    }

    fn written(string: &str) -> String {
        let mut out = b"before".to_vec();
        text(string, &mut out);
        String::from_utf8(out.split_off(6)).unwrap()
    }

    #[test]
    fn each_character_at_each_place_of_a_word() {
        let last = [0x2028, 0x2029, 0xd7ff, 0xe000, 0xffff, 0x1_0000, 0x10_ffff];
        for character in (0..0x180).chain(last).filter_map(char::from_u32) {
            for before in 0..20 {
                for after in [0, 1, 7, 8, 20] {
                    let string = format!("{}{character}{}", "z".repeat(before), "é".repeat(after));
                    assert_eq!(written(&string), serde_json::to_string(&string).unwrap());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn as_serde_json_writes_it(string in strings()) {
            prop_assert_eq!(written(&string), serde_json::to_string(&string).unwrap());
        }
    }

    #[test]
    fn finds_the_first_quote() {
        for length in 0..100 {
            for at in 0..=length {
                for byte in [b'"', b'\\'] {
                    let mut bytes: Vec<u8> =
                        (0..length).map(|n| [b'#', b'!', b'[', b']', 0xa2, 0xdc][n % 6]).collect();
                    bytes.insert(at, byte);
                    assert_eq!(quote(&bytes), Some(at));
                    bytes.push(b'"');
                    assert_eq!(quote(&bytes), Some(at));
                }
            }
            assert_eq!(quote(&vec![b'x'; length]), None);
        }
    }
}
