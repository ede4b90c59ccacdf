//! Each rule, by what becomes of records and what the incident shows.
use super::*;
use atio_schemas::incident::Answerer;

#[test]
fn events_count_and_times_are_the_first_and_the_earliest() {
    let mut world = World::new();
    world.put(event("a", 2000));
    world.put(event("b", 1000));
    let incident = world.incident();
    assert_eq!(
        (incident.events, incident.detected_at, incident.occurred_at),
        (2, Some(at(2000)), Some(at(500)))
    );
    assert_eq!((incident.updated_at, incident.asset.as_deref()), (Some(at(2000)), Some("host:web-1")));
    assert_eq!((incident.notified_at, incident.contained_at), (None, None));
}

#[test]
fn an_answer_runs_the_remaining_steps_once_and_the_incident_has_its_times() {
    let mut world = World::new();
    world.put(event("a", 1000));
    world.put(wait("w", Otherwise::Escalate, 2000));
    assert_eq!(world.harness.counts.held, 1);
    let open = world.incident().waits.remove(0);
    assert_eq!((open.workflow.as_str(), open.deadline, open.opened_at), ("respond@3", at(62_000), at(2000)));
    world.put(ack("x", AckAction::Acknowledge, 9000));
    world.put(ack("y", AckAction::Acknowledge, 9500));
    let delivered = world.deliveries();
    assert_eq!(delivered.len(), 1);
    assert_eq!((delivered[0].workflow.as_str(), delivered[0].sink.as_str()), ("respond@3", "tool"));
    let output = world.harness.outputs.iter().find(|o| &*o.topic == "t.delivery.tool").unwrap();
    assert_eq!(
        (output.key.as_deref(), output.headers.text(header::TRACEPARENT)),
        (Some(&b"i"[..]), Some("00-1-2-01"))
    );
    let incident = world.incident();
    assert_eq!((incident.notified_at, incident.acked_at), (Some(at(2000)), Some(at(9000))));
    assert_eq!((incident.acked_by.as_deref(), incident.acked_as), (Some("carol"), Some(Answerer::Human)));
    assert!(incident.waits.is_empty() && world.harness.counts.held == 0);
    assert_eq!(world.fire(i64::MAX / 2000), 0, "its deadline is gone");
}

#[test]
fn steps_that_drop_or_reject_end_the_wait_so() {
    let mut world = World::new();
    world.put(given("waits", "i", &waiting("w1", "drop", Otherwise::Stop), 1));
    world.put(given("waits", "i", &waiting("w2", "secret", Otherwise::Stop), 2));
    world.put(given("waits", "i", &waiting("w3", "no-such-branch", Otherwise::Stop), 2));
    world.put(ack("x", AckAction::Acknowledge, 3));
    assert_eq!(
        (world.dropped(Code::When), world.dead(Code::Clearance), world.dropped(Code::NotInVersion)),
        (1, 1, 1)
    );
    let part = world.harness.dead_letters[0].part.as_ref().expect("what waited, whole");
    assert_eq!(deps().codec.decode::<Wait>(&part.bytes).unwrap().wait_id, "w2");
}

#[test]
fn a_wait_whose_steps_failed_goes_on_when_it_is_replayed() {
    let mut world = World::new();
    let failed = |at| given("waits", "i", &waiting("w", "secret", Otherwise::Stop), at);
    world.put(failed(2));
    world.put(ack("x", AckAction::Acknowledge, 3));
    assert_eq!(world.dead(Code::Clearance), 1);
    // Another event of the incident joins; the letter itself is tried again, and fails for the same reason.
    world.put(failed(4));
    assert_eq!((world.dropped(Code::Joined), world.dead(Code::Clearance)), (1, 1));
    let replayed = |at| {
        let mut record = failed(at);
        record.headers.set(header::REPLAY_LETTER, "t.waits.dlq/0/0");
        record.headers.set(header::REPLAY_ANEW, "true");
        record
    };
    world.put(replayed(5));
    assert_eq!((world.dropped(Code::Joined), world.dead(Code::Clearance)), (1, 2));
    // A closed incident takes no more steps.
    world.put(ack("y", AckAction::Close, 6));
    world.put(replayed(7));
    assert_eq!((world.dropped(Code::Closed), world.dead(Code::Clearance)), (1, 2));
}

#[test]
fn a_branch_that_goes_on_may_wait_again() {
    let mut world = World::new();
    world.put(given("waits", "i", &waiting("w", "twice", Otherwise::Stop), 1));
    world.put(ack("x", AckAction::Acknowledge, 2));
    let again = world.harness.outputs.iter().find(|o| &*o.topic == "t.waits").expect("it waits again");
    let again: Wait = deps().codec.decode(again.value.as_ref().unwrap()).unwrap();
    assert_eq!((again.branch.as_str(), again.step, again.within_ms), ("twice", 1, 60_000));
    assert_ne!(again.wait_id, "w");
    world.put(given("waits", "i", &again, 3));
    assert_eq!((world.deliveries().len(), world.harness.counts.held), (0, 1));
    world.put(ack("y", AckAction::Acknowledge, 4));
    assert_eq!((world.deliveries().len(), world.harness.counts.held), (1, 0));
}

