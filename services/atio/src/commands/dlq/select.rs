//! Which dead letters somebody means, and which of them are of one record. Owns the selection; must not know what is done with them.
use super::{
    letter::{At, Letter},
    marks::told,
};
use crate::{
    commands::look::Look,
    exit::{Exit, Failure},
};
use atio_runtime::clock;
use atio_schemas::{Timestamp, letter::LetterMark};
use atio_topics::units::parse_span;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Letters of one command at most.
const MAX: usize = 1_000_000;

#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// The topic, with or without prefix and `.dlq`
    pub topic: String,
    /// Only with this reason
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Only of this stage, such as routing.threat-detection-response.siem
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// Only letters of this time or later: 2026-01-02T03:04:05Z, or 30m, 12h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only letters from before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only these, by partition and offset
    #[arg(long, value_name = "PARTITION/OFFSET", num_args = 1..)]
    pub at: Vec<At>,
    /// Letters at most, the oldest first
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Also what was replayed or dropped already
    #[arg(long)]
    pub again: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Some(span) = parse_span(text) {
        return Ok(clock::now().plus_millis(-span.millis()));
    }
    Timestamp::parse(text).map_err(|e| format!("a time with an offset from UTC, or 30m, 12h, 7d ago ({e})"))
}

impl Which {
    fn takes(&self, letter: Letter<'_>) -> bool {
        self.code.as_deref().is_none_or(|code| code == letter.code())
            && self.stage.as_deref().is_none_or(|stage| stage == letter.stage())
            && self.since.is_none_or(|since| letter.0.timestamp >= since)
            && self.until.is_none_or(|until| letter.0.timestamp < until)
            && (self.at.is_empty() || self.at.contains(&letter.at()))
    }
}

/// A letter that stands for its record, and the others of that record, which are dealt with in the same stroke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub at: At,
    pub others: Vec<At>,
}

impl Unit {
    pub fn letters(&self) -> impl Iterator<Item = At> {
        [self.at].into_iter().chain(self.others.iter().copied())
    }
}

#[derive(Debug, Default)]
pub struct Chosen {
    /// By the place of the letter that stands for the record.
    pub units: BTreeMap<At, Unit>,
    /// Stage and code of the same.
    pub reasons: BTreeMap<At, (String, String)>,
    /// Letters that the selection means and that were dealt with before.
    pub done: Vec<LetterMark>,
}

/// Letters as they are read, light.
#[derive(Default)]
pub struct Seen {
    by_record: HashMap<[u8; 32], Vec<At>>,
    wanted: Vec<Wanted>,
    sources: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Wanted {
    time: Timestamp,
    at: At,
    record: [u8; 32],
    stage: Arc<str>,
    code: Arc<str>,
}

impl Seen {
    /// Reads the whole topic once.
    pub fn read(look: &Look, topic: &str, which: &Which) -> anyhow::Result<Self> {
        let mut seen = Self::default();
        let mut names = BTreeSet::new();
        let mut too_many = false;
        look.scan(topic, |entry| {
            let letter = Letter(&entry);
            let record = letter.record_id();
            seen.by_record.entry(record).or_default().push(letter.at());
            if !which.takes(letter) {
                return;
            }
            if seen.wanted.len() == MAX {
                too_many = true;
                return;
            }
            seen.sources.extend(letter.source().map(str::to_owned));
            let (stage, code) = (shared(&mut names, letter.stage()), shared(&mut names, letter.code()));
            seen.wanted.push(Wanted { time: entry.timestamp, at: letter.at(), record, stage, code });
        })?;
        if too_many {
            return Err(Failure::usage(format!(
                "more than {MAX} letters: narrow them down, by --since or --code"
            )));
        }
        let is_there = |at: &At| seen.wanted.iter().any(|w| w.at == *at);
        let missing: Vec<String> = which.at.iter().filter(|at| !is_there(at)).map(At::to_string).collect();
        if !missing.is_empty() && !look.is_stopped() {
            return Err(Failure::usage(format!("{topic} has no such letter at {}", missing.join(", "))));
        }
        Ok(seen)
    }

    /// The topics that they come from.
    pub fn sources(&self) -> impl Iterator<Item = &String> {
        self.sources.iter()
    }

    /// What is left to do, the oldest first.
    pub fn units<'m>(mut self, which: &Which, mark: impl Fn(At) -> Option<&'m LetterMark>) -> Chosen {
        self.wanted.sort_unstable_by_key(|w| (w.time, w.at));
        let mut chosen = Chosen::default();
        let limit = which.limit.unwrap_or(usize::MAX);
        for wanted in self.wanted {
            if chosen.units.len() >= limit {
                break;
            }
            let at = wanted.at;
            if let Some(mark) = mark(at).filter(|_| !which.again) {
                chosen.done.push(mark.clone());
                continue;
            }
            // Whoever takes one takes all of its record; the next of them finds nothing left.
            let Some(mut all) = self.by_record.remove(&wanted.record) else { continue };
            all.retain(|other| *other != at && (which.again || mark(*other).is_none()));
            chosen.reasons.insert(at, (wanted.stage.to_string(), wanted.code.to_string()));
            chosen.units.insert(at, Unit { at, others: all });
        }
        chosen
    }
}

