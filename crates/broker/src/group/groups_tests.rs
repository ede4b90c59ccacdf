//! All groups with a store on disk: what ends when, also across restarts; when the next look is due.

use super::*;

const HOUR: i64 = 3_600_000;
const WEEK: i64 = 168 * HOUR;
const WALL: i64 = 1_800_000_000_000;

struct World {
    dir: tempfile::TempDir,
    /// Wall time of this start.
    started: i64,
    groups: Groups,
}

fn opened(dir: &std::path::Path, at: i64) -> Groups {
    let store = Arc::new(Store::open(&dir.join("metadata"), false, 8 << 20).unwrap());
    Groups::open(store, 100, 100, WEEK, Now { wall: at, mono: 0, steady: at })
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let groups = opened(dir.path(), WALL);
        World { dir, started: WALL, groups }
    }

    fn restarted(self, at: i64) -> World {
        let World { dir, groups, .. } = self;
        drop(groups);
        let groups = opened(dir.path(), at);
        World { dir, started: at, groups }
    }

    fn at(&self, steady: i64) -> Now {
        Now { wall: steady, mono: steady - self.started, steady }
    }

    fn commit(&self, group: &str, steady: i64) {
        let offset = Offset { offset: 1, leader_epoch: 0, metadata: String::new(), committed_ms: steady };
        self.groups.commit(group, None, vec![(("t".to_owned(), 0), offset)], |_| Ok(())).unwrap();
    }

    fn join(&self, group: &str, steady: i64) {
        let join = Join {
            session_ms: 10_000,
            rebalance_ms: 10_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("p".to_owned(), vec![1])],
            fresh: format!("{group}-member"),
            ..Join::default()
        };
        drop(self.groups.join(group, join, self.at(steady).mono));
    }

    fn expire(&self, steady: i64) -> Vec<String> {
        self.groups.tick(self.at(steady).mono);
        self.groups.expire(self.at(steady), WEEK);
        self.groups.names().into_iter().collect()
    }
}

#[test]
fn offsets_end_a_week_after_the_last_member() {
    let world = World::new();
    world.commit("left", WALL);
    world.commit("used", WALL);
    world.join("left", WALL);
    assert_eq!(world.expire(WALL + WEEK + 1), ["left"], "a group with members has no end");
    world.groups.leave("left", "left-member", None, world.at(WALL + WEEK + 2).mono).unwrap();
    assert_eq!(
        world.expire(WALL + WEEK + 3),
        ["left"],
        "it is empty since a moment, however old its offsets are"
    );
    world.commit("left", WALL + WEEK + HOUR);
    assert_eq!(world.expire(WALL + 2 * WEEK + 2), ["left"], "the offset is younger");
    assert!(world.expire(WALL + 2 * WEEK + HOUR + 1).is_empty());
}

#[test]
fn a_broker_that_starts_every_day_forgets_too() {
    let mut world = World::new();
    world.commit("plain", WALL);
    world.join("left", WALL);
    world.groups.leave("left", "left-member", None, 1).unwrap();
    let mut end = None;
    for day in 0..10 {
        let now = WALL + day * 24 * HOUR;
        world = world.restarted(now);
        for hour in 0..8 {
            if world.expire(now + hour * HOUR).is_empty() {
                end.get_or_insert((day, hour));
            }
        }
    }
    // A start leaves every group an hour of its week.
    assert_eq!(end, Some((7, 1)));
}

#[test]
fn a_start_with_a_clock_of_next_year_forgets_nothing_at_once() {
    let mut world = World::new();
    world.commit("g", WALL);
    world.expire(WALL + HOUR);
    world = world.restarted(WALL + 52 * WEEK);
    assert_eq!(world.expire(WALL + 52 * WEEK + HOUR - 1), ["g"]);
    // Set right within the hour.
    world = world.restarted(WALL + 2 * HOUR);
    assert_eq!(world.expire(WALL + 3 * HOUR), ["g"]);
    assert_eq!(world.expire(WALL + WEEK - HOUR), ["g"]);
    assert!(world.expire(WALL + WEEK + HOUR).is_empty());
}

#[test]
fn offsets_of_a_future_that_never_came_end_too() {
    let mut world = World::new();
    world.commit("g", WALL + 52 * WEEK);
    world = world.restarted(WALL);
    assert_eq!(world.expire(WALL + HOUR), ["g"]);
    assert_eq!(world.expire(WALL + WEEK), ["g"], "it is as old as the first look at it");
    assert!(world.expire(WALL + WEEK + HOUR + 1).is_empty());
}

#[test]
fn who_joins_again_starts_the_week_anew() {
    let mut world = World::new();
    world.join("g", WALL);
    world.groups.leave("g", "g-member", None, 1).unwrap();
    world.expire(WALL + HOUR);
    world.join("g", WALL + 100 * HOUR);
    world = world.restarted(WALL + 101 * HOUR);
    world.groups.tick(20_000);
    world = world.restarted(WALL + 102 * HOUR);
    assert_eq!(world.expire(WALL + WEEK + 90 * HOUR), ["g"]);
}

#[test]
fn the_next_look_is_when_something_is_due() {
    let world = World::new();
    let (mono, groups) = (1_000, &world.groups);
    world.join("g", WALL + mono);
    // The first members of an empty group wait a little for others.
    assert_eq!(groups.due(), 0, "an earlier time stays until it has been looked at");
    groups.tick(mono + 50);
    assert_eq!(groups.due(), mono + 100);
    groups.tick(mono + 100);
    // It has joined, and has to ask for its assignment before the rebalance is over.
    assert_eq!(groups.due(), mono + 100 + 10_000);
    let sync = Sync { member: "g-member".to_owned(), generation: 1, ..Sync::default() };
    drop(groups.sync("g", sync, mono + 200));
    groups.tick(mono + 10_100);
    assert_eq!(groups.due(), mono + 200 + 10_000, "its session ends");
    groups.heartbeat("g", "g-member", None, 1, mono + 9_000).unwrap();
    groups.tick(mono + 10_200);
    assert_eq!(groups.due(), mono + 19_000);
    groups.tick(mono + 19_000);
    assert_eq!(groups.due(), i64::MAX, "nothing is due of an empty group");
}
