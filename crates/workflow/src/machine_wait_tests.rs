//! Branches that wait, and go on.
use super::*;
use atio_schemas::incident::{AckAction, Answer, Answerer, Hours, Level, Otherwise, Severity, Verdict};
use atio_stix::ids;

const SITE: Site<'static> = Site { version: 3, home_networks: &[] };

/// The detection of an incident.
fn known_incident() -> Detection {
    Detection { incident_id: Some("i1".into()), ..detection() }
}

fn waiting(steps: &str, d: &Detection) -> Wait {
    let mut end = run_on(steps, d);
    assert_eq!((end.waits.len(), end.dropped, end.rejected.as_slice()), (1, None, &[][..]));
    end.waits.remove(0)
}

fn after(steps: &str, wait: &Wait) -> End {
    heard(steps, wait, Heard::of(wait, Answer::Acknowledged, None, Timestamp(7)))
}

fn heard(steps: &str, wait: &Wait, heard: Heard<'_>) -> End {
    let definition = definition(steps);
    resume(&definition, &definition.branches[0], wait, heard, SITE)
}

#[test]
fn a_wait_holds_what_the_rest_needs() {
    let steps = "[{when: .importance >= 70}, {set: {labels: '[\"seen\"]'}}, {await: {ack: engineer, within: 15m, otherwise: stop}}, {deliver: siem}]";
    let d = known_incident();
    let end = run_on(steps, &d);
    assert_eq!(end.outputs, []);
    let wait = &end.waits[0];
    assert_eq!((wait.workflow.as_str(), wait.version, wait.branch.as_str(), wait.step), ("w", 3, "b", 2));
    assert_eq!((wait.incident_id.as_str(), wait.tenant.as_str()), ("i1", "default"));
    assert_eq!((wait.role.as_str(), wait.within_ms, wait.otherwise), ("engineer", 900_000, Otherwise::Stop));
    assert_eq!(wait.original, d);
    assert_eq!((wait.detection.labels.as_slice(), wait.unaligned), (&["seen".to_owned()][..], true));
    let defaulted = waiting("[{await: {ack: analyst, within: 1s}}, {deliver: siem}]", &d);
    assert_eq!((defaulted.otherwise, defaulted.within_ms), (Otherwise::Escalate, 1_000));
    assert!(!defaulted.unaligned);
}

/// What comes out behind a wait is what would have come out without one.
#[test]
fn deliveries_are_those_of_a_branch_that_never_waited() {
    const WAIT: &str = "{await: {ack: analyst, within: 15m}}, ";
    let d = known_incident();
    for steps in [
        "[WAIT{deliver: stix}]",
        "[WAIT{convert: report}, {deliver: siem}, {deliver: stix}]",
        "[{set: {labels: '[\"x\"]'}}, WAIT{deliver: stix}]",
        "[{set: {importance: '1'}}, WAIT{when: .importance < 2}, {deliver: stix}]",
        "[{remove: {type: ipv4-addr}}, WAIT{deliver: stix}]",
        "[{sanitize: external}, WAIT{deliver: stix}]",
        "[WAIT{deliver: open}, {deliver: siem}]",
        "[WAIT{when: .importance > 99}, {deliver: siem}]",
    ] {
        let without = run_on(&steps.replace("WAIT", ""), &d);
        let with = steps.replace("WAIT", WAIT);
        // As it lies on the topic.
        let wait = waiting(&with, &d);
        let codec = atio_schemas::Codec::new(Arc::new(atio_schemas::codec::StaticIds::new()));
        let wait: Wait = codec.decode(&codec.encode(&wait).unwrap()).unwrap();
        assert_eq!(after(&with, &wait), without, "{steps}");
    }
}

#[test]
fn what_was_delivered_before_is_not_delivered_again() {
    let steps = "[{deliver: siem}, {await: {ack: analyst, within: 15m}}, {deliver: stix}]";
    let end = run_on(steps, &known_incident());
    let sinks = |end: &End| end.outputs.iter().map(|o| o.sink.clone()).collect::<Vec<_>>();
    assert_eq!((sinks(&end), end.waits.len()), (vec!["siem".to_owned()], 1));
    let rest = after(steps, &end.waits[0]);
    assert_eq!((sinks(&rest), rest.waits.len()), (vec!["stix".to_owned()], 0));
}

