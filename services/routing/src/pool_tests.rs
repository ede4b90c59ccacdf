//! The pool in the harness: what comes out is what the branches would have made, each by itself.
use super::*;
use crate::pool;
use atio_schemas::command::{Action, Command};
use atio_stage::{Output, Run};

const MINUTE: i64 = 60_000;

/// Every way in which a branch can end.
const PICKY: &str = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: picky}\non: detection\nmatch: {kind: [threat, vulnerability]}\n\
    branches:\n  both:\n    - if: '.kev == true'\n      then: [{deliver: files}]\n      else: [{convert: report}, {deliver: siem}]\n\
    \x20 changed:\n    - set: {labels: 'push(.labels, \"seen\")'}\n    - when: .importance >= 50\n    - deliver: files\n\
    \x20 told:\n    - incident: {comment: 'seen by picky'}\n";

const ALL: [(&str, i64, &str); 3] =
    [("threats", 1, THREATS), ("exploited", 4, KNOWN_EXPLOITED), ("picky", 2, PICKY)];

/// A processor, boxed as a stage has it.
struct Boxed(Box<dyn Processor>);
impl Processor for Boxed {
    fn process(&self, record: &atio_stage::Record<'_>, tx: &mut atio_stage::Tx<'_>) -> atio_stage::Outcome {
        self.0.process(record, tx)
    }
}

fn defined<P: Processor>(harness: &mut Harness<P>, placement: Placement) {
    for (name, version, text) in ALL {
        apply(harness, name, version, text);
        place(harness, name, version, placement);
    }
}

/// The pool with the wiring that these workflows need when they are placed so; `ready`: those whose topics are there.
fn pool_of(placement: Placement, ready: &[&str]) -> Harness<Boxed> {
    let deps = deps();
    let definitions = placed(&ALL, placement);
    let stage = pool::stage(&deps, &definitions, &|name| ready.contains(&name));
    let Run::Transform(processor) = stage.run else { panic!("it transforms") };
    let mut harness = Harness::new(Boxed(processor), &stage.tables, Timestamp(0));
    defined(&mut harness, placement);
    harness
}

fn pool() -> Harness<Boxed> {
    pool_of(Placement::Pooled, &[])
}

