//! The comparison against what the real stages write: what is legal never alarms, every act does, once.
use super::*;
use crate::{
    commands::Commands,
    intents::Intents,
    noted,
    tests::{apply, codec, command, commands, key, send},
    written::{Written, digest},
};
use atio_schemas::{
    audit::{AuditEntry, AuditIntent},
    command::Action,
    definition::{Change, Definition},
};
use atio_stage::{
    Output,
    harness::{Given, Harness},
};
use proptest::prelude::*;

/// A record as it lies on a topic.
#[derive(Clone, Debug)]
struct Row {
    topic: Topic,
    key: String,
    offset: i64,
    value: Option<Vec<u8>>,
}

/// Both stages, and their topics.
struct World {
    commands: Harness<Commands>,
    intents: Harness<Intents>,
    taken: (usize, usize),
    rows: Vec<Row>,
    ids: i64,
}

impl World {
    fn new() -> Self {
        let intents = Intents::new(codec(), "audit".into(), "changes".into());
        let intents = Harness::new(intents, &[], Timestamp(9));
        Self { commands: commands(), intents, taken: (0, 0), rows: vec![], ids: 0 }
    }
    /// Two workflows with some life.
    fn lived() -> Self {
        let mut world = Self::new();
        world.run(Action::Apply, "w", 0, "a");
        world.run(Action::Apply, "v", 0, "a");
        world.run(Action::Apply, "w", 1, "b");
        world.run(Action::Apply, "w", 1, "refused");
        world.tell(&intent("i", "ack", "{}"));
        world
    }
    fn run(&mut self, action: Action, name: &str, expected: i64, more: &str) {
        self.ids += 1;
        let id = self.ids.to_string();
        let one = match action {
            Action::Apply => apply(&id, name, expected, more),
            other => command(&id, other, name, expected, None),
        };
        send(&mut self.commands, &[one]);
        self.collect();
    }
    fn tell(&mut self, intent: &AuditIntent) {
        let given =
            Given { topic: "i".into(), value: Some(codec().encode(intent).unwrap()), ..Given::default() };
        self.intents.commit(&[given]);
        self.collect();
    }
    fn collect(&mut self) {
        let new: Vec<Output> = self.commands.outputs[self.taken.0..].to_vec();
        let others: Vec<Output> = self.intents.outputs[self.taken.1..].to_vec();
        self.taken = (self.commands.outputs.len(), self.intents.outputs.len());
        for output in new.into_iter().chain(others) {
            let topic = match &*output.topic {
                "workflows" => Topic::Workflows,
                "changes" => Topic::Changes,
                _ => Topic::Audit,
            };
            self.put(topic, &key(&output), output.value);
        }
    }
    fn put(&mut self, topic: Topic, key: &str, value: Option<Vec<u8>>) {
        let offset = self.rows.len() as i64;
        self.rows.push(Row { topic, key: key.to_owned(), offset, value });
    }
    fn value(&self, topic: Topic, key: &str) -> Option<Vec<u8>> {
        self.rows.iter().rfind(|r| r.topic == topic && r.key == key).and_then(|r| r.value.clone())
    }
    fn heads(&self) -> Heads {
        let mut heads = Heads::default();
        let head =
            |note: Option<&str>| note.map_or_else(ChainHead::default, |n| serde_json::from_str(n).unwrap());
        heads.noted.insert("commands-0".into(), head(self.commands.note("commands", 0)));
        heads.noted.insert("intents-0".into(), head(self.intents.note("i", 0)));
        heads
    }
    /// A fresh look at everything.
    fn look(&self) -> (Compare, Look) {
        let mut compare = Compare::default();
        self.rows.iter().for_each(|row| feed(&mut compare, row));
        let look = compare.look(&self.heads());
        (compare, look)
    }
    fn found(&self) -> Vec<(Topic, Kind, String)> {
        self.look().1.suspicions.into_iter().map(|r| (r.topic, r.finding, r.key)).collect()
    }
}

fn intent(id: &str, action: &str, details: &str) -> AuditIntent {
    AuditIntent {
        intent_id: id.into(),
        actor: "a".into(),
        action: action.into(),
        object: "o".into(),
        details: details.into(),
        at: Timestamp(1),
    }
}

