//! One transaction's worth of lines from the files of a tail, and the positions after them. Owns the limits of a batch; reads through a
//! [`Disk`], so that tests have one in memory. Must not know: Kafka, what a line means.
use super::{
    lines,
    machine::{self, HEAD, Look, Place, Read, Seen, Track},
};
use crate::{body::MAX_BYTES, door::MAX_RECORDS, hash};
use atio_schemas::{Code, Timestamp};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, io};

/// Bytes of one transaction; one longer line has one of its own.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// Positions of files that are done and gone are kept for so long.
const FORGET_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;
const FORGET_AT_ONCE: usize = 100;

/// Where files are.
pub(crate) trait Disk {
    /// All files of the tailed paths, those that were rotated away included.
    ///
    /// # Errors
    /// Nothing can be said of the files: then nothing is concluded either.
    fn look(&mut self) -> io::Result<Vec<Seen>>;
    /// Up to `len` bytes from `offset`; fewer at the end.
    ///
    /// # Errors
    /// The file is gone or can't be read.
    fn read(&self, seen: &Seen, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Files that must stay readable though they may be deleted.
    fn keep(&mut self, wanted: &dyn Fn(Place) -> bool);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A record.
    Line(Vec<u8>),
    /// A line that is none, whole.
    Bad { code: Code, message: &'static str, raw: Vec<u8> },
    /// A line that is too long to be kept.
    TooLong { size: u64, sha256: String },
}

/// One line on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) file: String,
    pub(crate) path: String,
    pub(crate) offset: u64,
    pub(crate) body: Body,
}

/// What goes into one transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    /// Positions after it, by id.
    pub(crate) tracks: BTreeMap<String, Track>,
    /// Positions that are not needed any more.
    pub(crate) forget: Vec<String>,
    /// Files that could not be read, with the error.
    pub(crate) failed: Vec<(String, String)>,
    bytes: usize,
}

impl Batch {
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }
    fn is_full(&self) -> bool {
        self.items.len() >= MAX_RECORDS || self.bytes >= BATCH_BYTES
    }
}

/// What the times of a look are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) now: Timestamp,
    pub(crate) since: Timestamp,
    pub(crate) settle_micros: i64,
}

/// Looks, decides, reads: the next batch. Empty when there is nothing to read now.
///
/// # Errors
/// The look failed.
pub(crate) fn gather(
    disk: &mut dyn Disk,
    tracks: &BTreeMap<String, Track>,
    times: Times,
) -> io::Result<Batch> {
    let seen = disk.look()?;
    let reads = {
        let check = |index: usize, offset: u64| before(&*disk, seen.get(index)?, offset).ok();
        let Times { now, since, settle_micros } = times;
        machine::plan(tracks, &Look { seen: &seen, now, since, settle_micros, check: &check })
    };
    let pending = |place: Place| {
        seen.iter().any(|s| s.place == place && s.is_current())
            || reads.iter().any(|r| seen.get(r.seen).is_some_and(|s| s.place == place))
            || tracks.values().any(|t| t.place == place && !t.done)
    };
    disk.keep(&pending);
    let mut batch = Batch::default();
    for one in &reads {
        if batch.is_full() {
            break;
        }
        let Some(file) = seen.get(one.seen) else { continue };
        if let Err(error) = read(&*disk, file, one, times.now, &mut batch) {
            batch.failed.push((file.path.clone(), error.to_string()));
        }
    }
    if !batch.is_empty() {
        forget(tracks, &seen, times.now, &mut batch);
    }
    Ok(batch)
}

/// The hash of the bytes right before an offset.
fn before(disk: &dyn Disk, seen: &Seen, offset: u64) -> io::Result<String> {
    let from = offset.saturating_sub(HEAD as u64);
    let wanted = usize::try_from(offset - from).unwrap_or(HEAD);
    let bytes = disk.read(seen, from, wanted)?;
    if bytes.len() == wanted {
        Ok(hash::short(&bytes))
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"))
    }
}

