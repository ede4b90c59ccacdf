//! What lies on the topics that monitoring alone writes, held against what the audit log says it wrote. Pure. Owns what is suspicious; must not
//! know how topics are read, nor when a suspicion is told.
mod audit;
mod keys;
#[cfg(test)]
mod tests;

pub use audit::{Facts, trusted};

use crate::{
    report::{Kind, Report},
    trail::{Break, Chain, Head},
    written::{Hash, Topic, hex},
};
use atio_schemas::{Timestamp, audit::ChainHead, command::ObjectKind};
use audit::Noted;
use keys::Keys;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Suspicions of one look at most; what is above is one more.
pub const SUSPICIONS_MAX: usize = 1_000;

/// Where a record lies, and what: of no more than that it is made a suspicion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub key: String,
    pub offset: i64,
    pub timestamp: Timestamp,
    /// Of the value; none for a tombstone.
    pub hash: Option<Hash>,
}

/// What a record of `workflows` or `workflow-changes` says, as far as an entry without hashes can vouch for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Definition { pointer: bool, version: i64, text: Arc<str> },
    Change { command_id: String },
    Other,
}

/// The heads that ride in monitoring's offset commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// By chain. One that has nothing yet is at 0.
    pub noted: BTreeMap<String, ChainHead>,
    /// Chains of monitoring's of which nothing is noted.
    pub unnoted: BTreeSet<String>,
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What nothing accounts for and was not told yet. A look may see one topic ahead of another: what stands in two is true.
    pub suspicions: Vec<Report>,
    /// Heads that the log bears out, by chain.
    pub heads: BTreeMap<String, ChainHead>,
    /// Keys of `workflows` whose newest record is not what monitoring wrote last; none while a chain can't be followed.
    pub untrusted: Option<usize>,
    /// Records that an entry without hashes vouches for by what it says alone.
    pub unverifiable: u64,
    /// What the log has of tamperings, by topic and kind, and was not known before.
    pub told: Vec<(Topic, Kind)>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Compare {
    chains: BTreeMap<String, Chain<Noted>>,
    /// Records on the audit topic that are nobody's, by offset.
    strays: BTreeMap<i64, Report>,
    keys: Keys,
    /// Ids of what was told.
    known: BTreeSet<String>,
    told: Vec<(Topic, Kind)>,
}

impl Compare {
    /// It is told, or on its way: from now on it is no suspicion any more.
    pub fn reported(&mut self, report: &Report) -> bool {
        self.keys.known(report);
        self.known.insert(report.id())
    }

    /// What stands against what the log says.
    pub fn look(&mut self, heads: &Heads) -> Look {
        let mut suspicions = vec![];
        // Chains of intents first: they say what was told of the others.
        let names: BTreeSet<&String> =
            self.chains.keys().chain(heads.noted.keys()).chain(&heads.unnoted).collect();
        let names: Vec<String> = names.into_iter().rev().cloned().collect();
        let mut held = false;
        for name in &names {
            let (found, waits) = self.follow(name, heads);
            suspicions.extend(found);
            held |= waits;
        }
        let known = &self.known;
        self.strays.retain(|_, report| !known.contains(&report.id()));
        suspicions.extend(self.strays.values().cloned());
        // A chain that is interrupted vouches for nothing until that is told: its records are not held against anybody meanwhile.
        if !held {
            suspicions.extend(self.keys.suspicions(&self.known));
        }
        suspicions.retain(|report| !known.contains(&report.id()));
        if suspicions.len() > SUSPICIONS_MAX {
            let rest = suspicions.split_off(SUSPICIONS_MAX);
            suspicions.extend(many(&rest).filter(|r| !known.contains(&r.id())));
        }
        Look {
            suspicions,
            heads: self.heads(heads),
            untrusted: (!held).then(|| self.keys.untrusted()),
            unverifiable: self.keys.unverifiable(),
            told: std::mem::take(&mut self.told),
        }
    }

    fn heads(&self, heads: &Heads) -> BTreeMap<String, ChainHead> {
        let borne_out = |name: &String, noted: &ChainHead| {
            let chain = self.chains.get(name)?;
            let head = chain.head();
            (head.sequence > 0 && head.sequence == noted.sequence && hex(&head.hash) == noted.hash)
                .then(|| (name.clone(), noted.clone()))
        };
        heads.noted.iter().filter_map(|(name, noted)| borne_out(name, noted)).collect()
    }