fn feed(compare: &mut Compare, row: &Row) {
    let place = Place {
        key: row.key.clone(),
        offset: row.offset,
        timestamp: Timestamp(row.offset * 1000),
        hash: row.value.as_deref().map(digest),
    };
    let value = row.value.as_deref();
    match row.topic {
        Topic::Audit => {
            let read = value.map(|v| codec().decode::<AuditEntry>(v).map_err(|e| e.to_string())).transpose();
            compare.audit(place, read.as_ref().map(Option::as_ref).map_err(Clone::clone));
        }
        Topic::Workflows => {
            let meaning = match value.map(|v| codec().decode::<Definition>(v)) {
                Some(Ok(d)) => {
                    Meaning::Definition { pointer: d.pointer, version: d.version, text: d.definition.into() }
                }
                _ => Meaning::Other,
            };
            compare.record(row.topic, place, meaning);
        }
        Topic::Changes => {
            let meaning = match value.map(|v| codec().decode::<Change>(v)) {
                Some(Ok(c)) => Meaning::Change { command_id: c.command_id },
                _ => Meaning::Other,
            };
            compare.record(row.topic, place, meaning);
        }
    }
}

#[test]
fn a_tombstone_behind_the_back_is_told_once_and_restored() {
    let mut world = World::lived();
    assert_eq!(world.found(), []);
    world.put(Topic::Workflows, "w", None);
    let (mut compare, look) = world.look();
    let [report] = look.suspicions.as_slice() else { panic!("{look:?}") };
    assert_eq!((report.finding, report.name.as_str(), report.version), (Kind::Deleted, "w", Some(2)));
    assert_eq!(report.definition.as_deref(), Some(crate::tests::text("w", "b").as_str()));
    assert_eq!(look.untrusted, Some(1));
    assert_eq!(compare.look(&world.heads()).suspicions, look.suspicions, "it stands");
    // Told: by this process, and, from the log, after a restart; sent twice it is one.
    assert!(compare.reported(report));
    assert_eq!(compare.look(&world.heads()).suspicions, []);
    for _ in 0..2 {
        world.tell(&report.intent(Timestamp(7)).unwrap());
    }
    let (_, again) = world.look();
    assert_eq!(
        (again.suspicions, again.told.as_slice()),
        (vec![], [(Topic::Workflows, Kind::Deleted)].as_slice())
    );
    assert_eq!(again.untrusted, Some(1), "not restored yet");
    let of = |r: &&Row| r.topic == Topic::Audit && r.key.starts_with("intents-");
    assert_eq!(
        world.rows.iter().filter(of).count(),
        2,
        "one entry beside the one that was there: sent twice it is one"
    );
    let told: Change = codec()
        .decode(&world.rows.iter().rfind(|r| r.topic == Topic::Changes).unwrap().value.clone().unwrap())
        .unwrap();
    assert_eq!(
        (told.finding.as_deref(), told.name.as_str(), told.before_version),
        (Some("deleted"), "w", Some(2))
    );
    // The tombstone takes all older ones with it, and then goes itself: nothing new is told.
    let mut compacted = world.rows.clone();
    compacted.retain(|r| (r.topic, r.key.as_str()) != (Topic::Workflows, "w"));
    let mut later = Compare::default();
    compacted.iter().for_each(|row| feed(&mut later, row));
    assert_eq!(later.look(&world.heads()).suspicions, []);
    world.run(Action::Restore, "w", 2, "");
    let (_, healed) = world.look();
    assert_eq!((healed.suspicions, healed.untrusted), (vec![], Some(0)));
    let pointer: Definition = codec().decode(&world.value(Topic::Workflows, "w").unwrap()).unwrap();
    assert_eq!((pointer.version, pointer.pointer), (2, true), "the one in force, not a new one");
}

/// What it is, what is done, what must be found.
type Act = (&'static str, fn(&mut World), (Topic, Kind, &'static str));

