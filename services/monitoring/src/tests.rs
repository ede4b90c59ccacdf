//! Both stages in the harness: answers, refusals, concurrency, chains.
use crate::{
    BuiltIn, Facts, Refused, Wanted,
    commands::{Commands, Topics},
    intents::Intents,
    object_key,
};
use atio_schemas::{
    Code, Codec, Timestamp,
    audit::{self, AuditEntry, AuditIntent, ChainHead},
    codec::StaticIds,
    command::{Action, Command, ObjectKind},
    definition::{Change, ChangeType, Definition},
};
use atio_stage::{
    Output,
    harness::{Given, Harness},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// Its schemas are parsed once.
static CODEC: LazyLock<Codec> = LazyLock::new(|| Codec::new(Arc::new(StaticIds::new())));

pub(crate) fn codec() -> Codec {
    CODEC.clone()
}

pub(crate) fn commands() -> Harness<Commands> {
    let workflow = Arc::new(|_: &str, text: &str| {
        if text.contains("bad") {
            Err(Refused::new(Code::InvalidDefinition, "w.yaml:4:1: bad"))
        } else {
            // `branches=3`, `own`, `pooled` in a comment.
            let branches = text.split_once("branches=").map_or(1, |(_, n)| n.trim().parse().unwrap_or(1));
            let wanted = match text {
                text if text.contains("# own") => Wanted::Own,
                text if text.contains("# pooled") => Wanted::Pooled,
                _ => Wanted::Auto,
            };
            Ok(Facts { branches, wanted })
        }
    });
    let run = |_: &str, _: &str, event: &str| match event {
        "no" => Err(Refused::new(Code::NotAllowed, "not this one")),
        _ => Ok(()),
    };
    let topics = Topics { workflows: "workflows".into(), changes: "changes".into(), audit: "audit".into() };
    Harness::new(
        Commands::new(codec(), Arc::new(BuiltIn { workflow, run: Arc::new(run) }), topics, 4),
        &[],
        Timestamp(1_700_000_000_000_000),
    )
}

pub(crate) fn text(name: &str, more: &str) -> String {
    format!("apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: {name}}}\non: detection # {more}\n")
}

pub(crate) fn command(
    id: &str,
    action: Action,
    name: &str,
    expected: i64,
    definition: Option<String>,
) -> Command {
    Command {
        command_id: id.into(),
        action,
        kind: ObjectKind::Workflow,
        name: name.into(),
        expected_version: expected,
        definition,
        actor: "alice".into(),
        reason: Some("because".into()),
        sent_at: Timestamp(1),
        own_topic: Some(true),
    }
}

pub(crate) fn apply(id: &str, name: &str, expected: i64, more: &str) -> Command {
    command(id, Action::Apply, name, expected, Some(text(name, more)))
}

pub(crate) fn given(command: &Command) -> Given {
    Given {
        topic: "commands".into(),
        key: Some(object_key(command.kind, &command.name).into_bytes()),
        value: Some(codec().encode(command).unwrap()),
        ..Given::default()
    }
}

pub(crate) fn send(h: &mut Harness<Commands>, commands: &[Command]) {
    h.commit(&commands.iter().map(given).collect::<Vec<_>>());
}

pub(crate) fn key(o: &Output) -> String {
    String::from_utf8(o.key.clone().unwrap()).unwrap()
}

fn changes(outputs: &[Output]) -> Vec<Change> {
    outputs
        .iter()
        .filter(|o| &*o.topic == "changes")
        .map(|o| codec().decode(o.value.as_ref().unwrap()).unwrap())
        .collect()
}

fn entries(outputs: &[Output]) -> Vec<AuditEntry> {
    outputs
        .iter()
        .filter(|o| &*o.topic == "audit")
        .map(|o| codec().decode(o.value.as_ref().unwrap()).unwrap())
        .collect()
}

/// What a reader of the compacted topic has.
fn definitions(outputs: &[Output]) -> BTreeMap<String, Definition> {
    let mut all = BTreeMap::new();
    for o in outputs.iter().filter(|o| &*o.topic == "workflows") {
        match &o.value {
            Some(value) => all.insert(key(o), codec().decode(value).unwrap()),
            None => all.remove(&key(o)),
        };
    }
    all
}

#[test]
fn a_life_from_creation_to_restoring() {
    let mut h = commands();
    send(&mut h, &[apply("1", "w", 0, "a"), apply("2", "w", 1, "b")]);
    send(&mut h, &[command("3", Action::Pause, "w", 2, None), apply("4", "w", 2, "c")]);
    assert!(definitions(&h.outputs)["w"].paused, "a new version stays paused");
    send(&mut h, &[command("5", Action::Resume, "w", 3, None), command("6", Action::Delete, "w", 3, None)]);
    let all = definitions(&h.outputs);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["w@1", "w@2", "w@3"], "versions stay, the pointer is gone");
    assert_eq!((all["w@2"].definition.as_str(), all["w@2"].version), (text("w", "b").as_str(), 2));
    let types: Vec<ChangeType> = changes(&h.outputs).iter().map(|c| c.change_type).collect();
    use ChangeType::{Creation, Deletion, Modification};
    assert_eq!(types, [Creation, Modification, Modification, Modification, Modification, Deletion]);
    // The deletion's entry holds what it takes to restore.
    let log = entries(&h.outputs);
    let details: serde_json::Value = serde_json::from_str(&log[5].details).unwrap();
    assert_eq!(details["definition"], text("w", "c"));
    send(
        &mut h,
        &[command("7", Action::Apply, "w", 0, Some(details["definition"].as_str().unwrap().to_owned()))],
    );
    let all = definitions(&h.outputs);
    assert_eq!(
        (all["w"].version, all["w"].pointer, all["w@4"].definition.as_str()),
        (4, true, text("w", "c").as_str())
    );
    assert!(audit::verify(ChainHead::default(), &entries(&h.outputs)).is_ok());
    assert!(h.counts.balanced() && h.failures.is_empty());
}

