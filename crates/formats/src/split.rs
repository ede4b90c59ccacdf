//! How a stream of bytes becomes records: NDJSON, concatenated, pretty-printed and enclosed JSON; lines; whole documents. Owns where
//! a record starts and ends; must not know what is in it. A bad line is a reject and its neighbours live.
use crate::finding::Rejected;
use crate::limits::{Limits, end_of_string};
use atio_schemas::Code;

/// How a format's bytes divide into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A sequence of JSON objects, one a line or not, or one array of them.
    Json,
    /// One document is one record: XML, CSV with its header, a STIX bundle.
    Whole,
}

/// One record within its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub raw: &'a [u8],
    /// Bytes from the start of the input.
    pub offset: u64,
    /// From 1.
    pub line: u64,
}

/// The input without a UTF-8 byte order mark.
#[must_use]
pub fn without_bom(raw: &[u8]) -> &[u8] {
    raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw)
}

/// Divides `raw`; each non-blank byte lies in exactly one piece or reject (the commas and brackets of an enclosing array aside).
#[must_use]
pub fn split<'a>(raw: &'a [u8], shape: Shape, limits: &Limits) -> Pieces<'a> {
    let start = raw.len() - without_bom(raw).len();
    let mut pieces =
        Pieces { raw, at: start, line: 1, shape, depth: limits.depth, array: Array::No, done: false };
    pieces.skip_blank();
    if shape == Shape::Json && raw.get(pieces.at) == Some(&b'[') {
        pieces.array = Array::First;
        pieces.at += 1;
    }
    pieces
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Array {
    No,
    First,
    Later,
}

/// See [`split`].
#[derive(Debug)]
pub struct Pieces<'a> {
    raw: &'a [u8],
    at: usize,
    line: u64,
    shape: Shape,
    depth: usize,
    array: Array,
    done: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, Rejected<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        self.skip_blank();
        if self.at >= self.raw.len() {
            self.done = true;
            return (self.array != Array::No)
                .then(|| Err(self.reject(self.at, Code::Truncated, "the array is not closed")));
        }
        if self.shape == Shape::Whole {
            self.done = true;
            return Some(Ok(self.take(self.raw.len())));
        }
        if self.array != Array::No && !self.enter_element()? {
            let end = self.raw.len();
            self.done = true;
            return Some(Err(self.reject(
                end,
                Code::InvalidJson,
                "neither a comma nor the end of the array",
            )));
        }
        Some(self.json())
    }
}

impl<'a> Pieces<'a> {
    /// Moves to the next element of the enclosing array; `None` at its end (what follows is read as a stream), false where it is broken.
    fn enter_element(&mut self) -> Option<bool> {
        if self.raw[self.at] == b']' {
            self.at += 1;
            self.array = Array::No;
            self.skip_blank();
            return if self.at < self.raw.len() { Some(true) } else { None };
        }
        if self.array == Array::Later {
            if self.raw[self.at] != b',' {
                return Some(false);
            }
            self.at += 1;
            self.skip_blank();
        }
        self.array = Array::Later;
        Some(true)
    }

    fn json(&mut self) -> Result<Piece<'a>, Rejected<'a>> {
        match self.raw.get(self.at) {
            Some(b'{' | b'[') => {}
            Some(_) => {
                let end = self.line_end(self.at);
                return Err(self.reject(end, Code::InvalidJson, "not a JSON object"));
            }
            None => return Err(self.reject(self.at, Code::Truncated, "the array is not closed")),
        }
        match self.value_end() {
            Extent::Ends(end) => Ok(self.take(end)),
            Extent::TooDeep(end) => Err(self.reject(end, Code::TooDeep, "nested too deep")),
            Extent::Breaks { deepest } if deepest > self.depth => {
                let end = self.next_start();
                Err(self.reject(end, Code::TooDeep, "nested too deep"))
            }
            Extent::Breaks { .. } => {
                let end = self.next_start();
                Err(self.reject(end, Code::Truncated, "the record ends before it is closed"))
            }
        }
    }

