//! What a table's rows were, and when: every version that its topic still has. Owns which version is seen from where, and whether older ones may be
//! missing. Must not know: who reads a topic.
use atio_schemas::Timestamp;
use atio_vrl::Row;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Where a row lies on the table's topic, and the broker's time of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
    pub at: Timestamp,
}

/// How much of the topic is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    Now,
    /// What was there by this time.
    By(Timestamp),
    /// By partition, what lies below this offset; nothing of other partitions.
    UpTo(Arc<BTreeMap<i32, i64>>),
}

impl Seen {
    #[must_use]
    pub fn sees(&self, place: &Place) -> bool {
        match self {
            Self::Now => true,
            Self::By(at) => place.at <= *at,
            Self::UpTo(offsets) => offsets.get(&place.partition).is_some_and(|end| place.offset < *end),
        }
    }
}

struct Version {
    place: Place,
    /// None: it was deleted.
    row: Option<Arc<Row>>,
}

/// Of each partition the last row that may have taken the place of one that is gone.
#[derive(Clone, Debug, Default)]
pub struct Folded(BTreeMap<i32, Place>);

impl Folded {
    /// A row that is old enough that compaction may have removed what was there before it under its key; in the order of its partition.
    pub fn add(&mut self, place: Place) {
        self.0.insert(place.partition, place);
    }
    /// Whether what is seen so is certainly all that was there: nothing that it does not see can have taken the place of something that it would.
    #[must_use]
    pub fn is_whole(&self, seen: &Seen) -> bool {
        self.0.values().all(|place| seen.sees(place))
    }
}

/// A table with its past.
#[derive(Default)]
pub struct History {
    rows: HashMap<Box<str>, Vec<Version>>,
    versions: usize,
    folded: Folded,
}

impl History {
    /// The next row of its partition. `may_fold`: it is old enough that compaction may have removed what was there before it under its key.
    pub fn add(&mut self, key: &str, place: Place, row: Option<Row>, may_fold: bool) {
        self.versions += 1;
        if may_fold {
            self.folded.add(place);
        }
        let row = row.map(Arc::new);
        self.rows.entry(Box::from(key)).or_default().push(Version { place, row });
    }

    /// How many it has, of all rows.
    #[must_use]
    pub const fn versions(&self) -> usize {
        self.versions
    }

    /// The row as it is seen so.
    #[must_use]
    pub fn get(&self, key: &str, seen: &Seen) -> Option<&Arc<Row>> {
        self.rows.get(key)?.iter().rev().find(|version| seen.sees(&version.place))?.row.as_ref()
    }

    /// As for [`Folded::is_whole`].
    #[must_use]
    pub fn is_whole(&self, seen: &Seen) -> bool {
        self.folded.is_whole(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Option<Row> {
        Some(Row::from([("a".to_owned(), text.to_owned())]))
    }
    fn at(partition: i32, offset: i64) -> Place {
        Place { partition, offset, at: Timestamp(offset * 10) }
    }
    fn up_to(offsets: &[(i32, i64)]) -> Seen {
        Seen::UpTo(Arc::new(offsets.iter().copied().collect()))
    }
    fn cell<'h>(history: &'h History, key: &str, seen: &Seen) -> Option<&'h str> {
        history.get(key, seen).map(|row| row["a"].as_str())
    }

    fn history(folded: &[i64]) -> History {
        let mut history = History::default();
        history.add("x", at(0, 1), row("one"), folded.contains(&1));
        history.add("x", at(0, 4), row("two"), folded.contains(&4));
        history.add("y", at(1, 2), row("here"), false);
        history.add("x", at(0, 6), None, folded.contains(&6));
        history.add("x", at(0, 8), row("again"), folded.contains(&8));
        history
    }

    #[test]
    fn a_row_is_what_it_was() {
        let history = history(&[]);
        let x = |end: i64| cell(&history, "x", &up_to(&[(0, end)]));
        let seen = [0, 1, 2, 4, 5, 6, 7, 8, 9].map(x);
        let (one, two) = (Some("one"), Some("two"));
        assert_eq!(seen, [None, None, one, one, two, two, None, None, Some("again")]);
        assert_eq!(cell(&history, "y", &up_to(&[(0, 9)])), None, "a partition of which nothing was seen");
        assert_eq!(cell(&history, "y", &up_to(&[(1, 3)])), Some("here"));
        assert_eq!(cell(&history, "x", &Seen::By(Timestamp(50))), two);
        assert_eq!(cell(&history, "x", &Seen::Now), Some("again"));
        assert_eq!((cell(&history, "z", &Seen::Now), history.versions()), (None, 5));
    }

    /// What compaction may have removed was replaced by something that is old.
    #[test]
    fn what_may_be_missing_is_known() {
        let history = history(&[1, 4]);
        assert!(history.is_whole(&up_to(&[(0, 5)])) && history.is_whole(&Seen::Now));
        assert!(
            !history.is_whole(&up_to(&[(0, 4)])),
            "the row at 4 may be in the place of one between 1 and 4"
        );
        assert!(history.is_whole(&Seen::By(Timestamp(40))) && !history.is_whole(&Seen::By(Timestamp(39))));
        assert!(!history.is_whole(&up_to(&[(1, 9)])), "nothing of a partition was seen");
        assert!(self::history(&[]).is_whole(&up_to(&[])));
    }
}
