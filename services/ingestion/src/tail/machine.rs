//! Which bytes of which file are read next, from the positions that are committed and what lies on the disk. Pure: it has no memory of its
//! own, so that a crash and a rotation at any moment come to the same. Must not know: Kafka, the file system, what a line means.
use crate::hash;
use atio_schemas::{Timestamp, raw::Position};
use std::collections::{BTreeMap, BTreeSet};

/// A file is told by at most so many of its first bytes, and a position by so many before it.
pub(crate) const HEAD: usize = 1024;
/// Clocks of file systems are coarser than ours.
const SLACK_MICROS: i64 = 1_000_000;

/// Device and inode.
pub(crate) type Place = (u64, u64);

/// A file as it was at this look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// The tailed path that it is, or was rotated from.
    pub(crate) family: String,
    pub(crate) place: Place,
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
    /// Its first bytes, up to [`HEAD`].
    pub(crate) head: Vec<u8>,
}

impl Seen {
    /// Whether it is the tailed path itself, not one that was rotated away from it.
    #[must_use]
    pub(crate) fn is_current(&self) -> bool {
        self.path == self.family
    }
}

/// A file that is or was read: its identity and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) id: String,
    pub(crate) place: Place,
    /// How many first bytes `hash` covers.
    pub(crate) len: usize,
    pub(crate) hash: String,
    /// Of files with the same place and first bytes: one that was cut and written anew is another.
    pub(crate) generation: u32,
    pub(crate) path: String,
    pub(crate) offset: u64,
    pub(crate) check: String,
    pub(crate) done: bool,
    /// When its position was taken.
    pub(crate) updated: Timestamp,
}

impl Track {
    fn new(seen: &Seen, generation: u32, now: Timestamp) -> Self {
        // The first line, where it is there: the same however much follows it.
        let line = seen.head.iter().position(|b| *b == b'\n').map(|at| at + 1);
        let len = line.unwrap_or(seen.head.len()).min(HEAD);
        let hash = hash::short(seen.head.get(..len).unwrap_or_default());
        let id = format!("{}:{}:{len}:{hash}:{generation}", seen.place.0, seen.place.1);
        Self {
            id,
            place: seen.place,
            len,
            hash,
            generation,
            path: seen.family.clone(),
            offset: 0,
            check: String::new(),
            done: false,
            updated: now,
        }
    }

    /// Reads a position back; None where it is not a tail's.
    #[must_use]
    pub(crate) fn of(position: &Position) -> Option<Self> {
        let mut parts = position.file.split(':');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (place, len) = ((number()?, number()?), usize::try_from(number()?).ok()?);
        let hash = parts.next()?.to_owned();
        let generation = parts.next()?.parse().ok()?;
        Some(Self {
            id: position.file.clone(),
            place,
            len,
            hash,
            generation,
            path: position.path.clone(),
            offset: u64::try_from(position.offset).ok()?,
            check: position.check.clone().unwrap_or_default(),
            done: position.done,
            updated: position.updated_at,
        })
    }

    #[must_use]
    pub(crate) fn position(&self, source: &str) -> Position {
        Position {
            source: source.to_owned(),
            path: self.path.clone(),
            file: self.id.clone(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            done: self.done,
            updated_at: self.updated,
            check: Some(self.check.clone()),
        }
    }

    fn starts_like(&self, seen: &Seen) -> bool {
        seen.head.get(..self.len).is_some_and(|head| hash::short(head) == self.hash)
    }
}

/// What is to be read: from the track's offset up to the file's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Index into what was seen.
    pub(crate) seen: usize,
    pub(crate) track: Track,
    /// No position of it is committed yet.
    pub(crate) is_new: bool,
    /// The file was rotated away and is quiet: a last line without its end is read as well, and then it is done.
    pub(crate) last: bool,
}

/// What is known when it is decided what to read.
pub(crate) struct Look<'a> {
    pub(crate) seen: &'a [Seen],
    pub(crate) now: Timestamp,
    /// Since when these paths are watched, for those without a position yet.
    pub(crate) since: Timestamp,
    /// A file that was rotated away and has not changed for so long is complete.
    pub(crate) settle_micros: i64,
    /// The hash of the bytes before an offset of a file; None where they can't be read.
    pub(crate) check: &'a dyn Fn(usize, u64) -> Option<String>,
}

/// What to read, in this order: rotated files, then what came between, then the current ones.
#[must_use]
pub(crate) fn plan(tracks: &BTreeMap<String, Track>, look: &Look<'_>) -> Vec<Read> {
    let mut holder: Vec<Option<&Track>> = vec![None; look.seen.len()];
    in_place(tracks, look, &mut holder);
    let copies = copies(tracks, look, &mut holder);
    let mut reads = vec![];
    for (seen, track) in holder.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))) {
        if copies.get(seen).is_some_and(|known| *known) {
            continue;
        }
        reads.extend(read(look, seen, track));
    }
    let mut held_back = BTreeSet::new();
    for (index, seen) in
        look.seen.iter().enumerate().filter(|(i, _)| holder.get(*i).is_some_and(Option::is_none))
    {
        if is_being_copied(&holder, look, index) {
            held_back.insert(seen.family.as_str());
        } else {
            reads.extend(fresh(tracks, look, index));
        }
    }
    // What is read meanwhile would make it look older than it is.
    reads.retain(|r| look.seen.get(r.seen).is_some_and(|s| !held_back.contains(s.family.as_str())));
    let rank =
        |r: &Read| look.seen.get(r.seen).map(|s| (s.is_current(), r.is_new, s.modified, s.path.clone()));
    reads.sort_by_key(rank);
    // What came between must have a position before an older file's is closed.
    if reads.iter().any(|r| r.is_new && look.seen.get(r.seen).is_some_and(|s| !s.is_current())) {
        reads.retain(|r| r.is_new);
    }
    reads
}