/// It is told and recorded with its event, and changes nothing.
#[test]
fn a_run_by_hand() {
    let mut h = commands();
    let run = |id: &str, expected, event: Option<&str>| {
        command(id, Action::Run, "w", expected, event.map(str::to_owned))
    };
    send(&mut h, &[apply("1", "w", 0, "a"), run("2", 1, Some("{}")), run("3", 1, Some("{}"))]);
    assert_eq!(h.outputs.iter().filter(|o| &*o.topic == "workflows").count(), 2, "of the creation");
    let all = changes(&h.outputs);
    assert_eq!(all[1].change_type, ChangeType::Run);
    assert_eq!((all[1].after.as_deref(), all[1].after_version), (Some("{}"), Some(1)));
    let details: serde_json::Value = serde_json::from_str(&entries(&h.outputs)[1].details).unwrap();
    assert_eq!((&details["event"], &details["definition"]), (&"{}".into(), &serde_json::Value::Null));
    let long = "x".repeat(crate::check::MAX_DEFINITION + 1);
    send(
        &mut h,
        &[run("4", 1, Some("no")), run("5", 1, None), run("6", 2, Some("{}")), run("7", 1, Some(&long))],
    );
    send(&mut h, &[command("8", Action::Run, "unknown", 0, Some("{}".into()))]);
    let all = changes(&h.outputs);
    let codes: Vec<&str> = all[3..].iter().filter_map(|c| c.refused_code.as_deref()).collect();
    assert_eq!(codes, ["not_allowed", "invalid_field", "version_conflict", "too_large", "not_found"]);
    assert_eq!(definitions(&h.outputs)["w"].version, 1);
    assert!(audit::verify(ChainHead::default(), &entries(&h.outputs)).is_ok());
}

#[test]
fn before_and_after_are_told() {
    let mut h = commands();
    send(
        &mut h,
        &[apply("1", "w", 0, "a"), apply("2", "w", 1, "b"), command("3", Action::Delete, "w", 2, None)],
    );
    let all = changes(&h.outputs);
    let versions: Vec<_> = all.iter().map(|c| (c.before_version, c.after_version)).collect();
    assert_eq!(versions, [(None, Some(1)), (Some(1), Some(2)), (Some(2), None)]);
    assert_eq!(
        (all[1].before.as_deref(), all[1].after.as_deref()),
        (Some(text("w", "a").as_str()), Some(text("w", "b").as_str()))
    );
    assert_eq!((all[2].before.is_some(), all[2].after.as_ref()), (true, None));
    assert_eq!(all[0].reason.as_deref(), Some("because"));
}

