//! Windows and what is held, as a transaction keeps them.
use super::*;
use atio_schemas::detection::Kind;
use atio_stage::{Overlay, State, Tables};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SPAN_MS: i64 = 10_000;

/// What is committed after each call; the clock stands still.
#[derive(Default)]
struct World {
    state: State,
    tables: Tables,
}

impl World {
    fn tx<T>(&mut self, run: impl FnOnce(&mut Tx<'_>) -> T) -> T {
        let mut overlay = Overlay::default();
        let done = run(&mut Tx::new(Timestamp(0), &self.state, &mut overlay, &self.tables));
        self.state.merge(overlay);
        done
    }
    fn count(&mut self, key: &str, at_ms: i64, limit: u64) -> Count {
        self.tx(|tx| count(tx, key, Timestamp::from_millis(at_ms), SPAN_MS, limit).unwrap())
    }
    fn totals(&mut self) -> Totals {
        self.tx(|tx| totals(tx).unwrap())
    }
    fn windows(&self) -> u64 {
        self.state.iter(Steps::NAME).filter(|(key, _)| key.starts_with(WINDOW)).count() as u64
    }
}

#[test]
fn a_window_begins_with_its_first_event_and_ends_with_its_span() {
    let mut world = World::default();
    assert_eq!(world.count("a", 5_000, 2), Count::Within);
    assert_eq!(world.count("a", 14_999, 2), Count::Within);
    assert_eq!(world.count("a", 14_999, 2), Count::Above);
    assert_eq!(world.count("b", 14_999, 2), Count::Within, "another key has another window");
    assert_eq!(world.count("a", 15_000, 2), Count::Within, "the end belongs to the next one");
    assert_eq!(
        world.count("a", 4_000, 2),
        Count::Within,
        "a clock that went back counts in the window there is"
    );
    assert_eq!(world.count("a", 24_999, 2), Count::Above);
    assert_eq!(world.windows(), 2);
}

#[test]
fn what_is_above_changes_nothing() {
    let mut world = World::default();
    assert_eq!(world.count("a", 0, 1), Count::Within);
    let mut overlay = Overlay::default();
    let mut tx = Tx::new(Timestamp(0), &world.state, &mut overlay, &world.tables);
    assert_eq!(count(&mut tx, "a", Timestamp(1), SPAN_MS, 1).unwrap(), Count::Above);
    assert_eq!(overlay, Overlay::default(), "a flood of repeats writes no state");
}

#[test]
fn ended_windows_are_forgotten_and_open_ones_never() {
    let mut world = World::default();
    for n in 0..5 * SWEEP_FROM {
        // A thousand keys in ten seconds.
        let at = i64::try_from(n).unwrap() * 10;
        assert_eq!(world.count(&n.to_string(), at, 1), Count::Within);
        let open = n.saturating_sub(999);
        assert_eq!(world.count(&open.to_string(), at, 1), Count::Above, "{open} is open still");
        if n % 101 == 0 {
            assert!(world.windows() <= 2 * SWEEP_FROM + 200, "{n}: {}", world.windows());
            assert_eq!(world.totals().windows, world.windows());
        }
    }
}

#[test]
fn there_is_room_for_so_many_windows_and_again_when_some_have_ended() {
    let mut world = World::default();
    let ended = SWEEP_MAX as u64 + 1000;
    world.tx(|tx| {
        crowd(tx, WINDOWS_MAX - ended - 1, 0);
        for n in 0..ended {
            assert_eq!(count(tx, &n.to_string(), Timestamp(0), SPAN_MS, 1).unwrap(), Count::Within);
        }
    });
    assert_eq!(world.count("open", 5_000, 1), Count::Within);
    assert_eq!(world.count("more", 5_000, 1), Count::NoRoom);
    assert_eq!(world.count("open", 5_000, 1), Count::Above, "those that are open count on");
    assert_eq!(world.count("more", 10_000, 1), Count::Within);
    assert_eq!(world.totals().windows, WINDOWS_MAX - SWEEP_MAX as u64 + 1);
    assert_eq!(world.windows(), ended + 1 - SWEEP_MAX as u64 + 1);
}

fn delayed(event: &str) -> Delayed {
    let detection = Detection {
        bundle: (*b"{}").into(),
        ..Detection::new(event.to_owned(), Kind::Threat, "default", "s")
    };
    let delay = Delay { step: 1, due: Timestamp(9), detection: None, unaligned: true, gathering: None };
    Delayed::of(&delay, &detection, 3, vec![("traceparent".into(), "x".into())])
}

#[test]
fn what_is_held_is_taken_once_as_it_was() {
    let mut world = World::default();
    let key = delayed_key(7);
    assert_eq!(world.tx(|tx| hold(tx, &key, delayed("e1")).unwrap()), None);
    let before = world.totals();
    assert_eq!(before.held, 1);
    let taken = world.tx(|tx| take(tx, &key).unwrap()).unwrap();
    assert_eq!((taken.bytes, before.held_bytes), (before.held_bytes, taken.bytes));
    assert_eq!(Delayed { bytes: 0, ..taken }, delayed("e1"));
    assert_eq!(world.tx(|tx| take(tx, &key).unwrap()), None);
    assert_eq!(world.totals(), Totals::default());
}

#[test]
fn so_much_is_held_and_no_more() {
    let mut world = World::default();
    world.tx(|tx| {
        crowd(tx, 0, HELD_MAX - 1);
        assert_eq!(hold(tx, &delayed_key(0), delayed("e")).unwrap(), None);
        let refused = hold(tx, &delayed_key(-1), delayed("e")).unwrap().unwrap();
        assert_eq!(refused.code, Code::TooMany);
        take(tx, &delayed_key(0)).unwrap().unwrap();
        assert_eq!(hold(tx, &delayed_key(-1), delayed("e")).unwrap(), None);
    });
    let mut world = World::default();
    let large = |n: usize| {
        let mut large = delayed("e");
        large.original.command_line = Some("x".repeat(n));
        large
    };
    world.tx(|tx| {
        for n in 0..9 {
            assert_eq!(hold(tx, &delayed_key(n), large(7 << 20)).unwrap(), None);
        }
        assert_eq!(hold(tx, &delayed_key(9), large(7 << 20)).unwrap().unwrap().code, Code::TooMany);
        assert_eq!(hold(tx, &delayed_key(9), large(8 << 20)).unwrap().unwrap().code, Code::TooLarge);
    });
}

/// As [`count`] says it, kept in the simplest way.
#[derive(Default)]
struct Simple(BTreeMap<u8, (i64, u64)>);

impl Simple {
    fn count(&mut self, key: u8, at: i64, limit: u64) -> Count {
        match self.0.get_mut(&key) {
            Some((until, events)) if at < *until => {
                if *events >= limit {
                    return Count::Above;
                }
                *events += 1;
            }
            _ => drop(self.0.insert(key, (at + SPAN_MS, 1))),
        }
        Count::Within
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    /// Whatever comes when: at most `limit` go on in each window, exactly as told, and an aborted transaction leaves no trace.
    #[test]
    fn windows_count_as_they_say(
        events in proptest::collection::vec((0_u8..4, 0_i64..8_000, proptest::bool::weighted(0.2)), 1..200),
        limit in 1_u64..4,
    ) {
        let (mut world, mut simple, mut at) = (World::default(), Simple::default(), 0);
        for (key, gap, aborted) in events {
            at += gap;
            if aborted {
                let mut overlay = Overlay::default();
                let mut tx = Tx::new(Timestamp(0), &world.state, &mut overlay, &world.tables);
                let seen = count(&mut tx, &key.to_string(), Timestamp::from_millis(at), SPAN_MS, limit).unwrap();
                prop_assert_ne!(seen, Count::NoRoom);
            }
            prop_assert_eq!(world.count(&key.to_string(), at, limit), simple.count(key, at, limit));
        }
    }
}