/// Files that lie where they lay.
fn in_place<'t>(tracks: &'t BTreeMap<String, Track>, look: &Look<'_>, holder: &mut [Option<&'t Track>]) {
    for (index, seen) in look.seen.iter().enumerate() {
        let same = tracks.values().filter(|t| t.place == seen.place && t.starts_like(seen));
        let newest = same.max_by_key(|t| (t.generation, t.len, t.updated));
        if let (Some(track), Some(slot)) = (newest, holder.get_mut(index)) {
            *slot = goes_on(track, look, index, seen).then_some(track);
        }
    }
}

fn goes_on(track: &Track, look: &Look<'_>, index: usize, seen: &Seen) -> bool {
    seen.size >= track.offset
        && (track.offset == 0 || (look.check)(index, track.offset).is_some_and(|c| c == track.check))
}

/// Copies of files that are known: of one that was cut (copytruncate), the copy is read on in its place. True = nothing to read in it.
fn copies<'t>(
    tracks: &'t BTreeMap<String, Track>,
    look: &Look<'_>,
    holder: &mut [Option<&'t Track>],
) -> Vec<bool> {
    let mut known = vec![false; look.seen.len()];
    let places = holder.iter().enumerate();
    let mut held: BTreeMap<String, usize> =
        places.filter_map(|(index, track)| Some(((*track)?.id.clone(), index))).collect();
    // The furthest first: a copy holds what its original's earlier generations held only if it is theirs.
    let mut all: Vec<&Track> = tracks.values().filter(|t| t.len > 0).collect();
    all.sort_by_key(|t| (std::cmp::Reverse(t.offset), t.id.clone()));
    // Right after a header every file looks like a copy: the oldest is.
    let mut oldest: Vec<(usize, &Seen)> = look.seen.iter().enumerate().collect();
    oldest.sort_by_key(|(_, seen)| seen.modified);
    for track in all {
        for (index, seen) in &oldest {
            let index = *index;
            let Some(slot) = holder.get_mut(index).filter(|slot| slot.is_none()) else { continue };
            if track.place == seen.place || !track.starts_like(seen) || !goes_on(track, look, index, seen) {
                continue;
            }
            // What lies on the tailed path itself is never a copy of what lay there.
            if seen.path == track.path {
                continue;
            }
            if track.offset == 0 && (seen.is_current() || held.contains_key(&track.id)) {
                continue;
            }
            let original = held.get(&track.id).copied();
            // While the original lies there, what merely starts alike is no copy of it.
            if original.is_some_and(|original| !is_same_so_far(look, original, index)) {
                continue;
            }
            *slot = Some(track);
            known[index] = original.is_some();
            held.entry(track.id.clone()).or_insert(index);
        }
    }
    known
}

/// Whether two files have the same bytes where the shorter one ends.
fn is_same_so_far(look: &Look<'_>, one: usize, other: usize) -> bool {
    let size = |index: usize| look.seen.get(index).map_or(0, |s| s.size);
    let end = size(one).min(size(other));
    let check = (look.check)(one, end);
    end > 0 && check.is_some() && check == (look.check)(other, end)
}

fn read(look: &Look<'_>, index: usize, track: &Track) -> Option<Read> {
    let seen = look.seen.get(index)?;
    let away = !seen.is_current() || seen.path != track.path;
    let quiet = is_quiet(look, seen);
    let last = away && quiet;
    let more = seen.size > track.offset;
    (more || (last && !track.done)).then(|| Read { seen: index, track: track.clone(), is_new: false, last })
}

fn is_quiet(look: &Look<'_>, seen: &Seen) -> bool {
    look.now.0.saturating_sub(seen.modified.0) >= look.settle_micros
}

/// A copy that is still being made looks like a new file that starts as its original does: until it is quiet, one can't be told from the other.
fn is_being_copied(holder: &[Option<&Track>], look: &Look<'_>, index: usize) -> bool {
    let Some(seen) = look.seen.get(index) else { return false };
    let copy = |(original, t): (usize, &Track)| {
        let rotated = seen.path != t.path && (seen.family == t.path || seen.path.starts_with(&t.path));
        rotated && t.starts_like(seen) && seen.size < t.offset && is_same_so_far(look, original, index)
    };
    !is_quiet(look, seen) && holder.iter().enumerate().any(|(i, t)| t.is_some_and(|t| copy((i, t))))
}

/// A file without a position: a current one is read from its start, one that was rotated away only where that came after the last look.
fn fresh(tracks: &BTreeMap<String, Track>, look: &Look<'_>, index: usize) -> Option<Read> {
    let seen = look.seen.get(index).filter(|s| !s.head.is_empty())?;
    if !seen.is_current() {
        let family = tracks.values().filter(|t| t.path == seen.family);
        let latest = family.map(|t| t.updated).max().unwrap_or(look.since);
        if seen.modified.0.saturating_add(SLACK_MICROS) < latest.0 {
            return None;
        }
    }
    let quiet = is_quiet(look, seen);
    let mut track = Track::new(seen, 0, look.now);
    let same = |t: &&Track| t.place == track.place && t.len == track.len && t.hash == track.hash;
    if let Some(last) = tracks.values().filter(same).map(|t| t.generation).max() {
        track = Track::new(seen, last + 1, look.now);
    }
    Some(Read { seen: index, track, is_new: true, last: !seen.is_current() && quiet })
}
