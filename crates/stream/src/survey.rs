//! How every group of ours stands, asked for again and again: a survey keeps its connection, and asks for a group's offsets only where something
//! moved. Owns when what is asked; must not know who shows it. Calls block, each round for a limited time.
use crate::{
    admin::{AdminError, Committed},
    client::survey::{Connection, Offsets},
    config::Kafka,
    ledger::{Counts, Ledger},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// One question to a broker takes so long at most.
const QUESTION: Duration = Duration::from_secs(2);
/// A group that seems at rest is asked again after so long: a timer may have settled what it held.
const AT_REST: Duration = Duration::from_secs(60);
/// Groups and partitions at most; what is over is left out.
const GROUPS_MAX: usize = 1000;
const PARTITIONS_MAX: i32 = 50_000;

/// A group: how far it is behind, and how its records have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Records between committed and last stable offset, by topic.
    pub lag: BTreeMap<String, i64>,
    /// The ledgers of its partitions, added up.
    pub counts: Counts,
    /// Partitions that carry a ledger.
    pub ledgers: usize,
}

/// What one round gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By group, its prefix taken off.
    pub groups: BTreeMap<String, Standing>,
    /// Offsets between beginning and last stable one, by dead-letter topic.
    pub dead_letters: BTreeMap<String, i64>,
}

struct Known {
    committed: Vec<Committed>,
    ends: Vec<Option<i64>>,
    asked: Instant,
}

/// See the module's head.
pub struct Survey {
    connection: Connection,
    prefix: String,
    /// Topics that are not under the prefix and are read all the same.
    adopted: BTreeSet<String>,
    known: BTreeMap<String, Known>,
}

impl Survey {
    /// # Errors
    /// `refused`: settings that the client does not take.
    pub fn open(
        kafka: &Kafka,
        client_id: &str,
        prefix: &str,
        adopted: BTreeSet<String>,
    ) -> Result<Self, AdminError> {
        let connection = Connection::open(kafka, client_id)?;
        Ok(Self { connection, prefix: prefix.to_owned(), adopted, known: BTreeMap::new() })
    }

    /// One round, of about `limit` at most. Groups that there was no time for are as they were seen last.
    ///
    /// # Errors
    /// See [`AdminError`]; what was seen before stays for the next round.
    pub fn look(&mut self, limit: Duration) -> Result<Seen, AdminError> {
        let deadline = Instant::now() + limit;
        let topics = self.topics()?;
        let ends = self.connection.ends(&topics, false, QUESTION)?;
        let groups = self.groups()?;
        self.known.retain(|name, _| groups.contains(name));
        // Who was asked longest ago comes first, so that a limit leaves nobody out for good.
        let mut due: Vec<&String> = groups.iter().filter(|g| self.is_due(g, &ends)).collect();
        due.sort_by_key(|g| self.known.get(*g).map(|k| k.asked));
        for group in due {
            if Instant::now() >= deadline {
                break;
            }
            let committed = self.connection.committed(group, &topics, QUESTION)?;
            let at = committed.iter().map(|c| end(&ends, c)).collect();
            self.known.insert(group.clone(), Known { committed, ends: at, asked: Instant::now() });
        }
        let standing = |(name, known): (&String, &Known)| {
            (name.strip_prefix(&self.prefix).unwrap_or(name).to_owned(), standing(&known.committed, &ends))
        };
        Ok(Seen {
            groups: self.known.iter().map(standing).collect(),
            dead_letters: self.dead_letters(&topics, &ends)?,
        })
    }

    fn topics(&self) -> Result<BTreeMap<String, i32>, AdminError> {
        let mut topics = self.connection.topics(QUESTION)?;
        let mut left = PARTITIONS_MAX;
        topics.retain(|name, partitions| {
            let ours = name.starts_with(&self.prefix) || self.adopted.contains(name);
            if ours {
                left = left.saturating_sub(*partitions);
            }
            ours && left > 0
        });
        Ok(topics)
    }

    fn groups(&self) -> Result<BTreeSet<String>, AdminError> {
        let all = self.connection.groups(QUESTION)?;
        Ok(all.into_iter().filter(|g| g.starts_with(&self.prefix)).take(GROUPS_MAX).collect())
    }

    /// Something came in since, something is left to read, or it is long ago.
    fn is_due(&self, group: &str, ends: &Offsets) -> bool {
        let Some(known) = self.known.get(group) else { return true };
        let at_rest = known.committed.iter().zip(&known.ends).all(|(c, seen)| {
            let now = end(ends, c);
            now == *seen && now.is_none_or(|n| c.offset.is_some_and(|at| at >= n))
        });
        !at_rest || known.committed.is_empty() || known.asked.elapsed() > AT_REST
    }

    fn dead_letters(
        &self,
        topics: &BTreeMap<String, i32>,
        ends: &Offsets,
    ) -> Result<BTreeMap<String, i64>, AdminError> {
        let dead: BTreeMap<String, i32> = topics
            .iter()
            .filter(|(name, _)| name.ends_with(".dlq") || name.ends_with("-dlq"))
            .map(|(name, n)| (name.clone(), *n))
            .collect();
        let begins = self.connection.ends(&dead, true, QUESTION)?;
        let mut counts: BTreeMap<String, i64> = dead.into_keys().map(|name| (name, 0)).collect();
        for (tp, begin) in begins {
            let span = ends.get(&tp).map_or(0, |end| (end - begin).max(0));
            if let Some(count) = counts.get_mut(&tp.0) {
                *count += span;
            }
        }
        Ok(counts)
    }
}

fn end(ends: &Offsets, committed: &Committed) -> Option<i64> {
    ends.get(&(committed.topic.clone(), committed.partition)).copied()
}

fn standing(committed: &[Committed], ends: &Offsets) -> Standing {
    let mut standing = Standing::default();
    for c in committed {
        let lag = end(ends, c).zip(c.offset).map_or(0, |(end, at)| (end - at).max(0));
        *standing.lag.entry(c.topic.clone()).or_default() += lag;
        if let Some(ledger) = Ledger::from_metadata(&c.metadata) {
            standing.counts.add(&ledger.counts);
            standing.ledgers += 1;
        }
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_and_ledgers_of_partitions_are_added_up() {
        let mut ledger = Ledger::new(1);
        ledger.counts = Counts { read: 3, emitted: 2, held: 1, ..Counts::default() };
        let of = |partition, offset, metadata: &str| Committed {
            topic: "atio.t".into(),
            partition,
            offset: Some(offset),
            metadata: metadata.to_owned(),
        };
        let text = ledger.to_metadata().unwrap();
        let committed = [of(0, 5, &text), of(1, 7, &text), of(2, 9, "foreign")];
        let ends: Offsets = [(0, 8), (1, 6)].map(|(p, n)| (("atio.t".to_owned(), p), n)).into();
        let standing = standing(&committed, &ends);
        assert_eq!(standing.lag["atio.t"], 3, "an end behind the committed offset is no lag");
        assert_eq!((standing.counts.read, standing.counts.held, standing.ledgers), (6, 2, 2));
        assert!(standing.counts.balanced());
    }
}
