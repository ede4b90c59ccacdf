//! Owns a partition's log: its order, its offsets, appending and planning reads. One lock guards one of these.
//! Must not know sockets, groups or transactional ids.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::LogError;
use super::batch::{self, HEADER, Header};
use super::config::TopicConfig;
use super::producers::{Aborted, Check, Producers};
use super::records;
use super::segment::{self, Chain, Checkpoints, ReadPlan, Seal, Segment, Summary};

/// What a batch may decompress to where that is done in the background.
pub(crate) const MAX_PLAIN: usize = 256 << 20;

/// What a batch for a compacted topic may decompress to while its client waits for its keys to be checked.
fn max_checked(config: &TopicConfig) -> usize {
    let sixteenfold = usize::try_from(config.max_message_bytes.saturating_mul(16)).unwrap_or(MAX_PLAIN);
    sixteenfold.clamp(16 << 20, MAX_PLAIN)
}

pub(crate) struct PartitionLog {
    pub(crate) dir: PathBuf,
    /// Never empty; the last is the active one.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) start: i64,
    pub(crate) producers: Producers,
    /// (leader epoch, first offset), ascending.
    pub(crate) epochs: Vec<(i32, i64)>,
    /// fsync before an append counts.
    pub(crate) strict: bool,
}

/// Where a batch came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// −1 under CreateTime.
    pub(crate) append_time: i64,
    pub(crate) start: i64,
}

/// A read that may be done without the lock, and what goes with its answer.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) read: Option<ReadPlan>,
    pub(crate) aborted: Vec<Aborted>,
}

fn refuse<T>(error: ResponseError) -> Result<T, LogError> {
    Err(LogError::Refused(error))
}

/// Checks a client's batch on its own: size, layout, checksum, times, keys.
///
/// # Errors
/// `CORRUPT_MESSAGE`, `MESSAGE_TOO_LARGE`, `INVALID_RECORD`, `INVALID_TIMESTAMP`, `UNSUPPORTED_COMPRESSION_TYPE`,
/// `UNSUPPORTED_FOR_MESSAGE_FORMAT`.
pub(crate) fn validate(bytes: &Bytes, config: &TopicConfig, now: i64) -> Result<Header, LogError> {
    let Some(header) = Header::parse(bytes) else { return refuse(ResponseError::CorruptMessage) };
    if header.magic != 2 {
        return refuse(ResponseError::UnsupportedForMessageFormat);
    }
    if bytes.len() as i64 > config.max_message_bytes {
        return refuse(ResponseError::MessageTooLarge);
    }
    if header.size > bytes.len() || !batch::crc_ok(&bytes[..header.size], &header) {
        return refuse(ResponseError::CorruptMessage);
    }
    let consistent = header.size == bytes.len()
        && header.count > 0
        && i64::from(header.last_delta) == i64::from(header.count) - 1
        && !header.is_control()
        && header.delete_horizon().is_none();
    let sequenced = header.pid < 0 || (header.epoch >= 0 && header.sequence >= 0);
    if !consistent || !sequenced || (header.is_transactional() && header.pid < 0) {
        return refuse(ResponseError::InvalidRecord);
    }
    if header.attributes & batch::CODEC > 4 {
        return refuse(ResponseError::UnsupportedCompressionType);
    }
    if !config.append_time {
        let late = header.max_ts.saturating_sub(now) > config.after_max_ms;
        let early = header.base_ts >= 0 && now.saturating_sub(header.base_ts) > config.before_max_ms;
        if late || early {
            return refuse(ResponseError::InvalidTimestamp);
        }
    }
    if config.compact {
        let mut keyed = true;
        let read = records::for_each(bytes, &header, max_checked(config), |record| {
            keyed &= record.key.is_some();
            keyed
        });
        if read.is_err() || !keyed {
            return refuse(ResponseError::InvalidRecord);
        }
    }
    Ok(header)
}

impl PartitionLog {
    /// One past the last offset.
    pub(crate) fn next(&self) -> i64 {
        self.segments.back().map_or(self.start, |s| s.summary.end)
    }

