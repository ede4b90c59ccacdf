//! An input of `normalize`: a file or a pipe, its digest, and its bytes in bounded memory. Owns where a chunk of a long sequence of records
//! is cut; must not know what a record holds.
use anyhow::Context;
use atio_normalization::offline::Start;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
};

/// A whole document, and one record of a sequence, at most.
pub const WHOLE: usize = 16 << 20;
/// Bytes that are read at once from longer inputs.
const CHUNK: usize = 4 << 20;

/// The bytes: all of them where they are few, else a file to read them from.
pub enum Content {
    Small(Vec<u8>),
    Large(File),
}

pub struct Input {
    pub content: Content,
    /// Bytes.
    pub size: u64,
    /// Of all bytes, lower-case hexadecimal.
    pub sha256: String,
}

/// `-` is standard input. What can't be read twice and is long is kept in an unnamed temporary file: ids are seeded with the digest of it all.
pub fn open(path: &Path) -> anyhow::Result<Input> {
    if path.as_os_str() == "-" {
        return spooled(io::stdin().lock());
    }
    let file = File::open(path)?;
    let meta = file.metadata()?;
    anyhow::ensure!(!meta.is_dir(), "is a directory; name its files");
    if meta.is_file() { regular(file) } else { spooled(file) }
}

fn regular(mut file: File) -> anyhow::Result<Input> {
    let (head, mut hash) = head(&mut file)?;
    if head.len() <= WHOLE {
        return Ok(small(head, hash));
    }
    let mut size = head.len() as u64;
    drop(head);
    size += io::copy(&mut file, &mut Sink { hash: &mut hash, copy: None })?;
    file.rewind()?;
    Ok(Input { content: Content::Large(file), size, sha256: hex(hash) })
}

fn spooled(mut from: impl Read) -> anyhow::Result<Input> {
    let (head, mut hash) = head(&mut from)?;
    if head.len() <= WHOLE {
        return Ok(small(head, hash));
    }
    let mut copy = tempfile::tempfile().context("a temporary file for a long pipe")?;
    copy.write_all(&head)?;
    let mut size = head.len() as u64;
    drop(head);
    size += io::copy(&mut from, &mut Sink { hash: &mut hash, copy: Some(&mut copy) })?;
    copy.rewind()?;
    Ok(Input { content: Content::Large(copy), size, sha256: hex(hash) })
}

fn small(bytes: Vec<u8>, hash: Sha256) -> Input {
    Input { size: bytes.len() as u64, content: Content::Small(bytes), sha256: hex(hash) }
}

/// Up to one byte more than a whole document may have.
fn head(from: &mut impl Read) -> io::Result<(Vec<u8>, Sha256)> {
    let mut head = vec![];
    from.take(WHOLE as u64 + 1).read_to_end(&mut head)?;
    let hash = Sha256::new_with_prefix(&head);
    Ok((head, hash))
}

fn hex(hash: Sha256) -> String {
    atio_stix::ids::hex(&hash.finalize())
}

struct Sink<'a> {
    hash: &'a mut Sha256,
    copy: Option<&'a mut File>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(copy) = &mut self.copy {
            copy.write_all(bytes)?;
        }
        self.hash.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A run of whole records, or a record that is too large to be read at all.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    Records { bytes: Vec<u8>, start: Start },
    TooLarge { start: Start, size: u64 },
}

/// Cuts a long sequence of JSON records before lines that start with a brace: one record a line, or pretty-printed with what is inside
/// indented.
pub struct Chunks<R> {
    from: R,
    /// Bytes that are still to be read.
    left: u64,
    held: Vec<u8>,
    start: Start,
    chunk: usize,
    whole: usize,
}

impl<R: Read> Chunks<R> {
    pub fn new(from: R, size: u64) -> Self {
        Self::with_limits(from, size, CHUNK, WHOLE)
    }

    fn with_limits(from: R, size: u64, chunk: usize, whole: usize) -> Self {
        Self { from, left: size, held: vec![], start: Start::FILE, chunk, whole }
    }

