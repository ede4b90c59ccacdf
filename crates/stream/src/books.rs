//! The ledgers of a lane: what is committed of each partition, and what the open transaction adds. Owns their merge; must not know Kafka.
use crate::{
    fault::Tp,
    ledger::{Counts, Ledger},
};
use std::collections::BTreeMap;

/// How often what a stage has done for another ended how: by that one's name and the end.
pub(crate) type LegEnds = BTreeMap<(String, &'static str), u64>;

/// What the open transaction adds to a partition's ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub counts: Counts,
    pub note: Option<String>,
    /// Records that count as dead letters, and are so for others than the stage itself.
    pub of_legs: u64,
    pub legs: LegEnds,
}

#[derive(Default)]
pub(crate) struct Books {
    committed: BTreeMap<Tp, Ledger>,
    open: BTreeMap<Tp, Page>,
}

impl Books {
    pub(crate) fn restored(&mut self, tp: Tp, ledger: Ledger) {
        self.committed.insert(tp, ledger);
    }
    pub(crate) fn release(&mut self, tp: &Tp) {
        self.committed.remove(tp);
        self.open.remove(tp);
    }
    pub(crate) fn page(&mut self, tp: &Tp) -> &mut Page {
        if !self.open.contains_key(tp) {
            self.open.insert(tp.clone(), Page::default());
        }
        self.open.entry(tp.clone()).or_default()
    }
    /// The note as the open transaction has it.
    #[must_use]
    pub(crate) fn note(&self, tp: &Tp) -> Option<&str> {
        let open = self.open.get(tp).and_then(|p| p.note.as_deref());
        open.or_else(|| self.committed.get(tp)?.note.as_deref())
    }
    /// A partition's ledger, the open transaction included.
    #[must_use]
    pub(crate) fn with_open(&self, tp: &Tp) -> Ledger {
        let mut ledger = self.committed.get(tp).cloned().unwrap_or_default();
        ledger.commits += 1;
        if let Some(page) = self.open.get(tp) {
            ledger.counts.add(&page.counts);
            if page.note.is_some() {
                ledger.note.clone_from(&page.note);
            }
        }
        ledger
    }
    /// The transaction is in, with the positions of these partitions. Returns what it added.
    pub(crate) fn merge<'a>(&mut self, partitions: impl Iterator<Item = &'a Tp>) -> Counts {
        let mut added = Counts::default();
        for tp in partitions {
            let merged = self.with_open(tp);
            if let Some(ledger) = self.committed.get_mut(tp) {
                *ledger = merged;
            }
            if let Some(page) = self.open.remove(tp) {
                added.add(&page.counts);
            }
        }
        self.open.clear();
        added
    }
    pub(crate) fn discard(&mut self) {
        self.open.clear();
    }
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Tp> {
        self.committed.keys()
    }
    /// Whether any input has this partition number.
    #[must_use]
    pub(crate) fn holds(&self, partition: i32) -> bool {
        self.committed.keys().any(|tp| tp.partition == partition)
    }
    /// What the open transaction adds, all partitions together.
    #[must_use]
    pub(crate) fn open(&self) -> Counts {
        let mut total = Counts::default();
        self.open.values().for_each(|page| total.add(&page.counts));
        total
    }
    /// See [`Page::of_legs`]; all partitions together.
    #[must_use]
    pub(crate) fn of_legs(&self) -> u64 {
        self.open.values().map(|page| page.of_legs).sum()
    }
    /// What legs came to; all partitions together.
    #[must_use]
    pub(crate) fn legs(&self) -> LegEnds {
        let mut all = LegEnds::new();
        for (leg, n) in self.open.values().flat_map(|page| &page.legs) {
            *all.entry(leg.clone()).or_default() += n;
        }
        all
    }
    /// All partitions together, committed.
    #[must_use]
    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.committed.values().for_each(|ledger| total.add(&ledger.counts));
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_aborted_leaves_no_trace_and_what_is_committed_stays() {
        let tp = Tp::new("t", 0);
        let mut books = Books::default();
        books.restored(tp.clone(), Ledger { epoch: 7, note: Some("a".into()), ..Ledger::default() });
        books.page(&tp).counts.read = 3;
        books.page(&tp).note = Some("b".into());
        assert_eq!((books.note(&tp), books.with_open(&tp).note.as_deref()), (Some("b"), Some("b")));
        books.discard();
        assert_eq!((books.note(&tp), books.total().read), (Some("a"), 0));
        books.page(&tp).counts.read = 2;
        assert_eq!(books.merge(std::iter::once(&tp)).read, 2);
        let ledger = books.with_open(&tp);
        assert_eq!((ledger.epoch, ledger.commits, ledger.counts.read, books.note(&tp)), (7, 2, 2, Some("a")));
    }
}
