//! Calls between workflows: what is refused over all files, and what the called one gets.
use super::*;
use crate::{Known, SinkFacts, Site, compile, machine, state::Nothing};
use atio_schemas::{
    Codec, Timestamp,
    codec::StaticIds,
    command::ObjectKind,
    definition::{Definition as Stored, Placement},
    detection::{Kind, Tlp},
    routed::Routed,
};
use atio_stage::View;
use atio_topics::Audience;
use std::sync::Arc;

fn known() -> Known {
    let sink = SinkFacts { format: "ecs".into(), audience: Audience::Internal, clearance: Tlp::Red };
    Known { sinks: BTreeMap::from([("siem".to_owned(), sink)]), ..Known::default() }
}

fn text(name: &str, on: &str, matches: &str, branches: &str) -> String {
    format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: {name}}}\non: {on}\nmatch: {matches}\nbranches: {branches}\n"
    )
}

fn definition(name: &str, on: &str, branches: &str) -> Definition {
    compile(&format!("{name}.yaml"), &text(name, on, "{}", branches), &known())
        .unwrap_or_else(|p| panic!("{name}: {p:?}"))
}

const CALLS_B: &str = "{x: [{call: {workflow: b}}]}";

#[test]
fn what_is_wrong_between_files_is_told() {
    let told = |definitions: &[Definition]| -> Vec<String> {
        problems(definitions).iter().map(ToString::to_string).collect()
    };
    let b = || definition("b", "manual", "{x: [{deliver: siem}]}");
    assert!(told(&[definition("a", "detection", CALLS_B), b()]).is_empty());
    let place = "a.yaml:6:34";
    assert_eq!(
        told(&[definition("a", "detection", CALLS_B)]),
        [format!("{place}: unknown workflow `b` (no workflow is `on: manual`: such a one can be called)")]
    );
    let typo = definition("a", "detection", "{x: [{call: {workflow: bb}}]}");
    assert_eq!(told(&[typo, b()]), [format!("{place}: unknown workflow `bb` (did you mean `b`?)")]);
    let other = definition("b", "detection", "{x: [{deliver: siem}]}");
    assert_eq!(
        told(&[definition("a", "detection", CALLS_B), other]),
        [format!(
            "{place}: workflow `b` is `on: detection` (`on: manual` there: it runs when it is called, or by hand)"
        )]
    );
    let itself = definition("b", "manual", CALLS_B);
    let back = told(&[definition("a", "detection", CALLS_B), itself]);
    assert_eq!(back.len(), 1, "who calls a circle from outside is none of it: {back:?}");
    assert!(back[0].starts_with("b.yaml:6:34: a workflow that comes back to itself: b → b "), "{back:?}");
    let one = definition("b", "manual", "{x: [{if: .kev, then: [{call: {workflow: c}}]}]}");
    let two = definition("c", "manual", "{x: [{each: .cves, do: [{call: {workflow: b}}]}]}");
    let both = told(&[one, two]);
    assert!(both[0].contains("b → c → b") && both[1].contains("c → b → c"), "{both:?}");
}

fn stored(name: &str, text: Option<&str>, placement: Placement) -> Vec<u8> {
    let stored = Stored {
        kind: ObjectKind::Workflow,
        name: name.into(),
        version: 3,
        pointer: text.is_none(),
        paused: false,
        placement: Some(placement),
        definition: text.unwrap_or_default().into(),
        sha256: String::new(),
        created_at: Timestamp(0),
        created_by: "test".into(),
        command_id: "c".into(),
    };
    codec().encode(&stored).unwrap()
}

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn in_force(workflows: &[(&str, String)], placement: Placement) -> Definitions {
    let mut definitions = Definitions::new(codec(), known());
    for (name, text) in workflows {
        definitions
            .apply(format!("{name}@3").as_bytes(), Some(&stored(name, Some(text), placement)))
            .unwrap();
        definitions.apply(name.as_bytes(), Some(&stored(name, None, placement))).unwrap();
    }
    definitions.settle();
    definitions
}

fn event() -> Detection {
    let mut d = Detection::new("e1".into(), Kind::Threat, "default", "suricata");
    d.asset = Some("host:web-1".into());
    d.rule.id = Some("1:7".into());
    d.incident_id = Some("i1".into());
    d
}

/// The end of a branch, and what its calls become.
fn called(steps: &str, from: &Headers, callee: &[(&str, String)]) -> (End, Vec<(Output, Routed)>) {
    placed(steps, from, callee, Placement::Own)
}