    /// Where the value that starts here ends: its brackets balance, no string holds a line break, and no object starts where none may.
    fn value_end(&self) -> Extent {
        let raw = self.raw;
        let (mut at, mut depth, mut deepest) = (self.at, 0_usize, 0_usize);
        // The kind of the innermost 64 containers: a set bit is an array.
        let mut kinds = 0_u64;
        let mut before = b',';
        while let Some(&byte) = raw.get(at) {
            match byte {
                b'{' | b'[' => {
                    let may_start =
                        depth == 0 || before == b':' || (kinds & 1 == 1 && matches!(before, b',' | b'['));
                    if !may_start {
                        return Extent::Breaks { deepest };
                    }
                    kinds = kinds << 1 | u64::from(byte == b'[');
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => {
                    kinds >>= 1;
                    depth -= 1;
                    if depth == 0 {
                        return if deepest > self.depth {
                            Extent::TooDeep(at + 1)
                        } else {
                            Extent::Ends(at + 1)
                        };
                    }
                }
                b'"' => {
                    let Some(end) = end_of_string(raw, at + 1) else { return Extent::Breaks { deepest } };
                    if memchr::memchr(b'\n', &raw[at..end]).is_some() {
                        return Extent::Breaks { deepest };
                    }
                    at = end;
                    before = b'"';
                    continue;
                }
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                before = byte;
            }
            at += 1;
        }
        Extent::Breaks { deepest }
    }

    /// After a broken record: the next line, where the record's first line holds more than its bracket (records on one line each);
    /// else, in pretty-printed input, the next line that starts with a bracket, since that is where the next record must be.
    fn next_start(&self) -> usize {
        let first = self.line_end(self.at);
        if self.raw.get(self.at + 1..first).is_some_and(|line| !line.trim_ascii().is_empty()) {
            return first;
        }
        let mut at = first;
        while at < self.raw.len() {
            if matches!(self.raw.get(at + 1), Some(b'{' | b'[')) {
                return at;
            }
            at = self.line_end(at + 1);
        }
        self.raw.len()
    }

    fn line_end(&self, from: usize) -> usize {
        memchr::memchr(b'\n', self.raw.get(from..).unwrap_or_default())
            .map_or(self.raw.len(), |found| from + found)
    }

    fn skip_blank(&mut self) {
        while let Some(byte) = self.raw.get(self.at) {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                // RFC 7464 record separators, as in JSON text sequences.
                0x1e => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    fn take(&mut self, end: usize) -> Piece<'a> {
        let raw = self.raw[self.at..end].trim_ascii_end();
        let piece = Piece { raw, offset: self.at as u64, line: self.line };
        self.advance(end);
        piece
    }

    fn reject(&mut self, end: usize, code: Code, message: &str) -> Rejected<'a> {
        let raw = self.raw.get(self.at..end).unwrap_or_default().trim_ascii_end();
        let rejected =
            Rejected { code, message: message.to_owned(), raw, offset: self.at as u64, line: self.line };
        self.advance(end);
        rejected
    }

    fn advance(&mut self, end: usize) {
        let passed = self.raw.get(self.at..end).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.at = end;
    }
}

enum Extent {
    Ends(usize),
    TooDeep(usize),
    Breaks { deepest: usize },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(raw: &[u8]) -> Vec<String> {
        split(raw, Shape::Json, &Limits::default())
            .map(|piece| match piece {
                Ok(p) => format!("{}:{}:{}", p.line, p.offset, String::from_utf8_lossy(p.raw)),
                Err(r) => format!("{}:{}:{} {}", r.line, r.offset, r.code, String::from_utf8_lossy(r.raw)),
            })
            .collect()
    }

