//! Owns compaction: which sealed segments are due, what survives of them, and swapping them without ever having
//! less on disk than was acknowledged. Works outside the partition's lock; must not know topics or requests.
//!
//! Below the stable offset every transaction is decided. What was aborted goes, what was committed stays and loses its
//! transactional mark, so that no marker is needed for it: markers go too, but for one at the very end, and with them the
//! aborted index. Tombstones
//! stay for delete.retention.ms from the first cleaning that met them (kept as the batch's delete horizon).

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use tracing::warn;

use super::LogError;
use super::batch::{self, CODEC, DELETE_HORIZON, HEADER, Header};
use super::codec;
use super::config::TopicConfig;
use super::partition::{MAX_PLAIN, PartitionLog};
use super::producers::Aborted;
use super::records;
use super::segment::{self, Chain, Segment, Summary};
use super::sidecar::{self, Known};

const TRANSACTIONAL: i16 = 0x10;

/// The latest offset of each key, keys by a 128-bit hash under a secret of this process.
struct Latest {
    hashers: [RandomState; 2],
    offsets: HashMap<u128, i64>,
    room: usize,
}

impl Latest {
    fn new(room: usize) -> Latest {
        Latest { hashers: [RandomState::new(), RandomState::new()], offsets: HashMap::new(), room }
    }

    fn hash(&self, key: &[u8]) -> u128 {
        let [high, low] = &self.hashers;
        (u128::from(high.hash_one(key)) << 64) | u128::from(low.hash_one(key))
    }

    /// False when the key is new and there is no room.
    fn note(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        if self.offsets.len() >= self.room && !self.offsets.contains_key(&hash) {
            return false;
        }
        self.offsets.insert(hash, offset);
        true
    }

    fn is_latest(&self, key: &[u8], offset: i64) -> bool {
        self.offsets.get(&self.hash(key)).is_none_or(|latest| offset >= *latest)
    }
}

struct Source {
    path: PathBuf,
    summary: Summary,
    file: std::sync::Arc<File>,
}

/// What one cleaning works on.
struct Job<'a> {
    log: &'a Mutex<PartitionLog>,
    sources: Vec<Source>,
    aborted: Vec<Aborted>,
    start: i64,
    /// Where the sources end. Their last batch stays, if with one record: nothing may follow it, and a reader that is to
    /// come to the end needs a batch that ends there.
    end: i64,
    now: i64,
    config: &'a TopicConfig,
    latest: Latest,
}

impl Source {
    /// Hands out every batch: right by its checksum and its place, or the cleaning ends here. It must not give damage a
    /// new, right checksum, nor take for the end where no header can be read.
    fn batches(
        &self,
        mut each: impl FnMut(&Header, &Bytes) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let base = self.summary.entries.first().map_or(self.summary.base, |e| e.0);
        let mut chain = Chain::at(base, self.summary.cleaned);
        let mut enough = false;
        let end = segment::walk(&self.file, 0, self.summary.size, |header, at| {
            let offset = chain.next;
            let batch = segment::read_batch(&self.file, at, header.size)?;
            if !chain.takes(header) || !batch::crc_ok(&batch, header) {
                return Err(LogError::Corrupt { offset });
            }
            enough = !each(header, &batch)?;
            Ok(!enough)
        })?;
        match enough || end == self.summary.size {
            true => Ok(()),
            false => Err(LogError::Corrupt { offset: chain.next }),
        }
    }
}

fn lock(log: &Mutex<PartitionLog>) -> MutexGuard<'_, PartitionLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cleans the log if it is due; true = something was rewritten.
///
/// # Errors
/// The disk's; then the log is as it was.
pub(crate) fn run(
    log: &Mutex<PartitionLog>,
    config: &TopicConfig,
    now: i64,
    max_keys: usize,
) -> Result<bool, LogError> {
    let Some((sources, aborted, start)) = due(log, config, now)? else { return Ok(false) };
    let mut job = Job { log, sources, aborted, start, end: 0, now, config, latest: Latest::new(max_keys) };
    let cleanable = job.read_keys()?;
    job.sources.truncate(cleanable);
    job.end = job.sources.last().map_or(start, |s| s.summary.end);
    let mut group_from = 0;
    while group_from < job.sources.len() {
        let mut size = 0;
        let mut group_to = group_from;
        while let Some(source) = job.sources.get(group_to) {
            size += source.summary.size;
            if group_to > group_from && size > config.segment_bytes as u64 {
                break;
            }
            group_to += 1;
        }
        job.clean(group_from, group_to)?;
        group_from = group_to;
    }
    Ok(true)
}

type Due = (Vec<Source>, Vec<Aborted>, i64);