fn read(disk: &dyn Disk, seen: &Seen, read: &Read, now: Timestamp, batch: &mut Batch) -> io::Result<()> {
    let start = read.track.offset;
    let left = usize::try_from(seen.size.saturating_sub(start)).unwrap_or(usize::MAX);
    let mut chunk = disk.read(seen, start, left.min(BATCH_BYTES - batch.bytes.min(BATCH_BYTES - 1)))?;
    let room = |batch: &Batch| (MAX_RECORDS - batch.items.len(), BATCH_BYTES - batch.bytes);
    let (records, bytes) = room(batch);
    let mut whole = chunk.len() >= left;
    let mut used = lines::take(&chunk, start, read.last && whole, records, bytes).used;
    let mut long = None;
    if used == 0 && !whole {
        if !batch.items.is_empty() {
            return Ok(());
        }
        // Longer than a batch: it gets one of its own, or only its hash is kept.
        chunk = disk.read(seen, start, left.min(MAX_BYTES + 16))?;
        whole = chunk.len() >= left;
        used = lines::take(&chunk, start, read.last && whole, 1, bytes).used;
        if used == 0 && !whole {
            long = too_long(disk, seen, start, left, read.last)?;
        }
    }
    let mut track = read.track.clone();
    if let Some((length, sha256)) = long {
        let body = Body::TooLong { size: length, sha256 };
        batch.items.push(Item { file: track.id.clone(), path: seen.path.clone(), offset: start, body });
        track.offset += length;
    } else {
        add(&chunk[..used], read, seen, batch);
        track.offset += used as u64;
    }
    track.done = read.last && track.offset >= seen.size;
    let moved = track.offset != start || (track.done && !read.track.done);
    if moved || read.is_new {
        track.check = if track.offset > 0 { before(disk, seen, track.offset)? } else { String::new() };
        track.updated = now;
        batch.tracks.insert(track.id.clone(), track);
    }
    Ok(())
}

fn add(chunk: &[u8], read: &Read, seen: &Seen, batch: &mut Batch) {
    for line in lines::take(chunk, read.track.offset, true, usize::MAX, usize::MAX).lines {
        let body = if !lines::fits(&line) {
            Body::TooLong { size: line.raw.len() as u64, sha256: hash::sha256(line.raw) }
        } else if std::str::from_utf8(line.raw).is_err() {
            Body::Bad { code: Code::BadEncoding, message: "the line is no UTF-8", raw: line.raw.to_vec() }
        } else {
            Body::Line(line.raw.to_vec())
        };
        batch.bytes += line.raw.len();
        let (file, path) = (read.track.id.clone(), seen.path.clone());
        batch.items.push(Item { file, path, offset: line.offset, body });
    }
}

/// Length and hash of a line that no transaction takes, its end included; None while its end is not there.
fn too_long(
    disk: &dyn Disk,
    seen: &Seen,
    start: u64,
    left: usize,
    last: bool,
) -> io::Result<Option<(u64, String)>> {
    let (mut hasher, mut at) = (Sha256::new(), 0_usize);
    while at < left {
        let chunk = disk.read(seen, start + at as u64, (left - at).min(1 << 20))?;
        if chunk.is_empty() {
            return Ok(None);
        }
        if let Some(end) = chunk.iter().position(|b| *b == b'\n') {
            hasher.update(&chunk[..end]);
            return Ok(Some(((at + end + 1) as u64, hash::hex(&hasher.finalize(), 32))));
        }
        hasher.update(&chunk);
        at += chunk.len();
    }
    Ok(last.then(|| (at as u64, hash::hex(&hasher.finalize(), 32))))
}

fn forget(tracks: &BTreeMap<String, Track>, seen: &[Seen], now: Timestamp, batch: &mut Batch) {
    let old = |t: &&Track| t.done && now.0.saturating_sub(t.updated.0) > FORGET_MICROS;
    let gone = |t: &&Track| !seen.iter().any(|s| s.place == t.place || starts_alike(s, t));
    let ids = tracks.values().filter(old).filter(gone).map(|t| t.id.clone());
    batch.forget = ids.filter(|id| !batch.tracks.contains_key(id)).take(FORGET_AT_ONCE).collect();
}

fn starts_alike(seen: &Seen, track: &Track) -> bool {
    seen.head.get(..track.len).is_some_and(|head| hash::short(head) == track.hash)
}
