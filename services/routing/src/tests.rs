//! The router and the branches in the harness.
use super::*;
use atio_schemas::{
    Code, Detection, Timestamp,
    codec::StaticIds,
    command::ObjectKind,
    definition::{Definition as Stored, Placement},
    delivery::Delivery,
    detection::{Kind, Rule, Tlp},
    header,
    incident::Wait,
    routed::Routed,
};
use atio_stage::{
    Headers, Processor, View,
    harness::{Given, Harness},
};
use atio_topics::Audience;
use atio_workflow::SinkFacts;

const THREATS: &str = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: threats}\non: detection\nmatch: {kind: threat, confidence: {gte: 60}}\n\
    branches:\n  siem:\n    - deliver: siem\n  urgent:\n    - when: .importance >= 70\n    - convert: report\n    - deliver: siem\n    - deliver: files\n\
    \x20 contain:\n    - deliver: siem\n    - await: {ack: analyst, within: 15m}\n    - deliver: files\n";
const KNOWN_EXPLOITED: &str = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: exploited}\non: detection\nmatch: {kev: true}\n\
    branches:\n  files:\n    - deliver: files\n";

pub(crate) fn deps() -> Deps {
    let sink = |format: &str, clearance| SinkFacts {
        format: format.into(),
        audience: Audience::Internal,
        clearance,
    };
    let known = Known {
        sinks: [("siem".to_owned(), sink("ecs", Tlp::Amber)), ("files".to_owned(), sink("report", Tlp::Red))]
            .into(),
        tables: ["owners".to_owned()].into(),
    };
    Deps::new("t.", Codec::new(Arc::new(StaticIds::new())), known, vec![])
}

fn detection() -> Detection {
    let mut d = Detection::new("e1".into(), Kind::Threat, "default", "suricata");
    d.confidence = Some(80);
    d.importance = Some(90.0);
    d.asset = Some("host:web-1".into());
    d.occurred_at = Some(Timestamp(1_700_000_000_000_000));
    d
}

pub(crate) fn stored(kind: ObjectKind, name: &str, version: i64, text: Option<&str>) -> Vec<u8> {
    let stored = Stored {
        kind,
        name: name.into(),
        version,
        pointer: text.is_none(),
        paused: false,
        definition: text.unwrap_or_default().into(),
        sha256: String::new(),
        created_at: Timestamp(0),
        created_by: "t".into(),
        command_id: "c".into(),
        placement: None,
    };
    deps().codec.encode(&stored).unwrap()
}

/// A version and the pointer to it.
pub(crate) fn apply<P: Processor>(harness: &mut Harness<P>, name: &str, version: i64, text: &str) {
    let value = stored(ObjectKind::Workflow, name, version, Some(text));
    harness.table(Definitions::TABLE, format!("{name}@{version}").as_bytes(), Some(&value)).unwrap();
    place(harness, name, version, Placement::Own);
}

/// The pointer to a version that is there.
fn place<P: Processor>(harness: &mut Harness<P>, name: &str, version: i64, placement: Placement) {
    harness.table(Definitions::TABLE, name.as_bytes(), Some(&pointer(name, version, placement))).unwrap();
}

fn pointer(name: &str, version: i64, placement: Placement) -> Vec<u8> {
    let pointer = stored(ObjectKind::Workflow, name, version, None);
    let pointer = Stored { placement: Some(placement), ..deps().codec.decode(&pointer).unwrap() };
    deps().codec.encode(&pointer).unwrap()
}

/// These workflows, in force.
pub(crate) fn in_force(workflows: &[(&str, i64, &str)]) -> Definitions {
    placed(workflows, Placement::Own)
}

fn placed(workflows: &[(&str, i64, &str)], placement: Placement) -> Definitions {
    let mut definitions = deps().definitions();
    for (name, version, text) in workflows {
        let value = stored(ObjectKind::Workflow, name, *version, Some(text));
        View::apply(&mut definitions, format!("{name}@{version}").as_bytes(), Some(&value)).unwrap();
        let pointer = pointer(name, *version, placement);
        View::apply(&mut definitions, name.as_bytes(), Some(&pointer)).unwrap();
    }
    View::settle(&mut definitions);
    definitions
}

