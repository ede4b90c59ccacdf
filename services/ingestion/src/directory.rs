//! Whole files that appear in a directory: each content is read once, whatever its name. Owns when a file is complete and how it divides;
//! must not know what is in it. Never deletes, moves or writes a file.
use crate::{
    body::MAX_BYTES,
    dead::Letter,
    door,
    files::{Board, Deps},
    glob::Glob,
    hash,
    journal::{Ended, Journal, JournalError, topics_of},
};
use atio_formats::{
    limits::Limits,
    sniff::HEAD,
    split::{self, Shape},
};
use atio_runtime::lifecycle::pause;
use atio_schemas::{Code, Timestamp, raw::Position};
use atio_stage::Output;
use atio_stream::Stop;
use atio_topics::{From, Source};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A file of JSON records that is read at all; it is divided in memory.
const MAX_FILE: u64 = 256 << 20;
/// Files of one look; the rest comes later.
const MAX_FILES: usize = 100_000;
/// Bytes and records of one transaction.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_RECORDS: usize = 10_000;

/// What tells that a file has changed: device, inode, size, modified (microseconds).
type Stamp = (u64, u64, u64, i64);

/// One source with `from: {directory: …}`.
pub(crate) struct Directory {
    deps: Deps,
    source: Source,
    path: PathBuf,
    glob: Glob,
    /// As they were at the last look.
    before: HashMap<PathBuf, Stamp>,
    /// Read, by what they were then.
    settled: HashMap<PathBuf, Stamp>,
}

impl Directory {
    /// # Errors
    /// A glob with folders in it.
    pub(crate) fn new(deps: &Deps, source: Source) -> Result<Self, String> {
        let From::Directory { path, glob } = &source.from else { return Err("is no directory".to_owned()) };
        if glob.contains('/') {
            return Err(format!("`{glob}`: a glob of names, without folders"));
        }
        let (path, glob) = (path.clone(), Glob::new(glob));
        let (before, settled) = (HashMap::new(), HashMap::new());
        Ok(Self { deps: deps.clone(), source, path, glob, before, settled })
    }

    pub(crate) fn run(mut self, stop: &Stop, board: &Board) -> Result<(), JournalError> {
        let name = self.source.meta.name.clone();
        let mut journal =
            Journal::open(&self.deps, &name, &topics_of(&self.source, &self.deps.prefix), stop)?;
        let mut positions = journal.positions(&name)?;
        while !stop.is_stopped() {
            let mut trouble = None;
            let ready = self.look().unwrap_or_else(|error| {
                trouble = Some(format!("{}: {error}", self.path.display()));
                vec![]
            });
            for (path, stamp) in ready {
                if stop.is_stopped() {
                    break;
                }
                match self.read(&path, stamp) {
                    Ok(Some(document)) => {
                        self.write(&mut journal, &mut positions, &document, board)?;
                        self.settled.insert(path, stamp);
                    }
                    // It changed while it was read: the next looks tell.
                    Ok(None) => {}
                    Err(error) => trouble = Some(format!("{}: {error}", path.display())),
                }
            }
            if trouble.is_some() {
                self.deps.metrics.error(&name, "directory", "file_unreadable");
            }
            board.health(&name, trouble);
            pause(self.deps.poll.max(Duration::from_millis(100)), || stop.is_stopped());
        }
        Ok(())
    }

