//! Owns one segment: a file of record batches and its sparse index in memory; what is saved of it is `sidecar`.
//! Must not know topics, configs or requests.

use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::LogError;
use super::batch::{self, HEADER, Header};
use super::producers::{Aborted, Producers};
use super::sidecar::{self, sidecar_of};

/// One index entry for so many bytes of log.
const INDEX_EVERY: u64 = 32 * 1024;
/// No batch is larger, whatever a topic's config says.
pub(crate) const MAX_BATCH: usize = 128 * 1024 * 1024;
const READ_AHEAD: usize = 64 * 1024;

/// Where a batch starts, and the largest timestamp before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry(pub(crate) i64, pub(crate) u64, pub(crate) i64);

/// What is known of a segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) base: i64,
    /// One past the last offset that it covers.
    pub(crate) end: i64,
    pub(crate) size: u64,
    pub(crate) max_ts: i64,
    pub(crate) first_append_ms: i64,
    pub(crate) last_append_ms: i64,
    /// A cleaning has been over it.
    pub(crate) cleaned: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) aborted: Vec<Aborted>,
}

pub(crate) struct Segment {
    pub(crate) summary: Summary,
    pub(crate) path: PathBuf,
    /// Only the active segment keeps its file open.
    file: Option<Arc<File>>,
    pub(crate) unsynced: bool,
    /// The producers at its end, until they are saved with it: it was rolled and not yet synced.
    pub(crate) sealing: Option<Producers>,
    /// A batch in it is broken on disk: no cleaning may go over it.
    pub(crate) damaged: bool,
    /// How far its sidecar goes, and since when.
    saved: (u64, i64),
    last_indexed: u64,
    /// A failed append may have left bytes behind the last batch.
    torn: bool,
}

/// How much may lie behind an active segment's sidecar: a start reads it. A smaller amount gets one after some time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoints {
    pub(crate) bytes: u64,
    pub(crate) small: u64,
    pub(crate) small_after_ms: i64,
}

/// A segment, whole or as far as it goes now, that has to be synced and its sidecar saved; done without the partition's lock.
pub(crate) struct Seal {
    pub(crate) summary: Summary,
    pub(crate) path: PathBuf,
    producers: Producers,
    file: Arc<File>,
}

impl Seal {
    /// Syncs the segment, then says of it what spares a scan: a sidecar never vouches for what may be lost.
    pub(crate) fn complete(&self) -> Result<(), LogError> {
        self.file.sync_data()?;
        sidecar::save(&sidecar_of(&self.path), &self.summary, &self.producers)
    }
}

pub(crate) fn log_name(base: i64) -> String {
    format!("{base:020}.log")
}

impl Summary {
    pub(crate) fn new(base: i64) -> Summary {
        Summary {
            base,
            end: base,
            size: 0,
            max_ts: -1,
            first_append_ms: 0,
            last_append_ms: 0,
            cleaned: false,
            entries: Vec::new(),
            aborted: Vec::new(),
        }
    }

    /// Takes a batch that lies at `size` into account.
    pub(crate) fn add(&mut self, header: &Header, last_indexed: &mut u64) {
        if self.entries.is_empty() || self.size >= *last_indexed + INDEX_EVERY {
            self.entries.push(Entry(header.base_offset, self.size, self.max_ts));
            *last_indexed = self.size;
        }
        self.max_ts = self.max_ts.max(header.max_ts);
        self.size += header.size as u64;
        self.end = header.last_offset() + 1;
    }

    fn entry_before(&self, after: usize) -> (i64, u64) {
        self.entries.get(after.saturating_sub(1)).map_or((self.base, 0), |e| (e.0, e.1))
    }

    /// A batch at or before the one that holds `offset`: its base offset, its position.
    pub(crate) fn position(&self, offset: i64) -> (i64, u64) {
        self.entry_before(self.entries.partition_point(|e| e.0 <= offset))
    }

    /// A batch at or before the first whose largest timestamp is at least `ts`: its base offset, its position.
    pub(crate) fn position_of_time(&self, ts: i64) -> (i64, u64) {
        self.entry_before(self.entries.partition_point(|e| e.2 < ts))
    }
}

impl Segment {
    /// A new, empty, active segment.
    pub(crate) fn create(dir: &Path, base: i64) -> Result<Segment, LogError> {
        let path = dir.join(log_name(base));
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        file.set_len(0)?;
        Ok(Segment {
            summary: Summary::new(base),
            path,
            file: Some(Arc::new(file)),
            unsynced: true,
            sealing: None,
            damaged: false,
            saved: (0, 0),
            last_indexed: 0,
            torn: false,
        })
    }