#[test]
fn of_two_who_saw_the_same_version_one_is_refused() {
    let mut h = commands();
    send(&mut h, &[apply("1", "w", 0, "a")]);
    // Also within one transaction.
    send(&mut h, &[apply("2", "w", 1, "b"), apply("3", "w", 1, "c")]);
    send(&mut h, &[apply("4", "w", 1, "d")]);
    let all = changes(&h.outputs);
    assert_eq!(all[1].change_type, ChangeType::Modification);
    for refused in &all[2..] {
        assert_eq!(refused.change_type, ChangeType::Refusal);
        assert_eq!(
            (refused.refused_code.as_deref(), refused.after_version),
            (Some("version_conflict"), Some(2))
        );
    }
    assert_eq!(definitions(&h.outputs)["w@2"].definition, text("w", "b"));
    assert_eq!(entries(&h.outputs).len(), 4, "refusals are recorded");
    assert!(audit::verify(ChainHead::default(), &entries(&h.outputs)).is_ok());
}

#[test]
fn refusals_say_why() {
    let mut h = commands();
    let sink = Command {
        kind: ObjectKind::Sink,
        ..command(
            "7",
            Action::Apply,
            "s",
            0,
            Some("apiVersion: atio/v1\nkind: Sink\nmetadata: {name: s}\ntype: splunk".into()),
        )
    };
    let long = command("9", Action::Apply, "w", 0, Some("#".repeat(600_000)));
    send(
        &mut h,
        &[
            command("1", Action::Delete, "w", 0, None),
            command("2", Action::Pause, "w", 3, None),
            apply("3", "w", 0, "bad"),
            command("4", Action::Apply, "w", 0, None),
            command("5", Action::Apply, "w", 0, Some(text("other", "a"))),
            command("6", Action::Apply, "w", 0, Some("kind: [".into())),
            sink,
            apply("8", "w", 0, "a"),
            apply("8b", "w", 1, "a"),
            long,
        ],
    );
    let codes: Vec<_> =
        changes(&h.outputs).into_iter().map(|c| c.refused_code.unwrap_or_else(|| "ok".into())).collect();
    let invalid = "invalid_definition";
    assert_eq!(
        codes,
        [
            "not_found",
            "not_found",
            invalid,
            invalid,
            invalid,
            invalid,
            "not_yet_supported",
            "ok",
            "duplicate",
            "version_conflict"
        ]
    );
    assert_eq!(definitions(&h.outputs).len(), 2, "nothing of a refused command goes live");
    send(&mut h, &[command("10", Action::Apply, "v", 0, Some("#".repeat(600_000)))]);
    assert_eq!(changes(&h.outputs).last().unwrap().refused_code.as_deref(), Some("too_large"));
}

#[test]
fn the_same_command_sent_twice_is_carried_out_once() {
    let mut h = commands();
    send(&mut h, &[apply("1", "w", 0, "a"), apply("2", "w", 0, "b"), apply("1", "w", 0, "a")]);
    send(&mut h, &[apply("1", "w", 0, "a"), command("3", Action::Delete, "w", 1, None)]);
    // What was refused does not come true once it could.
    send(&mut h, &[apply("2", "w", 0, "b")]);
    assert_eq!(h.counts.dropped.get(&Code::Duplicate), Some(&3));
    assert_eq!((changes(&h.outputs).len(), entries(&h.outputs).len()), (3, 3));
}

#[test]
fn other_kinds_have_keys_of_their_own() {
    let mut h = commands();
    let yaml = "apiVersion: atio/v1\nkind: Source\nmetadata: {name: w}\nfrom: {http: {}}";
    let source =
        Command { kind: ObjectKind::Source, ..command("2", Action::Apply, "w", 0, Some(yaml.into())) };
    send(&mut h, &[apply("1", "w", 0, "a"), source]);
    assert_eq!(definitions(&h.outputs).keys().collect::<Vec<_>>(), ["source/w", "source/w@1", "w", "w@1"]);
}