#[test]
fn later_events_of_an_incident_join_what_waits_and_what_was_answered() {
    let mut world = World::new();
    world.put(wait("w", Otherwise::Stop, 1));
    world.put(wait("w", Otherwise::Stop, 2));
    assert_eq!((world.incident().waits[0].joined, world.incident().notified_at), (1, Some(at(1))));
    world.put(ack("x", AckAction::Acknowledge, 3));
    world.put(wait("w", Otherwise::Stop, 4));
    assert_eq!((world.dropped(Code::Joined), world.deliveries().len(), world.harness.counts.held), (2, 1, 0));
}

#[test]
fn one_wait_of_several_is_answered_and_an_unknown_one_is_refused() {
    let mut world = World::new();
    world.put(wait("w1", Otherwise::Stop, 1));
    world.put(wait("w2", Otherwise::Stop, 2));
    let one = |id: &str, wait: &str| Ack { wait_id: Some(wait.into()), ..said(id, AckAction::Acknowledge) };
    world.put(given("acks", "i", &one("x", "w2"), 3));
    assert_eq!((world.deliveries().len(), world.incident().waits[0].wait_id.as_str()), (1, "w1"));
    world.put(given("acks", "i", &one("y", "w9"), 4));
    assert_eq!((world.dead(Code::UnknownWait), world.harness.counts.held), (1, 1));
}

#[test]
fn the_same_answer_twice_is_one_and_an_answer_without_waits_counts() {
    let mut world = World::new();
    world.put(event("a", 1));
    world.put(ack("x", AckAction::Acknowledge, 2));
    world.put(ack("x", AckAction::Acknowledge, 3));
    let incident = world.incident();
    assert_eq!(
        (incident.acked_at, incident.notified_at, world.dropped(Code::Duplicate)),
        (Some(at(2)), None, 1)
    );
}

#[test]
fn a_wait_that_lay_on_its_topic_when_all_were_answered_is_answered() {
    let mut world = World::new();
    world.put(event("a", 1));
    world.put(ack("x", AckAction::Acknowledge, 5));
    world.put(wait("w1", Otherwise::Stop, 4));
    world.put(wait("w2", Otherwise::Stop, 6));
    assert_eq!((world.deliveries().len(), world.harness.counts.held), (1, 1));
    assert_eq!(world.incident().waits[0].wait_id, "w2");
}

#[test]
fn closing_acknowledges_stops_what_waits_and_ends_all() {
    let mut world = World::new();
    world.put(event("a", 1));
    world.put(wait("w", Otherwise::Continue, 2));
    world.put(ack("c", AckAction::Comment, 3));
    assert_eq!((world.incident().updated_at, world.incident().acked_at), (Some(at(3)), None));
    world.put(ack("x", AckAction::Close, 4));
    let incident = world.incident();
    assert_eq!((incident.closed_at, incident.acked_at), (Some(at(4)), Some(at(4))));
    assert_eq!((incident.verdict, incident.waits.len()), (Some(Verdict::FalsePositive), 0));
    assert_eq!((world.dropped(Code::Closed), world.deliveries().len()), (1, 0));
    world.put(ack("y", AckAction::Comment, 5));
    world.put(wait("w2", Otherwise::Continue, 6));
    assert_eq!((world.dead(Code::Closed), world.dropped(Code::Closed)), (1, 2));
}

#[test]
fn a_deadline_continues_stops_or_escalates() {
    let mut world = World::new();
    world.put(wait("c", Otherwise::Continue, 0));
    world.put(wait("s", Otherwise::Stop, 0));
    world.put(wait("e", Otherwise::Escalate, 0));
    assert_eq!((world.fire(59_999), world.fire(60_100)), (0, 3));
    let incident = world.incident();
    assert_eq!(
        (incident.acked_at, incident.acked_as, incident.acked_by),
        (Some(at(60_100)), Some(Answerer::Policy), None)
    );
    assert_eq!(
        (incident.escalated_at, world.deliveries().len(), world.dropped(Code::Unanswered)),
        (Some(at(60_000)), 1, 1)
    );
    assert!(incident.waits.len() == 1 && incident.waits[0].escalated);
    // Still open: a late answer runs it.
    world.put(ack("x", AckAction::Acknowledge, 70_000));
    assert_eq!(
        (world.deliveries().len(), world.incident().waits.len(), world.harness.counts.held),
        (2, 0, 0)
    );
    assert_eq!(world.incident().acked_as, Some(Answerer::Policy), "the first answer is the one that counts");
}

#[test]
fn what_was_escalated_and_never_answered_is_stopped_in_the_end() {
    let mut world = World::new();
    world.put(wait("e", Otherwise::Escalate, 0));
    let end = 60_000 + crate::stage::ESCALATED_MS;
    assert_eq!((world.fire(60_000), world.fire(end - 1), world.fire(end)), (1, 0, 1));
    assert_eq!((world.dropped(Code::Unanswered), world.incident().waits.len()), (1, 0));
    assert_eq!(world.incident().acked_at, None);
}