fn given(value: Option<Vec<u8>>) -> Given {
    let mut headers = Headers::default();
    headers.set(header::TRACEPARENT, "00-1-2-01");
    headers.set(header::RUN, "live");
    headers.set(header::WORKFLOW, "someone-else@7");
    headers.set("x", "y");
    Given { topic: "in".into(), key: Some(b"host:web-1".to_vec()), value, headers, ..Given::default() }
}

fn of(detection: &Detection) -> Given {
    given(Some(deps().codec.encode(detection).unwrap()))
}

fn routed(matches: &[&str], detection: Detection) -> Given {
    let matches = matches.iter().map(|m| (*m).to_owned()).collect();
    given(Some(deps().codec.encode(&Routed { matches, detection }).unwrap()))
}

fn router() -> Harness<router::Router> {
    let deps = deps();
    let mut harness = Harness::new(
        router::Router::new(deps.codec.clone(), deps.prefix.clone()),
        std::slice::from_ref(&deps.table),
        Timestamp(0),
    );
    apply(&mut harness, "threats", 1, THREATS);
    apply(&mut harness, "exploited", 4, KNOWN_EXPLOITED);
    harness
}

fn branch(name: &str) -> Harness<branch::Runner> {
    let deps = deps();
    let runner = branch::Runner {
        codec: deps.codec.clone(),
        workflow: "threats".into(),
        branch: name.into(),
        home_networks: vec![],
        prefix: "t.".into(),
        keeps: true,
        delays: true,
        tables: ["owners".to_owned()].into(),
    };
    let tables = [deps.table.clone(), deps.reference("owners")];
    let mut harness = Harness::new(runner, &tables, Timestamp(0));
    apply(&mut harness, "threats", 1, THREATS);
    apply(&mut harness, "exploited", 4, KNOWN_EXPLOITED);
    harness
}

#[test]
fn each_matched_workflow_gets_a_record() {
    let mut harness = router();
    let both = Detection { kev: Some(true), ..detection() };
    harness.commit(&[of(&detection()), of(&both), of(&Detection { kind: Kind::Log, ..detection() })]);
    let topics: Vec<&str> = harness.outputs.iter().map(|o| &*o.topic).collect();
    assert_eq!(topics, ["t.workflow.threats", "t.workflow.exploited", "t.workflow.threats"]);
    assert_eq!(harness.counts.dropped.get(&Code::NoMatch), Some(&1));
    assert_eq!(harness.counts.emitted, 2);
    assert!(harness.counts.balanced());
    let output = &harness.outputs[1];
    let routed: Routed = deps().codec.decode(output.value.as_ref().unwrap()).unwrap();
    let expected = Routed { matches: vec!["exploited@4".into()], detection: both };
    assert_eq!(routed, expected);
    assert_eq!(
        output.value,
        Some(deps().codec.encode(&expected).unwrap()),
        "handed on, and as if written anew"
    );
    assert_eq!(output.key.as_deref(), Some(&b"host:web-1"[..]));
    assert_eq!(output.headers.text(header::WORKFLOW), Some("exploited@4"));
    assert_eq!(output.headers.text(header::TRACEPARENT), Some("00-1-2-01"));
    assert_eq!(output.headers.text(header::CE_ID), Some("e1"));
    assert_eq!(output.headers.text("x"), None);
}

#[test]
fn a_workflow_brings_its_events_together_by_columns_of_its_own() {
    let mut harness = router();
    let by_rule = THREATS.replace("on: detection", "on: detection\npartition_by: rule.id").replacen(
        "- deliver: siem",
        "- dedup: {key: rule.id, within: 1h}\n    - deliver: siem",
        1,
    );
    apply(&mut harness, "threats", 2, &by_rule);
    let mut known = Detection { kev: Some(true), ..detection() };
    known.rule.id = Some("1:7".into());
    let unknown = Detection { rule: Rule::default(), ..detection() };
    harness.commit(&[of(&known), of(&unknown)]);
    let keys: Vec<_> =
        harness.outputs.iter().map(|o| (&*o.topic, o.key.as_deref().unwrap_or_default())).collect();
    assert_eq!(
        keys,
        [
            ("t.workflow.exploited", &b"host:web-1"[..]),
            ("t.workflow.threats", &b"1:7"[..]),
            ("t.workflow.threats", &b"host:web-1"[..]),
        ]
    );
}