#[test]
fn a_branch_waits_again() {
    let steps = "[{await: {ack: analyst, within: 15m}}, {set: {labels: '[\"approved\"]'}}, {await: {ack: admin, within: 1h}}, {deliver: siem}]";
    let d = known_incident();
    let first = waiting(steps, &d);
    let end = after(steps, &first);
    assert_eq!((end.outputs.len(), end.waits.len()), (0, 1));
    let second = &end.waits[0];
    assert_ne!(second.wait_id, first.wait_id);
    assert_eq!((second.step, second.role.as_str()), (2, "admin"));
    assert_eq!((&second.original, second.detection.labels.as_slice()), (&d, &["approved".to_owned()][..]));
    let done = after(steps, second);
    assert_eq!((done.outputs.len(), done.waits.len()), (1, 0));
}

/// Later events of an incident join its wait, under any version; another incident, branch or step has its own.
#[test]
fn ids_of_waits() {
    let steps = "[{await: {ack: analyst, within: 15m}}, {deliver: siem}]";
    let wait = waiting(steps, &known_incident());
    assert_eq!(wait.wait_id, ids::joined(&["wait", "i1", "w", "b", "0"]).to_string());
    let later = Detection { event_id: "e2".into(), ..known_incident() };
    assert_eq!(waiting(steps, &later).wait_id, wait.wait_id);
    let definition = definition(steps);
    let next = run_here(&definition, &definition.branches[0], &later, Site { version: 4, ..SITE });
    assert_eq!((next.waits[0].wait_id.as_str(), next.waits[0].version), (wait.wait_id.as_str(), 4));
    let other = Detection { incident_id: Some("i2".into()), ..later };
    assert_ne!(waiting(steps, &other).wait_id, wait.wait_id);
}

#[test]
fn without_an_incident_there_is_nobody_to_ask() {
    let end = run_on("[{await: {ack: analyst, within: 15m}}, {deliver: siem}]", &detection());
    assert_eq!((end.outputs.as_slice(), end.waits.as_slice()), (&[][..], &[][..]));
    assert_eq!(end.rejected[0].code, Code::NoIncident);
    assert_eq!(
        end.rejected[0].message,
        "w.b: await: the event belongs to no incident, so nobody can answer for it"
    );
}

/// Never the whole branch by mistake, and never past a wait.
#[test]
fn a_wait_that_fits_no_step_runs_nothing() {
    let steps = "[{await: {ack: analyst, within: 15m}}, {deliver: siem}]";
    let wait = waiting(steps, &known_incident());
    for step in [-1, 1, 2, i32::MIN, i32::MAX] {
        let end = after(steps, &Wait { step, ..wait.clone() });
        assert_eq!((end.outputs.len(), end.rejected[0].code), (0, Code::InvalidField), "{step}");
    }
    let definition = definition(steps);
    let d = known_incident();
    let mut nothing = Nothing;
    let branch = &definition.branches[0];
    let mut event = Event::new(&definition, branch, SITE, &d, Timestamp(0), &mut nothing);
    let flow = branch.steps[0].run(&mut event);
    assert!(matches!(flow, Flow::Wait(again) if again == wait));
}

/// Who is asked next goes with the wait; hours are those of the first, or a level's own.
#[test]
fn a_rota_goes_with_the_wait() {
    let steps = "[{await: {ack: analyst, within: 15m, hours: {days: [mon-fri, sun], from: '8:30', to: '24:00', zone: Europe/Berlin}, \
        escalate: [{role: analyst, within: 15m}, {role: engineer, within: 30m, hours: always}, \
        {role: admin, within: 1h, hours: {days: fri-mon, from: '22:00', to: '06:00', zone: UTC}}]}}, {deliver: siem}]";
    let wait = waiting(steps, &known_incident());
    let office = Hours {
        days: vec![1, 2, 3, 4, 5, 7],
        from_minute: 510,
        to_minute: 1440,
        zone: "Europe/Berlin".into(),
    };
    assert_eq!((wait.hours.as_ref(), wait.escalate.len()), (Some(&office), 3));
    assert_eq!(wait.escalate[0], Level { role: "analyst".into(), within_ms: 900_000, hours: Some(office) });
    assert_eq!((wait.escalate[1].role.as_str(), wait.escalate[1].hours.as_ref()), ("engineer", None));
    let night = wait.escalate[2].hours.as_ref().unwrap();
    assert_eq!((night.days.as_slice(), night.from_minute, night.to_minute), (&[1, 5, 6, 7][..], 1320, 360));
}