fn on_definitions_and_changes() -> Vec<Act> {
    vec![
        ("version", |w| w.put(Topic::Workflows, "w@1", None), (Topic::Workflows, Kind::Deleted, "w@1")),
        (
            "new",
            |w| w.put(Topic::Workflows, "evil", w.value(Topic::Workflows, "w")),
            (Topic::Workflows, Kind::Foreign, "evil"),
        ),
        (
            "other text",
            |w| w.put(Topic::Workflows, "w@2", w.value(Topic::Workflows, "w@1")),
            (Topic::Workflows, Kind::Rewritten, "w@2"),
        ),
        (
            "an old pointer once more",
            |w| {
                let old = w
                    .rows
                    .iter()
                    .find(|r| r.topic == Topic::Workflows && r.key == "w")
                    .unwrap()
                    .value
                    .clone();
                w.put(Topic::Workflows, "w", old);
            },
            (Topic::Workflows, Kind::Rewritten, "w"),
        ),
        (
            "gone",
            |w| w.rows.retain(|r| (r.topic, r.key.as_str()) != (Topic::Workflows, "v")),
            (Topic::Workflows, Kind::Missing, "v"),
        ),
        (
            "garbage",
            |w| w.put(Topic::Workflows, "w", Some(b"x".to_vec())),
            (Topic::Workflows, Kind::Rewritten, "w"),
        ),
        (
            "in the place of the true one, which compaction has removed",
            |w| {
                w.rows.retain(|r| r.key != "w@2");
                w.put(Topic::Workflows, "w@2", w.value(Topic::Workflows, "w@1"));
            },
            (Topic::Workflows, Kind::Rewritten, "w@2"),
        ),
        (
            "change",
            |w| w.put(Topic::Changes, "workflow/w", Some(b"x".to_vec())),
            (Topic::Changes, Kind::Rewritten, "workflow/w"),
        ),
        (
            "change twice",
            |w| w.put(Topic::Changes, "workflow/v", w.value(Topic::Changes, "workflow/v")),
            (Topic::Changes, Kind::Rewritten, "workflow/v"),
        ),
    ]
}

fn on_the_log() -> Vec<Act> {
    vec![
        (
            "null",
            |w| w.put(Topic::Audit, "commands-0/2", None),
            (Topic::Audit, Kind::Deleted, "commands-0/2"),
        ),
        (
            "no entry",
            |w| w.put(Topic::Audit, "commands-0/9", Some(b"x".to_vec())),
            (Topic::Audit, Kind::Unreadable, "commands-0/9"),
        ),
        (
            "again",
            |w| w.put(Topic::Audit, "commands-0/2", w.value(Topic::Audit, "commands-0/2")),
            (Topic::Audit, Kind::Rewritten, "commands-0/2"),
        ),
        (
            "wrong key",
            |w| w.put(Topic::Audit, "commands-0/9", w.value(Topic::Audit, "commands-0/2")),
            (Topic::Audit, Kind::WrongKey, "commands-0/9"),
        ),
        (
            "missing",
            |w| w.rows.retain(|r| r.key != "commands-0/2"),
            (Topic::Audit, Kind::Gap, "commands-0/2"),
        ),
        (
            "cut",
            |w| w.rows.retain(|r| r.key != "commands-0/4"),
            (Topic::Audit, Kind::Truncated, "commands-0/4"),
        ),
        ("beyond", |w| forge(w, "commands-0"), (Topic::Audit, Kind::Foreign, "commands-0/5")),
        ("another chain", |w| forge(w, "evil-0"), (Topic::Audit, Kind::Foreign, "evil-0/1")),
    ]
}

#[test]
fn every_act_is_found() {
    for (what, act, wanted) in on_definitions_and_changes().into_iter().chain(on_the_log()) {
        let mut world = World::lived();
        act(&mut world);
        let (mut compare, look) = world.look();
        let found: Vec<_> = look.suspicions.iter().map(|r| (r.topic, r.finding, r.key.as_str())).collect();
        assert_eq!(found, [wanted], "{what}");
        let told: Vec<bool> = look.suspicions.iter().map(|r| compare.reported(r)).collect();
        assert!(told.iter().all(|new| *new), "{what}: one id an act");
        // Who takes an entry away takes away what vouches for its records: they show next, and nobody else's.
        let after = compare.look(&world.heads()).suspicions;
        let taken = matches!(wanted.1, Kind::Gap | Kind::Truncated);
        assert!(after.len() <= if taken { 3 } else { 0 }, "{what}: {after:?}");
        after.iter().for_each(|r| assert!(compare.reported(r)));
        assert_eq!(compare.look(&world.heads()).suspicions, [], "{what}: told once");
        // Life goes on, and is not held against anybody.
        for (action, expected) in [(Action::Apply, 2), (Action::Pause, 3), (Action::Delete, 3)] {
            let at = world.rows.len();
            world.run(action, "w", expected, "later");
            world.rows[at..].iter().for_each(|row| feed(&mut compare, row));
            assert_eq!(compare.look(&world.heads()).suspicions, [], "{what}, then {action}");
        }
    }
}

