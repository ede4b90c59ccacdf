//! Owns the metadata file: an ordered map of keys to values where several changes are one, kept as a checksummed
//! journal that rewrites itself when it has grown. Must not know what the keys mean.
//!
//! A frame is length (u32), CRC32C (u32) and changes; a change is key length (u32), key, value length (i32, −1 =
//! gone), value; all big-endian. A torn last frame is cut off at start; a broken one elsewhere refuses the start.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const MAX_FRAME: usize = 64 << 20;

/// One change: a key and its new value, `None` to remove it.
pub(crate) type Change = (String, Option<Vec<u8>>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("{} is damaged at byte {at}", path.display())]
    Damaged { path: PathBuf, at: u64 },
}

struct Inner {
    live: BTreeMap<String, Vec<u8>>,
    live_bytes: u64,
    file: File,
    size: u64,
    unsynced: bool,
    /// A failed write may have left bytes behind the last frame.
    torn: bool,
}

pub(crate) struct Store {
    path: PathBuf,
    strict: bool,
    /// A rewrite is due beyond this size, and beyond four times what is live.
    rewrite_from: u64,
    inner: Mutex<Inner>,
}

fn encode(changes: &[Change]) -> Vec<u8> {
    let mut body = vec![0; 8];
    for (key, value) in changes {
        body.extend_from_slice(&(key.len() as u32).to_be_bytes());
        body.extend_from_slice(key.as_bytes());
        match value {
            None => body.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(value) => {
                body.extend_from_slice(&(value.len() as i32).to_be_bytes());
                body.extend_from_slice(value);
            }
        }
    }
    let length = (body.len() - 8) as u32;
    let crc = crc32c::crc32c(&body[8..]);
    body[0..4].copy_from_slice(&length.to_be_bytes());
    body[4..8].copy_from_slice(&crc.to_be_bytes());
    body
}

fn decode(mut body: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let key = String::from_utf8(key.to_vec()).ok()?;
        match i32::from_be_bytes(*length) {
            -1 => {
                changes.push((key, None));
                body = rest;
            }
            length => {
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                changes.push((key, Some(value.to_vec())));
                body = rest;
            }
        }
    }
    Some(changes)
}

/// The first frame of `bytes` and its length, if it is whole and right.
fn frame(bytes: &[u8]) -> Option<(Vec<Change>, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let body = rest.get(..length)?;
    if length == 0 || length > MAX_FRAME || crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    Some((decode(body)?, length + 8))
}

