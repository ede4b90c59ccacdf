//! Owns one segment: a file of record batches, its sparse index in memory, and the sidecar that saves scanning it.
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

#[derive(Serialize, Deserialize)]
struct Sidecar {
    summary: Summary,
    /// The producers as they were at the segment's end.
    producers: Producers,
}

pub(crate) struct Segment {
    pub(crate) summary: Summary,
    pub(crate) path: PathBuf,
    /// Only the active segment keeps its file open.
    file: Option<Arc<File>>,
    pub(crate) unsynced: bool,
    /// The producers at its end, until they are saved with it: it was rolled and not yet synced.
    pub(crate) sealing: Option<Producers>,
    last_indexed: u64,
    /// A failed append may have left bytes behind the last batch.
    torn: bool,
}

/// A rolled segment that has to be synced and its sidecar saved; done without the partition's lock.
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
        save_sidecar(&sidecar_of(&self.path), &self.summary, &self.producers)
    }
}

pub(crate) fn log_name(base: i64) -> String {
    format!("{base:020}.log")
}

pub(crate) fn sidecar_of(log: &Path) -> PathBuf {
    log.with_extension("idx")
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

    /// A position at or before the batch that holds `offset`.
    pub(crate) fn position(&self, offset: i64) -> u64 {
        let after = self.entries.partition_point(|e| e.0 <= offset);
        self.entries.get(after.saturating_sub(1)).map_or(0, |e| e.1)
    }

    /// A position at or before the first batch whose largest timestamp is at least `ts`.
    pub(crate) fn position_of_time(&self, ts: i64) -> u64 {
        let after = self.entries.partition_point(|e| e.2 < ts);
        self.entries.get(after.saturating_sub(1)).map_or(0, |e| e.1)
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
            last_indexed: 0,
            torn: false,
        })
    }

    /// A segment of the past; its file opens at each read.
    pub(crate) fn sealed(path: PathBuf, summary: Summary) -> Segment {
        Segment { summary, path, file: None, unsynced: false, sealing: None, last_indexed: 0, torn: false }
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
        let Some(producers) = &self.sealing else { return Ok(None) };
        let (summary, path) = (self.summary.clone(), self.path.clone());
        Ok(Some(Seal { summary, path, producers: producers.clone(), file: self.file()? }))
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
        save_sidecar(&sidecar_of(&self.path), &self.summary, producers)
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

pub(crate) fn save_sidecar(path: &Path, summary: &Summary, producers: &Producers) -> Result<(), LogError> {
    let sidecar = Sidecar { summary: summary.clone(), producers: producers.clone() };
    let body = serde_json::to_vec(&sidecar).map_err(std::io::Error::other)?;
    let mut out = crc32c::crc32c(&body).to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    let part = path.with_extension("idx.part");
    std::fs::write(&part, &out)?;
    std::fs::rename(&part, path)?;
    Ok(())
}

/// What the sidecar says, when it is whole and of this very file.
pub(crate) fn load_sidecar(log: &Path) -> Option<(Summary, Producers)> {
    let bytes = std::fs::read(sidecar_of(log)).ok()?;
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let sidecar: Sidecar = serde_json::from_slice(body).ok()?;
    let size = std::fs::metadata(log).ok()?.len();
    (sidecar.summary.size == size).then_some((sidecar.summary, sidecar.producers))
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

/// What a reader wants of a segment.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    pub(crate) file: Arc<File>,
    /// At or before the batch with `offset`.
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) offset: i64,
    /// Batches that begin here or later are not for this reader.
    pub(crate) below: i64,
}

/// Reads whole batches from `plan.offset` on, at most `max` bytes; with `at_least_one`, the first whatever its size.
/// Every batch's checksum is verified: what has rotted on disk is never served.
///
/// # Errors
/// `Corrupt` when the first batch wanted is broken.
pub(crate) fn read(plan: &ReadPlan, max: usize, at_least_one: bool) -> Result<Bytes, LogError> {
    let (mut start, mut done) = (None, false);
    let end = walk(&plan.file, plan.from, plan.to, |header, at| {
        if header.last_offset() < plan.offset {
            return Ok(true);
        }
        if header.base_offset < plan.below {
            start = Some((at, header.size));
        }
        done = true;
        Ok(false)
    })?;
    if !done && end < plan.to {
        // Where no header can be one, there is damage and not the end.
        return Err(LogError::Corrupt { offset: plan.offset });
    }
    let Some((start, first)) = start else { return Ok(Bytes::new()) };
    let room = (plan.to - start).min(max as u64) as usize;
    let want = if at_least_one { room.max(first) } else { room };
    if want < first {
        return Ok(Bytes::new());
    }
    let mut out = BytesMut::zeroed(want);
    plan.file.read_exact_at(&mut out, start)?;
    let mut good = 0;
    while let Some(header) = Header::parse(&out[good..]) {
        let Some(whole) = out.get(good..good + header.size) else { break };
        if header.base_offset >= plan.below {
            break;
        }
        if !batch::crc_ok(whole, &header) {
            if good == 0 {
                return Err(LogError::Corrupt { offset: header.base_offset });
            }
            break;
        }
        good += header.size;
    }
    out.truncate(good);
    Ok(out.freeze())
}
