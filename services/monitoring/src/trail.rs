//! Which entries of the audit log are monitoring's: those on the way back from the head that it noted in its offset commits. Pure. Owns one
//! chain's links; must not know what an entry says or where it was read from.
use crate::written::Hash;
use std::collections::BTreeMap;

/// Entries of a chain that wait for a head to vouch for them, at most; above, the oldest are taken as they link.
const PENDING_MAX: usize = 100_000;

/// Where a chain ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: i64,
    pub(crate) hash: Hash,
}

/// An entry, as far as its chain goes.
#[derive(Clone, Debug)]
pub(crate) struct Link<T> {
    pub(crate) sequence: i64,
    pub(crate) previous: Hash,
    /// Of its content, as it is.
    pub(crate) hash: Hash,
    pub(crate) what: T,
}

/// The way back is interrupted: from this entry to that, none links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// The hash that the last of them must have.
    pub(crate) wanted: Hash,
    /// The chain ends before its noted head.
    pub(crate) at_end: bool,
}

/// What a head vouches for.
#[derive(Debug)]
pub(crate) struct Way<T> {
    /// In order.
    pub(crate) ours: Vec<Link<T>>,
    /// Under sequences up to the head, and not on the way.
    pub(crate) strays: Vec<Link<T>>,
}

#[derive(Debug)]
pub(crate) struct Chain<T> {
    /// What is vouched for already.
    head: Head,
    pending: BTreeMap<i64, Vec<Link<T>>>,
    count: usize,
}

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Self { head: Head::default(), pending: BTreeMap::new(), count: 0 }
    }
}

impl<T> Chain<T> {
    pub(crate) const fn head(&self) -> Head {
        self.head
    }

    /// The next as they lie on the topic. Back comes what is too late to be ours: its place is taken.
    pub(crate) fn add(&mut self, link: Link<T>) -> Option<Link<T>> {
        if link.sequence <= self.head.sequence {
            return Some(link);
        }
        self.pending.entry(link.sequence).or_default().push(link);
        self.count += 1;
        None
    }

    /// Takes the oldest as they link, while there are too many.
    pub(crate) fn crowded(&mut self) -> Vec<Link<T>> {
        let mut taken = vec![];
        while self.count > PENDING_MAX {
            let Some(link) = self.next() else { break };
            taken.push(link);
        }
        taken
    }

    /// The one that follows the head; its rivals are gone with it.
    fn next(&mut self) -> Option<Link<T>> {
        let (sequence, head) = (self.head.sequence + 1, self.head.hash);
        let mut all = self.pending.remove(&sequence)?;
        let Some(at) = all.iter().position(|l| l.previous == head) else {
            self.pending.insert(sequence, all);
            return None;
        };
        self.count -= all.len();
        let link = all.swap_remove(at);
        self.head = Head { sequence, hash: link.hash };
        Some(link)
    }

    /// Where the way back from `noted` is interrupted, down to what is vouched for.
    pub(crate) fn breaks(&self, noted: Head) -> Vec<Break> {
        if noted.sequence < self.head.sequence {
            // The note went back.
            return vec![Break {
                from: noted.sequence + 1,
                to: self.head.sequence,
                wanted: noted.hash,
                at_end: false,
            }];
        }
        self.walk(noted).1
    }

    /// The sequences and hashes of the way back, newest first, and its interruptions.
    fn walk(&self, noted: Head) -> (Vec<Head>, Vec<Break>) {
        let (mut way, mut breaks) = (vec![], vec![]);
        let mut at = noted;
        while at.sequence > self.head.sequence {
            let found = self.pending.get(&at.sequence).and_then(|l| l.iter().find(|l| l.hash == at.hash));
            if let Some(link) = found {
                way.push(at);
                at = Head { sequence: at.sequence - 1, hash: link.previous };
                continue;
            }
            // On below: the nearest that is there, the first under its key.
            let below = self.pending.range(..at.sequence).next_back();
            let next = below.and_then(|(n, l)| Some(Head { sequence: *n, hash: l.first()?.hash }));
            let next = next.unwrap_or(self.head);
            let (from, to) = (next.sequence + 1, at.sequence);
            breaks.push(Break {
                from,
                to,
                wanted: at.hash,
                at_end: to == noted.sequence && !self.pending.contains_key(&to),
            });
            at = next;
        }
        if at.hash != self.head.hash && at.sequence == self.head.sequence {
            breaks.push(Break { from: at.sequence, to: at.sequence, wanted: at.hash, at_end: false });
        }
        (way, breaks)
    }

