//! A file, one payload a line. Exactly once in spite of crashes: a journal beside it (`<file>.keys`) says which idempotency keys are in
//! it and up to which byte; what lies beyond the journal's end was not acknowledged and is cut off at the next start.
use atio_schemas::Code;
use atio_stage::{BoxFuture, Delivery, Receipt, Reject, Sink, Verdict};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashSet, VecDeque},
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Keys kept in memory. A delivery can only come again while it is in a partition's unfinished window: these are the windows of 128 partitions.
const KEYS: usize = 32 * 1024;
const BATCH: usize = 64;

pub struct FileSink(Arc<Mutex<Journaled>>);

struct Journaled {
    path: PathBuf,
    data: File,
    journal: File,
    end: u64,
    known: HashSet<Known>,
    order: VecDeque<Known>,
}

/// Of a key, half of its SHA-256: a key's text takes ten times the memory.
type Known = [u8; 16];

fn known(key: &str) -> Known {
    let (mut half, digest) = ([0; 16], Sha256::digest(key));
    half.copy_from_slice(&digest[..16]);
    half
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".keys");
    PathBuf::from(name)
}

impl FileSink {
    /// Opens or creates the file and its journal, and cuts off what was not acknowledged.
    ///
    /// # Errors
    /// What the file system says; a journal that names more bytes than the file has.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        let open = |p: &Path| OpenOptions::new().create(true).read(true).write(true).truncate(false).open(p);
        let (data, mut journal) = (open(path)?, open(&beside(path))?);
        let fresh = journal.metadata()?.len() == 0;
        let mut file = Journaled {
            path: path.to_owned(),
            data,
            journal: journal.try_clone()?,
            end: 0,
            known: HashSet::new(),
            order: VecDeque::new(),
        };
        let mut sound = 0;
        let mut reader = BufReader::new(&mut journal);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            // A torn last line was not acknowledged either.
            let Some((end, key)) = line.strip_suffix('\n').and_then(|l| l.split_once(' ')) else { break };
            let Ok(end) = end.parse() else { break };
            file.end = end;
            file.remember(known(key));
            sound += line.len() as u64;
            line.clear();
        }
        let length = file.data.metadata()?.len();
        if fresh {
            // Somebody's file from before: keep it, append.
            file.end = length;
        }
        if file.end > length {
            let why = format!(
                "{} is shorter ({length} bytes) than its journal says ({}): was it rotated? move its .keys file with it",
                path.display(),
                file.end
            );
            return Err(std::io::Error::other(why));
        }
        file.data.set_len(file.end)?;
        file.journal.set_len(sound)?;
        file.data.seek(SeekFrom::End(0))?;
        file.journal.seek(SeekFrom::End(0))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }
}

impl Journaled {
    fn remember(&mut self, key: Known) {
        if self.known.insert(key) {
            self.order.push_back(key);
        }
        if self.order.len() > KEYS
            && let Some(old) = self.order.pop_front()
        {
            self.known.remove(&old);
        }
    }

    /// Data first and synced, then the journal: a line of the journal never names bytes that are not there.
    fn append(&mut self, batch: &[(String, Vec<u8>)]) -> std::io::Result<()> {
        let (mut data, mut journal, mut end) = (vec![], vec![], self.end);
        let mut fresh = vec![];
        for (key, payload) in batch {
            let short = known(key);
            if self.known.contains(&short) || fresh.contains(&short) {
                continue;
            }
            data.extend_from_slice(payload);
            data.push(b'\n');
            end += payload.len() as u64 + 1;
            journal.extend_from_slice(format!("{end} {key}\n").as_bytes());
            fresh.push(short);
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let written = self.data.write_all(&data).and_then(|()| self.data.sync_data());
        let written =
            written.and_then(|()| self.journal.write_all(&journal)).and_then(|()| self.journal.sync_data());
        if let Err(error) = written {
            // Back to what is known to be whole, so that the retry does not append to half a line.
            self.data.set_len(self.end)?;
            self.data.seek(SeekFrom::Start(self.end))?;
            return Err(error);
        }
        self.end = end;
        fresh.into_iter().for_each(|key| self.remember(key));
        Ok(())
    }
}

impl Sink for FileSink {
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>> {
        Box::pin(async move {
            let one_line = |d: &Delivery| !d.record.payload.contains(&b'\n');
            let lines: Vec<_> = batch
                .iter()
                .filter(|d| one_line(d))
                .map(|d| (d.record.idempotency_key.clone(), d.record.payload.clone()))
                .collect();
            let file = self.0.clone();
            // Disks block: not on a thread that others' futures need.
            let written = tokio::task::spawn_blocking(move || {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.append(&lines).map(|()| file.path.display().to_string())
            });
            let written = written.await.map_err(|e| e.to_string()).and_then(|w| w.map_err(|e| e.to_string()));
            let verdict = |d: &Delivery| match &written {
                _ if !one_line(d) => {
                    Verdict::Reject(Reject::whole(Code::ConvertFailed, "the payload has a line break in it"))
                }
                Ok(path) => Verdict::Delivered(Receipt { external_id: Some(path.clone()), code: None }),
                Err(error) => Verdict::Retry { after: None, error: error.clone() },
            };
            batch.iter().map(verdict).collect()
        })
    }
    fn batch_size(&self) -> usize {
        BATCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u32) -> (String, Vec<u8>) {
        (format!("key-{n}"), format!("line {n}").into_bytes())
    }

    fn append(sink: &FileSink, batch: &[(String, Vec<u8>)]) {
        sink.0.lock().unwrap().append(batch).unwrap();
    }

    #[test]
    fn a_repeat_is_one_line_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out/alerts.ndjson");
        let sink = FileSink::open(&path).unwrap();
        append(&sink, &[line(1), line(2), line(2)]);
        append(&sink, &[line(2), line(3)]);
        drop(sink);
        append(&FileSink::open(&path).unwrap(), &[line(3), line(4)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 1\nline 2\nline 3\nline 4\n");
    }

    #[test]
    fn what_was_not_acknowledged_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.ndjson");
        append(&FileSink::open(&path).unwrap(), &[line(1)]);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"line 2\nli").unwrap();
        let mut journal = OpenOptions::new().append(true).open(beside(&path)).unwrap();
        journal.write_all(b"14 key").unwrap();
        append(&FileSink::open(&path).unwrap(), &[line(2)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 1\nline 2\n");
    }

    #[test]
    fn a_file_from_before_is_kept_and_a_rotated_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.ndjson");
        std::fs::write(&path, "before\n").unwrap();
        append(&FileSink::open(&path).unwrap(), &[line(1)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nline 1\n");
        std::fs::write(&path, "").unwrap();
        assert!(FileSink::open(&path).is_err());
    }
}