    /// A segment of the past; its file opens at each read.
    pub(crate) fn sealed(path: PathBuf, summary: Summary) -> Segment {
        let saved = (summary.size, summary.last_append_ms);
        Segment {
            summary,
            path,
            file: None,
            unsynced: false,
            sealing: None,
            damaged: false,
            saved,
            last_indexed: 0,
            torn: false,
        }
    }

    /// Makes a recovered segment the active one.
    pub(crate) fn activate(&mut self) -> Result<(), LogError> {
        let file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        self.last_indexed = self.summary.entries.last().map_or(0, |e| e.1);
        self.file = Some(Arc::new(file));
        Ok(())
    }

    pub(crate) fn file(&self) -> Result<Arc<File>, LogError> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => Ok(Arc::new(File::open(&self.path)?)),
        }
    }

    /// Appends one batch. What an error leaves behind is cut off at once, or, where even that fails, before the next.
    pub(crate) fn append(&mut self, header: &Header, head: &[u8], body: &[u8]) -> Result<(), LogError> {
        let file = self.file()?;
        if self.torn {
            file.set_len(self.summary.size)?;
            self.torn = false;
        }
        if let Err(error) = write_all(&file, head, body) {
            self.torn = file.set_len(self.summary.size).is_err();
            return Err(error.into());
        }
        self.unsynced = true;
        self.summary.add(header, &mut self.last_indexed);
        Ok(())
    }

    /// Cuts the segment back to what it was before the last append.
    pub(crate) fn undo(&mut self, size: u64, end: i64, max_ts: i64) -> Result<(), LogError> {
        self.torn = self.file()?.set_len(size).is_err();
        self.summary.size = size;
        self.summary.end = end;
        self.summary.max_ts = max_ts;
        self.summary.entries.retain(|e| e.1 < size);
        self.last_indexed = self.summary.entries.last().map_or(0, |e| e.1);
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        if self.unsynced {
            self.file()?.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// What has to be done for it after it was rolled.
    pub(crate) fn to_seal(&self) -> Result<Option<Seal>, LogError> {
        self.sealing.as_ref().map(|producers| self.seal(producers)).transpose()
    }

    fn seal(&self, producers: &Producers) -> Result<Seal, LogError> {
        let (summary, path) = (self.summary.clone(), self.path.clone());
        Ok(Seal { summary, path, producers: producers.clone(), file: self.file()? })
    }

    /// What has to be done for it, the active one, so that a start need not read much of it.
    pub(crate) fn checkpoint(
        &mut self,
        producers: &Producers,
        every: Checkpoints,
        now: i64,
    ) -> Result<Option<Seal>, LogError> {
        let fresh = self.summary.size.saturating_sub(self.saved.0);
        // A time ahead of now is of a clock that was set back.
        if fresh < every.small || self.saved.1 > now {
            self.saved.1 = now;
        }
        let waited = now.saturating_sub(self.saved.1) >= every.small_after_ms;
        if fresh < every.bytes && !(fresh >= every.small && waited) {
            return Ok(None);
        }
        self.seal(producers).map(Some)
    }

    /// Its sidecar goes so far.
    pub(crate) fn saved_to(&mut self, size: u64, now: i64) {
        self.saved = (size, now);
    }

    /// It is done.
    pub(crate) fn sealed_now(&mut self) {
        (self.sealing, self.file, self.unsynced) = (None, None, false);
    }

    /// The file, if it has anything to sync; it counts as synced from here on.
    pub(crate) fn take_unsynced(&mut self) -> Result<Option<Arc<File>>, LogError> {
        match std::mem::take(&mut self.unsynced) {
            true => self.file().map(Some),
            false => Ok(None),
        }
    }

    pub(crate) fn save(&self, producers: &Producers) -> Result<(), LogError> {
        sidecar::save(&sidecar_of(&self.path), &self.summary, producers)
    }

    pub(crate) fn delete(&self) -> Result<(), LogError> {
        remove_if_there(&sidecar_of(&self.path))?;
        remove_if_there(&self.path)
    }
}

/// Makes what a directory lists survive a power loss.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), LogError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn write_all(mut file: &File, head: &[u8], body: &[u8]) -> std::io::Result<()> {
    let total = head.len() + body.len();
    let mut done = 0;
    while done < total {
        let slices = [
            IoSlice::new(head.get(done..).unwrap_or_default()),
            IoSlice::new(body.get(done.saturating_sub(head.len())..).unwrap_or_default()),
        ];
        match file.write_vectored(&slices) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Walks the batches of a file from `from` to `to`. `each` gets a header and where its batch starts, and says
/// whether to go on. Ends quietly where a header can't be one: what that means, the caller knows.
pub(crate) fn walk(
    file: &File,
    from: u64,
    to: u64,
    mut each: impl FnMut(&Header, u64) -> Result<bool, LogError>,
) -> Result<u64, LogError> {
    let mut chunk = vec![0u8; READ_AHEAD];
    let (mut chunk_at, mut chunk_len) = (0u64, 0usize);
    let mut at = from;
    while at + HEADER as u64 <= to {
        let inside = (at >= chunk_at) && at + HEADER as u64 <= chunk_at + chunk_len as u64;
        if !inside {
            let want = READ_AHEAD.min((to - at) as usize);
            file.read_exact_at(&mut chunk[..want], at)?;
            (chunk_at, chunk_len) = (at, want);
        }
        let start = (at - chunk_at) as usize;
        let Some(header) = Header::parse(&chunk[start..chunk_len]) else {
            return Ok(at);
        };
        if header.magic != 2 || header.size > MAX_BATCH || at + header.size as u64 > to {
            return Ok(at);
        }
        if !each(&header, at)? {
            return Ok(at);
        }
        at += header.size as u64;
    }
    Ok(at)
}

/// One whole batch.
pub(crate) fn read_batch(file: &File, at: u64, size: usize) -> Result<Bytes, LogError> {
    let mut out = BytesMut::zeroed(size);
    file.read_exact_at(&mut out, at)?;
    Ok(out.freeze())
}

/// What must follow what. A batch's base offset and its version lie outside its checksum: only its neighbours and the
/// index tell whether the offset is right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) next: i64,
    /// After a cleaning, offsets are missing between batches.
    gaps: bool,
    /// Nothing has been taken yet: the first one's offset is known.
    fresh: bool,
}

impl Chain {
    /// From the batch that has this base offset.
    pub(crate) fn at(base: i64, gaps: bool) -> Chain {
        Chain { next: base, gaps, fresh: true }
    }

    /// Takes a batch, unless it can't be the next one.
    pub(crate) fn takes(&mut self, header: &Header) -> bool {
        let follows = match self.gaps && !self.fresh {
            true => header.base_offset >= self.next,
            false => header.base_offset == self.next,
        };
        if !follows || header.magic != 2 || header.last_delta < 0 || header.last_offset() == i64::MAX {
            return false;
        }
        (self.next, self.fresh) = (header.last_offset() + 1, false);
        true
    }
}

/// What a reader wants of a segment.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    pub(crate) file: Arc<File>,
    /// A batch at or before the one with `offset`: its base offset, its position.
    pub(crate) from: (i64, u64),
    /// See [`Chain`].
    pub(crate) gaps: bool,
    pub(crate) to: u64,
    pub(crate) offset: i64,
    /// Batches that begin here or later are not for this reader.
    pub(crate) below: i64,
}

