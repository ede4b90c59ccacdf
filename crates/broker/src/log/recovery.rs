//! Owns opening a partition's directory: which files count, which tail is torn, which damage is not to be hidden.
//! Must not know why the process ended.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use tracing::{error, warn};

use super::LogError;
use super::batch::{self, HEADER, Header};
use super::partition::PartitionLog;
use super::producers::Producers;
use super::segment::{self, Chain, MAX_BATCH, Segment, Summary};
use super::sidecar::{self, Known};

/// How far behind a broken batch good ones are searched for.
const SEARCH: u64 = 8 * 1024 * 1024;

/// A rest of the last segment that is read again at the next start rather than synced at this one: with many partitions the
/// syncs would be most of the start. Its checkpoint comes in the background.
const REST: u64 = 4 * 1024 * 1024;

/// What had to be mended or was found missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// A torn tail was cut off.
    pub(crate) torn: bool,
    /// Sidecars that could not be read and were made anew.
    pub(crate) rebuilt: u64,
    /// Bytes that were on the disk and are not there any more.
    pub(crate) missing: u64,
}

/// Opens the log in `dir`, making it when it is new. `start` is the log's start as last recorded.
///
/// # Errors
/// The disk's; `Damaged` when a batch is broken with good ones behind it, or is whole in the wrong place: that is no torn
/// tail, and cutting there would lose records that were acknowledged.
pub(crate) fn open(dir: &Path, start: i64, strict: bool) -> Result<(PartitionLog, Recovered), LogError> {
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
    let mut recovered = Recovered::default();
    for (index, (base, path)) in files.iter().enumerate() {
        let covered = log.segments.back().is_some_and(|s| s.summary.cleaned && *base < s.summary.end);
        if covered {
            // A cleaning had merged it into the one before and was stopped before deleting it.
            Segment::sealed(path.clone(), Summary::new(*base)).delete()?;
            continue;
        }
        let behind = files.get(index + 1..).unwrap_or_default();
        let (summary, saved) = segment(path, *base, behind, &mut log.producers, &mut recovered)?;
        let (path, last_append_ms) = (path.clone(), summary.last_append_ms);
        let mut segment = Segment::sealed(path, summary);
        segment.saved_to(saved, last_append_ms);
        log.segments.push_back(segment);
    }
    match log.segments.back_mut() {
        Some(active) if !active.summary.cleaned => active.activate()?,
        _ => {
            let next = log.next();
            log.segments.push_back(Segment::create(dir, next)?);
        }
    }
    if strict {
        // What a kill left written and not synced is going to be read, and must not go after that.
        if let Some(active) = log.segments.back() {
            active.file()?.sync_data()?;
        }
        // The partition's directory, the topic's, and what lists the topics.
        dir.ancestors().take(3).try_for_each(segment::sync_dir)?;
    }
    let first = log.segments.front().map_or(0, |s| s.summary.base);
    log.start = log.start.max(first);
    log.drop_below_start()?;
    Ok((log, recovered))
}

/// Segments by base offset; leftovers of interrupted work are removed.
fn list(dir: &Path) -> Result<Vec<(i64, PathBuf)>, LogError> {
    let mut files = Vec::new();
    let mut sidecars = Vec::new();
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
            "idx" => sidecars.push(path),
            "cleaned" | "part" => segment::remove_if_there(&path)?,
            _ => {}
        }
    }
    files.sort();
    let logs: BTreeSet<&PathBuf> = files.iter().map(|(_, path)| path).collect();
    for sidecar in sidecars.iter().filter(|s| !logs.contains(&s.with_extension("log"))) {
        segment::remove_if_there(sidecar)?;
    }
    Ok(files)
}

