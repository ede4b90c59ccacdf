//! Files that are appended to: each line is a raw event, its position in the same transaction. Owns the loop from files to transactions; must
//! not know what a line means, nor how rotation is told (`machine`).
mod disk;
mod gather;
mod lines;
mod machine;

use crate::{
    dead::Letter,
    door,
    files::{Board, Deps},
    journal::{Ended, Journal, JournalError, topics_of},
};
use atio_formats::split::Shape;
use atio_runtime::lifecycle::pause;
use atio_schemas::{Code, Timestamp};
use atio_stage::Output;
use atio_stream::Stop;
use atio_topics::{From, Source};
use gather::{Batch, Body, Item, Times};
use machine::Track;
use std::{collections::BTreeMap, time::Duration};

/// One source with `from: {tail: …}`.
pub(crate) struct Tail {
    deps: Deps,
    source: Source,
    files: disk::Files,
}

impl Tail {
    /// # Errors
    /// Paths that can't be followed; a format that does not come in lines.
    pub(crate) fn new(deps: &Deps, source: Source) -> Result<Self, String> {
        let From::Tail { paths } = &source.from else { return Err("is no tail".to_owned()) };
        let format = source.format.as_deref().and_then(atio_formats::format);
        if let Some(format) = format.filter(|f| f.shape == Shape::Whole) {
            let name = format.name;
            return Err(format!("`{name}` is one document a file, not lines: use `from: {{directory: …}}`"));
        }
        let files = disk::Files::new(paths)?;
        Ok(Self { deps: deps.clone(), source, files })
    }

    pub(crate) fn run(mut self, stop: &Stop, board: &Board) -> Result<(), JournalError> {
        let name = self.source.meta.name.clone();
        let mut journal =
            Journal::open(&self.deps, &name, &topics_of(&self.source, &self.deps.prefix), stop)?;
        let mut tracks = load(&journal, &name)?;
        let since = (self.deps.now)();
        while !stop.is_stopped() {
            let times = Times { now: (self.deps.now)(), since, settle_micros: micros(self.deps.settle) };
            let batch = match gather::gather(&mut self.files, &tracks, times) {
                Ok(batch) => batch,
                Err(error) => {
                    self.deps.metrics.error(&name, "tail", "file_unreadable");
                    board.health(&name, Some(error.to_string()));
                    pause(self.deps.poll.max(Duration::from_secs(1)), || stop.is_stopped());
                    continue;
                }
            };
            let failed = batch.failed.first().map(|(path, error)| format!("{path}: {error}"));
            if failed.is_some() {
                self.deps.metrics.error(&name, "tail", "file_unreadable");
            }
            board.health(&name, failed);
            if batch.is_empty() {
                pause(self.deps.poll, || stop.is_stopped());
                continue;
            }
            match self.write(&mut journal, &batch, times.now)? {
                Ended::Committed => {
                    tracks.extend(batch.tracks.clone());
                    batch.forget.iter().for_each(|id| drop(tracks.remove(id)));
                    self.count(&batch, board, times.now);
                }
                _ => tracks = load(&journal, &name)?,
            }
        }
        Ok(())
    }

    /// One transaction; what is too large for its topic with its envelope becomes a dead letter.
    fn write(&self, journal: &mut Journal, batch: &Batch, now: Timestamp) -> Result<Ended, JournalError> {
        let name = &self.source.meta.name;
        let outputs = batch.items.iter().map(|item| self.output(item, now));
        let mut outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        for (id, track) in &batch.tracks {
            outputs.push(journal.position(name, id, Some(&track.position(name)))?);
        }
        for id in &batch.forget {
            outputs.push(journal.position(name, id, None)?);
        }
        loop {
            let index = match journal.commit(&outputs)? {
                Ended::TooLarge(index) => index,
                ended => return Ok(ended),
            };
            let item = batch.items.get(index).zip(outputs.get_mut(index));
            let Some((item, output)) = item else {
                return Err(JournalError::Fatal("a position is more than its topic takes".to_owned()));
            };
            let raw = match &item.body {
                Body::Line(raw) | Body::Bad { raw, .. } => raw.as_slice(),
                Body::TooLong { .. } => &[],
            };
            let letter = self.letter(item, Code::TooLarge, "more than the topic takes", now);
            let reference = letter.reference(raw.len() as u64, &crate::hash::sha256(raw));
            if *output == reference {
                return Err(JournalError::Fatal("a dead letter is more than its topic takes".to_owned()));
            }
            *output = reference;
        }
    }

    fn output(&self, item: &Item, now: Timestamp) -> Result<Output, JournalError> {
        match &item.body {
            Body::Line(raw) => {
                let mut event = door::event(&self.source, raw, now);
                event.received_from = Some(item.path.clone());
                event.file = Some(item.file.clone());
                event.file_offset = i64::try_from(item.offset).ok();
                door::record(&self.deps.codec, &self.deps.prefix, None, &event)
                    .map_err(|e| JournalError::Fatal(format!("a raw event: {e}")))
            }
            Body::Bad { code, message, raw } => Ok(self.letter(item, *code, message, now).whole(raw.clone())),
            Body::TooLong { size, sha256 } => Ok(self
                .letter(item, Code::TooLarge, "the line is longer than 16 MiB", now)
                .reference(*size, sha256)),
        }
    }

    fn letter<'a>(&'a self, item: &'a Item, code: Code, message: &'a str, now: Timestamp) -> Letter<'a> {
        Letter {
            source: &self.source,
            prefix: &self.deps.prefix,
            file: &item.file,
            path: &item.path,
            offset: item.offset,
            code,
            message,
            now,
        }
    }

    fn count(&self, batch: &Batch, board: &Board, now: Timestamp) {
        let (mut events, mut bytes, mut dead) = (0, 0, 0);
        for item in &batch.items {
            let code = match &item.body {
                Body::Line(raw) => {
                    events += 1;
                    bytes += raw.len() as u64;
                    continue;
                }
                Body::Bad { code, .. } => *code,
                Body::TooLong { .. } => Code::TooLarge,
            };
            dead += 1;
            self.deps.metrics.dead_lettered(&self.source.meta.name, "tail", code.as_str());
        }
        self.deps.metrics.accepted(&self.source.meta.name, "tail", events, bytes);
        board.update(|s| {
            s.events += events;
            s.dead_lettered += dead;
            s.committed_at = Some(now);
        });
    }
}

fn load(journal: &Journal, source: &str) -> Result<BTreeMap<String, Track>, JournalError> {
    let positions = journal.positions(source)?;
    Ok(positions.values().filter_map(Track::of).map(|t| (t.id.clone(), t)).collect())
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
