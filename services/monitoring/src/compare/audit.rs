//! Records of the audit topic as the comparison takes them. Owns what of an entry is kept; must not know keys of the other topics.
use super::{Compare, Heads, Place};
use crate::{
    report::{self, Kind, Report},
    trail::{Chain, Head, Link},
    written::{Details, Hash, Topic, Written, hex, object, unhex},
};
use atio_schemas::{
    audit::{self, AuditEntry},
    command::ObjectKind,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What an entry says that others go by.
#[derive(Clone, Debug)]
pub enum Facts {
    Command { id: String, object: (ObjectKind, String), details: Box<Details> },
    Tampering { report: Box<Report>, written: Vec<Written> },
    Other,
}

impl Facts {
    #[must_use]
    pub fn of(entry: &AuditEntry) -> Self {
        if entry.action == report::ACTION {
            return serde_json::from_str::<Told>(&entry.details).map_or(Self::Other, |told| {
                Self::Tampering { report: Box::new(told.report), written: told.written }
            });
        }
        let found = object(entry).map(|(kind, name)| (kind, name.to_owned()));
        match (found, Details::read(entry)) {
            (Some(object), Some(details)) => {
                Self::Command { id: entry.intent_id.clone(), object, details: Box::new(details) }
            }
            _ => Self::Other,
        }
    }
}

/// The details of a tampering's entry.
#[derive(Deserialize)]
struct Told {
    #[serde(flatten)]
    report: Report,
    #[serde(default)]
    written: Vec<Written>,
}

/// An entry that waits for a head to vouch for it.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) place: Place,
    pub(super) facts: Facts,
}

impl Noted {
    pub(super) fn stray(&self, chain: &str, kind: Kind, text: &str) -> Report {
        at(chain, kind, &self.place, text)
    }
}

/// Of a chain as a whole.
pub(super) fn about(chain: &str, kind: Kind, text: &str) -> Report {
    Report {
        finding: kind,
        topic: Topic::Audit,
        key: chain.to_owned(),
        offset: None,
        timestamp: None,
        expected: None,
        found: None,
        message: format!("audit chain {chain}: {text}"),
        kind: ObjectKind::Audit,
        name: chain.to_owned(),
        version: None,
        definition: None,
        found_definition: None,
    }
}

fn at(chain: &str, kind: Kind, place: &Place, text: &str) -> Report {
    Report {
        key: place.key.clone(),
        offset: Some(place.offset),
        timestamp: Some(place.timestamp),
        found: place.hash.as_ref().map(hex),
        message: format!("audit log: {} at offset {} {text}", place.key, place.offset),
        ..about(chain, kind, text)
    }
}

impl Compare {
    /// The next record of the audit topic. `entry`: None = a null; Err = why it does not read.
    pub fn audit(&mut self, place: Place, entry: Result<Option<&AuditEntry>, String>) {
        let chain = place.key.rsplit_once('/').map_or(place.key.as_str(), |(chain, _)| chain).to_owned();
        let (kind, text) = match entry {
            Ok(Some(entry)) => match link(&place, entry) {
                Ok(link) => {
                    let chain = self.chains.entry(entry.chain.clone()).or_default();
                    let late = chain.add(link);
                    for link in chain.crowded() {
                        self.ours(link.what);
                    }
                    let Some(late) = late else { return };
                    let report = late.what.stray(&entry.chain, Kind::Rewritten, "was written again");
                    self.strays.insert(place.offset, report);
                    return;
                }
                Err(wrong) => wrong,
            },
            Ok(None) => (Kind::Deleted, "was overwritten with nothing".to_owned()),
            Err(why) => (Kind::Unreadable, format!("is no entry: {why}")),
        };
        self.strays.insert(place.offset, at(&chain, kind, &place, &text));
    }
}

fn link(place: &Place, entry: &AuditEntry) -> Result<Link<Noted>, (Kind, String)> {
    if place.key != format!("{}/{}", entry.chain, entry.sequence) {
        return Err((Kind::WrongKey, format!("holds entry {} of {}", entry.sequence, entry.chain)));
    }
    let (previous, hash) =
        hashes(entry).ok_or_else(|| (Kind::Altered, "has another hash than its content".to_owned()))?;
    let what = Noted { place: place.clone(), facts: Facts::of(entry) };
    Ok(Link { sequence: entry.sequence, previous, hash, what })
}

/// Of the entry before and of this one's content; none where they are not what it says.
fn hashes(entry: &AuditEntry) -> Option<(Hash, Hash)> {
    let fits = entry.sequence > 0 && audit::hash(entry) == entry.hash;
    fits.then(|| unhex(&entry.previous).zip(unhex(&entry.hash))).flatten()
}

/// Of these entries those that the noted heads vouch for, by chain and in order; of a chain without a noted head, those that link. What others put
/// there is left out, and so is what does not fit its hash.
#[must_use]
pub fn trusted(entries: Vec<AuditEntry>, heads: &Heads) -> BTreeMap<String, Vec<AuditEntry>> {
    let mut chains: BTreeMap<String, Chain<AuditEntry>> = BTreeMap::new();
    for entry in entries {
        if let Some((previous, hash)) = hashes(&entry) {
            let chain = chains.entry(entry.chain.clone()).or_default();
            // Nothing is settled yet: nothing is late.
            drop(chain.add(Link { sequence: entry.sequence, previous, hash, what: entry }));
        }
    }
    let settled = chains.into_iter().filter_map(|(name, mut chain)| {
        let noted = heads.noted.get(&name);
        if noted.is_none() && !heads.unnoted.contains(&name) {
            return None;
        }
        let ours = match noted.and_then(Head::of) {
            Some(noted) => chain.settle(noted).ours,
            None => chain.settle_as_it_links(),
        };
        Some((name, ours.into_iter().map(|l| l.what).collect()))
    });
    settled.collect()
}
