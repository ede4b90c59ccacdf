//! Reference tables: files of rows on the disk, kept equal to a compacted topic. Owns when files are read again and what is written then: the
//! difference. Must not know who reads a table.
mod read;

use crate::{
    files::{Board, Deps},
    journal::{Ended, Journal, JournalError},
};
use atio_runtime::lifecycle::pause;
use atio_schemas::reference::ReferenceRow;
use atio_stage::{Headers, Output};
use atio_stream::Stop;
use atio_topics::{Table, TableFile};
use read::{MAX_FILE, Rows, TableError};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::MetadataExt,
    sync::Arc,
    time::Duration,
};

/// Rows of one transaction.
const BATCH_ROWS: usize = 10_000;
const BATCH_BYTES: usize = 8 << 20;
/// A file that is being written is left alone until it is as it was so long before.
const STEADY: Duration = Duration::from_millis(500);

/// Device, inode, size, modified (microseconds); None where there is no file.
type Stamp = Option<(u64, u64, u64, i64)>;
/// Hash of a row's columns, by key: what is on the topic, small enough to be kept.
type Written = HashMap<String, u128>;

/// One table.
pub(crate) struct Loader {
    deps: Deps,
    table: Table,
    topic: Arc<str>,
}

/// What the files gave.
struct Loaded {
    rows: Rows,
    /// A file was absent or broken: what is on the topic stays.
    partial: bool,
    trouble: Option<(String, &'static str)>,
}

impl Loader {
    pub(crate) fn new(deps: &Deps, table: Table) -> Self {
        let topic = Arc::from(table.topic(&deps.prefix));
        Self { deps: deps.clone(), table, topic }
    }

    pub(crate) fn run(self, stop: &Stop, board: &Board) -> Result<(), JournalError> {
        let name = &self.table.meta.name;
        let topics = [self.topic.to_string()];
        let mut journal = Journal::open(&self.deps, &format!("reference.{name}"), &topics, stop)?;
        let mut written = self.written(&journal)?;
        let mut before: Vec<Stamp> = vec![];
        let mut seen = vec![false; self.table.files.len()];
        while !stop.is_stopped() {
            let now = self.stamps();
            if now != before {
                pause(STEADY, || stop.is_stopped());
                if self.stamps() != now {
                    continue;
                }
                let loaded = self.load(&now, &mut seen);
                let steady = self.stamps() == now;
                if steady && !stop.is_stopped() {
                    let trouble = self.refresh(&mut journal, &mut written, loaded, board)?;
                    if let Some((why, code)) = &trouble {
                        self.deps.metrics.error(name, "table", code);
                        tracing::warn!(
                            service = crate::SERVICE,
                            error_code = code,
                            table = name,
                            why,
                            "the table keeps its old rows"
                        );
                    }
                    board.health(name, trouble.map(|(why, _)| why));
                    before = now;
                }
            }
            pause(self.table.refresh, || stop.is_stopped());
        }
        Ok(())
    }

    fn stamps(&self) -> Vec<Stamp> {
        let paths = self.table.files.iter().map(|file| Table::path(&self.deps.topics, file));
        let stamp = |stat: fs::Metadata| {
            let modified = stat.mtime().saturating_mul(1_000_000).saturating_add(stat.mtime_nsec() / 1000);
            (stat.dev(), stat.ino(), stat.len(), modified)
        };
        paths.map(|path| fs::metadata(path).ok().map(stamp)).collect()
    }

    /// `seen`: which files were ever read; one that was and is absent now is trouble.
    fn load(&self, stamps: &[Stamp], seen: &mut [bool]) -> Loaded {
        let mut loaded = Loaded { rows: Rows::new(), partial: false, trouble: None };
        for (file, (stamp, seen)) in self.table.files.iter().zip(stamps.iter().zip(seen)) {
            let result = self.bytes(file, stamp).and_then(|raw| {
                raw.map(|raw| read::add(&mut loaded.rows, &raw, file.format, &self.table.key)).transpose()
            });
            let path = file.file.display();
            match result {
                Ok(Some(())) => *seen = true,
                Ok(None) => {
                    loaded.partial = true;
                    if *seen {
                        loaded.trouble = Some((format!("{path} is absent"), "file_absent"));
                    }
                }
                Err(error) => {
                    loaded.partial = true;
                    loaded.trouble = Some((format!("{path}: {error}"), error.code()));
                }
            }
        }
        loaded
    }