/// A well-made entry that goes on from the chain's end, and vouches for a definition of its own.
fn forge(world: &mut World, chain: &str) {
    let head = world.heads().noted.get(chain).cloned().unwrap_or_default();
    let (forged, _) = atio_schemas::audit::append(chain, &head, &intent("x", "apply", "{}"));
    let value = codec().encode(&forged).unwrap();
    world.put(Topic::Audit, &format!("{chain}/{}", forged.sequence), Some(value));
}

#[test]
fn an_entry_that_nobody_noted_vouches_for_nothing() {
    let mut world = World::lived();
    let evil = b"evil".to_vec();
    let written =
        [Written { topic: Topic::Workflows, key: "evil".into(), sha256: Some(hex(&digest(&evil))) }];
    let details = serde_json::json!({"change": "CreationEvents", "after_version": 1, "written": written});
    let head = world.heads().noted["commands-0"].clone();
    let mut forged = intent("x", "apply", &details.to_string());
    forged.object = "workflow/evil".into();
    let (entry, _) = atio_schemas::audit::append("commands-0", &head, &forged);
    world.put(Topic::Audit, "commands-0/5", Some(codec().encode(&entry).unwrap()));
    world.put(Topic::Workflows, "evil", Some(evil));
    let both = [
        (Topic::Audit, Kind::Foreign, "commands-0/5".to_owned()),
        (Topic::Workflows, Kind::Foreign, "evil".to_owned()),
    ];
    assert_eq!(world.found(), both);
    // The true entry takes its place, and the forged one stays what it was.
    let before: Vec<String> = world.look().1.suspicions.iter().map(Report::id).collect();
    world.run(Action::Apply, "v", 1, "c");
    let (mut compare, look) = world.look();
    assert_eq!(look.suspicions.iter().map(Report::id).collect::<Vec<_>>(), before);
    assert_eq!(look.heads["commands-0"].sequence, 5);
    look.suspicions.iter().for_each(|r| assert!(compare.reported(r)));
    assert_eq!(compare.look(&world.heads()).suspicions, []);
    let entries = world.rows.iter().filter(|r| r.topic == Topic::Audit);
    let entries: Vec<AuditEntry> =
        entries.map(|r| codec().decode(r.value.as_ref().unwrap()).unwrap()).collect();
    let trusted = trusted(entries, &world.heads());
    assert_eq!(trusted["commands-0"].len(), 5);
    assert!(trusted["commands-0"].iter().all(|e| e.object != "workflow/evil"));
}

#[test]
fn entries_without_hashes_vouch_by_what_they_say() {
    let mut world = World::lived();
    world.run(Action::Pause, "w", 2, "");
    world.run(Action::Delete, "v", 1, "");
    // The same chain as an older version wrote it.
    let (mut head, mut rows) = (ChainHead::default(), vec![]);
    for row in &world.rows {
        let entry = row.value.as_ref().filter(|_| row.key.starts_with("commands-"));
        let Some(entry) = entry.map(|v| codec().decode::<AuditEntry>(v).unwrap()) else {
            rows.push(row.clone());
            continue;
        };
        let mut details: serde_json::Value = serde_json::from_str(&entry.details).unwrap();
        details.as_object_mut().unwrap().remove("written");
        let mut intent = intent(&entry.intent_id, &entry.action, &details.to_string());
        intent.object = entry.object;
        let (older, next) = atio_schemas::audit::append("commands-0", &head, &intent);
        head = next;
        rows.push(Row { value: Some(codec().encode(&older).unwrap()), ..row.clone() });
    }
    let mut heads = world.heads();
    heads.noted.insert("commands-0".into(), head);
    let judge = |rows: &[Row]| {
        let mut compare = Compare::default();
        rows.iter().for_each(|row| feed(&mut compare, row));
        compare.look(&heads)
    };
    let look = judge(&rows);
    assert_eq!(look.suspicions, []);
    assert!(look.unverifiable > 5, "{}", look.unverifiable);
    let at = rows.iter().position(|r| r.key == "w@2").unwrap();
    let mut altered: Definition = codec().decode(rows[at].value.as_ref().unwrap()).unwrap();
    altered.definition.push_str("# evil");
    rows[at].value = Some(codec().encode(&altered).unwrap());
    let found: Vec<_> = judge(&rows).suspicions.into_iter().map(|r| (r.finding, r.key)).collect();
    assert_eq!(found, [(Kind::Rewritten, "w@2".to_owned())], "its text has a hash");
}