    /// Readers of committed data see what lies below.
    pub(crate) fn stable(&self) -> i64 {
        self.producers.first_open().unwrap_or_else(|| self.next())
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.epochs.last().map_or(0, |e| e.0)
    }

    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(|s| s.summary.size).sum()
    }

    /// Appends a batch that [`validate`] accepted.
    ///
    /// # Errors
    /// The producer's state refuses it, or the disk does; then nothing is appended.
    pub(crate) fn append(
        &mut self,
        bytes: &Bytes,
        header: &Header,
        config: &TopicConfig,
        now: i64,
    ) -> Result<Appended, LogError> {
        if let Check::Duplicate { base_offset, timestamp } =
            self.producers.check(header).map_err(LogError::Refused)?
        {
            return Ok(Appended { base_offset, append_time: timestamp, start: self.start });
        }
        let append_time = config.append_time.then_some(now);
        let placed = self.write(bytes, header, append_time, config, now)?;
        self.producers.appended(&placed, now);
        Ok(Appended {
            base_offset: placed.base_offset,
            append_time: append_time.unwrap_or(-1),
            start: self.start,
        })
    }

    /// Ends `pid`'s transaction here.
    ///
    /// # Errors
    /// The disk's; then the transaction is as open as before.
    pub(crate) fn end_transaction(
        &mut self,
        pid: i64,
        epoch: i16,
        commit: bool,
        config: &TopicConfig,
        now: i64,
    ) -> Result<(), LogError> {
        let bytes = batch::marker(0, now, pid, epoch, commit);
        let Some(header) = Header::parse(&bytes) else { return refuse(ResponseError::UnknownServerError) };
        let placed = self.write(&bytes, &header, config.append_time.then_some(now), config, now)?;
        if let Some(aborted) = self.producers.ended(pid, epoch, commit, placed.base_offset, now)
            && let Some(active) = self.segments.back_mut()
        {
            active.summary.aborted.push(aborted);
        }
        Ok(())
    }

    fn write(
        &mut self,
        bytes: &Bytes,
        header: &Header,
        append_time: Option<i64>,
        config: &TopicConfig,
        now: i64,
    ) -> Result<Header, LogError> {
        self.roll_if_due(header.size as u64, config, now)?;
        let body = bytes.get(HEADER..header.size).unwrap_or_default();
        let (placed, head) = header.placed(body, self.next(), self.leader_epoch(), append_time);
        let strict = self.strict;
        let Some(active) = self.segments.back_mut() else {
            return refuse(ResponseError::KafkaStorageError);
        };
        let before = (active.summary.size, active.summary.end, active.summary.max_ts);
        active.append(&placed, &head, body)?;
        if strict && let Err(error) = active.sync() {
            active.undo(before.0, before.1, before.2)?;
            return Err(error);
        }
        if active.summary.first_append_ms == 0 {
            active.summary.first_append_ms = now;
        }
        active.summary.last_append_ms = now;
        Ok(placed)
    }

    fn roll_if_due(&mut self, more: u64, config: &TopicConfig, now: i64) -> Result<(), LogError> {
        let Some(active) = self.segments.back() else { return Ok(()) };
        let full = active.summary.size + more > config.segment_bytes as u64;
        let old = now.saturating_sub(active.summary.first_append_ms) >= config.segment_ms;
        if active.summary.size > 0 && (full || old) {
            self.roll()?;
        }
        Ok(())
    }

    /// Seals the active segment and starts another.
    pub(crate) fn roll(&mut self) -> Result<(), LogError> {
        let fresh = Segment::create(&self.dir, self.next())?;
        if self.strict {
            segment::sync_dir(&self.dir)?;
        }
        if let Some(active) = self.segments.back_mut() {
            active.sealing = Some(self.producers.clone());
        }
        self.segments.push_back(fresh);
        Ok(())
    }

    /// Rolled segments that are not yet synced and described.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn seals(&self) -> Result<Vec<Seal>, LogError> {
        self.segments.iter().filter_map(|s| s.to_seal().transpose()).collect()
    }

    /// The active segment, if too much of it would have to be read at a start.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn checkpoint(&mut self, every: Checkpoints, now: i64) -> Result<Option<Seal>, LogError> {
        let Some(active) = self.segments.back_mut() else { return Ok(None) };
        active.checkpoint(&self.producers, every, now)
    }

    /// Notes a seal or a checkpoint that is complete.
    pub(crate) fn sealed(&mut self, seal: &Seal, now: i64) {
        let Some(segment) = self.segments.iter_mut().find(|s| s.path == seal.path) else { return };
        segment.saved_to(seal.summary.size, now);
        if segment.sealing.is_some() && segment.summary.size == seal.summary.size {
            segment.sealed_now();
        }
    }

    /// A segment in which a batch is broken on disk.
    pub(crate) fn damaged(&mut self, path: &std::path::Path) {
        if let Some(segment) = self.segments.iter_mut().find(|s| s.path == path) {
            segment.damaged = true;
        }
    }

    /// What may be verified of the first segment that ends behind `offset`, and its file.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn to_verify(&self, offset: i64) -> Result<Option<(Summary, PathBuf, Arc<File>)>, LogError> {
        let at = self.segments.partition_point(|s| s.summary.end <= offset);
        let Some(segment) = self.segments.get(at) else { return Ok(None) };
        Ok(Some((segment.summary.clone(), segment.path.clone(), segment.file()?)))
    }

    /// Files with something to sync; they count as synced from here on.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn take_unsynced(&mut self) -> Result<Vec<Arc<File>>, LogError> {
        self.segments.iter_mut().filter_map(|s| s.take_unsynced().transpose()).collect()
    }

    /// What to read from `offset` on; nothing when there is nothing yet.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE`; the disk's.
    pub(crate) fn plan(&self, offset: i64, committed: bool) -> Result<Planned, LogError> {
        if offset < self.start || offset > self.next() {
            return refuse(ResponseError::OffsetOutOfRange);
        }
        let below = if committed { self.stable() } else { self.next() };
        // A cleaned segment may have nothing at or after the offset; the next has.
        let mut from = self.segments.partition_point(|s| s.summary.end <= offset);
        while let Some(segment) = self.segments.get(from) {
            let summary = &segment.summary;
            if summary.base >= below {
                break;
            }
            let begin = offset.max(summary.base);
            let last_batch_ends = self.last_batch_end(segment)?;
            if summary.size == 0 || last_batch_ends <= begin {
                from += 1;
                continue;
            }
            let read = ReadPlan {
                file: segment.file()?,
                from: summary.position(offset),
                gaps: summary.cleaned,
                to: summary.size,
                offset,
                below,
            };
            let aborted = if committed { self.aborted(offset, summary.end.min(below)) } else { Vec::new() };
            return Ok(Planned { read: Some(read), aborted });
        }
        Ok(Planned { read: None, aborted: Vec::new() })
    }

    /// Where the last batch that is left in a segment ends; below `end` only after a cleaning.
    fn last_batch_end(&self, segment: &Segment) -> Result<i64, LogError> {
        let summary = &segment.summary;
        if !summary.cleaned {
            return Ok(summary.end);
        }
        let mut end = summary.base;
        let from = summary.entries.last().map_or(0, |e| e.1);
        let read = segment::walk(&*segment.file()?, from, summary.size, |header, _| {
            end = header.last_offset().saturating_add(1);
            Ok(true)
        })?;
        // What can't be read is not nothing: whoever reads there is to be told.
        Ok(if read < summary.size { summary.end } else { end })
    }

    /// Aborted transactions with records in `[from, to)`.
    fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        let mut found = Vec::new();
        let first = self.segments.partition_point(|s| s.summary.end <= from);
        for segment in self.segments.iter().skip(first) {
            let list = &segment.summary.aborted;
            for entry in &list[list.partition_point(|a| a.marker < from)..] {
                if entry.first < to {
                    found.push(*entry);
                }
                if entry.stable >= to {
                    return found;
                }
            }
        }
        found
    }

    /// Lets go of everything below `offset`; returns the new start.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE`; the disk's.
    pub(crate) fn delete_records(&mut self, offset: i64) -> Result<i64, LogError> {
        let upto = if offset < 0 { self.next() } else { offset };
        if upto > self.next() {
            return refuse(ResponseError::OffsetOutOfRange);
        }
        self.start = self.start.max(upto);
        self.drop_below_start()?;
        Ok(self.start)
    }

    /// Deletes sealed segments that end at or below the start.
    pub(crate) fn drop_below_start(&mut self) -> Result<(), LogError> {
        while self.segments.len() > 1 {
            match self.segments.front() {
                Some(front) if front.summary.end <= self.start => front.delete()?,
                _ => break,
            }
            self.segments.pop_front();
        }
        Ok(())
    }

    /// A plan for the first segment from `min_base` on that may hold a record of time `ts` or later, and its end.
    pub(crate) fn plan_time(&self, ts: i64, min_base: i64) -> Result<Option<(ReadPlan, i64)>, LogError> {
        let holds =
            |s: &&Segment| s.summary.base >= min_base && s.summary.max_ts >= ts && s.summary.end > self.start;
        let Some(segment) = self.segments.iter().find(holds) else { return Ok(None) };
        let plan = ReadPlan {
            file: segment.file()?,
            from: segment.summary.position_of_time(ts),
            gaps: segment.summary.cleaned,
            to: segment.summary.size,
            offset: self.start,
            below: self.next(),
        };
        Ok(Some((plan, segment.summary.end)))
    }

    /// The largest timestamp in the log, −1 when it is empty.
    pub(crate) fn max_timestamp(&self) -> i64 {
        self.segments.iter().map(|s| s.summary.max_ts).max().unwrap_or(-1)
    }

    /// Where `epoch` ends: (the latest epoch at or below it, its end offset).
    pub(crate) fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        let after = self.epochs.partition_point(|e| e.0 <= epoch);
        if after == 0 {
            return (-1, -1);
        }
        let end = self.epochs.get(after).map_or_else(|| self.next(), |e| e.1);
        (self.epochs[after - 1].0, end)
    }

    /// Syncs what was written since the last sync.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.segments.iter_mut().try_for_each(Segment::sync)
    }

    /// For an orderly end: the next start need not scan.
    pub(crate) fn close(&mut self) -> Result<(), LogError> {
        self.sync()?;
        for seal in self.seals()? {
            seal.complete()?;
        }
        match self.segments.back() {
            Some(active) => active.save(&self.producers),
            None => Ok(()),
        }
    }
}

/// The first record at or after time `ts` that a plan finds: (offset, timestamp). Reads without the lock.
pub(crate) fn first_at_time(plan: &ReadPlan, ts: i64) -> Result<Option<(i64, i64)>, LogError> {
    let mut found = None;
    let mut chain = Chain::at(plan.from.0, plan.gaps);
    let end = segment::walk(&plan.file, plan.from.1, plan.to, |header, at| {
        if !chain.takes(header) {
            return Ok(false);
        }
        if header.max_ts < ts || header.last_offset() < plan.offset || header.is_control() {
            return Ok(true);
        }
        let batch = segment::read_batch(&plan.file, at, header.size)?;
        let read = records::for_each(&batch, header, MAX_PLAIN, |record| {
            let hit = record.timestamp >= ts && record.offset >= plan.offset;
            if hit {
                found = Some((record.offset, record.timestamp));
            }
            !hit
        });
        if read.is_err() {
            // Unreadable inside: the batch itself is the best answer.
            found = Some((header.base_offset, header.max_ts));
        }
        Ok(found.is_none())
    })?;
    match found {
        None if end < plan.to => Err(LogError::Corrupt { offset: chain.next }),
        found => Ok(found),
    }
}