#[test]
fn an_entry_has_the_definition_and_never_what_a_pause_quotes() {
    let mut h = commands();
    let odd = format!("paused: no\n{}", text("w", "a"));
    let one = command("1", Action::Apply, "w", 0, Some(odd.clone()));
    send(
        &mut h,
        &[one, command("2", Action::Pause, "w", 1, None), command("3", Action::Delete, "w", 1, None)],
    );
    let of = |e: &AuditEntry| crate::written::Details::read(e).unwrap().definition;
    assert_eq!(entries(&h.outputs).iter().map(of).collect::<Vec<_>>(), [Some(odd.clone()), None, Some(odd)]);
}

#[test]
fn what_is_no_command_is_a_dead_letter_and_moves_no_chain() {
    let mut h = commands();
    let good = apply("1", "w", 0, "a");
    let foreign = Given { key: Some(b"workflow/other".to_vec()), ..given(&good) };
    let keyless = Given { key: None, ..given(&good) };
    let tombstone = Given { value: None, ..given(&good) };
    let rubbish = Given { value: Some(vec![0, 0, 0]), ..given(&good) };
    let wrong_record = Given { value: Some(codec().encode(&intent(1)).unwrap()), ..given(&good) };
    let name = given(&apply("2", "../w", 0, "a"));
    let actor = given(&Command { actor: "x".repeat(300), ..apply("3", "w", 0, "a") });
    let nobody = given(&Command { actor: String::new(), ..apply("4", "w", 0, "a") });
    h.commit(&[foreign, keyless, tombstone, rubbish, wrong_record, name, actor, nobody]);
    assert_eq!((h.dead_letters.len(), h.outputs.len()), (8, 0));
    assert_eq!(h.note("commands", 0), None);
    assert!(h.counts.balanced());
    send(&mut h, &[good]);
    assert_eq!(entries(&h.outputs)[0].sequence, 1);
}

#[test]
fn an_aborted_batch_leaves_nothing() {
    let mut h = commands();
    send(&mut h, &[apply("1", "w", 0, "a")]);
    let note = h.note("commands", 0).map(str::to_owned);
    let aborted = h.abort(&[given(&apply("2", "w", 1, "b"))]);
    assert_eq!(aborted.len(), 1);
    assert_eq!(h.note("commands", 0).map(str::to_owned), note);
    send(&mut h, &[apply("2", "w", 1, "b")]);
    assert_eq!(
        changes(&h.outputs)[1].change_type,
        ChangeType::Modification,
        "not a repeat: the first was aborted"
    );
    assert!(audit::verify(ChainHead::default(), &entries(&h.outputs)).is_ok());
}

fn intent(n: i64) -> AuditIntent {
    AuditIntent {
        intent_id: n.to_string(),
        actor: "a".into(),
        action: "ack".into(),
        object: "incident".into(),
        details: "{}".into(),
        at: Timestamp(n),
    }
}

#[test]
fn each_partition_of_intents_is_a_chain() {
    let mut h = Harness::new(Intents::new(codec(), "audit".into(), "changes".into()), &[], Timestamp(5));
    let of = |n: i64, partition| Given {
        topic: "audit-intents".into(),
        partition,
        value: Some(codec().encode(&intent(n)).unwrap()),
        ..Given::default()
    };
    h.commit(&[of(1, 0), of(2, 3), of(3, 0)]);
    h.commit(&[of(4, 3), Given { value: None, ..of(5, 0) }]);
    let all = entries(&h.outputs);
    for chain in ["intents-0", "intents-3"] {
        let own: Vec<&AuditEntry> = all.iter().filter(|e| e.chain == chain).collect();
        assert_eq!((own.len(), audit::verify(ChainHead::default(), own).map(|h| h.sequence)), (2, Ok(2)));
    }
    let keys: Vec<String> = h.outputs.iter().map(key).collect();
    assert_eq!(
        keys,
        ["intents-0/1", "intents-3/1", "intents-0/2", "intents-3/2"],
        "keys are unique: compaction folds nothing"
    );
    assert_eq!(h.dead_letters.len(), 1);
}

