//! Judges what readers of committed records see of alerts that went through the system. It goes by the numbers in the records alone; ledgers
//! are then compared to that, never believed.
use super::load::host;
use crate::support::topic;
use atio_stream::Ledger;
use rdkafka::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Complaints of one sort are kept to so many.
const KEPT: usize = 5;

/// A record of an alert, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Found {
    /// Every number that is in it: one, unless two were torn and mixed.
    pub numbers: BTreeSet<u64>,
    /// Its event's id.
    pub id: String,
    pub partition: i32,
}

/// What a topic has, in order by partition.
pub fn found(bootstrap: &str, topic: &str) -> Vec<Found> {
    let mut all = vec![];
    topic::each(bootstrap, topic, |m| {
        let text = String::from_utf8_lossy(m.payload().unwrap_or_default());
        let id = topic::headers(m).remove("ce_id").unwrap_or_default();
        all.push(Found { numbers: numbers(&text), id, partition: m.partition() });
    });
    all
}

pub fn numbers(text: &str) -> BTreeSet<u64> {
    let number = |(at, _): (usize, &str)| text[at + 5..].split_once("-end")?.0.parse().ok();
    text.match_indices("soak-").filter_map(number).collect()
}

/// A stage's ledgers and what they must have counted.
#[derive(Clone, Debug)]
pub struct Books {
    pub group: String,
    pub ledgers: Vec<Option<Ledger>>,
}

/// All that there is to see once everything is through.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub fed: u64,
    /// In the order of the way; the first is the input, whose records have no ids yet.
    pub topics: Vec<(String, Vec<Found>)>,
    pub books: Vec<Books>,
    /// Dead letters, by topic.
    pub dead: Vec<(String, usize)>,
}

/// What is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Numbers that are missing, by topic.
    pub lost: BTreeMap<String, BTreeSet<u64>>,
    /// Numbers that are there more than once.
    pub twice: BTreeMap<String, BTreeSet<u64>>,
    pub other: BTreeMap<&'static str, Vec<String>>,
}

impl Findings {
    pub fn lines(&self) -> Vec<String> {
        let numbers = |what: &str, all: &BTreeMap<String, BTreeSet<u64>>| {
            let line = |(topic, some): (&String, &BTreeSet<u64>)| {
                let first: Vec<_> = some.iter().take(KEPT).collect();
                format!("{topic}: {} {what}: {first:?}", some.len())
            };
            all.iter().map(line).collect::<Vec<_>>()
        };
        let other = self
            .other
            .iter()
            .map(|(sort, all)| format!("{sort} × {}: {}", all.len(), all[..all.len().min(KEPT)].join(", ")));
        [numbers("lost", &self.lost), numbers("twice", &self.twice), other.collect()].concat()
    }
    fn check(&mut self, good: bool, sort: &'static str, what: impl FnOnce() -> String) {
        if !good {
            self.other.entry(sort).or_default().push(what());
        }
    }
}

/// Every number that was fed is once on each topic, whole, under one id, in order by host; ledgers say the same; nothing is dead.
pub fn judge(e: &Evidence) -> Findings {
    let mut findings = Findings::default();
    let mut ids: HashMap<u64, String> = HashMap::new();
    for (at, (topic, all)) in e.topics.iter().enumerate() {
        topic_has(e.fed, topic, all, &mut findings);
        if at > 0 {
            one_id(topic, all, &mut ids, &mut findings);
        }
    }
    let distinct: BTreeSet<&String> = ids.values().collect();
    findings.check(distinct.len() == ids.len(), "ids that two alerts have", || {
        format!("{} of {}", distinct.len(), ids.len())
    });
    for books in &e.books {
        balanced(e.fed, books, &mut findings);
    }
    for (topic, count) in &e.dead {
        findings.check(*count == 0, "dead letters", || format!("{topic} {count}"));
    }
    findings
}

fn topic_has(fed: u64, topic: &str, all: &[Found], f: &mut Findings) {
    let mut left: BTreeSet<u64> = (0..fed).collect();
    let mut last: HashMap<(i32, String), u64> = HashMap::new();
    for found in all {
        let (Some(n), 1) = (found.numbers.first().copied(), found.numbers.len()) else {
            f.check(false, "torn", || format!("{topic}: {found:?}"));
            continue;
        };
        if !left.remove(&n) {
            if n < fed {
                f.twice.entry(topic.to_owned()).or_default().insert(n);
            } else {
                f.check(false, "from nowhere", || format!("{topic}: {n}"));
            }
            continue;
        }
        let before = last.insert((found.partition, host(n)), n);
        f.check(before.is_none_or(|b| b < n), "order", || format!("{topic}: {n} after {before:?}"));
    }
    if !left.is_empty() {
        f.lost.insert(topic.to_owned(), left);
    }
}

fn one_id(topic: &str, all: &[Found], ids: &mut HashMap<u64, String>, f: &mut Findings) {
    for found in all {
        let Some(n) = found.numbers.first().copied() else { continue };
        let id = ids.entry(n).or_insert_with(|| found.id.clone());
        f.check(!id.is_empty() && *id == found.id, "id", || {
            format!("{topic}: {n} is {:?}, was {id:?}", found.id)
        });
    }
}

fn balanced(fed: u64, books: &Books, f: &mut Findings) {
    let mut sums = [0; 4];
    for ledger in &books.ledgers {
        let Some(ledger) = ledger else {
            f.check(false, "no ledger", || books.group.clone());
            continue;
        };
        let c = &ledger.counts;
        f.check(c.balanced(), "not balanced", || format!("{}: {c:?}", books.group));
        let counted = [
            c.read,
            c.emitted,
            u64::try_from(c.held).unwrap_or(u64::MAX >> 8),
            c.dropped_total() + c.dead_lettered_total(),
        ];
        sums.iter_mut().zip(counted).for_each(|(sum, n)| *sum += n);
    }
    f.check(sums == [fed, fed, 0, 0], "ledger", || {
        format!("{}: read, emitted, held, ended are {sums:?}; fed {fed}", books.group)
    });
}