/// Reads whole batches from `plan.offset` on, at most `max` bytes; with `at_least_one`, the first whatever its size.
/// Every batch's checksum is verified: what has rotted on disk is never served.
///
/// # Errors
/// `Corrupt` when the first batch wanted, or one on the way to it, is broken.
pub(crate) fn read(plan: &ReadPlan, max: usize, at_least_one: bool) -> Result<Bytes, LogError> {
    let (mut start, mut done) = (None, false);
    let mut chain = Chain::at(plan.from.0, plan.gaps);
    let end = walk(&plan.file, plan.from.1, plan.to, |header, at| {
        let expected = chain.next;
        if !chain.takes(header) {
            return Ok(false);
        }
        if header.last_offset() < plan.offset {
            return Ok(true);
        }
        if header.base_offset < plan.below {
            start = Some((at, *header, expected));
        }
        done = true;
        Ok(false)
    })?;
    if !done && end < plan.to {
        // Where no header can be one, or not the next one, there is damage and not the end.
        return Err(LogError::Corrupt { offset: chain.next });
    }
    let Some((start, first, expected)) = start else { return Ok(Bytes::new()) };
    let room = (plan.to - start).min(max as u64) as usize;
    let want = if at_least_one { room.max(first.size) } else { room };
    if want < first.size {
        return Ok(Bytes::new());
    }
    let mut out = BytesMut::zeroed(want);
    plan.file.read_exact_at(&mut out, start)?;
    let mut good = 0;
    let mut chain = Chain::at(first.base_offset, plan.gaps);
    while let Some(header) = Header::parse(&out[good..]) {
        let Some(whole) = out.get(good..good + header.size) else { break };
        if header.base_offset >= plan.below || !chain.takes(&header) {
            break;
        }
        if !batch::crc_ok(whole, &header) {
            if good == 0 {
                return Err(LogError::Corrupt { offset: expected });
            }
            break;
        }
        good += header.size;
    }
    out.truncate(good);
    Ok(out.freeze())
}