#[test]
fn the_stages_name_what_they_touch() {
    let check = Arc::new(BuiltIn {
        workflow: Arc::new(|_, _| Ok(Facts::default())),
        run: Arc::new(|_, _, _| Ok(())),
    });
    let stages = crate::stages(&crate::Deps { prefix: "t.".into(), codec: codec(), check, budget: 32 });
    let outputs: Vec<String> =
        stages.iter().flat_map(|s| s.outputs.iter().map(ToString::to_string)).collect();
    assert_eq!(outputs, ["t.workflows", "t.workflow-changes", "t.audit", "t.workflow-changes", "t.audit"]);
    let stores: Vec<String> =
        stages.iter().flat_map(|s| s.stores.iter().map(|s| s.changelog.to_string())).collect();
    assert_eq!(
        stores,
        [
            "t.state.monitoring.objects",
            "t.state.monitoring.groups",
            "t.state.monitoring.answered",
            "t.state.monitoring.command-chains",
            "t.state.monitoring.intent-chains",
            "t.state.monitoring.reported"
        ]
    );
    assert_eq!(&*stages[1].inputs[0].dead_letters, "t.audit-intents.dlq");
}

/// What a client does: sends with the version that it saw some time ago.
#[derive(Clone, Debug)]
struct Move {
    client: usize,
    look: bool,
    action: Action,
    abort: bool,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let action = prop::sample::select(vec![
        Action::Apply,
        Action::Apply,
        Action::Apply,
        Action::Delete,
        Action::Pause,
        Action::Resume,
    ]);
    let one = (0..3_usize, any::<bool>(), action, prop::bool::weighted(0.2))
        .prop_map(|(client, look, action, abort)| Move { client, look, action, abort });
    prop::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_update_is_lost_whoever_sends_when(moves in moves()) {
        let mut h = commands();
        let mut seen = [0_i64; 3];
        for (i, m) in moves.iter().enumerate() {
            if m.look {
                seen[m.client] = definitions(&h.outputs).get("w").map_or(0, |d| d.version);
            }
            let definition = (m.action == Action::Apply).then(|| text("w", &i.to_string()));
            let given = given(&command(&i.to_string(), m.action, "w", seen[m.client], definition));
            if m.abort {
                let outcomes = h.abort(std::slice::from_ref(&given));
                prop_assert_eq!(outcomes.len(), 1);
            }
            h.commit(&[given]);
        }
        let done: Vec<Change> = changes(&h.outputs).into_iter().filter(|c| c.change_type != ChangeType::Refusal).collect();
        // Each change starts from what the one before left.
        let mut live: Option<(i64, String)> = None;
        let mut versions = 0;
        for c in &done {
            prop_assert_eq!(c.before_version, live.as_ref().map(|(v, _)| *v));
            let paused = c.after.as_ref().is_some_and(|a| a.starts_with("paused"));
            if !paused {
                prop_assert_eq!(c.before.as_ref(), live.as_ref().map(|(_, d)| d));
                live = c.after_version.zip(c.after.clone());
            }
            if c.after_version.is_some_and(|v| v > versions) {
                versions += 1;
                prop_assert_eq!(c.after_version, Some(versions));
            }
        }
        let all = definitions(&h.outputs);
        prop_assert_eq!(all.get("w").map(|d| d.version), live.map(|(v, _)| v));
        prop_assert_eq!(i64::try_from(all.keys().filter(|k| k.contains('@')).count()).unwrap(), versions);
        prop_assert_eq!(changes(&h.outputs).len(), moves.len());
        let head = audit::verify(ChainHead::default(), &entries(&h.outputs)).unwrap();
        prop_assert_eq!(serde_json::from_str::<ChainHead>(h.note("commands", 0).unwrap_or("null")).ok(), (!moves.is_empty()).then_some(head));
        prop_assert!(h.counts.balanced() && h.failures.is_empty());
    }
}

#[path = "placement_tests.rs"]
mod placement;