impl Inner {
    fn apply(&mut self, changes: Vec<Change>) {
        for (key, value) in changes {
            let size = key.len() as u64 + 8;
            let old = match value {
                Some(value) => {
                    self.live_bytes += size + value.len() as u64;
                    self.live.insert(key, value)
                }
                None => self.live.remove(&key),
            };
            if let Some(old) = old {
                self.live_bytes -= size + old.len() as u64;
            }
        }
    }
}

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// The disk's; `Damaged` when a frame is broken and good ones follow.
    pub(crate) fn open(path: &Path, strict: bool, rewrite_from: u64) -> Result<Store, StoreError> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut inner =
            Inner { live: BTreeMap::new(), live_bytes: 0, file, size: 0, unsynced: false, torn: false };
        let mut at = 0;
        while let Some((changes, length)) = frame(&bytes[at..]) {
            inner.apply(changes);
            at += length;
        }
        if at < bytes.len() {
            let tail = &bytes[at..];
            if (1..tail.len()).any(|from| frame(&tail[from..]).is_some()) {
                return Err(StoreError::Damaged { path: path.to_owned(), at: at as u64 });
            }
            inner.file.set_len(at as u64)?;
        }
        inner.size = at as u64;
        Ok(Store { path: path.to_owned(), strict, rewrite_from, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all changes or none; when it returns they survive the end of the process.
    ///
    /// # Errors
    /// The disk's; then nothing is changed.
    pub(crate) fn put(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let bytes = encode(&changes);
        let mut inner = self.lock();
        let size = inner.size;
        if inner.torn {
            inner.file.set_len(size)?;
            inner.torn = false;
        }
        let mut written = inner.file.write_all(&bytes);
        if written.is_ok() && self.strict {
            written = inner.file.sync_data();
        }
        if let Err(error) = written {
            inner.torn = inner.file.set_len(size).is_err();
            return Err(error.into());
        }
        inner.size += bytes.len() as u64;
        inner.unsynced = !self.strict;
        inner.apply(changes);
        Ok(())
    }

    /// All entries whose key starts with `prefix`, without the prefix.
    pub(crate) fn under(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let inner = self.lock();
        let from = inner.live.range(prefix.to_owned()..);
        from.map_while(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone()))).collect()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().live.get(key).cloned()
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.unsynced {
            inner.file.sync_data()?;
            inner.unsynced = false;
        }
        Ok(())
    }

    /// Rewrites the file when most of it is history. The slow part runs outside the lock: a copy of what is live goes
    /// to a new file, then what was written meanwhile follows under the lock, and the new file takes the name.
    ///
    /// # Errors
    /// The disk's; then the old file stays.
    pub(crate) fn maintain(&self) -> Result<bool, StoreError> {
        let (live, upto) = {
            let inner = self.lock();
            if inner.size < self.rewrite_from || inner.size < inner.live_bytes * 4 {
                return Ok(false);
            }
            (inner.live.clone(), inner.size)
        };
        let part = self.path.with_extension("part");
        let rewritten = self.rewrite(&part, live, upto);
        if rewritten.is_err() {
            // On a full disk what was begun stands in the way of everything else.
            std::fs::remove_file(&part).ok();
        }
        rewritten.map(|()| true)
    }

    fn rewrite(&self, part: &Path, live: BTreeMap<String, Vec<u8>>, upto: u64) -> Result<(), StoreError> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(part)?;
        file.set_len(0)?;
        let mut size = 0;
        let changes: Vec<Change> = live.into_iter().map(|(k, v)| (k, Some(v))).collect();
        for chunk in changes.chunks(256) {
            let bytes = encode(chunk);
            file.write_all(&bytes)?;
            size += bytes.len() as u64;
        }
        file.sync_data()?;
        let mut inner = self.lock();
        let mut old = File::open(&self.path)?;
        std::io::Seek::seek(&mut old, std::io::SeekFrom::Start(upto))?;
        let mut tail = Vec::new();
        old.take(inner.size - upto).read_to_end(&mut tail)?;
        file.write_all(&tail)?;
        if self.strict {
            file.sync_data()?;
        }
        std::fs::rename(part, &self.path)?;
        // It has the name: whatever fails from here on, writes go to it and not to the old one.
        inner.file = file;
        inner.size = size + tail.len() as u64;
        inner.unsynced = true;
        inner.torn = false;
        if self.strict
            && let Some(dir) = self.path.parent()
        {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &Store, key: &str, value: Option<&str>) {
        store.put(vec![(key.to_owned(), value.map(|v| v.as_bytes().to_vec()))]).unwrap();
    }

    #[test]
    fn changes_survive_and_a_torn_tail_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let store = Store::open(&path, false, 8 << 20).unwrap();
        put(&store, "a/1", Some("x"));
        put(&store, "a/2", Some("y"));
        put(&store, "a/1", None);
        drop(store);
        let whole = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[0, 0, 0, 50, 1, 2]).unwrap();
        let store = Store::open(&path, false, 8 << 20).unwrap();
        assert_eq!(store.under("a/"), vec![("2".to_owned(), b"y".to_vec())]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
    }

    #[test]
    fn damage_in_the_middle_refuses_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let store = Store::open(&path, false, 8 << 20).unwrap();
        put(&store, "a", Some("x"));
        put(&store, "b", Some("y"));
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[13] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Store::open(&path, false, 8 << 20), Err(StoreError::Damaged { at: 0, .. })));
    }

    #[test]
    fn a_rewrite_keeps_what_is_live_and_bounds_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let store = Store::open(&path, false, 8 << 20).unwrap();
        let big = vec![7u8; 100_000];
        for n in 0..100 {
            store.put(vec![("k".to_owned(), Some(big.clone())), (format!("n/{n}"), None)]).unwrap();
        }
        assert!(store.maintain().unwrap());
        put(&store, "after", Some("1"));
        assert!(std::fs::metadata(&path).unwrap().len() < 200_000);
        drop(store);
        let store = Store::open(&path, false, 8 << 20).unwrap();
        assert_eq!(store.get("k"), Some(big));
        assert_eq!(store.get("after"), Some(b"1".to_vec()));
    }
}