fn due(log: &Mutex<PartitionLog>, config: &TopicConfig, now: i64) -> Result<Option<Due>, LogError> {
    let mut log = lock(log);
    let stable = log.stable();
    if let Some(active) = log.segments.back() {
        let age = now.saturating_sub(active.summary.first_append_ms);
        let limit = config.segment_ms.min(config.max_compaction_lag_ms);
        if active.summary.size > 0 && age >= limit && active.summary.end <= stable {
            log.roll()?;
        }
    }
    let sealed = log.segments.len().saturating_sub(1);
    let (mut cleanable, mut dirty, mut total, mut oldest) = (0, 0, 0, now);
    for segment in log.segments.iter().take(sealed) {
        let summary = &segment.summary;
        let youngest = summary.max_ts.min(now).max(summary.last_append_ms);
        let lagging = now.saturating_sub(youngest) < config.min_compaction_lag_ms;
        // Behind damage nothing is cleaned: the aborted transactions of what can't be read would lose their markers.
        if segment.damaged
            || summary.end > stable
            || segment.sealing.is_some()
            || (!summary.cleaned && lagging)
        {
            break;
        }
        total += summary.size;
        if !summary.cleaned {
            dirty += summary.size;
            oldest = oldest.min(summary.first_append_ms);
        }
        cleanable += 1;
    }
    let overdue = now.saturating_sub(oldest) >= config.max_compaction_lag_ms;
    if dirty == 0 || !(overdue || dirty as f64 / total as f64 >= config.dirty_ratio) {
        return Ok(None);
    }
    let source = |segment: &Segment| {
        Ok(Source { path: segment.path.clone(), summary: segment.summary.clone(), file: segment.file()? })
    };
    let sources = log.segments.iter().take(cleanable).map(source).collect::<Result<_, LogError>>()?;
    let aborted = log.segments.iter().flat_map(|s| s.summary.aborted.iter().copied()).collect();
    Ok(Some((sources, aborted, log.start)))
}