fn placed(
    steps: &str,
    from: &Headers,
    callee: &[(&str, String)],
    placement: Placement,
) -> (End, Vec<(Output, Routed)>) {
    let caller = definition("a", "detection", &format!("{{x: {steps}}}"));
    let site = Site { version: 1, home_networks: &[] };
    let mut end =
        machine::run(&caller, &caller.branches[0], &event(), site, Timestamp(0), &mut Nothing).unwrap();
    let (codec, definitions) = (codec(), in_force(callee, placement));
    let to = To { codec: &codec, prefix: "t.", definitions: &definitions };
    let made = super::called(to, from, &mut end).unwrap();
    let decoded = |output: Output| {
        let routed = codec.decode(output.value.as_deref().unwrap()).unwrap();
        (output, routed)
    };
    (end, made.into_iter().map(decoded).collect())
}

fn callee(matches: &str) -> [(&'static str, String); 1] {
    [("b", text("b", "manual", matches, "{y: [{deliver: siem}]}"))]
}

#[test]
fn the_called_workflow_gets_the_event_as_it_is_then() {
    let steps = "[{set: {labels: 'push(.labels, \"seen\")'}}, {call: {workflow: b}}, {deliver: siem}]";
    let (end, made) = called(steps, &Headers::default(), &callee("{}"));
    assert_eq!((end.outputs.len(), end.calls.len(), end.rejected.len()), (1, 0, 0));
    let [(output, routed)] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!((&*output.topic, output.key.as_deref()), ("t.workflow.b", Some(&b"host:web-1"[..])));
    assert_eq!(routed.matches, ["b@3"], "the version in force");
    let d = &routed.detection;
    assert_eq!(
        (d.labels.as_slice(), d.external_ids.as_slice()),
        (&["seen".to_owned()][..], &["e1".to_owned()][..])
    );
    assert_eq!(d.incident_id.as_deref(), Some("i1"));
    assert_ne!(d.event_id, "e1");
    assert_eq!(output.headers.text(header::CE_ID), Some(&*d.event_id));
    assert_eq!(output.headers.text(header::WORKFLOW), Some("b@3"));
    assert_eq!(output.headers.text(header::CALLS), Some("1"));
    let (_, again) = called(steps, &Headers::default(), &callee("{}"));
    assert_eq!(again[0].1.detection.event_id, d.event_id, "the same each time");
}

#[test]
fn what_is_pooled_is_called_by_the_pools_topic() {
    for placement in [Placement::Pooled, Placement::Promoted] {
        let (_, made) = placed("[{call: {workflow: b}}]", &Headers::default(), &callee("{}"), placement);
        let [(output, routed)] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((&*output.topic, output.key.as_deref()), ("t.routed", Some(&b"host:web-1"[..])));
        assert_eq!(routed.matches, ["b@3"]);
        assert_eq!(output.headers.text(header::WORKFLOW), None, "it is for a list of workflows");
        assert_eq!(output.headers.text(header::CALLS), Some("1"));
    }
}

#[test]
fn each_element_is_an_event() {
    let steps = "[{each: '[\"a\", \"b\"]', do: [{set: {labels: '[.item]'}}, {call: {workflow: b}}]}]";
    let (_, made) = called(steps, &Headers::default(), &callee("{}"));
    assert_eq!(made.len(), 2);
    assert_ne!(made[0].1.detection.event_id, made[1].1.detection.event_id);
}

#[test]
fn its_own_key_brings_events_together() {
    let by_rule = [(
        "b",
        text("b", "manual", "{}", "{y: [{dedup: {key: rule.id, within: 1h}}, {deliver: siem}]}")
            .replace("match:", "partition_by: rule.id\nmatch:"),
    )];
    let (_, made) = called("[{call: {workflow: b}}]", &Headers::default(), &by_rule);
    assert_eq!(made[0].0.key.as_deref(), Some(&b"1:7"[..]));
}

#[test]
fn what_can_not_be_called_is_told() {
    let mut deep = Headers::default();
    deep.set(header::CALLS, MAX_DEPTH.to_string());
    let other = [("b", text("b", "detection", "{}", "{y: [{deliver: siem}]}"))];
    for (from, callee, code) in [
        (Headers::default(), &[][..], Code::NotFound),
        (Headers::default(), &other[..], Code::NotAllowed),
        (deep, &callee("{}")[..], Code::TooMany),
    ] {
        let (end, made) = called("[{call: {workflow: b}}]", &from, callee);
        assert!(made.is_empty());
        assert_eq!(end.rejected.iter().map(|r| r.code).collect::<Vec<_>>(), [code]);
        assert_eq!(end.dropped, None);
    }
    let (end, made) = called("[{call: {workflow: b}}]", &Headers::default(), &callee("{kind: log}"));
    assert_eq!((made.len(), end.rejected.len(), end.dropped), (0, 0, Some(Code::NoMatch)));
}
