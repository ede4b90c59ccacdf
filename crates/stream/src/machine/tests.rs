//! The machine against the made-up world, with random interleavings and faults.
use super::{
    world::{Act, Call, Outcome, World, act, timing, tp},
    *,
};
use proptest::prelude::*;

fn run(acts: Vec<Act>) {
    let mut world = World::new();
    for act in acts {
        // As in the group, the next rebalance comes after the last one was acknowledged.
        let busy = world.told != world.acknowledged;
        if world.exit.is_some() || (busy && matches!(act, Act::Assign(_) | Act::Revoke(..))) {
            continue;
        }
        world.act(act);
    }
    world.faults.clear();
    for _ in 0..2000 {
        if world.exit.is_some() {
            break;
        }
        world.feed(Event::Stop);
        world.now += 50;
    }
    world.check();
    assert_eq!(world.told, world.acknowledged, "every event is acknowledged");
    match world.exit {
        Some(End::Asked | End::Fenced(_)) => {}
        other => panic!("ended as {other:?}"),
    }
    if world.exit == Some(End::Asked) {
        assert!(!world.in_txn, "left a transaction open");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_or_doubled(acts in prop::collection::vec(act(), 0..120)) {
        run([vec![Act::Assign(15)], acts].concat());
    }
}

/// So long after the last record, or as long as the machine waits, nothing comes.
fn dry_for(world: &mut World, ms: Millis) {
    assert_eq!(world.machine.wait(world.now), ms, "waits");
    world.now += ms;
    world.feed(Event::Polled { ends: Positions::new(), bytes: 0 });
}

#[test]
fn what_comes_after_a_rest_is_committed_as_soon_as_the_input_is_dry() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    for read in 1..=2 {
        world.now += 10;
        world.records(0, 1);
        dry_for(&mut world, DRY);
        assert_eq!(world.committed[&tp(0)], read);
    }
}

#[test]
fn commits_keep_their_distance_while_a_trickle_goes_on() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    world.records(0, 1);
    dry_for(&mut world, DRY);
    let first = world.now;
    world.now += 3;
    world.records(0, 1);
    dry_for(&mut world, 7);
    assert_eq!((world.committed[&tp(0)], world.now), (2, first + 10));
    // One that comes right then has a moment to be followed by another.
    world.now += 9;
    world.records(0, 1);
    world.now += 1;
    world.records(0, 1);
    dry_for(&mut world, DRY);
    assert_eq!((world.committed[&tp(0)], world.now), (4, first + 21));
}

#[test]
fn a_commit_that_only_moves_the_positions_makes_nobody_wait() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    world.now += 1000;
    world.feed(Event::Tick);
    assert_eq!(world.committed.get(&tp(0)), Some(&0), "where it starts is committed");
    world.records(0, 1);
    dry_for(&mut world, DRY);
    assert_eq!(world.committed[&tp(0)], 1);
}

#[test]
fn under_load_a_commit_comes_at_the_latest_after_the_interval() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    for _ in 0..5 {
        world.records(0, 1);
        assert!(!world.committed.contains_key(&tp(0)), "never dry");
        world.now += 4;
        world.feed(Event::Tick);
    }
    assert_eq!(world.committed[&tp(0)], 5);
}

#[test]
fn without_a_pace_only_the_interval_ends_a_transaction() {
    let mut world = World::with(Timing { pace: None, ..timing() });
    world.act(Act::Assign(1));
    world.now += 100;
    world.records(0, 1);
    dry_for(&mut world, 20);
    assert_eq!(world.committed[&tp(0)], 1);
}

#[test]
fn a_batch_that_takes_long_does_not_end_its_transaction_while_more_is_at_hand() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    world.records(0, 1);
    for read in 2..=3 {
        // Processing took longer than an input may be dry.
        world.now += 6;
        world.feed(Event::Tick);
        assert!(!world.committed.contains_key(&tp(0)), "nobody has polled since");
        assert_eq!(world.machine.wait(world.now), 0, "what is at hand is taken at once");
        world.records(0, 1);
        assert_eq!(world.position[&tp(0)], read);
    }
    dry_for(&mut world, DRY);
    assert_eq!(world.committed[&tp(0)], 3);
}

#[test]
fn a_lost_revocation_aborts_and_an_ordinary_one_commits() {
    for lost in [false, true] {
        let mut world = World::new();
        world.act(Act::Assign(3));
        world.records(0, 3);
        world.act(Act::Revoke(1, lost));
        assert_eq!(world.committed.get(&tp(0)).copied(), if lost { None } else { Some(3) });
        assert!(world.machine.owns(&tp(1)) && !world.machine.owns(&tp(0)));
    }
}

#[test]
fn an_unknown_commit_is_looked_up() {
    for did in [false, true] {
        let mut world = World::new();
        world.act(Act::Assign(1));
        world.act(Act::Fail(Call::Commit, Outcome::Fault(FaultKind::Unknown, did)));
        world.records(0, 4);
        world.act(Act::Wait(20));
        assert_eq!(world.state[&tp(0)], if did { 4 } else { 0 });
        assert_eq!(world.position[&tp(0)], if did { 4 } else { 0 });
        world.check();
    }
}

#[test]
fn who_is_stopped_while_the_broker_is_away_leaves_after_some_seconds() {
    for kind in [FaultKind::Unknown, FaultKind::Retry] {
        let mut world = World::new();
        world.act(Act::Assign(1));
        for call in [Call::Offsets, Call::Rebuild, Call::Resolve, Call::Abort] {
            world.act(Act::FailOn(call, kind));
        }
        world.records(0, 4);
        world.act(Act::Wait(20));
        assert!(world.exit.is_none(), "it waits for the broker");
        let asked = world.now;
        while world.exit.is_none() && world.now < asked + 60_000 {
            world.feed(Event::Stop);
            world.now += 50;
        }
        assert!(matches!(world.exit, Some(End::Left(_))), "{:?}", world.exit);
        assert!((4000..6000).contains(&(world.now - asked)), "after {} ms", world.now - asked);
    }
}

#[test]
fn fenced_twice_within_a_minute_ends_the_lane() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    for _ in 0..2 {
        world.act(Act::Fail(Call::Commit, Outcome::Fault(FaultKind::Fenced, false)));
        world.records(0, 1);
        world.act(Act::Wait(20));
        world.act(Act::Wait(1500));
    }
    assert!(matches!(world.exit, Some(End::Fenced(_))));
}

#[test]
fn a_torn_transaction_ends_the_lane_at_once() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    world.act(Act::Fail(Call::Commit, Outcome::Fault(FaultKind::Torn, false)));
    world.records(0, 1);
    world.act(Act::Wait(20));
    assert!(matches!(world.exit, Some(End::Torn(_))));
}

#[test]
fn a_failing_stage_backs_off_and_goes_on() {
    let mut world = World::new();
    world.act(Act::Assign(1));
    for _ in 0..4 {
        world.act(Act::Fail(Call::Process, Outcome::Stage));
        world.records(0, 2);
        assert!(world.machine.stalled().is_some() && !world.machine.reads());
        world.act(Act::Wait(2000));
        assert!(world.machine.reads());
    }
    world.records(0, 2);
    world.act(Act::Wait(20));
    assert_eq!((world.committed[&tp(0)], world.machine.stalled()), (2, None));
}
