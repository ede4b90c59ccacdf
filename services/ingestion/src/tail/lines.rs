//! From bytes to lines, each with its place. Pure.
use crate::body::MAX_BYTES;

/// One line, without its end (LF, or CRLF).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) raw: &'a [u8],
    /// From the start of the file.
    pub(crate) offset: u64,
}

/// What of a chunk is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken<'a> {
    /// Not blank ones, in order.
    pub(crate) lines: Vec<Line<'a>>,
    /// Bytes of the chunk that are settled, blank lines included.
    pub(crate) used: usize,
}

/// The complete lines of `chunk`, which starts at `offset` of the file, at most `max_lines` and `max_bytes` (but at least one). With `last`, what
/// remains at the end is a line as well.
#[must_use]
pub(crate) fn take(chunk: &[u8], offset: u64, last: bool, max_lines: usize, max_bytes: usize) -> Taken<'_> {
    let mut taken = Taken::default();
    let mut bytes = 0;
    while taken.lines.len() < max_lines && taken.used < chunk.len() {
        let rest = &chunk[taken.used..];
        let end = rest.iter().position(|b| *b == b'\n').map(|at| at + 1);
        let Some(end) = end.or_else(|| last.then_some(rest.len())) else { break };
        let line = trim(&rest[..end], offset + taken.used as u64);
        if !line.raw.iter().all(u8::is_ascii_whitespace) {
            if bytes > 0 && bytes + line.raw.len() > max_bytes {
                break;
            }
            bytes += line.raw.len();
            taken.lines.push(line);
        }
        taken.used += end;
    }
    taken
}

fn trim(raw: &[u8], offset: u64) -> Line<'_> {
    let line = raw.strip_suffix(b"\n").unwrap_or(raw);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.strip_prefix(b"\xef\xbb\xbf").filter(|_| offset == 0) {
        Some(plain) => Line { raw: plain, offset: offset + 3 },
        None => Line { raw: line, offset },
    }
}

/// Whether it may go on a raw topic.
#[must_use]
pub(crate) fn fits(line: &Line<'_>) -> bool {
    line.raw.len() <= MAX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(chunk: &[u8], last: bool) -> (Vec<(String, u64)>, usize) {
        let taken = take(chunk, 0, last, 100, 1 << 20);
        let lines =
            taken.lines.iter().map(|l| (String::from_utf8_lossy(l.raw).into_owned(), l.offset)).collect();
        (lines, taken.used)
    }

    #[test]
    fn complete_lines_and_the_last_one() {
        let (lines, used) = show(b"\xef\xbb\xbfa\r\n\n \nbc\nd", false);
        assert_eq!(lines, [("a".to_owned(), 3), ("bc".to_owned(), 9)]);
        assert_eq!(used, 12);
        assert_eq!(show(b"a\nd", true).0.last().unwrap(), &("d".to_owned(), 2));
        assert_eq!(show(b"", true), (vec![], 0));
    }

    #[test]
    fn limits_end_a_batch_but_one_line_always_fits() {
        assert_eq!(take(b"aa\nbb\ncc\n", 0, false, 2, 100).used, 6);
        assert_eq!(take(b"aa\nbb\ncc\n", 0, false, 9, 3).used, 3);
        assert_eq!(take(b"aaaa\nb\n", 0, false, 9, 3).used, 5);
    }

    proptest! {
        #[test]
        fn chunks_give_what_the_whole_gives(raw in "[ab\n\r ]{0,60}", cut in 1_usize..8, many in 1_usize..4) {
            let whole: Vec<_> = take(raw.as_bytes(), 0, true, 1000, 1000).lines.iter().map(|l| (l.raw.to_vec(), l.offset)).collect();
            let (mut at, mut length, mut parts) = (0, cut, vec![]);
            while at < raw.len() {
                let end = (at + length).min(raw.len());
                let taken = take(&raw.as_bytes()[at..end], at as u64, end == raw.len(), many, cut);
                parts.extend(taken.lines.iter().map(|l| (l.raw.to_vec(), l.offset)));
                length = if taken.used == 0 { length + cut } else { cut };
                at += taken.used;
            }
            prop_assert_eq!(parts, whole);
        }
    }
}
