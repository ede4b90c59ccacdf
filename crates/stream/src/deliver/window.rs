//! The order of deliveries in one partition (exactly-once, rule 22). Pure: owns what may go now, what waits for its key, what is finished up
//! to where; must not know sinks, tokio or Kafka.
use crate::machine::Millis;
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

/// Where a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Ready,
    Flying,
    Waiting { until: Millis },
    Done,
}

/// What is held until it is committed.
pub(crate) trait Held {
    /// What it takes of the memory, about.
    fn bytes(&self) -> usize;
}

/// One record of the partition; `T` is whatever is delivered and, in the end, its result.
struct Entry<T> {
    offset: i64,
    /// Deliveries of one key go one after the other; without a key, on their own.
    key: Option<Arc<[u8]>>,
    item: T,
    at: Where,
    attempt: u32,
}

/// The records of a partition between the committed offset and the consumer's position.
pub(crate) struct Window<T> {
    entries: VecDeque<Entry<T>>,
    flying: usize,
    limit: usize,
    /// Of all items.
    bytes: usize,
}

impl<T: Held> Window<T> {
    /// `limit`: deliveries under way at once.
    #[must_use]
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), flying: 0, limit, bytes: 0 }
    }
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    #[must_use]
    pub(crate) fn flying(&self) -> usize {
        self.flying
    }
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next record; `done`: it needs no delivery.
    pub(crate) fn push(&mut self, offset: i64, key: Option<Arc<[u8]>>, item: T, done: bool) {
        let at = if done { Where::Done } else { Where::Ready };
        self.bytes += item.bytes();
        self.entries.push_back(Entry { offset, key, item, at, attempt: 0 });
    }

    /// Takes up to `most` that may go now, none of them of a key that has an earlier one unfinished. They are under way then; the number is
    /// the attempt, from 1.
    pub(crate) fn take<R>(
        &mut self,
        now: Millis,
        most: usize,
        mut each: impl FnMut(i64, u32, &T) -> R,
    ) -> Vec<R> {
        let room = most.min(self.limit.saturating_sub(self.flying));
        let mut taken = vec![];
        let mut blocked: HashSet<Arc<[u8]>> = HashSet::new();
        for entry in self.entries.iter_mut().filter(|e| e.at != Where::Done) {
            if taken.len() == room {
                break;
            }
            let free = entry.key.as_ref().is_none_or(|key| blocked.insert(key.clone()));
            let due = match entry.at {
                Where::Ready => true,
                Where::Waiting { until } => until <= now,
                Where::Flying | Where::Done => false,
            };
            if free && due {
                entry.at = Where::Flying;
                entry.attempt += 1;
                taken.push(each(entry.offset, entry.attempt, &entry.item));
            }
        }
        self.flying += taken.len();
        taken
    }

    /// The delivery at this offset has ended for good. False where it is not under way.
    pub(crate) fn finish(&mut self, offset: i64, f: impl FnOnce(&mut T, u32)) -> bool {
        let Some(entry) = self.under_way(offset) else { return false };
        entry.at = Where::Done;
        let before = entry.item.bytes();
        f(&mut entry.item, entry.attempt);
        let after = entry.item.bytes();
        // Nothing waits for what has ended.
        entry.key = None;
        self.bytes = self.bytes - before + after;
        self.flying -= 1;
        true
    }
    /// It is to be tried again, and blocks its key until then. False where it is not under way.
    pub(crate) fn again(&mut self, offset: i64, until: impl FnOnce(u32) -> Millis) -> bool {
        let Some(entry) = self.under_way(offset) else { return false };
        entry.at = Where::Waiting { until: until(entry.attempt) };
        self.flying -= 1;
        true
    }
    fn under_way(&mut self, offset: i64) -> Option<&mut Entry<T>> {
        let index = self.entries.binary_search_by_key(&offset, |e| e.offset).ok()?;
        self.entries.get_mut(index).filter(|e| e.at == Where::Flying)
    }

    /// Takes out what is finished from the front: only that may be committed. With each its offset.
    pub(crate) fn finished(&mut self) -> Vec<(i64, T)> {
        let mut out = vec![];
        while self.entries.front().is_some_and(|e| e.at == Where::Done) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.item.bytes();
                out.push((entry.offset, entry.item));
            }
        }
        out
    }
    /// Puts back what [`Self::finished`] took out, in its order: its transaction did not come about.
    pub(crate) fn put_back(&mut self, items: Vec<(i64, T)>) {
        for (offset, item) in items.into_iter().rev() {
            self.bytes += item.bytes();
            self.entries.push_front(Entry { offset, key: None, item, at: Where::Done, attempt: 0 });
        }
    }
}

