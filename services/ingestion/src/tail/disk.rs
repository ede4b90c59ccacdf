//! The files of a tail on a real file system. Owns globs, siblings and open handles; must not know what is read next, or why.
use super::{
    gather::Disk,
    machine::{HEAD, Place, Seen},
};
use crate::glob::Glob;
use atio_schemas::Timestamp;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Files of one source; more is an error that says so.
pub(crate) const MAX_FILES: usize = 4096;
/// Handles that are held; what is above is opened for each read.
const MAX_HANDLES: usize = 512;
/// Of rotated files that somebody compressed: their plain form was read.
const COMPRESSED: &[&str] = &["gz", "zst", "xz", "bz2", "lz4", "zip"];

struct Held {
    file: File,
    path: String,
    family: String,
}

struct Known {
    size: u64,
    modified: i64,
    head: Vec<u8>,
}

/// The paths of one source.
pub(crate) struct Files {
    patterns: Vec<(PathBuf, Glob)>,
    held: HashMap<Place, Held>,
    known: HashMap<Place, Known>,
}

impl Files {
    /// # Errors
    /// A path without a file name, or with a glob in a folder's name.
    pub(crate) fn new(paths: &[String]) -> Result<Self, String> {
        let patterns = paths.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?;
        Ok(Self { patterns, held: HashMap::new(), known: HashMap::new() })
    }

    /// Paths and the tailed path that each is, or was rotated from.
    fn list(&self) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
        let mut found = BTreeMap::new();
        for (folder, glob) in &self.patterns {
            let mut names: Vec<String> = vec![];
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", folder.display()))),
            };
            for entry in entries {
                // A name that is no text can't be named in a position.
                names.extend(entry?.file_name().into_string().ok().filter(|n| !compressed(n)));
            }
            names.sort();
            let current: Vec<String> = match glob.literal() {
                Some(name) => vec![name.to_owned()],
                None => names.iter().filter(|n| glob.matches(n)).cloned().collect(),
            };
            for name in &names {
                let family = current.iter().find(|c| *c == name);
                let rotated = || current.iter().filter(|c| is_rotation(name, c)).max_by_key(|c| c.len());
                if let Some(family) = family.or_else(rotated) {
                    found.entry(folder.join(name)).or_insert_with(|| folder.join(family));
                }
            }
            if found.len() > MAX_FILES {
                return Err(io::Error::other(format!("more than {MAX_FILES} files match")));
            }
        }
        Ok(found)
    }

    fn see(&mut self, path: &Path, family: &Path) -> io::Result<Option<Seen>> {
        let stat = fs::metadata(path)?;
        if !stat.is_file() {
            return Ok(None);
        }
        let place = place(&stat);
        let (path, family) = (path.display().to_string(), family.display().to_string());
        if path == family && !self.held.contains_key(&place) && self.held.len() < MAX_HANDLES {
            let file = File::open(&path)?;
            if self::place(&file.metadata()?) == place {
                self.held.insert(place, Held { file, path: path.clone(), family: family.clone() });
            }
        }
        if let Some(held) = self.held.get_mut(&place) {
            held.path.clone_from(&path);
        }
        self.seen(path, family, &stat).map(Some)
    }

    fn seen(&mut self, path: String, family: String, stat: &Metadata) -> io::Result<Seen> {
        let (place, size) = (place(stat), stat.len());
        let modified = stat.mtime().saturating_mul(1_000_000).saturating_add(stat.mtime_nsec() / 1000);
        let mut seen = Seen { path, family, place, size, modified: Timestamp(modified), head: vec![] };
        let fresh = self.known.get(&place).filter(|k| k.size == size && k.modified == modified);
        seen.head = match fresh {
            Some(known) => known.head.clone(),
            None => self.read(&seen, 0, HEAD.min(usize::try_from(size).unwrap_or(HEAD)))?,
        };
        self.known.insert(place, Known { size, modified, head: seen.head.clone() });
        Ok(seen)
    }
}

impl Disk for Files {
    fn look(&mut self) -> io::Result<Vec<Seen>> {
        let mut all = vec![];
        for (path, family) in self.list()? {
            match self.see(&path, &family) {
                Ok(seen) => all.extend(seen),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(service = crate::SERVICE, error_code = "file_unreadable", path = %path.display(), %error, "a file can't be read");
                }
            }
        }
        // Two paths may lead to one file.
        let mut places = std::collections::HashSet::new();
        all.sort_by_key(|s| !s.is_current());
        all.retain(|s| places.insert(s.place));
        let deleted: Vec<_> = self.held.iter().filter(|(place, _)| !places.contains(*place)).collect();
        let deleted: Vec<_> = deleted
            .into_iter()
            .filter_map(|(_, h)| {
                Some((format!("{} (deleted)", h.path), h.family.clone(), h.file.metadata().ok()?))
            })
            .collect();
        for (path, family, stat) in deleted {
            all.push(self.seen(path, family, &stat)?);
        }
        self.known.retain(|place, _| all.iter().any(|s| s.place == *place));
        Ok(all)
    }

    fn read(&self, seen: &Seen, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let opened;
        let file = if let Some(held) = self.held.get(&seen.place) {
            &held.file
        } else {
            opened = File::open(&seen.path)?;
            if place(&opened.metadata()?) != seen.place {
                return Err(io::Error::new(io::ErrorKind::NotFound, "renamed meanwhile"));
            }
            &opened
        };
        let mut got = 0;
        while got < len {
            match file.read_at(&mut bytes[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes.truncate(got);
        Ok(bytes)
    }

    fn keep(&mut self, wanted: &dyn Fn(Place) -> bool) {
        self.held.retain(|place, _| wanted(*place));
    }
}

fn pattern(text: &str) -> Result<(PathBuf, Glob), String> {
    let path = Path::new(text);
    let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| format!("`{text}` names no file"))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.to_str().is_none_or(Glob::is_glob) {
        return Err(format!("`{text}`: `*` and `?` stand in the last part only"));
    }
    Ok((folder.to_owned(), Glob::new(name)))
}

fn place(stat: &Metadata) -> Place {
    (stat.dev(), stat.ino())
}

fn compressed(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| COMPRESSED.contains(&ending))
}

/// `eve.json.1`, `eve.json-20260102`, `eve-20260102.json` come from `eve.json`.
fn is_rotation(name: &str, current: &str) -> bool {
    let dashed = |rest: &str| rest.starts_with('.') || rest.starts_with('-');
    if name.strip_prefix(current).is_some_and(dashed) {
        return true;
    }
    current.rsplit_once('.').is_some_and(|(stem, ending)| {
        let middle = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending)?.strip_suffix('.'));
        middle.is_some_and(|m| dashed(m) && m.bytes().any(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files() {
        for name in ["eve.json.1", "eve.json-20260102", "eve-20260102.json", "eve.1.json"] {
            assert!(is_rotation(name, "eve.json"), "{name}");
        }
        for name in ["eve.json", "eve2.json", "eve-alerts.json", "fast.log", "eve.jsonl"] {
            assert!(!is_rotation(name, "eve.json"), "{name}");
        }
        assert!(compressed("eve.json.2.gz") && !compressed("eve.json.1"));
        assert!(pattern("/var/*/x").is_err() && pattern("/").is_err() && pattern("/var/log/*.json").is_ok());
    }
}
