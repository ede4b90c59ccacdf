//! What is held, by when it is due (exactly-once, rule 20). Pure: owns the index over the store `timers`, and when a deadline may fire; must
//! not know Kafka.
//!
//! A deadline fires only when its partition has been read up to where it ended once the deadline had passed: what came in time counts.
use atio_schemas::Timestamp;
use atio_stage::{Held, Overlay, State, StateKey, Store as _, StoreSpec, Timers, state::Entry};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Deadlines that one transaction fires at most, a partition.
pub(crate) const AT_ONCE: usize = 500;

/// The key of a hold in the store `timers`.
#[must_use]
pub(crate) fn timer_key(held: &StateKey) -> StateKey {
    StateKey { store: Timers::NAME, key: format!("{}/{}", held.store, held.key) }
}

/// What is held under a key of the store `timers`; none where the stage has no such store.
#[must_use]
pub(crate) fn held_key(key: &str, stores: &[StoreSpec]) -> Option<StateKey> {
    let (store, key) = key.split_once('/')?;
    let spec = stores.iter().find(|s| s.name == store)?;
    Some(StateKey { store: spec.name, key: key.to_owned() })
}

/// The entry of a hold.
#[must_use]
pub(crate) fn read(entry: &Entry) -> Option<Held> {
    serde_json::from_slice(&entry.value).ok()
}

#[derive(Default)]
struct Due {
    by_time: BTreeSet<(Timestamp, String)>,
    by_key: HashMap<String, Timestamp>,
    /// Everything up to this time fires once the partition is read to where it ended then.
    as_of: Option<Timestamp>,
}

impl Due {
    fn put(&mut self, key: &str, at: Option<Timestamp>) {
        if let Some(old) = self.by_key.remove(key) {
            self.by_time.remove(&(old, key.to_owned()));
        }
        if let Some(at) = at {
            self.by_key.insert(key.to_owned(), at);
            self.by_time.insert((at, key.to_owned()));
        }
    }
}

/// The committed holds of a lane, by input partition.
#[derive(Default)]
pub(crate) struct Deadlines(BTreeMap<i32, Due>);

impl Deadlines {
    pub(crate) fn restored(&mut self, partition: i32, state: &State) {
        let mut due = Due::default();
        for (key, entry) in state.iter(Timers::NAME) {
            due.put(key, read(entry).map(|held| held.at));
        }
        self.0.insert(partition, due);
    }
    pub(crate) fn release(&mut self, partition: i32) {
        self.0.remove(&partition);
    }
    /// What a committed transaction has changed.
    pub(crate) fn merge(&mut self, partition: i32, overlay: &Overlay) {
        for (key, entry) in overlay.0.iter().filter(|(key, _)| key.store == Timers::NAME) {
            let at = entry.as_ref().and_then(read).map(|held| held.at);
            self.0.entry(partition).or_default().put(&key.key, at);
        }
    }
    /// Partitions in which a deadline has passed and nobody has looked yet how far they must be read; that is to be told with
    /// [`Self::look`].
    #[must_use]
    pub(crate) fn passed(&self, now: Timestamp) -> Vec<i32> {
        let passed = |due: &Due| due.as_of.is_none() && due.by_time.first().is_some_and(|(at, _)| *at <= now);
        self.0.iter().filter(|(_, due)| passed(due)).map(|(p, _)| *p).collect()
    }
    pub(crate) fn look(&mut self, partition: i32, now: Timestamp) {
        self.0.entry(partition).or_default().as_of = Some(now);
    }
    /// Partitions that wait to be read to where they ended.
    #[must_use]
    pub(crate) fn looking(&self) -> Vec<i32> {
        self.0.iter().filter(|(_, due)| due.as_of.is_some()).map(|(p, _)| *p).collect()
    }
    /// It is read: keys and times of what fires now.
    #[must_use]
    pub(crate) fn fire(&mut self, partition: i32) -> Vec<(Timestamp, String)> {
        let Some(due) = self.0.get_mut(&partition) else { return vec![] };
        let Some(as_of) = due.as_of.take() else { return vec![] };
        due.by_time.iter().take_while(|(at, _)| *at <= as_of).take(AT_ONCE).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(entries: &[(&str, Option<i64>)]) -> Overlay {
        let entry = |at: i64| Entry {
            value: serde_json::to_vec(&Held { at: Timestamp(at), topic: "t".into(), records: 1 }).unwrap(),
            layout: 1,
            updated_at: Timestamp(0),
        };
        Overlay(
            entries
                .iter()
                .map(|(k, at)| (timer_key(&StateKey { store: "s", key: (*k).into() }), at.map(entry)))
                .collect(),
        )
    }

    #[test]
    fn fires_in_order_what_passed_before_the_look_and_nothing_twice() {
        let mut deadlines = Deadlines::default();
        deadlines.merge(0, &overlay(&[("a", Some(30)), ("b", Some(10)), ("c", Some(20)), ("d", Some(5))]));
        deadlines.merge(0, &overlay(&[("d", None), ("c", Some(40))]));
        assert_eq!(deadlines.passed(Timestamp(9)), Vec::<i32>::new());
        assert_eq!(deadlines.passed(Timestamp(30)), [0]);
        deadlines.look(0, Timestamp(30));
        assert_eq!((deadlines.passed(Timestamp(31)), deadlines.looking()), (vec![], vec![0]));
        let fired = deadlines.fire(0);
        assert_eq!(fired, [(Timestamp(10), "s/b".to_owned()), (Timestamp(30), "s/a".to_owned())]);
        // Aborted: they are still there. Committed: gone.
        assert_eq!(deadlines.passed(Timestamp(31)), [0]);
        deadlines.merge(0, &overlay(&[("a", None), ("b", None)]));
        assert_eq!((deadlines.passed(Timestamp(39)), deadlines.passed(Timestamp(40))), (vec![], vec![0]));
    }

    #[test]
    fn a_restored_state_has_its_deadlines() {
        let mut state = State::default();
        state.merge(overlay(&[("a/b", Some(3))]));
        let mut deadlines = Deadlines::default();
        deadlines.restored(4, &state);
        assert_eq!(deadlines.passed(Timestamp(3)), [4]);
        let spec = StoreSpec { name: "s", changelog: std::sync::Arc::from("x"), retention_ms: None };
        assert_eq!(held_key("s/a/b", &[spec]), Some(StateKey { store: "s", key: "a/b".into() }));
        assert_eq!(held_key("x/a", &[]), None);
    }
}