#[test]
fn definitions_advance() {
    let mut harness = router();
    let wider = THREATS.replace(", confidence: {gte: 60}", "");
    let unsure = Detection { confidence: Some(1), ..detection() };
    harness.commit(&[of(&unsure)]);
    assert_eq!(harness.outputs.len(), 0);
    apply(&mut harness, "threats", 2, &wider);
    harness.commit(&[of(&unsure)]);
    assert_eq!(harness.outputs[0].headers.text(header::WORKFLOW), Some("threats@2"));
    harness.table(Definitions::TABLE, b"threats", None).unwrap();
    harness.commit(&[of(&unsure)]);
    assert_eq!(harness.outputs.len(), 1);
}

#[test]
fn what_does_not_compile_is_told_and_leaves_the_others_alone() {
    let mut harness = router();
    let broken = stored(
        ObjectKind::Workflow,
        "threats",
        2,
        Some(&THREATS.replace("deliver: files", "deliver: nowhere")),
    );
    let error = harness.table(Definitions::TABLE, b"threats@2", Some(&broken)).unwrap_err();
    assert_eq!(error.code, Code::InvalidDefinition);
    assert!(error.message.contains("unknown sink `nowhere`"), "{error}");
    let other = stored(ObjectKind::Workflow, "other", 2, Some(THREATS));
    assert!(harness.table(Definitions::TABLE, b"threats@3", Some(&other)).is_err());
    assert!(harness.table(Definitions::TABLE, b"threats@x", Some(&other)).is_err());
    assert!(harness.table(Definitions::TABLE, b"threats", Some(b"junk")).is_err());
    harness.commit(&[of(&detection())]);
    assert_eq!(harness.outputs.len(), 1);
}

#[test]
fn a_sink_that_comes_later_mends_what_waits_for_it() {
    let deps = deps();
    let mut definitions = deps.definitions();
    let text = KNOWN_EXPLOITED.replace("deliver: files", "deliver: archive");
    let value = stored(ObjectKind::Workflow, "exploited", 1, Some(&text));
    assert!(atio_stage::View::apply(&mut definitions, b"exploited@1", Some(&value)).is_err());
    let pointer = stored(ObjectKind::Workflow, "exploited", 1, None);
    atio_stage::View::apply(&mut definitions, b"exploited", Some(&pointer)).unwrap();
    atio_stage::View::settle(&mut definitions);
    assert_eq!(definitions.live().count(), 0);
    assert_eq!(definitions.broken().count(), 1);
    let sink = "apiVersion: atio/v1\nkind: Sink\nmetadata: {name: archive}\ntype: file\npath: /tmp/a.ndjson\nformat: report\n";
    let value = stored(ObjectKind::Sink, "archive", 1, Some(sink));
    atio_stage::View::apply(&mut definitions, b"sink/archive@1", Some(&value)).unwrap();
    let pointer = stored(ObjectKind::Sink, "archive", 1, None);
    atio_stage::View::apply(&mut definitions, b"sink/archive", Some(&pointer)).unwrap();
    atio_stage::View::settle(&mut definitions);
    assert_eq!(definitions.live().count(), 1);
    assert_eq!(definitions.broken().count(), 0);
}

#[test]
fn bad_records_are_dead_letters() {
    let mut harness = router();
    harness.commit(&[given(None), given(Some(b"x".to_vec())), given(Some(vec![0, 0, 0, 0, 99, 1]))]);
    let codes: Vec<Code> = harness.dead_letters.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::NullValue, Code::NotAvro, Code::UnknownSchema]);
    let mut harness = branch("siem");
    harness.commit(&[given(None), given(Some(b"x".to_vec())), routed(&["exploited@4"], detection())]);
    let codes: Vec<Code> = harness.dead_letters.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::NullValue, Code::NotAvro, Code::MissingField]);
    assert!(harness.counts.balanced());
}