impl Job<'_> {
    /// Notes where damage was met: it is met once, not at every look.
    fn noting<T>(&self, source: &Source, result: Result<T, LogError>) -> Result<T, LogError> {
        if matches!(result, Err(LogError::Corrupt { .. })) {
            lock(self.log).damaged(&source.path);
        }
        result
    }

    /// Reads the keys of dirty segments, as many whole segments as there is room for; returns how many sources are
    /// covered. One segment is always taken: past the room its keys are simply kept.
    fn read_keys(&mut self) -> Result<usize, LogError> {
        let sources = std::mem::take(&mut self.sources);
        let mut covered = sources.len();
        let mut first = true;
        for (index, source) in sources.iter().enumerate().filter(|(_, s)| !s.summary.cleaned) {
            let mut fits = true;
            let read = source.batches(|header, batch| {
                if header.is_control() || self.is_aborted(header) {
                    return Ok(true);
                }
                let latest = &mut self.latest;
                // Records that can't be read (or are too large to be) are kept as they are, whatever their keys.
                let read = records::for_each(batch, header, MAX_PLAIN, |record| {
                    fits &= record.key.is_none_or(|key| latest.note(key, record.offset));
                    fits
                });
                if let Err(error) = read {
                    warn!(offset = header.base_offset, %error, "records not compacted");
                }
                Ok(fits)
            });
            self.noting(source, read)?;
            if !fits && !first {
                covered = index;
                break;
            }
            first = false;
        }
        self.sources = sources;
        Ok(covered)
    }

    fn is_aborted(&self, header: &Header) -> bool {
        header.is_transactional()
            && self.aborted.iter().any(|a| {
                a.pid == header.pid && a.first <= header.base_offset && header.base_offset < a.marker
            })
    }

    /// Rewrites sources `[from, to)` into one segment and swaps it in.
    fn clean(&self, from: usize, to: usize) -> Result<(), LogError> {
        let group = &self.sources[from..to];
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let part = first.path.with_extension("cleaned");
        let cleaned = self.rewrite(group, &part).and_then(|mut summary| {
            summary.end = last.summary.end;
            summary.first_append_ms = first.summary.first_append_ms;
            summary.last_append_ms = last.summary.last_append_ms;
            summary.max_ts = group.iter().map(|s| s.summary.max_ts).max().unwrap_or(-1);
            summary.cleaned = true;
            // Its sidecar is written now: from the swap on nothing may need room on the disk.
            let Known::Whole(_, producers) = sidecar::load(&last.path)? else {
                return Err(std::io::Error::other("a sealed segment has lost its index").into());
            };
            sidecar::write_part(&sidecar::sidecar_of(&first.path), &summary, &producers)?;
            Ok(summary)
        });
        match cleaned {
            Ok(summary) => swap(&mut lock(self.log), group, summary, &part),
            Err(error) => {
                // On a full disk what was begun stands in the way of everything else.
                segment::remove_if_there(&part)?;
                Err(error)
            }
        }
    }

    fn rewrite(&self, group: &[Source], part: &Path) -> Result<Summary, LogError> {
        let base = group.first().map_or(0, |s| s.summary.base);
        let mut summary = Summary::new(base);
        let mut out = BufWriter::with_capacity(1 << 16, File::create(part)?);
        let mut indexed = 0;
        for source in group {
            let read = source.batches(|header, batch| {
                if let Some(kept) = self.keep(batch, header)?
                    && let Some(header) = Header::parse(&kept)
                {
                    out.write_all(&kept)?;
                    summary.add(&header, &mut indexed);
                }
                Ok(true)
            });
            self.noting(source, read)?;
        }
        out.flush()?;
        out.get_ref().sync_data()?;
        Ok(summary)
    }

    /// What is left of a batch.
    fn keep(&self, batch: &[u8], header: &Header) -> Result<Option<Vec<u8>>, LogError> {
        let last = header.last_offset() == self.end - 1;
        if self.is_aborted(header) || header.last_offset() < self.start || (header.is_control() && !last) {
            return Ok(None);
        }
        if header.is_control() {
            return Ok(Some(batch.to_vec()));
        }
        let due = header.delete_horizon().is_some_and(|horizon| self.now >= horizon);
        let mut tombstones = false;
        let (mut kept, mut total) = (0, 0);
        let wanted = |record: &records::Record<'_>| {
            let outlived = due && record.value.is_none();
            let latest = record.key.is_some_and(|key| self.latest.is_latest(key, record.offset));
            record.offset >= self.start && (latest && !outlived || record.offset == self.end - 1)
        };
        let read = records::for_each(batch, header, MAX_PLAIN, |record| {
            total += 1;
            if wanted(&record) {
                kept += 1;
                tombstones |= record.value.is_none();
            }
            true
        });
        if read.is_err() {
            return Ok(Some(batch.to_vec()));
        }
        if kept == 0 {
            return Ok(None);
        }
        let starts_horizon = tombstones && header.delete_horizon().is_none();
        let mut next = Header { attributes: header.attributes & !TRANSACTIONAL, ..*header };
        if kept == total && !starts_horizon {
            let body = batch.get(HEADER..).unwrap_or_default();
            return Ok(Some(next.build(header.count, body).to_vec()));
        }
        if starts_horizon {
            next.attributes |= DELETE_HORIZON;
            next.base_ts = self.now.saturating_add(self.config.delete_retention_ms);
        }
        let mut body = Vec::with_capacity(batch.len());
        let mut max_ts = i64::MIN;
        records::for_each(batch, header, MAX_PLAIN, |record| {
            if wanted(&record) {
                max_ts = max_ts.max(record.timestamp);
                records::put(&mut body, &record, header.base_offset, next.base_ts);
            }
            true
        })
        .map_err(|_| LogError::Corrupt { offset: header.base_offset })?;
        if !header.is_append_time() {
            next.max_ts = max_ts;
        }
        let packed = codec::compress(header.attributes & CODEC, &body).map_err(std::io::Error::other)?;
        Ok(Some(next.build(kept, &packed).to_vec()))
    }
}

/// Puts a cleaned segment in the place of its sources, unless these changed meanwhile. The rename is the moment:
/// before it the sources are whole, after it the new file has all that they had to keep, and a start deletes leftovers.
fn swap(log: &mut PartitionLog, group: &[Source], summary: Summary, part: &Path) -> Result<(), LogError> {
    let at = log.segments.partition_point(|s| s.summary.base < summary.base);
    let same = group.iter().enumerate().all(|(index, source)| {
        log.segments
            .get(at + index)
            .is_some_and(|s| s.summary.base == source.summary.base && s.summary.size == source.summary.size)
    });
    let (Some(first), true) = (group.first(), same) else {
        segment::remove_if_there(&sidecar::part_of(&sidecar::sidecar_of(part)))?;
        return segment::remove_if_there(part);
    };
    let name = sidecar::sidecar_of(&first.path);
    segment::remove_if_there(&name)?;
    std::fs::rename(part, &first.path)?;
    let merged: Vec<Segment> = log.segments.drain(at..at + group.len()).skip(1).collect();
    log.segments.insert(at, Segment::sealed(first.path.clone(), summary));
    // From here on it counts, whatever else fails: a start finds out what is left to do.
    let named = std::fs::rename(sidecar::part_of(&name), &name);
    // Before a source goes: a power loss must find one or the other.
    let synced = segment::sync_dir(&log.dir);
    named.and(synced)?;
    merged.iter().try_for_each(Segment::delete)
}