/// The same text once.
fn shared(names: &mut BTreeSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = names.get(text) {
        return known.clone();
    }
    let fresh: Arc<str> = Arc::from(text);
    names.insert(fresh.clone());
    fresh
}

impl Chosen {
    /// What was dealt with before is told; where nothing else is left, that is the answer.
    pub fn refuse_what_is_done(&self) -> anyhow::Result<()> {
        let Some(first) = self.done.first().filter(|_| self.units.is_empty()) else { return Ok(()) };
        let more = if self.done.len() > 1 {
            format!(" ({} letters are done)", self.done.len())
        } else {
            String::new()
        };
        let message = format!("{}: {}{more}; --again does it once more", first.key(), told(first));
        Err(Failure::with(Exit::Refused, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dlq::letter::tests::entry;
    use atio_schemas::letter::LetterAction;
    use atio_stream::read::Entry;

    fn which() -> Which {
        Which {
            topic: "x".into(),
            code: None,
            stage: None,
            since: None,
            until: None,
            at: vec![],
            limit: None,
            again: false,
        }
    }

    fn at(offset: i64) -> At {
        At { partition: 0, offset }
    }

    fn mark(offset: i64) -> LetterMark {
        LetterMark {
            topic: "x.dlq".into(),
            partition: 0,
            offset,
            action: LetterAction::Replayed,
            replays: 1,
            to: None,
            sha256_before: None,
            sha256_after: None,
            actor: "carol".into(),
            reason: None,
            run_id: "r".into(),
            at: Timestamp(0),
        }
    }

    /// Letters at offsets 0 to 3; 1 and 2 are of one record.
    fn seen(wanted: &[i64]) -> Seen {
        let id = |offset: i64| [if offset == 2 { 1 } else { offset as u8 }; 32];
        let mut seen = Seen::default();
        (0..4).for_each(|o| seen.by_record.entry(id(o)).or_default().push(at(o)));
        let wanted = wanted.iter().map(|o| Wanted {
            time: Timestamp(*o),
            at: at(*o),
            record: id(*o),
            stage: "s".into(),
            code: "c".into(),
        });
        seen.wanted = wanted.collect();
        seen
    }

    fn chosen(wanted: &[i64], done: &[LetterMark], which: &Which) -> (Vec<(i64, Vec<i64>)>, usize) {
        let chosen = seen(wanted).units(which, |at| done.iter().find(|m| m.offset == at.offset));
        let of = |u: Unit| (u.at.offset, u.others.iter().map(|o| o.offset).collect());
        (chosen.units.into_values().map(of).collect(), chosen.done.len())
    }

    #[test]
    fn letters_of_one_record_go_together() {
        assert_eq!(chosen(&[0, 1, 2, 3], &[], &which()).0, [(0, vec![]), (1, vec![2]), (3, vec![])]);
        assert_eq!(chosen(&[2], &[], &which()).0, [(2, vec![1])], "also what the selection leaves out");
        let two = Which { limit: Some(2), ..which() };
        assert_eq!(chosen(&[3, 1, 0], &[], &two).0, [(0, vec![]), (1, vec![2])], "the oldest first");
    }

    #[test]
    fn what_is_done_is_done() {
        assert_eq!(chosen(&[0, 3], &[mark(0)], &which()), (vec![(3, vec![])], 1));
        let again = Which { again: true, ..which() };
        assert_eq!(chosen(&[0, 3], &[mark(0)], &again), (vec![(0, vec![]), (3, vec![])], 0));
        let none = Chosen { done: vec![mark(0)], ..Chosen::default() };
        let error = none.refuse_what_is_done().unwrap_err();
        assert!(error.to_string().contains("x.dlq/0/0: replayed by carol"), "{error}");
        assert_eq!(crate::exit::of(&error), Exit::Refused);
    }

    #[test]
    fn what_is_meant() {
        let takes = |which: &Which, entry: &Entry| which.takes(Letter(entry));
        let letter = entry(&[("code", "empty")], b"");
        assert!(takes(&which(), &letter));
        assert!(takes(&Which { code: Some("empty".into()), ..which() }, &letter));
        assert!(!takes(&Which { code: Some("too_deep".into()), ..which() }, &letter));
        assert!(!takes(&Which { stage: Some("enrichment".into()), ..which() }, &letter));
        assert!(takes(&Which { since: Some(Timestamp(9_000_000)), ..which() }, &letter));
        assert!(!takes(&Which { until: Some(Timestamp(9_000_000)), ..which() }, &letter));
        assert!(takes(&Which { at: vec![At { partition: 1, offset: 5 }], ..which() }, &letter));
        assert!(!takes(&Which { at: vec![at(5)], ..which() }, &letter));
        assert!(time("3 days ago").is_err() && time("12h").is_ok() && time("2026-01-02T03:04:05Z").is_ok());
    }
}