#[test]
fn a_branch_delivers() {
    let mut harness = branch("urgent");
    let incident = Detection { incident_id: Some("i1".into()), ..detection() };
    harness.commit(&[routed(&["exploited@4", "threats@1"], detection()), routed(&["threats@1"], incident)]);
    assert_eq!(harness.dead_letters, []);
    let topics: Vec<&str> = harness.outputs.iter().map(|o| &*o.topic).collect();
    assert_eq!(topics, ["t.delivery.siem", "t.delivery.files", "t.delivery.siem", "t.delivery.files"]);
    let keys: Vec<&[u8]> = harness.outputs.iter().map(|o| o.key.as_deref().unwrap()).collect();
    assert_eq!(keys, [&b"host:web-1"[..], b"host:web-1", b"i1", b"i1"]);
    let delivery: Delivery = deps().codec.decode(harness.outputs[0].value.as_ref().unwrap()).unwrap();
    assert_eq!((delivery.sink.as_str(), delivery.format.as_str()), ("siem", "report"));
    assert_eq!((delivery.workflow.as_str(), delivery.branch.as_str()), ("threats@1", "urgent"));
    let headers = &harness.outputs[0].headers;
    assert_eq!(headers.text(header::IDEMPOTENCY_KEY), Some(delivery.idempotency_key.as_str()));
    assert_eq!(headers.text(header::WORKFLOW), Some("threats@1"));
    assert_eq!(headers.text(header::RUN), Some("live"));
}

#[test]
fn a_branch_comes_to_wait() {
    let mut harness = branch("contain");
    let incident = Detection { incident_id: Some("i1".into()), ..detection() };
    harness.commit(&[routed(&["threats@1"], incident.clone()), routed(&["threats@1"], detection())]);
    let topics: Vec<&str> = harness.outputs.iter().map(|o| &*o.topic).collect();
    assert_eq!(topics, ["t.delivery.siem", "t.waits", "t.delivery.siem"]);
    let output = &harness.outputs[1];
    assert_eq!(output.key.as_deref(), Some(&b"i1"[..]));
    let wait: Wait = deps().codec.decode(output.value.as_ref().unwrap()).unwrap();
    assert_eq!((wait.incident_id.as_str(), wait.branch.as_str(), wait.step), ("i1", "contain", 1));
    assert_eq!((wait.original, wait.version), (incident, 1));
    let expected = [
        (header::CE_ID, "e1"),
        (header::CE_TYPE, "atio.wait"),
        (header::WORKFLOW, "threats@1"),
        (header::TRACEPARENT, "00-1-2-01"),
        (header::RUN, "live"),
        (header::CONTENT_TYPE, header::CONTENT_TYPE_AVRO),
    ];
    for (name, value) in expected {
        assert_eq!(output.headers.text(name), Some(value), "{name}");
    }
    // An event without an incident is nobody's to answer for.
    assert_eq!(harness.dead_letters.iter().map(|d| d.code).collect::<Vec<_>>(), [Code::NoIncident]);
    assert!(harness.counts.balanced());
}

/// The same delivery under the next version has the same key, another sink or branch another one.
#[test]
fn idempotency_keys_do_not_depend_on_the_version() {
    let mut harness = branch("urgent");
    apply(&mut harness, "threats", 2, THREATS);
    harness.commit(&[routed(&["threats@1"], detection()), routed(&["threats@2"], detection())]);
    let keys: Vec<&str> =
        harness.outputs.iter().map(|o| o.headers.text(header::IDEMPOTENCY_KEY).unwrap()).collect();
    assert_eq!(keys[..2], keys[2..]);
    assert_ne!(keys[0], keys[1]);
    let mut other = branch("siem");
    other.commit(&[routed(&["threats@1"], detection())]);
    assert_ne!(other.outputs[0].headers.text(header::IDEMPOTENCY_KEY), Some(keys[0]));
}