/// Of every kind there is.
fn events() -> Vec<Detection> {
    let mut all = vec![];
    for kind in [Kind::Threat, Kind::Vulnerability, Kind::Log] {
        for confidence in [10, 80] {
            for kev in [None, Some(true)] {
                for importance in [10.0, 60.0, 90.0] {
                    for incident in [None, Some("i1".to_owned())] {
                        for tlp in [Tlp::Green, Tlp::Red] {
                            all.push(Detection {
                                event_id: format!("e{}", all.len()),
                                kind,
                                confidence: Some(confidence),
                                kev,
                                importance: Some(importance),
                                incident_id: incident.clone(),
                                tlp,
                                ..detection()
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

/// As records that another stage reads.
fn read(outputs: &[Output], topic: &str) -> Vec<Given> {
    let of = outputs.iter().filter(|o| &*o.topic == topic);
    of.map(|o| Given {
        topic: o.topic.to_string(),
        key: o.key.clone(),
        value: o.value.clone(),
        headers: o.headers.clone(),
        ..Given::default()
    })
    .collect()
}

fn sorted(mut outputs: Vec<Output>) -> Vec<Output> {
    let name = |o: &Output| {
        let key = o.headers.text(header::IDEMPOTENCY_KEY).or(o.headers.text(header::CE_ID));
        (o.topic.clone(), key.map(str::to_owned), o.value.clone())
    };
    outputs.sort_by_key(name);
    outputs
}

/// What the router gives, and what becomes of it where each branch has a group of its own.
fn by_themselves() -> (Vec<Output>, Vec<(Code, String)>) {
    let mut router = router_of(Placement::Own);
    router.commit(&events().iter().map(of).collect::<Vec<_>>());
    let (mut outputs, mut letters) = (vec![], vec![]);
    for (name, version, text) in ALL {
        let definition = atio_workflow::compile(name, text, &deps().known).unwrap();
        for branch in &definition.branches {
            let deps = deps();
            let runner = branch::Runner {
                codec: deps.codec.clone(),
                workflow: name.into(),
                branch: branch.name.to_string(),
                home_networks: vec![],
                prefix: "t.".into(),
                keeps: false,
                delays: false,
                tables: [].into(),
            };
            let mut harness = Harness::new(runner, std::slice::from_ref(&deps.table), Timestamp(0));
            apply(&mut harness, name, version, text);
            harness.commit(&read(&router.outputs, &format!("t.workflow.{name}")));
            assert!(harness.failures.is_empty(), "{:?}", harness.failures);
            let stage = format!("routing.{name}.{}", branch.name);
            letters.extend(harness.dead_letters.iter().map(|l| (l.code, stage.clone())));
            outputs.extend(harness.outputs);
        }
    }
    letters.sort();
    (sorted(outputs), letters)
}

fn router_of(placement: Placement) -> Harness<router::Router> {
    let deps = deps();
    let router = router::Router::new(deps.codec.clone(), deps.prefix.clone());
    let mut harness = Harness::new(router, std::slice::from_ref(&deps.table), Timestamp(0));
    defined(&mut harness, placement);
    harness
}

#[test]
fn the_pool_makes_what_the_branches_make() {
    let (outputs, letters) = by_themselves();
    assert!(outputs.len() > 100 && letters.len() > 10, "{} {}", outputs.len(), letters.len());
    let mut router = router_of(Placement::Pooled);
    router.commit(&events().iter().map(of).collect::<Vec<_>>());
    assert!(router.outputs.iter().all(|o| &*o.topic == "t.routed"), "one record an event");
    assert_eq!(router.outputs.len() as u64, router.counts.emitted);
    let mut pool = pool();
    pool.commit(&read(&router.outputs, "t.routed"));
    assert_eq!(pool.failures, []);
    assert!(pool.counts.balanced());
    assert_eq!(sorted(std::mem::take(&mut pool.outputs)), outputs);
    let codes = pool.dead_letters.iter().map(|l| l.code);
    let mut found: Vec<(Code, String)> = codes.zip(pool.letters_of.iter().cloned()).collect();
    found.sort();
    assert_eq!(found, letters, "dead letters are those of the branches, under their names");
}

/// What a router writes to a workflow's own topic, and what the pool hands on to it, is the same.
#[test]
fn what_is_promoted_gets_what_it_would_have_got() {
    let names = ALL.map(|(name, _, _)| name);
    let events: Vec<Given> = events().iter().map(of).collect();
    let mut own = router_of(Placement::Own);
    own.commit(&events);
    let mut router = router_of(Placement::Promoted);
    router.commit(&events);
    assert!(router.outputs.iter().all(|o| &*o.topic == "t.routed"), "the order is the pool's to keep");
    let mut pool = pool_of(Placement::Promoted, &names);
    pool.commit(&read(&router.outputs, "t.routed"));
    assert_eq!(pool.failures, []);
    assert_eq!(pool.outputs, own.outputs);
    assert!(pool.counts.balanced());
}

#[test]
fn a_workflow_leaves_the_pool_between_two_transactions() {
    let mut pool = pool_of(Placement::Promoted, &["exploited"]);
    let both = Detection { kev: Some(true), ..detection() };
    let event = || routed(&["exploited@4", "threats@1"], both.clone());
    place(&mut pool, "threats", 1, Placement::Pooled);
    pool.commit(&[event()]);
    let topics: Vec<String> = pool.outputs.drain(..).map(|o| o.topic.to_string()).collect();
    assert_eq!(topics.iter().filter(|t| *t == "t.workflow.exploited").count(), 1);
    assert!(topics.len() > 1, "the other is run: {topics:?}");
    // Its topic is not there yet: nothing is decided before it is, or before a while has passed.
    place(&mut pool, "threats", 1, Placement::Promoted);
    pool.commit(&[event()]);
    assert_eq!((pool.failures.len(), pool.outputs.len()), (1, 0));
    pool.set_now(Timestamp::from_millis(MINUTE));
    (pool.dead_letters, pool.letters_of) = (vec![], vec![]);
    pool.commit(&[event()]);
    assert_eq!(pool.outputs.len(), 1, "the other one has its");
    assert_eq!((pool.dead_letters[0].code, &*pool.letters_of[0]), (Code::UnknownVersion, "routing.threats"));
}

#[test]
fn a_version_that_is_not_there_keeps_nobody_back_for_long() {
    let mut pool = pool();
    let event = || routed(&["threats@9", "exploited@4"], Detection { kev: Some(true), ..detection() });
    pool.commit(&[event()]);
    assert_eq!(pool.failures[0].code, Code::UnknownVersion);
    pool.set_now(Timestamp::from_millis(MINUTE));
    pool.commit(&[event()]);
    assert_eq!((pool.outputs.len(), &*pool.letters_of[0]), (1, "routing.threats"));
    // One that can't run is told at once.
    pool.set_now(Timestamp(0));
    let broken = THREATS.replace("deliver: files", "deliver: nowhere");
    let value = stored(ObjectKind::Workflow, "threats", 9, Some(&broken));
    assert!(pool.table(Definitions::TABLE, b"threats@9", Some(&value)).is_err());
    pool.commit(&[event()]);
    assert_eq!((pool.failures.len(), pool.outputs.len(), pool.dead_letters.len()), (1, 2, 2));
}

/// What was matched before it was deleted is finished; what keeps state waits for its promotion.
#[test]
fn deleted_and_with_state() {
    let mut pool = pool();
    pool.table(Definitions::TABLE, b"exploited", None).unwrap();
    pool.commit(&[routed(&["exploited@4"], Detection { kev: Some(true), ..detection() })]);
    assert_eq!(pool.outputs.len(), 1);
    // What had left the pool before, paused perhaps, is not run there: it waits on its own topic.
    let mut promoted = pool_of(Placement::Promoted, &["exploited"]);
    promoted.table(Definitions::TABLE, b"exploited", None).unwrap();
    promoted.commit(&[routed(&["exploited@4"], Detection { kev: Some(true), ..detection() })]);
    assert_eq!(promoted.outputs.iter().map(|o| &*o.topic).collect::<Vec<_>>(), ["t.workflow.exploited"]);
    let counting = KNOWN_EXPLOITED
        .replace("    - deliver: files\n", "    - dedup: {key: asset, within: 1h}\n    - deliver: files\n");
    let value = stored(ObjectKind::Workflow, "exploited", 5, Some(&counting));
    pool.table(Definitions::TABLE, b"exploited@5", Some(&value)).unwrap();
    pool.commit(&[routed(&["exploited@5"], detection())]);
    assert_eq!(pool.failures[0].code, Code::UnknownVersion);
}

#[test]
fn a_replay_is_for_one_branch() {
    let mut pool = pool();
    assert!(pool::stage(&deps(), &deps().definitions(), &|_| true).name == POOL);
    let replayed = |stage: &str| {
        let mut given = routed(&["threats@1", "exploited@4"], Detection { kev: Some(true), ..detection() });
        given.headers.set(header::REPLAY_LETTER, "t.workflow-dlq/0/0");
        given.headers.set(header::REPLAY_STAGE, stage.as_bytes());
        given
    };
    let topics = |pool: &mut Harness<Boxed>| -> Vec<String> {
        pool.outputs.drain(..).map(|o| o.topic.to_string()).collect()
    };
    pool.commit(&[replayed("routing.threats.siem")]);
    assert_eq!(topics(&mut pool), ["t.delivery.siem"]);
    pool.commit(&[replayed("routing.threats")]);
    assert_eq!(topics(&mut pool).len(), 4, "all branches of it");
    pool.commit(&[replayed("routing-pool")]);
    assert_eq!(topics(&mut pool).len(), 5, "all of all");
    pool.commit(&[replayed("routing.threats.gone"), replayed("routing.other.siem")]);
    let dropped = &pool.counts.dropped;
    assert_eq!((dropped.get(&Code::NotInVersion), dropped.get(&Code::OtherStage)), (Some(&1), Some(&1)));
    // On the way to a workflow that is promoted it stays for that branch; what is for all is for all.
    let mut pool = pool_of(Placement::Promoted, &["threats", "exploited"]);
    pool.commit(&[replayed("routing.threats.siem"), replayed("routing.threats")]);
    let stages: Vec<_> = pool.outputs.iter().map(|o| o.headers.text(header::REPLAY_STAGE)).collect();
    assert_eq!(stages, [Some("routing.threats.siem"), None]);
    assert!(pool.outputs.iter().all(|o| o.headers.text(header::REPLAY_LETTER).is_some()));
    assert!(pool.outputs.iter().all(|o| &*o.topic == "t.workflow.threats"));
}

/// Red detections never reach the siem: branch `siem` fails, the others of the same record deliver.
#[test]
fn where_nearly_everything_fails_a_promotion_is_asked_for() {
    let secret = Detection { tlp: Tlp::Red, incident_id: Some("i1".into()), ..detection() };
    let bad = routed(&["threats@1"], secret);
    let good = routed(&["threats@1"], detection());
    let commands = |pool: &Harness<Boxed>| -> Vec<Command> {
        let of = pool.outputs.iter().filter(|o| &*o.topic == "t.commands");
        of.map(|o| deps().codec.decode(o.value.as_ref().unwrap()).unwrap()).collect()
    };
    let mut healthy = pool();
    for _ in 0..2 {
        healthy.commit(&vec![bad.clone(); 979]);
        healthy.commit(&vec![good.clone(); 21]);
    }
    assert_eq!(commands(&healthy), [], "979 of 1000 are too few");
    let mut failing = pool();
    failing.commit(&vec![good.clone(); 5]);
    failing.commit(&vec![bad.clone(); 500]);
    failing.commit(&vec![good; 20]);
    failing.commit(&vec![bad.clone(); 479]);
    assert_eq!(commands(&failing), []);
    failing.commit(std::slice::from_ref(&bad));
    let asked = commands(&failing);
    assert_eq!(asked.len(), 1);
    let command = &asked[0];
    assert_eq!(
        (command.action, command.expected_version, command.name.as_str()),
        (Action::Promote, 1, "threats")
    );
    assert_eq!((command.actor.as_str(), command.kind), ("routing", ObjectKind::Workflow));
    assert!(command.reason.as_deref().unwrap().contains("980 of 1000"), "{:?}", command.reason);
    let output = failing.outputs.iter().find(|o| &*o.topic == "t.commands").unwrap();
    assert_eq!(output.key.as_deref(), Some(&b"workflow/threats"[..]));
    // From another partition, or once more: the same command, which monitoring answers once.
    failing.commit(&vec![bad; 980]);
    let ids: std::collections::BTreeSet<String> =
        commands(&failing).into_iter().map(|c| c.command_id).collect();
    assert_eq!((commands(&failing).len(), ids.len()), (2, 1));
}

#[test]
fn wiring_follows_placements() {
    let deps = deps();
    let wired = |placement: Placement, ready: bool| {
        let definitions = placed(&ALL, placement);
        changing_stages(&deps, &definitions, &|_| ready)
    };
    let names = |stages: &[Stage]| -> Vec<String> { stages.iter().map(|s| s.name.clone()).collect() };
    assert_eq!(names(&wired(Placement::Own, true)).len(), 7, "a group for each branch, and no pool");
    let pooled = wired(Placement::Pooled, true);
    assert_eq!(names(&pooled), [POOL]);
    let outputs: Vec<&str> = pooled[0].outputs.iter().map(|t| &**t).collect();
    assert_eq!(outputs, ["t.commands", "t.delivery.files", "t.delivery.siem", "t.waits", "t.acks"]);
    let promoted = wired(Placement::Promoted, true);
    assert_eq!(promoted.len(), 8);
    assert!(promoted[0].outputs.iter().any(|t| &**t == "t.workflow.picky"));
    assert_eq!(names(&wired(Placement::Promoted, false)), [POOL], "before their topics are there");
    assert!(promoted.iter().all(|stage| is_changing(&stage.name)));
}