/// What is in one segment: from its sidecar as far as that goes, the rest by reading it; and how far its sidecar goes now.
/// `behind` are the segments behind it, by base offset.
fn segment(
    path: &Path,
    base: i64,
    behind: &[(i64, PathBuf)],
    producers: &mut Producers,
    recovered: &mut Recovered,
) -> Result<(Summary, u64), LogError> {
    let mut may_wait = behind.is_empty();
    let known = match sidecar::load(path)? {
        Known::Whole(summary, then) => {
            *producers = then;
            let size = summary.size;
            return Ok((summary, size));
        }
        Known::UpTo(summary, then) => {
            *producers = then;
            summary
        }
        Known::Shorter(missing) => {
            error!(segment = %path.display(), missing, "bytes that were on the disk are gone from the segment's end");
            recovered.missing += missing;
            may_wait = false;
            Summary::new(base)
        }
        Known::Broken => {
            warn!(segment = %path.display(), "index can't be read, made anew from the segment");
            recovered.rebuilt += 1;
            may_wait = false;
            Summary::new(base)
        }
        Known::Nothing => Summary::new(base),
    };
    let from = known.size;
    let Scanned { summary, cut } = scan(path, known, behind, producers)?;
    recovered.torn |= cut;
    if may_wait && !cut && summary.size - from < REST {
        return Ok((summary, from));
    }
    // Synced first: a sidecar vouches for what it covers.
    File::open(path)?.sync_data()?;
    sidecar::save(&sidecar::sidecar_of(path), &summary, producers)?;
    let size = summary.size;
    Ok((summary, size))
}

fn modified_ms(file: &File) -> Result<i64, LogError> {
    let modified = file.metadata()?.modified()?;
    Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

struct Scanned {
    summary: Summary,
    cut: bool,
}

/// Why reading a segment ended before its end.
#[derive(PartialEq, Eq)]
enum Stop {
    /// There is no whole, right batch.
    Broken,
    /// A batch is right in itself, and its offset is not.
    Misplaced,
    /// The next segment has this one's offsets: a cleaning was stopped between merging and deleting what it had merged.
    Merged,
}

/// Reads a segment batch by batch from where `summary` ends, checksums and all; in the last one a torn tail is cut off.
fn scan(
    path: &Path,
    mut summary: Summary,
    behind: &[(i64, PathBuf)],
    producers: &mut Producers,
) -> Result<Scanned, LogError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let written = modified_ms(&file)?;
    let (from, before) = (summary.size, summary.last_append_ms);
    let mut indexed = summary.entries.last().map_or(0, |e| e.1);
    let mut stop = Stop::Broken;
    let mut chain = Chain::at(summary.end, false);
    let good = segment::walk(&file, from, size, |header, at| {
        let batch = segment::read_batch(&file, at, header.size)?;
        if !batch::crc_ok(&batch, header) {
            return Ok(false);
        }
        if behind.first().is_some_and(|(next, _)| header.last_offset() >= *next) {
            stop = if is_in(header, behind)? { Stop::Merged } else { Stop::Misplaced };
            return Ok(false);
        }
        // A cleaning leaves gaps; it never touches the last segment, nor one of which a part is known.
        if from == 0 && !behind.is_empty() && header.base_offset > chain.next && header.last_delta >= 0 {
            summary.cleaned = true;
            chain = Chain::at(header.base_offset, true);
        }
        if !chain.takes(header) {
            stop = Stop::Misplaced;
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
    if summary.size > from {
        summary.last_append_ms = before.max(written);
        if summary.first_append_ms == 0 {
            summary.first_append_ms = written;
        }
    }
    let cut = good < size && stop != Stop::Merged;
    if cut {
        let damaged = !behind.is_empty() || stop == Stop::Misplaced;
        if damaged || good_batch_behind(&file, good, size, summary.end)? {
            return Err(LogError::Damaged { path: path.to_owned(), at: good });
        }
        file.set_len(good)?;
    } else if good < size {
        warn!(segment = %path.display(), at = good, "a stopped cleaning: what the next segment has counts there");
    }
    Ok(Scanned { summary, cut })
}

/// Whether the segment that should have this batch's offset has this very batch.
fn is_in(batch: &Header, segments: &[(i64, PathBuf)]) -> Result<bool, LogError> {
    let after = segments.partition_point(|(base, _)| *base <= batch.base_offset);
    let Some((_, path)) = after.checked_sub(1).and_then(|at| segments.get(at)) else { return Ok(false) };
    let file = File::open(path)?;
    let mut found = false;
    segment::walk(&file, 0, file.metadata()?.len(), |header, _| {
        let of = |h: &Header| (h.base_offset, h.last_delta, h.pid, h.epoch, h.sequence);
        // A cleaning keeps a batch as it is, or with fewer records, or with other marks.
        let same =
            header.crc == batch.crc || header.attributes != batch.attributes || header.count > batch.count;
        found = of(header) == of(batch) && same;
        Ok(header.base_offset < batch.base_offset)
    })?;
    Ok(found)
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
