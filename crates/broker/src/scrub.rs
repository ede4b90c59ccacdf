//! Owns going through everything that is on disk, a little at a time, and noting what is broken. Must not know its pace.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::log::LogError;
use crate::log::scrub::{self, Damage};
use crate::log::segment::Summary;
use crate::partition::Partition;
use crate::topics::Topics;

/// How much is read before others get their turn, about.
const STEP: u64 = 1 << 20;

struct Open {
    summary: Summary,
    path: PathBuf,
    file: Arc<File>,
    epochs: Vec<(i32, i64)>,
    entry: usize,
}

/// One pass over all partitions, as they were when it began.
pub(crate) struct Pass {
    partitions: Vec<Arc<Partition>>,
    /// The offset that the current partition's next segment ends behind.
    from: i64,
    open: Option<Open>,
}

impl Pass {
    pub(crate) fn new(topics: &Topics) -> Pass {
        let partitions = topics.list().into_iter().flat_map(|t| t.partitions).collect();
        Pass { partitions, from: i64::MIN, open: None }
    }

    /// Reads on; how many bytes, `None` when all is read.
    pub(crate) fn step(&mut self) -> Option<u64> {
        let mut done = 0;
        while done < STEP {
            let Some(partition) = self.partitions.last().cloned() else { break };
            match self.open.take() {
                Some(mut open) => {
                    let Some((_, size)) = scrub::stretch(&open.summary, open.entry) else {
                        self.from = open.summary.end;
                        continue;
                    };
                    open.verify(&partition);
                    done += size as u64;
                    open.entry += 1;
                    self.open = Some(open);
                }
                None => match self.next(&partition) {
                    Some(open) => self.open = Some(open),
                    None => {
                        self.partitions.pop();
                        self.from = i64::MIN;
                    }
                },
            }
        }
        (done > 0).then_some(done)
    }

    /// The partition's next segment; one that can't be opened ends the partition's turn, with a word about it.
    fn next(&self, partition: &Partition) -> Option<Open> {
        let log = partition.log();
        let epochs = log.epochs.clone();
        match log.to_verify(self.from) {
            Ok(found) => found.map(|(summary, path, file)| Open { summary, path, file, epochs, entry: 0 }),
            // Its topic was deleted meanwhile.
            Err(LogError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                let topic = &partition.topic.name;
                tracing::error!(topic, partition = partition.index, %error, "not verified");
                None
            }
        }
    }
}

impl Open {
    fn verify(&self, partition: &Partition) {
        let first = self.summary.entries.get(self.entry).map_or((0, 0), |e| (e.0, e.1));
        let found = match scrub::read(&self.file, &self.summary, &self.epochs, self.entry) {
            Ok(found) => found,
            // A sector that can't be read is as bad as one that reads wrong.
            Err(error) => {
                tracing::error!(segment = %self.path.display(), %error, "can't be read");
                Some(Damage { offset: first.0, at: first.1 })
            }
        };
        let Some(damage) = found else { return };
        let mut log = partition.log();
        // Deleted or cleaned meanwhile: it is not what readers get.
        let current =
            log.segments.iter().any(|s| s.path == self.path && s.summary.cleaned == self.summary.cleaned);
        if current && self.summary.end > log.start {
            log.damaged(&self.path);
            drop(log);
            partition.note_damage(damage.offset, Some((&self.path, damage.at)));
        }
    }
}