    /// Files that are as they were at the last look, and were not read like that.
    fn look(&mut self) -> io::Result<Vec<(PathBuf, Stamp)>> {
        let (mut now, mut ready) = (HashMap::new(), vec![]);
        for entry in fs::read_dir(&self.path)?.take(MAX_FILES) {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| self.glob.matches(name)) {
                continue;
            }
            // Gone meanwhile, or a link to nothing.
            let Ok(stat) = fs::metadata(entry.path()) else { continue };
            if !stat.is_file() {
                continue;
            }
            let (path, stamp) = (entry.path(), stamp(&stat));
            if self.before.get(&path) == Some(&stamp) && self.settled.get(&path) != Some(&stamp) {
                ready.push((path.clone(), stamp));
            }
            now.insert(path, stamp);
        }
        self.settled.retain(|path, _| now.contains_key(path));
        self.before = now;
        ready.sort_by(|a, b| (a.1.3, &a.0).cmp(&(b.1.3, &b.0)));
        Ok(ready)
    }

    /// None where it changed while it was read.
    fn read(&self, path: &Path, before: Stamp) -> io::Result<Option<Document>> {
        let mut file = File::open(path)?;
        let (mut hasher, mut content, mut size) = (Sha256::new(), vec![], 0_u64);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let got = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            hasher.update(&buffer[..got]);
            size += got as u64;
            if size <= MAX_FILE {
                content.extend_from_slice(&buffer[..got]);
            } else {
                content.truncate(HEAD);
            }
        }
        let sha256 = hash::hex(&hasher.finalize(), 32);
        let same = stamp(&file.metadata()?) == before && size == before.2;
        Ok(same.then(|| Document { path: path.display().to_string(), sha256, size, content }))
    }

    /// All that is not yet committed of a document, in as many transactions as it takes.
    fn write(
        &self,
        journal: &mut Journal,
        positions: &mut BTreeMap<String, Position>,
        document: &Document,
        board: &Board,
    ) -> Result<(), JournalError> {
        let name = &self.source.meta.name;
        let parts = divide(self.source.format.as_deref(), document);
        loop {
            let known = positions.get(&document.sha256);
            if known.is_some_and(|p| p.done) {
                return Ok(());
            }
            let from = known.map_or(0, |p| u64::try_from(p.offset).unwrap_or(0));
            let now = (self.deps.now)();
            let (chunk, next) = chunk(&parts, from);
            let position = Position {
                source: name.clone(),
                path: document.path.clone(),
                file: document.sha256.clone(),
                offset: i64::try_from(next.unwrap_or(document.size)).unwrap_or(i64::MAX),
                done: next.is_none(),
                updated_at: now,
                check: None,
            };
            let outputs = chunk.iter().map(|part| self.output(document, part, now));
            let mut outputs = outputs.collect::<Result<Vec<_>, _>>()?;
            outputs.push(journal.position(name, &document.sha256, Some(&position))?);
            let ended = loop {
                match journal.commit(&outputs)? {
                    Ended::TooLarge(index) => {
                        let slot = chunk.get(index).zip(outputs.get_mut(index));
                        let Some((part, output)) = slot else {
                            return Err(JournalError::Fatal(
                                "a position is more than its topic takes".to_owned(),
                            ));
                        };
                        let reference = self.oversize(document, part, now);
                        if *output == reference {
                            return Err(JournalError::Fatal(
                                "a dead letter is more than its topic takes".to_owned(),
                            ));
                        }
                        *output = reference;
                    }
                    other => break other,
                }
            };
            if ended == Ended::Committed {
                self.count(&chunk, board, now);
                positions.insert(document.sha256.clone(), position);
            } else {
                *positions = journal.positions(name)?;
            }
        }
    }

    fn output(&self, document: &Document, part: &Part<'_>, now: Timestamp) -> Result<Output, JournalError> {
        if let Some((code, message)) = &part.reject {
            let letter = self.letter(document, part, *code, message, now);
            return Ok(match part.raw {
                Some(raw) if raw.len() <= MAX_BYTES => letter.whole(raw.to_vec()),
                Some(raw) => letter.reference(raw.len() as u64, &hash::sha256(raw)),
                None => letter.reference(document.size, &document.sha256),
            });
        }
        let mut event = door::event(&self.source, part.raw.unwrap_or_default(), now);
        event.received_from = Some(document.path.clone());
        event.file = Some(document.sha256.clone());
        event.file_offset = i64::try_from(part.offset).ok();
        door::record(&self.deps.codec, &self.deps.prefix, None, &event)
            .map_err(|e| JournalError::Fatal(format!("a raw event: {e}")))
    }

    fn oversize(&self, document: &Document, part: &Part<'_>, now: Timestamp) -> Output {
        let raw = part.raw.unwrap_or_default();
        self.letter(document, part, Code::TooLarge, "more than the topic takes", now)
            .reference(raw.len() as u64, &hash::sha256(raw))
    }

    fn letter<'a>(
        &'a self,
        document: &'a Document,
        part: &Part<'_>,
        code: Code,
        message: &'a str,
        now: Timestamp,
    ) -> Letter<'a> {
        let (source, prefix) = (&self.source, self.deps.prefix.as_str());
        let (file, path) = (document.sha256.as_str(), document.path.as_str());
        Letter { source, prefix, file, path, offset: part.offset, code, message, now }
    }

    fn count(&self, chunk: &[&Part<'_>], board: &Board, now: Timestamp) {
        let (mut events, mut bytes) = (0, 0);
        for part in chunk {
            if let Some((code, _)) = &part.reject {
                self.deps.metrics.dead_lettered(&self.source.meta.name, "directory", code.as_str());
            } else {
                events += 1;
                bytes += part.raw.map_or(0, <[u8]>::len) as u64;
            }
        }
        self.deps.metrics.accepted(&self.source.meta.name, "directory", events, bytes);
        board.update(|s| {
            s.events += events;
            s.dead_lettered += chunk.len() as u64 - events;
            s.committed_at = Some(now);
        });
    }
}

