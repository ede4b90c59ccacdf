//! Branches with steps that keep something: what goes on, what ends, what is held and goes on later.
use super::*;
use crate::state::{self, Delayed};
use atio_stage::{Overlay, State, Tables, Tx};

pub(super) const SITE: Site<'static> = Site { version: 3, home_networks: &[] };

/// A branch and what it keeps; time is told in seconds.
pub(super) struct World {
    definition: Definition,
    pub(super) state: State,
}

impl World {
    pub(super) fn new(steps: &str) -> Self {
        Self { definition: definition(steps), state: State::default() }
    }
    pub(super) fn tx<T>(&mut self, now: i64, run: impl FnOnce(&mut Tx<'_>, &Definition, &Branch) -> T) -> T {
        let (mut overlay, tables) = (Overlay::default(), Tables::default());
        let mut tx = Tx::new(Timestamp(now * 1_000_000), &self.state, &mut overlay, &tables);
        let done = run(&mut tx, &self.definition, &self.definition.branches[0]);
        self.state.merge(overlay);
        done
    }
    /// An event whose record has this time, looked at then.
    fn event(&mut self, at: i64, d: &Detection) -> End {
        self.tx(at, |tx, definition, branch| {
            run(definition, branch, d, SITE, Timestamp(at * 1_000_000), tx).unwrap()
        })
    }
    fn asset(&mut self, at: i64, asset: &str) -> Option<Code> {
        let end = self.event(at, &of(asset));
        assert_eq!((end.outputs.len() == 1, end.rejected.len()), (end.dropped.is_none(), 0));
        end.dropped
    }
    fn go_on(&mut self, now: i64, delayed: &Delayed) -> End {
        self.tx(now, |tx, definition, branch| go_on(definition, branch, delayed, SITE, tx).unwrap())
    }
}

fn of(asset: &str) -> Detection {
    Detection { asset: Some(asset.to_owned()), ..detection() }
}

#[test]
fn dedup_lets_the_first_of_a_key_through() {
    let mut world = World::new("[{dedup: {key: [asset, rule.name], within: 10s}}, {deliver: siem}]");
    let ends = [(0, "a"), (1, "a"), (2, "b"), (9, "a"), (10, "a"), (19, "a"), (20, "b")]
        .map(|(at, asset)| world.asset(at, asset));
    let twice = Some(Code::Duplicate);
    assert_eq!(ends, [None, twice, None, twice, None, twice, None]);
    let other = Detection {
        rule: atio_schemas::detection::Rule { name: Some("x".into()), ..of("a").rule },
        ..of("a")
    };
    assert_eq!(world.event(19, &other).dropped, None, "another rule");
    let tenant = Detection { tenant: "other".into(), ..of("a") };
    assert_eq!(world.event(19, &tenant).dropped, None, "another tenant");
}

#[test]
fn what_has_no_key_is_not_counted() {
    let mut world = World::new("[{dedup: {key: [asset, rule.name], within: 10s}}, {deliver: siem}]");
    let unknown = Detection { asset: None, ..detection() };
    for _ in 0..2 {
        assert_eq!(world.event(0, &unknown).dropped, None);
    }
    assert!(world.state.is_empty());
}

#[test]
fn rate_lets_so_many_through() {
    let mut world = World::new("[{rate: {limit: 2, per: 1m, key: asset}}, {deliver: siem}]");
    let ends = [0, 1, 2, 59, 60, 60, 60].map(|at| world.asset(at, "a"));
    let above = Some(Code::RateLimited);
    assert_eq!(ends, [None, None, above, above, None, None, above]);
    assert_eq!(world.asset(60, "b"), None);
}

/// Each step counts for itself, also two that are written the same; in every version it is the same step wherever it stands.
#[test]
fn steps_of_a_branch_do_not_mix() {
    let twice = "[{dedup: {key: asset, within: 10s}}, {dedup: {key: asset, within: 10s}}, {deliver: siem}]";
    let mut world = World::new(twice);
    assert_eq!([0, 1].map(|at| world.asset(at, "a")), [None, Some(Code::Duplicate)]);
    world.definition = definition(
        "[{when: .importance >= 1}, {rate: {limit: 9, per: 1m, key: asset}}, {dedup: {key: [asset], within: 10s}}, {deliver: siem}]",
    );
    assert_eq!(world.asset(2, "a"), Some(Code::Duplicate), "the next version goes on with the windows");
    let ways = "[{if: .kev, then: [{dedup: {key: asset, within: 10s}}], else: [{dedup: {key: asset, within: 10s}}]}, {deliver: siem}]";
    let mut world = World::new(ways);
    let exploited = Detection { kev: Some(true), ..of("a") };
    let ends = [&of("a"), &exploited, &exploited, &of("a")].map(|d| world.event(0, d).dropped);
    assert_eq!(ends, [None, None, Some(Code::Duplicate), Some(Code::Duplicate)], "each way has its own");
}

/// Texts don't run into each other, and a list is a set.
#[test]
fn keys_are_what_their_values_are() {
    let mut world = World::new("[{dedup: {key: [asset, host, labels], within: 10s}}, {deliver: siem}]");
    let event = |asset: &str, host: &str, labels: &[&str]| Detection {
        host: Some(host.into()),
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        ..of(asset)
    };
    for (asset, host, labels, repeat) in [
        ("a|b", "c", &[][..], false),
        ("a", "b|c", &[], false),
        ("a", "b|c", &["x", "y"], false),
        ("a", "b|c", &["y", "x", "y"], true),
        ("a", "b|c", &["x,y"], false),
        ("a", "b|c", &["xy"], false),
        ("a|b", "c", &[], true),
    ] {
        let dropped = world.event(0, &event(asset, host, labels)).dropped;
        assert_eq!(dropped, repeat.then_some(Code::Duplicate), "{asset} {host} {labels:?}");
    }
}

#[test]
fn a_delayed_event_goes_on_when_it_is_due() {
    let steps = "[{set: {labels: '[\"late\"]'}}, {delay: 30s}, {when: .importance >= 70}, {deliver: siem}]";
    let mut world = World::new(steps);
    let d = of("a");
    let end = world.event(100, &d);
    let delay = end.delayed.clone().unwrap();
    assert_eq!((delay.step, delay.due, delay.unaligned), (1, Timestamp(130_000_000), true));
    assert_eq!(delay.detection.as_ref().unwrap().labels, ["late"]);
    assert_eq!(end, End { delayed: end.delayed.clone(), ..End::default() });
    let delayed = Delayed::of(&delay, &d, 3, vec![]);
    let after = world.go_on(131, &delayed);
    // As if it had never been held.
    let at_once = run_on(&steps.replace("{delay: 30s}, ", ""), &d);
    assert_eq!((&after, after.outputs.len()), (&at_once, 1));
}

#[test]
fn what_comes_late_is_not_held_and_what_is_untouched_is_kept_once() {
    let mut world = World::new("[{delay: 30s}, {delay: 1m}, {deliver: siem}]");
    let d = of("a");
    let on_time = world.event(0, &d).delayed.unwrap();
    assert_eq!((on_time.step, on_time.detection), (0, None));
    let late = |world: &mut World, now: i64| {
        world.tx(now, |tx, definition, branch| run(definition, branch, &d, SITE, Timestamp(0), tx).unwrap())
    };
    let second = late(&mut world, 30).delayed.unwrap();
    assert_eq!((second.step, second.due), (1, Timestamp(90_000_000)), "the first one has passed");
    assert_eq!(late(&mut world, 90).outputs.len(), 1, "both have");
    // Held twice in a row: from when it was due.
    let first = Delayed::of(
        &Delay { step: 0, due: Timestamp(30_000_000), detection: None, unaligned: false, gathering: None },
        &d,
        3,
        vec![],
    );
    assert_eq!(world.go_on(40, &first).delayed, Some(second));
}

/// Windows behind a delay run on the time at which it was due, whenever it is looked at.
#[test]
fn windows_behind_a_delay() {
    let mut world = World::new("[{delay: 30s}, {dedup: {key: asset, within: 10s}}, {deliver: siem}]");
    let d = of("a");
    let at = |due: i64| {
        Delayed::of(
            &Delay {
                step: 0,
                due: Timestamp(due * 1_000_000),
                detection: None,
                unaligned: false,
                gathering: None,
            },
            &d,
            3,
            vec![],
        )
    };
    let ends = [30, 39, 40].map(|due| world.go_on(1000, &at(due)).dropped);
    assert_eq!(ends, [None, Some(Code::Duplicate), None]);
}

#[test]
fn a_delay_that_fits_no_step_runs_nothing() {
    let mut world = World::new("[{delay: 30s}, {deliver: siem}]");
    for step in [1, 2, usize::MAX] {
        let delay = Delay { step, due: Timestamp(0), detection: None, unaligned: false, gathering: None };
        let end = world.go_on(0, &Delayed::of(&delay, &of("a"), 3, vec![]));
        assert_eq!((end.outputs.len(), end.rejected[0].code), (0, Code::InvalidField), "{step}");
    }
}

#[test]
fn without_room_it_is_a_dead_letter() {
    let mut world = World::new("[{dedup: {key: asset, within: 10s}}, {deliver: siem}]");
    world.tx(0, |tx, _, _| {
        state::crowd(tx, state::WINDOWS_MAX - 1, 0);
        assert_eq!(state::count(tx, "x", Timestamp(0), 10_000, 1).unwrap(), state::Count::Within);
    });
    let end = world.event(5, &of("a"));
    assert_eq!((end.outputs.len(), end.dropped, end.rejected.len()), (0, None, 1));
    assert_eq!(end.rejected[0].code, Code::TooMany);
    assert_eq!(end.rejected[0].message, "w.b: dedup: 100000 windows are open here, no more are a partition");
    assert_eq!(world.asset(10, "a"), None, "they have ended");
}

/// What can't be read is no reason to lose an event: the branch is tried again.
#[test]
fn state_that_does_not_read_fails_the_branch() {
    let definition = definition("[{dedup: {key: asset, within: 10s}}, {deliver: siem}]");
    let branch = &definition.branches[0];
    let error = run(&definition, branch, &of("a"), SITE, Timestamp(0), &mut Nothing).unwrap_err();
    assert_eq!(error.code, Code::Internal);
}
