//! Records of `workflows` and `workflow-changes` by their keys, against what entries say was written there. Owns the order of what was written under
//! a key; must not know chains.
use super::{Compare, Meaning, Place, object_of, versioned};
use crate::{
    object_key, pointer_key,
    report::{Kind, Report},
    written::{Details, Hash, Topic, Written, digest, hex, unhex},
};
use atio_schemas::{command::ObjectKind, definition::ChangeType};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Records that nothing accounts for are kept up to this number.
const UNACCOUNTED_MAX: usize = 10_000;

/// What an entry vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// This value, or a tombstone.
    Exactly(Option<Hash>),
    /// A text of this hash as this version: an entry without hashes of records.
    Text(i64, Hash),
    Pointer(i64),
    ChangeOf(String),
}

impl Expected {
    fn fits(&self, seen: &Seen) -> bool {
        match (self, &seen.meaning) {
            (Self::Exactly(hash), _) => *hash == seen.place.hash,
            (Self::Text(v, hash), Meaning::Definition { pointer: false, version, text }) => {
                v == version && *hash == digest(text.as_bytes())
            }
            (Self::Pointer(v), Meaning::Definition { pointer: true, version, .. }) => v == version,
            (Self::ChangeOf(id), Meaning::Change { command_id }) => id == command_id,
            _ => false,
        }
    }
    fn text(&self) -> Option<String> {
        match self {
            Self::Exactly(hash) => hash.as_ref().map(hex),
            Self::Text(_, hash) => Some(hex(hash)),
            Self::Pointer(version) => Some(format!("version {version}")),
            Self::ChangeOf(id) => Some(id.clone()),
        }
    }
}

#[derive(Clone, Debug)]
struct Seen {
    place: Place,
    meaning: Meaning,
}

#[derive(Debug, Default)]
struct Key {
    /// Not found on the topic yet, oldest first.
    written: VecDeque<Expected>,
    last: Option<Expected>,
    /// Not accounted for yet, as they lie there.
    seen: Vec<Seen>,
    /// Offsets of the newest record, and of the newest that is monitoring's.
    newest: Option<i64>,
    ours: Option<i64>,
    /// Hash of that; a tombstone has none.
    value: Option<Hash>,
}

impl Key {
    /// What was written last is not the newest that lies there. Older records may be gone: the topic is compacted.
    fn is_wrong(&self) -> bool {
        self.newest != self.ours || self.is_missing()
    }
    fn is_missing(&self) -> bool {
        let gone_with_its_tombstone =
            self.newest.is_none() && self.written.back() == Some(&Expected::Exactly(None));
        // Of several that are the same, tombstones that is, compaction leaves the last.
        let the_same = self.ours.is_some() && self.written.back() == Some(&Expected::Exactly(self.value));
        self.newest == self.ours && !self.written.is_empty() && !gone_with_its_tombstone && !the_same
    }
}

/// What is in force of an object, as the log says.
#[derive(Clone, Debug)]
struct Object {
    version: Option<i64>,
    text: Arc<str>,
}

type Id = (Topic, String);

#[derive(Debug, Default)]
pub(super) struct Keys {
    all: BTreeMap<Id, Key>,
    /// Those with something that is not accounted for.
    open: BTreeSet<Id>,
    objects: BTreeMap<(ObjectKind, String), Object>,
    /// Known as gone: key, and what should be there.
    gone: BTreeSet<(String, Option<String>)>,
    unverifiable: u64,
}

impl Compare {
    /// The next record of `workflows` or `workflow-changes`.
    pub fn record(&mut self, topic: Topic, place: Place, meaning: Meaning) {
        let id = (topic, place.key.clone());
        let key = self.keys.all.entry(id.clone()).or_default();
        key.newest = Some(place.offset);
        key.seen.push(Seen { place, meaning });
        self.keys.open.insert(id);
    }
}

impl Keys {
    pub(super) const fn unverifiable(&self) -> u64 {
        self.unverifiable
    }
    pub(super) fn untrusted(&self) -> usize {
        let wrong = |id: &&Id| id.0 == Topic::Workflows && self.all.get(*id).is_some_and(Key::is_wrong);
        self.open.iter().filter(wrong).count()
    }

    /// What a command's entry vouches for.
    pub(super) fn command(&mut self, id: String, (kind, name): (ObjectKind, String), details: Details) {
        if let Some(written) = details.written.clone() {
            self.written(written);
        } else {
            self.unhashed(id, kind, &name, &details);
        }
        match (details.change_type(), details.definition) {
            (Some(ChangeType::Deletion), _) => {
                if let Some(object) = self.objects.get_mut(&(kind, name)) {
                    object.version = None;
                }
            }
            (_, Some(text)) => {
                let object = Object { version: details.after_version, text: text.into() };
                self.objects.insert((kind, name), object);
            }
            _ => {}
        }
    }

    pub(super) fn written(&mut self, all: Vec<Written>) {
        for one in all {
            let hash = one.sha256.as_deref().and_then(unhex);
            // A hash that does not read fits nothing.
            if one.topic != Topic::Audit && one.sha256.is_some() == hash.is_some() {
                self.expect(one.topic, one.key, Expected::Exactly(hash));
            }
        }
    }