fn stamp(stat: &fs::Metadata) -> Stamp {
    let modified = stat.mtime().saturating_mul(1_000_000).saturating_add(stat.mtime_nsec() / 1000);
    (stat.dev(), stat.ino(), stat.len(), modified)
}

/// A file that was read.
struct Document {
    path: String,
    sha256: String,
    size: u64,
    /// All of it; above [`MAX_FILE`] its head.
    content: Vec<u8>,
}

/// One record of a document, or what is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part<'a> {
    /// None = too large to be held.
    raw: Option<&'a [u8]>,
    offset: u64,
    reject: Option<(Code, String)>,
}

/// What a document divides into, in order. Pure.
fn divide<'a>(format: Option<&str>, document: &'a Document) -> Vec<Part<'a>> {
    let content = document.content.as_slice();
    let held = document.size <= MAX_FILE;
    let reject = |code, message: String| {
        let raw = (held && content.len() <= MAX_BYTES).then_some(content);
        vec![Part { raw, offset: 0, reject: Some((code, message)) }]
    };
    if held && split::without_bom(content).iter().all(u8::is_ascii_whitespace) {
        return reject(Code::Empty, "there is nothing in it".to_owned());
    }
    let format = match atio_formats::detect(content, format) {
        Ok(format) => format,
        Err(error) => return reject(error.code(), error.to_string()),
    };
    if format.shape == Shape::Whole && document.size <= MAX_BYTES as u64 {
        return vec![Part { raw: Some(content), offset: 0, reject: None }];
    }
    if format.shape == Shape::Whole || !held {
        let limit = if held { MAX_BYTES as u64 } else { MAX_FILE };
        return reject(Code::TooLarge, format!("a file of {} bytes; {limit} are taken", document.size));
    }
    let pieces = split::split(content, format.shape, &Limits::default()).map(|piece| match piece {
        Ok(p) if p.raw.len() > MAX_BYTES => {
            let reject = Some((Code::TooLarge, format!("line {}: {} bytes", p.line, p.raw.len())));
            Part { raw: Some(p.raw), offset: p.offset, reject }
        }
        Ok(p) => Part { raw: Some(p.raw), offset: p.offset, reject: None },
        Err(r) => {
            let reject = Some((r.code, format!("line {}: {}", r.line, r.message)));
            Part { raw: Some(r.raw), offset: r.offset, reject }
        }
    });
    pieces.collect()
}

/// The parts of one transaction from `from` on, and where the next one starts; None when these are the last.
fn chunk<'p, 'a>(parts: &'p [Part<'a>], from: u64) -> (Vec<&'p Part<'a>>, Option<u64>) {
    let (mut chunk, mut bytes) = (vec![], 0);
    for part in parts.iter().filter(|p| p.offset >= from) {
        let size = part.raw.map_or(0, <[u8]>::len);
        let full = chunk.len() >= BATCH_RECORDS || (!chunk.is_empty() && bytes + size > BATCH_BYTES);
        // A position is an offset: what shares one stays together.
        if full && chunk.last().is_some_and(|last: &&Part<'_>| last.offset < part.offset) {
            return (chunk, Some(part.offset));
        }
        bytes += size;
        chunk.push(part);
    }
    (chunk, None)
}

#[cfg(test)]
mod tests;