#[test]
fn ends_of_a_branch() {
    let mut harness = branch("urgent");
    let dull = Detection { importance: Some(10.0), ..detection() };
    let secret = Detection { tlp: Tlp::Red, ..detection() };
    harness.commit(&[routed(&["threats@1"], dull), routed(&["threats@1"], secret.clone())]);
    assert_eq!(harness.counts.dropped.get(&Code::When), Some(&1));
    // One sink is cleared for it, the other is not.
    assert_eq!(harness.outputs.iter().map(|o| &*o.topic).collect::<Vec<_>>(), ["t.delivery.files"]);
    assert_eq!(harness.dead_letters[0].code, Code::Clearance);
    let mut harness = branch("siem");
    harness.commit(&[routed(&["threats@1"], secret)]);
    assert_eq!(harness.counts.dead_lettered.get(&Code::Clearance), Some(&1));
    assert!(harness.counts.balanced());
}

#[test]
fn versions() {
    let mut harness = branch("siem");
    harness.commit(&[routed(&["threats@9"], detection())]);
    assert_eq!(harness.failures[0].code, Code::UnknownVersion);
    let without = THREATS.replace("  siem:\n    - deliver: siem\n", "");
    apply(&mut harness, "threats", 2, &without);
    harness.commit(&[routed(&["threats@2"], detection()), routed(&["threats@1"], detection())]);
    assert_eq!(harness.counts.dropped.get(&Code::NotInVersion), Some(&1));
    assert_eq!(harness.outputs.len(), 1);
}

#[test]
fn stages_follow_definitions() {
    let deps = deps();
    let mut definitions = deps.definitions();
    let names = |definitions: &Definitions| -> Vec<String> {
        stages(&deps, definitions).into_iter().map(|s| s.name).collect()
    };
    assert_eq!(names(&definitions), ["routing", "routing-logs"]);
    for (name, version, text) in [("threats", 1, THREATS), ("exploited", 4, KNOWN_EXPLOITED)] {
        let value = stored(ObjectKind::Workflow, name, version, Some(text));
        atio_stage::View::apply(&mut definitions, format!("{name}@{version}").as_bytes(), Some(&value))
            .unwrap();
        let pointer = stored(ObjectKind::Workflow, name, version, None);
        atio_stage::View::apply(&mut definitions, name.as_bytes(), Some(&pointer)).unwrap();
    }
    atio_stage::View::settle(&mut definitions);
    assert_eq!(
        names(&definitions),
        [
            "routing",
            "routing-logs",
            "routing.exploited.files",
            "routing.threats.contain",
            "routing.threats.siem",
            "routing.threats.urgent"
        ]
    );
    let all = stages(&deps, &definitions);
    assert_eq!(
        all[0].outputs.iter().map(|t| &**t).collect::<Vec<_>>(),
        ["t.workflow.exploited", "t.workflow.threats", "t.routed"]
    );
    // Only a branch that waits may write waits.
    assert_eq!(
        all[3].outputs.iter().map(|t| &**t).collect::<Vec<_>>(),
        ["t.delivery.files", "t.delivery.siem", "t.waits"]
    );
    let urgent = &all[5];
    assert_eq!(urgent.group, "t.routing.threats.urgent");
    assert_eq!(&*urgent.inputs[0].topic, "t.workflow.threats");
    assert_eq!(&*urgent.inputs[0].dead_letters, "t.workflow-dlq");
    assert_eq!(
        urgent.outputs.iter().map(|t| &**t).collect::<Vec<_>>(),
        ["t.delivery.files", "t.delivery.siem"]
    );
    atio_stage::View::apply(&mut definitions, b"threats", None).unwrap();
    atio_stage::View::settle(&mut definitions);
    assert_eq!(names(&definitions), ["routing", "routing-logs", "routing.exploited.files"]);
}

#[path = "pool_tests.rs"]
mod pool;
#[path = "state_tests.rs"]
mod state;
#[path = "table_tests.rs"]
mod table;