#[test]
fn an_early_answer_waits_for_its_incident_and_no_longer_than_its_grace() {
    let mut world = World::new();
    world.put(ack("x", AckAction::Acknowledge, 1000));
    world.put(ack("x", AckAction::Acknowledge, 1001));
    assert_eq!((world.harness.counts.held, world.dropped(Code::Duplicate)), (1, 1));
    world.put(event("a", 3000));
    assert_eq!((world.incident().acked_at, world.incident().detected_at), (Some(at(1000)), Some(at(3000))));
    assert_eq!((world.harness.counts.held, world.fire(60_000)), (0, 0));

    let mut alone = World::new();
    alone.put(ack("x", AckAction::Acknowledge, 1000));
    assert_eq!((alone.fire(10_999), alone.fire(11_000), alone.dead(Code::UnknownIncident)), (0, 1, 1));
    let part = alone.harness.dead_letters[0].part.as_ref().expect("the answer, whole");
    assert_eq!(deps().codec.decode::<Ack>(&part.bytes).unwrap().ack_id, "x");
    alone.put(event("a", 12_000));
    assert_eq!(alone.incident().acked_at, None);
}

#[test]
fn the_first_good_receipt_of_a_response_tool_ends_the_hand_over() {
    let mut world = World::new();
    world.put(receipt("tool", "delivered", 500));
    assert_eq!(world.harness.counts.held, 1);
    world.put(event("a", 1000));
    assert_eq!(world.incident().handed_over_at, Some(at(500)));
    world.put(receipt("tool", "delivered", 2000));
    assert_eq!(world.incident().handed_over_at, Some(at(500)));
    let mut other = World::new();
    other.put(event("a", 1));
    other.put(receipt("public", "delivered", 2));
    other.put(receipt("tool", "rejected", 3));
    other.put(given("receipts", "host:web-1", &received("tool", None, "delivered"), 4));
    assert_eq!((other.dropped(Code::Filtered), other.dropped(Code::NoIncident)), (2, 1));
    assert_eq!(other.incident().handed_over_at, None);
}

#[test]
fn a_wait_ahead_of_its_event_makes_the_incident() {
    let mut world = World::new();
    world.put(wait("w", Otherwise::Stop, 100));
    let incident = world.incident();
    assert_eq!((incident.events, incident.detected_at, incident.kind), (0, None, Kind::Threat));
    world.put(event("a", 200));
    assert_eq!((world.incident().events, world.incident().detected_at), (1, Some(at(200))));
    assert_eq!(world.incident().waits.len(), 1);
}

#[test]
fn a_version_that_is_not_known_yet_is_tried_again() {
    let mut world = World::without_definitions();
    world.put(wait("w", Otherwise::Stop, 1));
    let outcomes = world.harness.abort(&[ack("x", AckAction::Acknowledge, 2)]);
    assert!(
        matches!(&outcomes[0], atio_stage::Outcome::Fail(e) if e.code == Code::UnknownVersion),
        "{outcomes:?}"
    );
    world.define();
    world.put(ack("x", AckAction::Acknowledge, 2));
    assert_eq!(world.deliveries().len(), 1);
}

#[test]
fn replays_tombstones_and_records_in_the_wrong_place_leave_no_trace() {
    let mut world = World::new();
    let mut replayed = wait("w", Otherwise::Stop, 1);
    replayed.headers.set(header::RUN, "replay-7");
    world.put(replayed);
    world.put(Given { value: None, ..event("a", 1) });
    world.put(Given { key: Some(b"other".to_vec()), ..event("a", 1) });
    world.put(Given { value: Some(b"junk".to_vec()), ..event("a", 1) });
    world.put(given("waits", "i", &Wait { within_ms: -1, ..waiting("w", "tell", Otherwise::Stop) }, 1));
    world.put(given("acks", "i", &Ack { actor: String::new(), ..said("x", AckAction::Comment) }, 1));
    assert_eq!(
        (world.dropped(Code::Replay), world.dead(Code::NullValue), world.dead(Code::InvalidField)),
        (1, 1, 3)
    );
    assert_eq!(
        (world.dead(Code::NotAvro), world.harness.outputs.len(), world.harness.counts.held),
        (1, 0, 0)
    );
}

#[test]
fn what_is_kept_has_limits() {
    let mut world = World::new();
    for n in 0..=crate::stage::WAITS_MAX {
        world.put(wait(&format!("w{n}"), Otherwise::Stop, 1));
    }
    assert_eq!((world.dead(Code::TooMany), world.incident().waits.len()), (1, crate::stage::WAITS_MAX));
    let mut early = World::new();
    for n in 0..=crate::stage::EARLY_MAX {
        early.put(ack(&format!("x{n}"), AckAction::Comment, 1));
    }
    assert_eq!((early.dead(Code::TooMany), early.harness.counts.held), (1, crate::stage::EARLY_MAX as u64));
}