    /// A chain moves on to its noted head; what lies beyond is suspicious, and what keeps it from that: then it waits.
    fn follow(&mut self, name: &str, heads: &Heads) -> (Vec<Report>, bool) {
        let chain = self.chains.entry(name.to_owned()).or_default();
        if let Some(noted) = heads.noted.get(name).and_then(Head::of) {
            let breaks: Vec<Report> = chain.breaks(noted).iter().map(|b| broken(name, b)).collect();
            if breaks.iter().all(|b| self.known.contains(&b.id())) {
                let way = chain.settle(noted);
                for stray in way.strays {
                    let report =
                        stray.what.stray(name, Kind::Rewritten, "is not the one that monitoring wrote");
                    self.strays.insert(stray.what.place.offset, report);
                }
                way.ours.into_iter().for_each(|link| self.ours(link.what));
            } else {
                return (breaks, true);
            }
        } else if heads.unnoted.contains(name) && chain.pending().next().is_some() {
            let report = audit::about(
                name,
                Kind::Unnoted,
                "has entries, and no head is noted in offset commits: they were lost, or somebody else wrote here",
            );
            if self.known.contains(&report.id()) {
                let all = chain.settle_as_it_links();
                all.into_iter().for_each(|link| self.ours(link.what));
            } else {
                return (vec![report], true);
            }
        }
        let chain = self.chains.entry(name.to_owned()).or_default();
        let text = "lies beyond the head that monitoring noted";
        (chain.pending().map(|link| link.what.stray(name, Kind::Foreign, text)).collect(), false)
    }

    /// An entry of monitoring's.
    fn ours(&mut self, noted: Noted) {
        match noted.facts {
            Facts::Command { id, object, details } => self.keys.command(id, object, *details),
            Facts::Tampering { report, written } => {
                self.keys.written(written);
                let topic_kind = (report.topic, report.finding);
                if self.reported(&report) {
                    self.told.push(topic_kind);
                }
            }
            Facts::Other => {}
        }
    }
}

fn broken(chain: &str, b: &Break) -> Report {
    let entries =
        if b.from == b.to { format!("entry {}", b.from) } else { format!("entries {} to {}", b.from, b.to) };
    let (kind, text) = if b.at_end {
        (Kind::Truncated, format!("{entries}: the chain ends before the head that monitoring noted"))
    } else {
        (Kind::Gap, format!("{entries}: missing, or not the ones that the chain goes on from"))
    };
    let mut report = audit::about(chain, kind, &text);
    report.key = format!("{chain}/{}", b.from);
    report.expected = Some(hex(&b.wanted));
    report
}

/// One for each topic of what is too much.
fn many(rest: &[Report]) -> impl Iterator<Item = Report> {
    let mut by_topic: BTreeMap<Topic, (usize, Report)> = BTreeMap::new();
    for report in rest {
        by_topic.entry(report.topic).or_insert_with(|| (0, report.clone())).0 += 1;
    }
    by_topic.into_values().map(|(n, first)| Report {
        finding: Kind::TooMany,
        key: String::new(),
        message: format!("{n} more records that monitoring did not write, from this one on"),
        offset: None,
        timestamp: None,
        expected: None,
        found: None,
        definition: None,
        found_definition: None,
        ..first
    })
}

impl Head {
    pub(crate) fn of(head: &ChainHead) -> Option<Self> {
        Some(Self { sequence: head.sequence, hash: crate::written::unhex(&head.hash)? })
    }
}

/// The object under a key of `workflows`: without its version.
fn object_of(key: &str) -> (ObjectKind, &str) {
    let (object, _) = versioned(key);
    match object.split_once('/').and_then(|(kind, name)| Some((ObjectKind::parse(kind)?, name))) {
        Some(found) => found,
        None => (ObjectKind::Workflow, object),
    }
}

/// `<object>@<n>`.
fn versioned(key: &str) -> (&str, Option<i64>) {
    match key.rsplit_once('@') {
        Some((object, n)) => n.parse().map_or((key, None), |n| (object, Some(n))),
        None => (key, None),
    }
}