    #[test]
    fn lines_and_documents() {
        assert_eq!(
            show(b"\xef\xbb\xbf{\"a\":1}\r\n\r\n{\"b\":\"}\"}"),
            ["1:3:{\"a\":1}", "3:14:{\"b\":\"}\"}"]
        );
        assert_eq!(show(b"{\"a\":1}{\"b\":2} {\"c\":3}").len(), 3);
        assert_eq!(show(b"{\n  \"a\": [\n{\"b\": 1},\n{\"c\": 2}\n]\n}\n{\"d\":4}\n").len(), 2);
        assert_eq!(show(b"[{\"a\":1},\n{\"b\":2}]"), ["1:1:{\"a\":1}", "2:10:{\"b\":2}"]);
        assert_eq!(show(b"[]"), Vec::<String>::new());
        assert_eq!(show(b"[]{\"a\":1}"), ["1:2:{\"a\":1}"]);
    }

    #[test]
    fn a_bad_line_leaves_its_neighbours_alone() {
        assert_eq!(
            show(b"{\"a\":1}\n{\"b\":\"cut\n{\"c\":3}"),
            ["1:0:{\"a\":1}", "2:8:truncated {\"b\":\"cut", "3:18:{\"c\":3}"]
        );
        assert_eq!(
            show(b"{\"a\":\n{\"b\":2}\n{\"c\":3}"),
            ["1:0:truncated {\"a\":", "2:6:{\"b\":2}", "3:14:{\"c\":3}"]
        );
        assert_eq!(show(b"{\"a\":1,\n{\"b\":2}"), ["1:0:truncated {\"a\":1,", "2:8:{\"b\":2}"]);
        assert_eq!(show(b"{\"a\":1,\nx\n{\"b\":2}").len(), 3);
        assert_eq!(show(b"{\n \"a\": 1,\n \"b\n{\"c\":2}").len(), 2);
        assert_eq!(show(b"garbage\n{\"b\":2}"), ["1:0:invalid_json garbage", "2:8:{\"b\":2}"]);
        assert_eq!(show(b"[{\"a\":1} {\"b\":2}]").len(), 2);
        assert_eq!(show(b"[{\"a\":1}"), ["1:1:{\"a\":1}", "1:8:truncated "]);
    }

    #[test]
    fn depth_is_counted() {
        let deep = format!("{{\"a\":1}}\n{}{}\n{{\"b\":2}}", "[".repeat(100_000), "]".repeat(100_000));
        let shown = show(deep.as_bytes());
        assert_eq!(shown.len(), 3);
        assert!(shown[1].starts_with("2:8:too_deep [["));
        for open in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
            assert!(show(open.as_bytes())[0].contains("too_deep"));
        }
    }

    #[test]
    fn a_document_is_whole() {
        let pieces: Vec<_> = split(b"\n<a/>\n<b/>\n", Shape::Whole, &Limits::default()).collect();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ref().unwrap().raw, b"<a/>\n<b/>");
        assert_eq!(pieces[0].as_ref().unwrap().line, 2);
    }

    proptest! {
        #[test]
        fn accounts_for_every_byte(raw in proptest::collection::vec(prop_oneof![
            Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\n'), Just(b','), Just(b':'), Just(b'\\'), Just(b'a'), any::<u8>()
        ], 0..200)) {
            let mut covered = vec![false; raw.len()];
            for piece in split(&raw, Shape::Json, &Limits::default()) {
                let (bytes, offset) = match piece { Ok(p) => (p.raw, p.offset), Err(r) => (r.raw, r.offset) };
                for at in 0..bytes.len() {
                    let place = usize::try_from(offset).unwrap() + at;
                    prop_assert!(!covered[place]);
                    covered[place] = true;
                }
            }
            let open = without_bom(&raw).iter().find(|byte| !byte.is_ascii_whitespace() && **byte != 0x1e) == Some(&b'[');
            for (at, byte) in raw.iter().enumerate() {
                let glue = open && matches!(byte, b'[' | b']' | b',');
                prop_assert!(covered[at] || glue || byte.is_ascii_whitespace() || matches!(byte, 0x1e | 0xef | 0xbb | 0xbf), "byte {at} of {raw:?}");
            }
        }
    }
}
