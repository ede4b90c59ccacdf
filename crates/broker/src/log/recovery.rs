//! Owns opening a partition's directory: which files count, which tail is torn, which damage is not to be hidden.
//! Must not know why the process ended.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::LogError;
use super::batch::{self, HEADER, Header};
use super::partition::PartitionLog;
use super::producers::Producers;
use super::segment::{self, MAX_BATCH, Segment, Summary};

/// How far behind a broken batch good ones are searched for.
const SEARCH: u64 = 8 * 1024 * 1024;

/// Opens the log in `dir`, making it when it is new. `start` is the log's start as last recorded; true = a torn
/// tail was cut off.
///
/// # Errors
/// The disk's; `Damaged` when a batch is broken with good ones behind it: that is no torn tail, and cutting there
/// would lose records that were acknowledged.
pub(crate) fn open(dir: &Path, start: i64, strict: bool) -> Result<(PartitionLog, bool), LogError> {
    std::fs::create_dir_all(dir)?;
    let files = list(dir)?;
    let mut log = PartitionLog {
        dir: dir.to_owned(),
        segments: VecDeque::new(),
        start,
        producers: Producers::default(),
        epochs: vec![(0, 0)],
        strict,
    };
    let mut torn = false;
    let count = files.len();
    for (index, (base, path)) in files.into_iter().enumerate() {
        if base < log.segments.back().map_or(i64::MIN, |s| s.summary.end) {
            // A cleaning had merged it into the one before and was stopped before deleting it.
            Segment::sealed(path, Summary::new(base)).delete()?;
            continue;
        }
        let summary = match segment::load_sidecar(&path) {
            Some((summary, producers)) => {
                log.producers = producers;
                summary
            }
            None => {
                let (summary, cut) = scan(&path, base, index + 1 == count, &mut log.producers)?;
                torn |= cut;
                segment::save_sidecar(&segment::sidecar_of(&path), &summary, &log.producers)?;
                summary
            }
        };
        log.segments.push_back(Segment::sealed(path, summary));
    }
    match log.segments.back_mut() {
        Some(active) if !active.summary.cleaned => active.activate()?,
        _ => {
            let next = log.next();
            log.segments.push_back(Segment::create(dir, next)?);
        }
    }
    if strict {
        // The partition's directory, the topic's, and what lists the topics.
        dir.ancestors().take(3).try_for_each(segment::sync_dir)?;
    }
    let first = log.segments.front().map_or(0, |s| s.summary.base);
    log.start = log.start.max(first);
    log.drop_below_start()?;
    Ok((log, torn))
}

/// Segments by base offset; leftovers of interrupted work are removed.
fn list(dir: &Path) -> Result<Vec<(i64, PathBuf)>, LogError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match extension {
            "log" => {
                let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
                if let Ok(base) = stem.parse() {
                    files.push((base, path));
                }
            }
            "cleaned" | "part" => segment::remove_if_there(&path)?,
            _ => {}
        }
    }
    files.sort();
    Ok(files)
}

fn modified_ms(file: &File) -> Result<i64, LogError> {
    let modified = file.metadata()?.modified()?;
    Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

/// Reads a segment batch by batch, checksums and all; in the last segment a torn tail is cut off.
fn scan(path: &Path, base: i64, last: bool, producers: &mut Producers) -> Result<(Summary, bool), LogError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let written = modified_ms(&file)?;
    let mut summary = Summary::new(base);
    let mut indexed = 0;
    let good = segment::walk(&file, 0, size, |header, at| {
        if header.base_offset < summary.end {
            return Ok(false);
        }
        let batch = segment::read_batch(&file, at, header.size)?;
        if !batch::crc_ok(&batch, header) {
            return Ok(false);
        }
        summary.add(header, &mut indexed);
        if !header.is_control() {
            producers.appended(header, written);
        } else if let Some(commit) = batch::marker_type(&batch)
            && let Some(aborted) =
                producers.ended(header.pid, header.epoch, commit, header.base_offset, written)
        {
            summary.aborted.push(aborted);
        }
        Ok(true)
    })?;
    if summary.size > 0 {
        (summary.first_append_ms, summary.last_append_ms) = (written, written);
    }
    if good == size {
        return Ok((summary, false));
    }
    if !last || good_batch_behind(&file, good, size, summary.end)? {
        return Err(LogError::Damaged { path: path.to_owned(), at: good });
    }
    file.set_len(good)?;
    file.sync_data()?;
    Ok((summary, true))
}

/// Whether a whole, right batch of a later offset starts somewhere behind `at`.
fn good_batch_behind(file: &File, at: u64, size: u64, next: i64) -> Result<bool, LogError> {
    let window = (size - at).min(SEARCH) as usize;
    let bytes = segment::read_batch(file, at, window)?;
    for from in 1..bytes.len().saturating_sub(HEADER) {
        if bytes[from + 16] != 2 {
            continue;
        }
        let Some(header) = Header::parse(&bytes[from..]) else { continue };
        let begins = at + from as u64;
        let fits = header.size <= MAX_BATCH && begins + header.size as u64 <= size;
        let follows = header.base_offset >= next && header.base_offset - next < i64::from(i32::MAX);
        if fits && follows {
            let batch = segment::read_batch(file, begins, header.size)?;
            if batch::crc_ok(&batch, &header) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