    /// None at the end.
    pub fn next(&mut self) -> io::Result<Option<Chunk>> {
        loop {
            self.fill()?;
            if self.left == 0 {
                let all = self.held.len();
                return Ok((all > 0).then(|| self.take(all)));
            }
            if let Some(cut) = last_cut(&self.held) {
                return Ok(Some(self.take(cut)));
            }
            if self.held.len() > self.whole {
                return self.skip().map(Some);
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let wanted = self.left.min(self.chunk as u64);
        let read = (&mut self.from).take(wanted).read_to_end(&mut self.held)? as u64;
        if read < wanted {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "became shorter while it was read"));
        }
        self.left -= read;
        Ok(())
    }

    fn take(&mut self, cut: usize) -> Chunk {
        let rest = self.held.split_off(cut);
        let bytes = std::mem::replace(&mut self.held, rest);
        let start = self.start;
        self.pass(&bytes);
        Chunk::Records { bytes, start }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.start.offset += bytes.len() as u64;
        self.start.line += bytes.iter().filter(|b| **b == b'\n').count() as u64;
    }

    /// Passes over a record without an end in sight.
    fn skip(&mut self) -> io::Result<Chunk> {
        let start = self.start;
        loop {
            let cut = first_cut(&self.held);
            // The last byte may be the line break before the next record.
            let end = if self.left == 0 { self.held.len() } else { self.held.len().saturating_sub(1) };
            let rest = self.held.split_off(cut.unwrap_or(end));
            let passed = std::mem::replace(&mut self.held, rest);
            self.pass(&passed);
            if cut.is_some() || self.left == 0 {
                return Ok(Chunk::TooLarge { start, size: self.start.offset - start.offset });
            }
            self.fill()?;
        }
    }
}

/// A record starts after the line break: JSON, or a separator of RFC 7464.
fn starts(pair: &[u8]) -> bool {
    matches!(pair, [b'\n', b'{' | 0x1e])
}

fn last_cut(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).rposition(starts).map(|at| at + 1)
}

fn first_cut(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(starts).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str, chunk: usize, whole: usize) -> Vec<Chunk> {
        let mut chunks = Chunks::with_limits(text.as_bytes(), text.len() as u64, chunk, whole);
        std::iter::from_fn(|| chunks.next().unwrap()).collect()
    }

    #[test]
    fn chunks_are_whole_records_and_lose_nothing() {
        let text = "{\"a\":1}\n{\"b\":\n 2}\n\n{\"c\":3}\n\u{1e}{\"d\":4}";
        for chunk in 1..=text.len() {
            let mut together = String::new();
            for one in chunks(text, chunk, 1000) {
                let Chunk::Records { bytes, start } = one else { panic!("small") };
                assert_eq!(start.offset, together.len() as u64);
                assert_eq!(start.line, 1 + together.matches('\n').count() as u64);
                assert!(bytes.starts_with(b"{") || bytes.starts_with(b"\x1e"));
                together.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            assert_eq!(together, text);
        }
    }

    #[test]
    fn a_record_that_is_too_large_is_passed_over() {
        let text = format!("{{\"a\":1}}\n{{\"b\":\"{}\"}}\n{{\"c\":3}}\n", "x".repeat(100));
        for chunk in 1..40 {
            let found = chunks(&text, chunk, 20);
            let large = found.iter().find(|c| matches!(c, Chunk::TooLarge { .. }));
            let expected = Chunk::TooLarge { start: Start { offset: 8, line: 2 }, size: 109 };
            assert_eq!(large, Some(&expected), "chunk {chunk}");
            let last =
                Chunk::Records { bytes: b"{\"c\":3}\n".to_vec(), start: Start { offset: 117, line: 3 } };
            assert_eq!(found.last(), Some(&last), "chunk {chunk}");
        }
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let mut chunks = Chunks::with_limits(&b"{}"[..], 10, 4, 100);
        assert!(chunks.next().is_err());
    }
}