#[test]
fn lost_offsets_are_told_and_then_lived_with() {
    let world = World::lived();
    let mut heads = world.heads();
    heads.noted.remove("commands-0");
    heads.unnoted.insert("commands-0".into());
    let mut compare = Compare::default();
    world.rows.iter().for_each(|row| feed(&mut compare, row));
    let look = compare.look(&heads);
    let [report] = look.suspicions.as_slice() else { panic!("{look:?}") };
    assert_eq!((report.finding, report.key.as_str()), (Kind::Unnoted, "commands-0"));
    assert!(compare.reported(report));
    assert_eq!(compare.look(&heads).suspicions, []);
}

#[test]
fn a_flood_is_bounded() {
    let mut world = World::lived();
    for n in 0..SUSPICIONS_MAX + 5 {
        world.put(Topic::Workflows, &format!("evil-{n}"), Some(b"x".to_vec()));
    }
    let found = world.look().1.suspicions;
    assert_eq!(found.len(), SUSPICIONS_MAX + 1);
    assert_eq!(found.last().unwrap().finding, Kind::TooMany);
}

#[test]
fn a_head_reads_back() {
    let head = ChainHead { sequence: 3, hash: hex(&digest(b"x")) };
    assert_eq!(Head::of(&head).unwrap().hash, digest(b"x"));
    assert!(Head::of(&ChainHead { hash: "x".into(), ..head }).is_none());
    assert_eq!(
        noted::NotedError::Unreadable { chain: "c".into(), note: "n".into() }.code(),
        "note_unreadable"
    );
}

fn actions() -> impl Strategy<Value = Vec<(Action, bool, bool)>> {
    let action = prop::sample::select(Action::ALL.to_vec());
    prop::collection::vec((action, any::<bool>(), any::<bool>()), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is done by command, however much of it compaction has removed, in whatever order topics are read.
    #[test]
    fn what_is_legal_never_alarms(actions in actions(), order in any::<u8>(), looks in any::<bool>()) {
        let mut world = World::new();
        let mut compare = Compare::default();
        for (n, (action, first, right)) in actions.iter().enumerate() {
            let name = if *first { "w" } else { "v" };
            let pointer = world.value(Topic::Workflows, name).map(|v| codec().decode::<Definition>(&v).unwrap());
            let expected = pointer.map_or(0, |p| p.version) + i64::from(!*right && n % 3 == 0);
            let at = world.rows.len();
            world.run(*action, name, expected, &n.to_string());
            if looks {
                let mut rows = world.rows[at..].to_vec();
                let by = rows.len() - 1;
                rows.rotate_left(usize::from(order) % (by + 1));
                rows.sort_by_key(|r| (u8::from(order % 2 == 0) * (r.topic == Topic::Audit) as u8, r.offset));
                rows.iter().for_each(|row| feed(&mut compare, row));
                prop_assert_eq!(compare.look(&world.heads()).suspicions, []);
            }
        }
        // Compacted: of each key the newest, and of the others every second; tombstones may be gone as well.
        let newest: BTreeMap<(Topic, String), i64> = world.rows.iter().map(|r| ((r.topic, r.key.clone()), r.offset)).collect();
        world.rows.retain(|r| {
            let last = newest[&(r.topic, r.key.clone())] == r.offset;
            r.topic != Topic::Workflows || if last { r.value.is_some() || order % 3 > 0 } else { r.offset % 2 == 0 && order % 3 > 0 }
        });
        prop_assert_eq!(world.found(), []);
        prop_assert_eq!(world.look().1.untrusted, Some(0));
    }
}