    /// An entry of a version that did not note hashes: what it says of texts and versions is all there is.
    fn unhashed(&mut self, id: String, kind: ObjectKind, name: &str, details: &Details) {
        let pointer = pointer_key(kind, name);
        let change = details.change_type();
        self.expect(Topic::Changes, object_key(kind, name), Expected::ChangeOf(id));
        if change == Some(ChangeType::Deletion) {
            return self.expect(Topic::Workflows, pointer, Expected::Exactly(None));
        }
        let (Some(version), Some(true)) = (details.after_version, change.map(|c| c != ChangeType::Refusal))
        else {
            return;
        };
        if let Some(hash) =
            details.sha256.as_deref().and_then(unhex).filter(|_| details.before_version != Some(version))
        {
            self.expect(Topic::Workflows, format!("{pointer}@{version}"), Expected::Text(version, hash));
        }
        self.expect(Topic::Workflows, pointer, Expected::Pointer(version));
    }

    fn expect(&mut self, topic: Topic, key: String, expected: Expected) {
        let id = (topic, key);
        let key = self.all.entry(id.clone()).or_default();
        key.last = Some(expected.clone());
        key.written.push_back(expected);
        self.open.insert(id);
    }

    /// It was told that this is gone.
    pub(super) fn known(&mut self, report: &Report) {
        if report.topic == Topic::Workflows {
            self.gone.insert((report.key.clone(), report.expected.clone()));
        }
    }

    /// What nothing accounts for and is not known.
    pub(super) fn suspicions(&mut self, known: &BTreeSet<String>) -> Vec<Report> {
        let (mut found, mut open, mut kept) = (vec![], BTreeSet::new(), 0);
        for id in std::mem::take(&mut self.open) {
            let Some(mut key) = self.all.remove(&id) else { continue };
            self.unverifiable += match_up(id.0, &mut key);
            for seen in std::mem::take(&mut key.seen) {
                let report = self.unaccounted(&id, &key.last, &seen);
                if known.contains(&report.id()) {
                    continue;
                }
                found.push(report);
                if kept < UNACCOUNTED_MAX {
                    kept += 1;
                    key.seen.push(seen);
                }
            }
            if id.0 == Topic::Workflows && key.is_missing() {
                let report = self.missing(&id, &key);
                if !self.gone.contains(&(id.1.clone(), report.expected.clone())) {
                    found.push(report);
                }
            }
            // Of changes, older ones are gone with retention: what is left over there stays, and says nothing.
            if !key.seen.is_empty() || (id.0 == Topic::Workflows && key.is_wrong()) {
                open.insert(id.clone());
            }
            self.all.insert(id, key);
        }
        self.open = open;
        found
    }

    fn unaccounted(&self, (topic, key): &Id, last: &Option<Expected>, seen: &Seen) -> Report {
        let kind = match (seen.place.hash, last) {
            (None, _) => Kind::Deleted,
            (Some(_), None) => Kind::Foreign,
            (Some(_), Some(_)) => Kind::Rewritten,
        };
        let what = match kind {
            Kind::Deleted => "was deleted behind ATIO's back, by a record that monitoring did not write",
            Kind::Foreign => "was put there behind ATIO's back: monitoring never wrote this key",
            _ => "was overwritten behind ATIO's back, by a record that monitoring did not write",
        };
        let place = &seen.place;
        let found = match &seen.meaning {
            Meaning::Definition { text, .. } if !text.is_empty() => Some(text.to_string()),
            _ => None,
        };
        Report {
            offset: Some(place.offset),
            timestamp: Some(place.timestamp),
            found: place.hash.as_ref().map(hex),
            found_definition: found,
            ..self.about(*topic, key, kind, last, &format!("{what} (offset {})", place.offset))
        }
    }

    fn missing(&self, (topic, key): &Id, state: &Key) -> Report {
        let what = "is not there as monitoring wrote it last";
        self.about(*topic, key, Kind::Missing, &state.last, what)
    }

    fn about(&self, topic: Topic, key: &str, kind: Kind, last: &Option<Expected>, what: &str) -> Report {
        let (object_kind, name) = object_of(key);
        let object = self.objects.get(&(object_kind, name.to_owned()));
        let subject = match (topic, versioned(key).1) {
            (Topic::Workflows, None) => format!("{object_kind} {name}"),
            (Topic::Workflows, Some(version)) => format!("version {version} of {object_kind} {name}"),
            _ => format!("a change of {object_kind} {name}"),
        };
        Report {
            finding: kind,
            topic,
            key: key.to_owned(),
            offset: None,
            timestamp: None,
            expected: last.as_ref().and_then(Expected::text),
            found: None,
            message: format!("{subject} {what}"),
            kind: object_kind,
            name: name.to_owned(),
            version: object.and_then(|o| o.version),
            definition: object.map(|o| o.text.to_string()),
            found_definition: None,
        }
    }
}

/// Takes out what was written and lies there, in the order of both; of changes, which two chains write, in any. Back comes how many an entry without
/// hashes vouched for.
fn match_up(topic: Topic, key: &mut Key) -> u64 {
    let mut unverifiable = 0;
    let (written, ours, value) = (&mut key.written, &mut key.ours, &mut key.value);
    key.seen.retain(|seen| {
        let Some(at) = written.iter().position(|w| w.fits(seen)) else { return true };
        unverifiable += u64::from(!matches!(written[at], Expected::Exactly(_) | Expected::Text(..)));
        if topic == Topic::Workflows {
            written.drain(..=at);
        } else {
            written.remove(at);
        }
        (*ours, *value) = (Some(seen.place.offset), seen.place.hash);
        false
    });
    unverifiable
}