/// Stops calling a sink that only fails; lets one through now and then to see.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: u32,
    /// Nothing goes before.
    until: Millis,
    cool_down: Millis,
}

const BREAKER_FAILURES: u32 = 10;
const BREAKER_FIRST: Millis = 5_000;
const BREAKER_LAST: Millis = 120_000;

impl Breaker {
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { failures: 0, until: 0, cool_down: BREAKER_FIRST }
    }
    /// How many may go now: none while it is open, one to try, else all.
    #[must_use]
    pub(crate) fn room(&self, now: Millis, flying: usize) -> usize {
        match self.failures {
            0..BREAKER_FAILURES => usize::MAX,
            _ if now < self.until => 0,
            _ => 1usize.saturating_sub(flying),
        }
    }
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.failures >= BREAKER_FAILURES
    }
    /// It answered; whatever it said of the record.
    pub(crate) fn good(&mut self) {
        *self = Self::new();
    }
    pub(crate) fn bad(&mut self, now: Millis) {
        let was_open = self.is_open();
        self.failures = self.failures.saturating_add(1);
        if !self.is_open() {
            return;
        }
        if was_open && now >= self.until {
            self.cool_down = (self.cool_down * 2).min(BREAKER_LAST);
        }
        if !was_open || now >= self.until {
            self.until = now + self.cool_down;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Clone, Debug)]
    enum Act {
        Push(u8),
        Take(usize),
        Finish(usize),
        Again(usize, u8),
        Wait(u8),
        /// What is finished goes into the open transaction.
        Out,
        Commit,
        Abort,
    }
    /// Records of this key need no delivery.
    const DONE: u8 = 5;
    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0..=DONE).prop_map(Act::Push),
            3 => (1..6usize).prop_map(Act::Take),
            3 => any::<usize>().prop_map(Act::Finish),
            1 => (any::<usize>(), any::<u8>()).prop_map(|(i, w)| Act::Again(i, w)),
            1 => any::<u8>().prop_map(Act::Wait),
            2 => Just(Act::Out),
            1 => Just(Act::Commit),
            1 => Just(Act::Abort),
        ]
    }

    /// A record and its size, which is another when it has ended.
    #[derive(Debug)]
    struct Weighed {
        offset: i64,
        bytes: usize,
    }
    impl Held for Weighed {
        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    /// The model: a list of (offset, key, finished), and what is under way.
    struct Model {
        now: Millis,
        keys: BTreeMap<i64, u8>,
        flying: BTreeSet<i64>,
        waiting: BTreeMap<i64, Millis>,
        done: BTreeSet<i64>,
        /// What the window holds, and the bytes of it.
        held: BTreeMap<i64, usize>,
        /// Everything below is in a transaction or committed.
        out: i64,
    }

    impl Model {
        fn check_taken(&self, offset: i64) {
            assert!(!self.flying.contains(&offset) && !self.done.contains(&offset), "{offset} twice");
            assert!(self.waiting.get(&offset).is_none_or(|until| *until <= self.now), "{offset} too early");
            let key = self.keys[&offset];
            // Key 0 stands for none.
            let earlier = self
                .keys
                .iter()
                .find(|(o, k)| **o < offset && **k == key && key != 0 && !self.done.contains(o));
            assert_eq!(earlier, None, "{offset} overtakes its key");
        }
        fn taken_out(&mut self, offset: i64) {
            let before = self.keys.range(..offset).find(|(o, _)| **o >= self.out && !self.done.contains(o));
            assert_eq!(before, None, "{offset} is committed before an unfinished one");
            self.held.remove(&offset);
            self.out = offset + 1;
        }
    }

    fn run(acts: Vec<Act>, limit: usize) {
        let mut window: Window<Weighed> = Window::new(limit);
        let mut model = Model {
            now: 0,
            keys: BTreeMap::new(),
            flying: BTreeSet::new(),
            waiting: BTreeMap::new(),
            done: BTreeSet::new(),
            held: BTreeMap::new(),
            out: 0,
        };
        let mut next = 0;
        let mut out: Vec<Vec<(i64, Weighed)>> = vec![];
        let mut step = |act: Act, model: &mut Model| {
            match act {
                Act::Push(key) => {
                    let bytes: Option<Arc<[u8]>> = (key != 0).then(|| Arc::from(vec![key]));
                    let (item, done) = (Weighed { offset: next, bytes: 100 + usize::from(key) }, key == DONE);
                    model.held.insert(next, item.bytes);
                    window.push(next, bytes, item, done);
                    model.keys.insert(next, key);
                    if done {
                        model.done.insert(next);
                    }
                    // Compacted topics have gaps.
                    next += 1 + i64::from(key == 3);
                }
                Act::Take(most) => {
                    for offset in window.take(model.now, most, |offset, _, item| {
                        assert_eq!(offset, item.offset);
                        offset
                    }) {
                        model.check_taken(offset);
                        model.waiting.remove(&offset);
                        model.flying.insert(offset);
                    }
                    assert!(model.flying.len() <= limit && model.flying.len() == window.flying());
                }
                Act::Finish(pick) | Act::Again(pick, _) if !model.flying.is_empty() => {
                    let offset = *model.flying.iter().nth(pick % model.flying.len()).unwrap();
                    model.flying.remove(&offset);
                    if let Act::Again(_, wait) = act {
                        let until = model.now + u64::from(wait);
                        assert!(window.again(offset, |_| until));
                        model.waiting.insert(offset, until);
                    } else {
                        // What is kept of it may be more than it was: an answer is as long as it is.
                        let bytes = pick % 300;
                        assert!(window.finish(offset, |item, _| item.bytes = bytes));
                        model.held.insert(offset, bytes);
                        model.done.insert(offset);
                    }
                    assert!(!window.finish(offset, |_, _| ()), "finished twice");
                }
                Act::Finish(_) | Act::Again(..) => {}
                Act::Wait(ms) => model.now += u64::from(ms),
                Act::Out => {
                    let items = window.finished();
                    items.iter().for_each(|(offset, _)| model.taken_out(*offset));
                    out.push(items);
                }
                Act::Commit => out.clear(),
                Act::Abort => {
                    while let Some(items) = out.pop() {
                        model.held.extend(items.iter().map(|(offset, item)| (*offset, item.bytes)));
                        model.out = items.first().map_or(model.out, |(offset, _)| *offset);
                        window.put_back(items);
                    }
                }
            }
            assert_eq!((window.len(), window.bytes()), (model.held.len(), model.held.values().sum()));
        };
        for act in acts {
            step(act, &mut model);
        }
        // In the end everything gets through.
        for _ in 0..1000 {
            model.now += 300;
            step(Act::Take(64), &mut model);
            step(Act::Finish(0), &mut model);
            step(Act::Out, &mut model);
        }
        assert!(window.is_empty() && window.bytes() == 0 && model.done.len() == model.keys.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn order_by_key_and_a_finished_prefix(acts in prop::collection::vec(act(), 0..150), limit in 1..8usize) {
            run(acts, limit);
        }
    }

    #[test]
    fn the_breaker_opens_tries_one_and_closes() {
        let mut breaker = Breaker::new();
        for _ in 0..BREAKER_FAILURES {
            assert_eq!(breaker.room(0, 0), usize::MAX);
            breaker.bad(0);
        }
        assert_eq!((breaker.room(4_999, 0), breaker.room(5_000, 0), breaker.room(5_000, 1)), (0, 1, 0));
        breaker.bad(5_000);
        assert_eq!((breaker.room(14_999, 0), breaker.room(15_000, 0)), (0, 1));
        breaker.good();
        assert_eq!(breaker.room(15_000, 9), usize::MAX);
    }
}