    fn bytes(&self, file: &TableFile, stamp: &Stamp) -> Result<Option<Vec<u8>>, TableError> {
        if stamp.is_some_and(|(_, _, size, _)| size > MAX_FILE as u64) {
            return Err(TableError::TooMuch { what: "bytes".to_owned(), limit: MAX_FILE });
        }
        match fs::read(Table::path(&self.deps.topics, file)) {
            Ok(raw) => Ok(Some(raw)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(TableError::Unreadable(e.to_string())),
        }
    }

    /// Writes the difference; what is still wrong with the files comes back.
    fn refresh(
        &self,
        journal: &mut Journal,
        written: &mut Written,
        loaded: Loaded,
        board: &Board,
    ) -> Result<Option<(String, &'static str)>, JournalError> {
        let Loaded { mut rows, partial, trouble } = loaded;
        if partial {
            rows = over(self.rows(journal)?, rows);
        }
        let mut total = 0;
        loop {
            let changes = changes(written, &rows);
            if changes.is_empty() {
                break;
            }
            let outputs = changes.iter().take(BATCH_ROWS).map(|id| self.output(id, rows.get(*id)));
            let mut outputs = outputs.collect::<Result<Vec<_>, _>>()?;
            let mut bytes = 0;
            let fitting = outputs.iter().take_while(|o| {
                bytes += o.size();
                bytes <= BATCH_BYTES
            });
            let fitting = fitting.count().max(1);
            outputs.truncate(fitting);
            match journal.commit(&outputs)? {
                Ended::Committed => {
                    for id in changes.into_iter().take(outputs.len()).map(str::to_owned).collect::<Vec<_>>() {
                        match rows.get(&id) {
                            Some(columns) => written.insert(id, fingerprint(columns)),
                            None => written.remove(&id),
                        };
                    }
                    total += outputs.len();
                }
                Ended::Unknown => *written = self.written(journal)?,
                Ended::TooLarge(index) => {
                    let id = changes.get(index).copied().unwrap_or_default();
                    return Ok(Some((format!("row {id} is more than its topic takes"), "too_large")));
                }
            }
        }
        self.deps.metrics.table(&self.table.meta.name, written.len(), total);
        let now = (self.deps.now)();
        board.update(|s| {
            s.events = written.len() as u64;
            s.committed_at = Some(now);
        });
        if total > 0 {
            tracing::info!(
                service = crate::SERVICE,
                table = self.table.meta.name,
                rows = written.len(),
                changed = total,
                "table loaded"
            );
        }
        Ok(trouble)
    }

    fn output(&self, id: &str, columns: Option<&BTreeMap<String, String>>) -> Result<Output, JournalError> {
        let row = columns.map(|columns| ReferenceRow {
            table: self.table.meta.name.clone(),
            id: id.to_owned(),
            columns: columns.clone(),
        });
        let value = row.map(|row| self.deps.codec.encode(&row)).transpose();
        let value = value.map_err(|e| JournalError::Fatal(format!("row {id}: {e}")))?;
        let (topic, headers) = (self.topic.clone(), Headers::default());
        Ok(Output { topic, partition: None, key: Some(id.as_bytes().to_vec()), value, headers })
    }

    /// What is on the topic. A row that can't be read is written anew.
    fn rows(&self, journal: &Journal) -> Result<Rows, JournalError> {
        let mut rows = Rows::new();
        for (key, entry) in journal.latest(&self.topic)? {
            let Ok(id) = String::from_utf8(key) else { continue };
            let row = entry.value.map(|value| self.deps.codec.decode::<ReferenceRow>(&value));
            rows.insert(id, row.and_then(Result::ok).map(|row| row.columns).unwrap_or_default());
        }
        Ok(rows)
    }

    fn written(&self, journal: &Journal) -> Result<Written, JournalError> {
        let rows = self.rows(journal)?;
        Ok(rows.into_iter().map(|(id, columns)| (id, fingerprint(&columns))).collect())
    }
}

/// Old rows, with the new cells over them.
fn over(mut old: Rows, new: Rows) -> Rows {
    for (id, columns) in new {
        old.entry(id).or_default().extend(columns);
    }
    old
}

/// Keys whose rows are new, changed or gone, sorted.
fn changes<'a>(written: &'a Written, rows: &'a Rows) -> Vec<&'a str> {
    let new = rows.iter().filter(|(id, columns)| written.get(*id) != Some(&fingerprint(columns)));
    let gone = written.keys().filter(|id| !rows.contains_key(*id));
    let mut all: Vec<&str> = new.map(|(id, _)| id.as_str()).chain(gone.map(String::as_str)).collect();
    all.sort_unstable();
    all
}

fn fingerprint(columns: &BTreeMap<String, String>) -> u128 {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for text in columns.iter().flat_map(|(name, cell)| [name, cell]) {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().iter().take(16).fold(0, |all, byte| all << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[(&str, &str, &str)]) -> Rows {
        let mut rows = Rows::new();
        for (id, name, cell) in text {
            rows.entry((*id).to_owned()).or_default().insert((*name).to_owned(), (*cell).to_owned());
        }
        rows
    }

    #[test]
    fn only_the_difference_is_written() {
        let old = rows(&[("a", "x", "1"), ("b", "x", "1"), ("c", "x", "1")]);
        let written: Written = old.iter().map(|(id, columns)| (id.clone(), fingerprint(columns))).collect();
        let new = rows(&[("a", "x", "1"), ("b", "x", "2"), ("d", "x", "1")]);
        assert_eq!(changes(&written, &new), ["b", "c", "d"]);
        assert!(changes(&written, &old).is_empty());
        assert_ne!(
            fingerprint(&rows(&[("a", "xy", "z")])["a"]),
            fingerprint(&rows(&[("a", "x", "yz")])["a"])
        );
    }

    #[test]
    fn with_a_broken_file_old_rows_stay_and_good_cells_win() {
        let old = rows(&[("a", "kev", "true"), ("a", "epss", "0.1"), ("b", "epss", "0.2")]);
        let kept = over(old, rows(&[("a", "epss", "0.3"), ("c", "kev", "true")]));
        let expected =
            rows(&[("a", "kev", "true"), ("a", "epss", "0.3"), ("b", "epss", "0.2"), ("c", "kev", "true")]);
        assert_eq!(kept, expected);
    }
}