    /// Moves on to `noted`, over interruptions too.
    pub(crate) fn settle(&mut self, noted: Head) -> Way<T> {
        let (way, _) = self.walk(noted);
        let (mut ours, mut strays) = (vec![], vec![]);
        let later = self.pending.split_off(&(noted.sequence + 1));
        let hashes: BTreeMap<i64, Hash> = way.into_iter().map(|h| (h.sequence, h.hash)).collect();
        for (sequence, all) in std::mem::replace(&mut self.pending, later) {
            self.count -= all.len();
            let mut wanted = hashes.get(&sequence);
            for link in all {
                if wanted == Some(&link.hash) {
                    // A second one of the same content is a stray.
                    wanted = None;
                    ours.push(link);
                } else {
                    strays.push(link);
                }
            }
        }
        self.head = noted;
        Way { ours, strays }
    }

    /// Without a head that vouches: whatever links, as it lies there.
    pub(crate) fn settle_as_it_links(&mut self) -> Vec<Link<T>> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// What no head vouches for yet, in order.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Link<T>> {
        self.pending.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::written::digest;
    use proptest::prelude::*;

    fn links(n: i64) -> Vec<Link<i64>> {
        let mut previous = Hash::default();
        let link = |sequence| {
            let hash = digest(format!("{sequence}{previous:?}").as_bytes());
            let link = Link { sequence, previous, hash, what: sequence };
            previous = hash;
            link
        };
        (1..=n).map(link).collect()
    }

    fn head(l: &Link<i64>) -> Head {
        Head { sequence: l.sequence, hash: l.hash }
    }

    #[test]
    fn a_forged_entry_before_and_after_the_true_one_is_a_stray() {
        let all = links(4);
        for first in [true, false] {
            let forged = Link { hash: digest(b"forged"), what: -3, ..all[2].clone() };
            let mut rows = all.clone();
            rows.insert(if first { 2 } else { 3 }, forged);
            let mut chain = Chain::default();
            assert!(rows.into_iter().all(|l| chain.add(l).is_none()));
            assert_eq!(chain.breaks(head(&all[3])), []);
            let way = chain.settle(head(&all[3]));
            assert_eq!(way.ours.iter().map(|l| l.what).collect::<Vec<_>>(), [1, 2, 3, 4]);
            assert_eq!(way.strays.iter().map(|l| l.what).collect::<Vec<_>>(), [-3]);
            assert!(chain.add(all[1].clone()).is_some(), "its place is taken");
        }
    }

    proptest! {
        #[test]
        fn what_is_not_there_is_a_break(n in 1_i64..9, gone in any::<prop::sample::Index>(), settled in any::<bool>()) {
            let all = links(n);
            let gone = gone.index(all.len());
            let mut chain = Chain::default();
            if settled && gone > 0 {
                chain.add(all[0].clone());
                chain.settle(head(&all[0]));
            }
            for (i, link) in all.iter().enumerate().filter(|(i, _)| *i != gone) {
                prop_assert_eq!(chain.add(link.clone()).is_some(), settled && gone > 0 && i == 0);
            }
            let end = head(all.last().unwrap());
            let sequence = all[gone].sequence;
            let expected = Break { from: sequence, to: sequence, wanted: all[gone].hash, at_end: sequence == n };
            prop_assert_eq!(chain.breaks(end), [expected]);
            chain.settle(end);
            prop_assert_eq!(chain.head(), end);
            prop_assert_eq!(chain.breaks(end), []);
        }
    }
}