/// What was chosen decides what follows, also behind a second wait; where nobody chose, no choice holds.
#[test]
fn a_choice_is_heard_by_what_follows() {
    let steps = "[{await: {ack: analyst, within: 15m, otherwise: continue, choices: [isolate, monitor]}}, \
        {if: '.choice == \"isolate\"', then: [{deliver: siem}], else: [{when: '.answer == \"acknowledged\"'}]}, \
        {await: {ack: admin, within: 1h}}, {set: {labels: 'push(.labels, .choice || \"none\")'}}, {deliver: stix}]";
    let d = known_incident();
    let first = waiting(steps, &d);
    assert_eq!((first.choices.len(), first.choice.as_deref()), (2, None));
    let sinks = |end: &End| end.outputs.iter().map(|o| o.sink.clone()).collect::<Vec<_>>();
    for (choice, at_once) in [(Some("isolate"), vec!["siem".to_owned()]), (Some("monitor"), vec![])] {
        let end = heard(steps, &first, Heard::of(&first, Answer::Acknowledged, choice, Timestamp(7)));
        assert_eq!((sinks(&end), end.waits.len()), (at_once, 1), "{choice:?}");
        let second = &end.waits[0];
        assert_eq!((second.choice.as_deref(), second.choices.len()), (choice, 0));
        let rest = after(steps, second);
        let said = String::from_utf8_lossy(&rest.outputs[0].payload).into_owned();
        assert!(said.contains(choice.unwrap()), "{said}");
    }
    let silent = heard(steps, &first, Heard::of(&first, Answer::Unanswered, None, Timestamp(7)));
    assert_eq!((silent.dropped, silent.waits.len()), (Some(Code::When), 0));
}

/// What an incident is told is the same command however often the event is worked on; behind a wait it is told when that ended.
#[test]
fn an_incident_is_told() {
    let steps = "[{incident: {assign: soc, severity: high}}, {await: {ack: analyst, within: 15m}}, \
        {incident: {comment: 'contained, as approved', close: {verdict: true_positive}}}]";
    let d = known_incident();
    let end = run_on(steps, &d);
    assert_eq!((end.commands.len(), end.waits.len(), end.dropped), (1, 1, None));
    let command = &end.commands[0];
    assert_eq!((command.incident_id.as_str(), command.action), ("i1", AckAction::Update));
    assert_eq!((command.actor.as_str(), command.answerer), ("w@3", Some(Answerer::Policy)));
    assert_eq!((command.assignee.as_deref(), command.severity), (Some("soc"), Some(Severity::High)));
    let rest = after(steps, &end.waits[0]);
    assert_eq!((rest.commands.len(), rest.outputs.len(), rest.dropped), (1, 0, None));
    let close = &rest.commands[0];
    assert_eq!(
        (close.action, close.verdict, close.sent_at),
        (AckAction::Close, Some(Verdict::TruePositive), Timestamp(7))
    );
    assert_ne!(close.ack_id, command.ack_id);
    assert_eq!(run_on(steps, &d).commands, end.commands);
    let other = Detection { event_id: "another".into(), ..d.clone() };
    assert_ne!(run_on(steps, &other).commands[0].ack_id, command.ack_id);
    let stranger = Detection { incident_id: None, ..d };
    let end = run_on("[{incident: {assign: soc}}]", &stranger);
    assert_eq!((end.commands.len(), end.rejected[0].code), (0, Code::NoIncident));
}
