//! Answers that say more than yes: what becomes of them, and what the incident shows.
use super::*;
use crate::meant::{formed, meant};
use atio_schemas::incident::{Answer, Answered, Answerer, Hours, Level, Rejected, Severity};

fn choose(id: &str, choice: Option<&str>, ms: i64) -> Given {
    let ack = Ack { choice: choice.map(str::to_owned), ..said(id, AckAction::Acknowledge) };
    given("acks", "i", &ack, ms)
}

fn last(world: &World) -> Answered {
    world.incident().answers.pop().expect("an answer")
}

#[test]
fn a_choice_decides_what_follows_and_the_incident_shows_it() {
    let mut world = World::new();
    world.put(given("waits", "i", &choosing("w"), 1));
    assert_eq!(world.incident().waits[0].choices, ["isolate", "monitor"]);
    world.put(choose("x", Some("isolate"), 2));
    assert_eq!((world.deliveries().len(), world.harness.counts.held), (1, 0));
    let answered = last(&world);
    assert_eq!((answered.answer, answered.choice.as_deref()), (Answer::Acknowledged, Some("isolate")));
    assert_eq!((answered.workflow.as_str(), answered.branch.as_str()), ("respond@3", "choose"));
    assert_eq!((answered.by.as_slice(), answered.at), (&["carol".to_owned()][..], at(2)));

    let mut other = World::new();
    other.put(given("waits", "i", &choosing("w"), 1));
    other.put(choose("x", Some("monitor"), 2));
    assert_eq!((other.deliveries().len(), other.dropped(Code::When)), (0, 1));
}

#[test]
fn what_is_no_choice_is_refused_and_the_wait_stays() {
    let mut world = World::new();
    world.put(given("waits", "i", &choosing("w"), 1));
    world.put(choose("x", Some("shout"), 2));
    world.put(choose("y", None, 3));
    let one = Ack { wait_id: Some("w".into()), ..said("z", AckAction::Acknowledge) };
    world.put(given("acks", "i", &one, 4));
    assert_eq!((world.dead(Code::UnknownChoice), world.harness.counts.held), (3, 1));
    assert_eq!(world.incident().acked_at, None);
    let mut plain = World::new();
    plain.put(wait("w", Otherwise::Stop, 1));
    plain.put(choose("x", Some("isolate"), 2));
    assert_eq!((plain.dead(Code::UnknownChoice), plain.harness.counts.held), (1, 1));
}

#[test]
fn an_answer_is_for_those_that_offer_its_choice() {
    let mut world = World::new();
    world.put(given("waits", "i", &choosing("c"), 1));
    world.put(wait("p", Otherwise::Stop, 1));
    world.put(choose("x", None, 2));
    assert_eq!((world.deliveries().len(), world.incident().waits[0].wait_id.as_str()), (1, "c"));
    // It lay on its topic when all were answered, but nobody has chosen.
    world.put(given("waits", "i", &choosing("c2"), 1));
    assert_eq!(world.harness.counts.held, 2);
    world.put(choose("y", Some("monitor"), 3));
    assert_eq!((world.harness.counts.held, world.dropped(Code::When)), (0, 2));
}

#[test]
fn where_nobody_chose_no_choice_is_heard() {
    let mut world = World::new();
    world.put(given("waits", "i", &choosing("w"), 0));
    assert_eq!((world.fire(60_000), world.deliveries().len()), (1, 1));
    let answered = last(&world);
    assert_eq!((answered.answer, answered.choice, answered.by.len()), (Answer::Unanswered, None, 0));
}

#[test]
fn a_choice_is_heard_again_when_what_followed_is_replayed() {
    let mut world = World::new();
    world.put(given("waits", "i", &choosing("w"), 1));
    world.put(choose("x", Some("monitor"), 2));
    let mut again = given("waits", "i", &choosing("w"), 3);
    again.headers.set(header::REPLAY_LETTER, "t.waits.dlq/0/0");
    again.headers.set(header::REPLAY_ANEW, "true");
    world.put(again);
    assert_eq!((world.dropped(Code::When), world.deliveries().len()), (2, 0));
}

#[test]
fn ends_are_kept_within_a_limit_and_what_has_no_form_is_refused() {
    let mut world = World::new();
    for n in 0..30 {
        world.put(wait(&format!("w{n}"), Otherwise::Stop, n));
        world.put(ack(&format!("x{n}"), AckAction::Acknowledge, n));
    }
    assert_eq!((world.incident().answers.len(), last(&world).wait_id.as_str()), (20, "w29"));
    let base = said("x", AckAction::Acknowledge);
    for wrong in [
        Ack { action: AckAction::Close, ..base.clone() },
        Ack { verdict: Some(Verdict::Benign), ..base.clone() },
        Ack { choice: Some(String::new()), ..base.clone() },
        Ack { choice: Some("x".repeat(257)), ..base.clone() },
        Ack { choice: Some("isolate".into()), ..said("x", AckAction::Comment) },
        Ack { choice: Some("isolate".into()), ..said("x", AckAction::Reject) },
        Ack { comment: None, ..said("x", AckAction::Comment) },
        Ack { comment: Some("x".repeat(5000)), ..base.clone() },
        Ack { actor: String::new(), ..base.clone() },
    ] {
        assert_eq!(formed(&wrong).unwrap_err().code, Code::InvalidField, "{wrong:?}");
    }
    let many = Wait { choices: vec!["x".into(); 17], ..choosing("w") };
    world.put(given("waits", "i", &many, 50));
    world.put(given("waits", "i", &Wait { approvers: Some(6), ..two("w") }, 51));
    assert_eq!((formed(&base), world.dead(Code::InvalidField)), (Ok(()), 2));
    assert!(meant(&world.incident(), &base).unwrap().is_empty());
}

fn two(id: &str) -> Wait {
    Wait { approvers: Some(2), ..waiting(id, "tell", Otherwise::Stop) }
}

fn by(actor: &str, id: &str, action: AckAction, ms: i64) -> Given {
    given("acks", "i", &Ack { actor: actor.into(), ..said(id, action) }, ms)
}

#[test]
fn two_people_must_say_yes_and_one_of_them_counts_once() {
    let mut world = World::new();
    world.put(given("waits", "i", &two("w"), 1));
    world.put(by("carol", "a", AckAction::Acknowledge, 2));
    world.put(by("carol", "b", AckAction::Acknowledge, 3));
    let open = world.incident().waits.remove(0);
    let yes: Vec<_> = open.approvals.iter().map(|a| (a.by.as_str(), a.at)).collect();
    assert_eq!((open.approvers, yes), (Some(2), vec![("carol", at(2))]));
    assert_eq!((world.deliveries().len(), world.incident().acked_at), (0, Some(at(2))));
    world.put(by("dave", "c", AckAction::Acknowledge, 4));
    assert_eq!((world.deliveries().len(), world.harness.counts.held), (1, 0));
    assert_eq!((last(&world).by, last(&world).at), (vec!["carol".to_owned(), "dave".to_owned()], at(4)));
    // One that is read later is not answered by who answered before.
    world.put(given("waits", "i", &two("late"), 1));
    assert_eq!(world.harness.counts.held, 1);
}

#[test]
fn two_people_must_choose_the_same() {
    let mut world = World::new();
    world.put(given("waits", "i", &Wait { approvers: Some(2), ..choosing("w") }, 1));
    let chooses = |actor: &str, id: &str, choice: &str, ms| {
        let ack =
            Ack { choice: Some(choice.into()), actor: actor.into(), ..said(id, AckAction::Acknowledge) };
        given("acks", "i", &ack, ms)
    };
    world.put(chooses("carol", "a", "isolate", 2));
    world.put(chooses("dave", "b", "monitor", 3));
    assert_eq!(world.incident().waits[0].approvals.len(), 2);
    // Carol changes her mind.
    world.put(chooses("carol", "c", "monitor", 4));
    assert_eq!((last(&world).choice.as_deref(), last(&world).by.len()), (Some("monitor"), 2));
    assert_eq!((world.dropped(Code::When), world.harness.counts.held), (1, 0));
}

#[test]
fn one_no_ends_a_wait_or_goes_on_as_one() {
    let mut world = World::new();
    world.put(given("waits", "i", &two("w"), 1));
    world.put(by("carol", "a", AckAction::Acknowledge, 2));
    world.put(by("dave", "b", AckAction::Reject, 3));
    assert_eq!((world.dropped(Code::Rejected), world.deliveries().len()), (1, 0));
    assert_eq!((last(&world).answer, last(&world).by), (Answer::Rejected, vec!["dave".to_owned()]));
    world.put(by("dave", "c", AckAction::Reject, 4));
    assert_eq!(world.dead(Code::UnknownWait), 1, "nothing waits any more");

    let mut on = World::new();
    on.put(given("waits", "i", &Wait { rejected: Some(Rejected::Continue), ..two("w") }, 1));
    on.put(by("dave", "b", AckAction::Reject, 3));
    assert_eq!((on.deliveries().len(), on.incident().acked_at), (1, Some(at(3))));
}

#[test]
fn who_works_on_it_is_shown_until_it_is_released_or_too_late() {
    let mut world = World::new();
    world.put(wait("w", Otherwise::Escalate, 0));
    world.put(by("carol", "a", AckAction::Claim, 10));
    let claimed = |world: &World| {
        let open = world.incident().waits.remove(0);
        (open.claimed_by, open.claimed_at)
    };
    assert_eq!(claimed(&world), (Some("carol".into()), Some(at(10))));
    assert_eq!((world.incident().acked_at, world.harness.counts.held), (None, 1));
    world.put(by("dave", "b", AckAction::Claim, 11));
    assert_eq!(world.dead(Code::Claimed), 1);
    world.put(by("dave", "c", AckAction::Release, 12));
    assert_eq!(claimed(&world), (None, None));
    world.put(by("dave", "d", AckAction::Release, 13));
    assert_eq!(world.dead(Code::UnknownWait), 1);
    world.put(by("dave", "e", AckAction::Claim, 14));
    assert_eq!(world.fire(60_000), 1);
    assert_eq!(claimed(&world), (None, None), "who did not answer in time works on it no more");
    world.put(by("erin", "f", AckAction::Acknowledge, 70_000));
    assert_eq!(world.deliveries().len(), 1);
}

#[test]
fn comments_are_shown_the_newest_of_them() {
    let mut world = World::new();
    world.put(event("a", 1));
    for n in 0..12 {
        let comment = Some(format!("seen {}", n % 11));
        let ack = Ack { comment, ..said(&format!("c{n}"), AckAction::Comment) };
        world.put(given("acks", "i", &ack, n + 2));
    }
    let comments = world.incident().comments;
    assert_eq!((comments.len(), comments[9].at, comments[9].text.as_str()), (10, at(13), "seen 0"));
    let long = Ack { comment: Some("x".repeat(4000)), ..said("long", AckAction::Acknowledge) };
    world.put(given("acks", "i", &long, 20));
    let bytes: Vec<usize> = world.incident().comments.iter().map(|c| c.text.len()).collect();
    assert_eq!((bytes.iter().sum::<usize>() <= 4096, bytes.last()), (true, Some(&4000)));
}

fn level(role: &str, within_ms: i64, hours: Option<Hours>) -> Level {
    Level { role: role.into(), within_ms, hours }
}

#[test]
fn nobody_answers_along_a_rota_and_each_level_is_shown() {
    let mut world = World::new();
    let rota = vec![level("analyst", 30_000, None), level("engineer", 90_000, None)];
    world.put(given("waits", "i", &Wait { escalate: rota, ..waiting("w", "tell", Otherwise::Stop) }, 0));
    let shown = |world: &World| {
        let incident = world.incident();
        let open = &incident.waits[0];
        (open.level, open.asked.clone(), open.deadline, incident.escalations, incident.escalated_at)
    };
    assert_eq!(shown(&world), (None, None, at(60_000), None, None));
    // The service was away: their time runs from when they are asked.
    assert_eq!(world.fire(61_000), 1);
    let first = Some(at(60_000));
    assert_eq!(shown(&world), (Some(1), Some("analyst".into()), at(91_000), Some(1), first));
    world.put(by("carol", "a", AckAction::Claim, 62_000));
    assert_eq!((world.fire(90_999), world.fire(91_000)), (0, 1));
    assert_eq!(shown(&world), (Some(2), Some("engineer".into()), at(181_000), Some(2), first));
    let open = world.incident().waits.remove(0);
    assert_eq!((open.role.as_str(), open.claimed_by, open.escalated), ("analyst", None, true));
    // Its end is that of `otherwise`.
    assert_eq!(world.fire(181_000), 1);
    assert_eq!((world.dropped(Code::Unanswered), world.harness.counts.held), (1, 0));
    assert_eq!((last(&world).answer, world.incident().escalations), (Answer::Unanswered, Some(2)));
}

#[test]
fn whoever_is_asked_last_is_asked_for_long_and_a_late_answer_goes_on() {
    let mut world = World::new();
    let rota = vec![level("engineer", 30_000, None)];
    world.put(given("waits", "i", &Wait { escalate: rota, ..waiting("w", "tell", Otherwise::Escalate) }, 0));
    assert_eq!((world.fire(60_000), world.fire(90_000), world.fire(200_000)), (1, 1, 0));
    let open = world.incident().waits.remove(0);
    assert_eq!((open.level, open.asked.as_deref()), (Some(2), Some("engineer")));
    assert_eq!(
        (open.deadline, world.incident().escalations),
        (at(90_000 + crate::stage::ESCALATED_MS), Some(2))
    );
    world.put(by("carol", "a", AckAction::Acknowledge, 300_000));
    assert_eq!((world.deliveries().len(), world.harness.counts.held), (1, 0));
}

/// Friday evening to Monday morning; the second level is asked at any hour.
#[test]
fn time_counts_within_hours_only() {
    let office =
        Hours { days: vec![1, 2, 3, 4, 5], from_minute: 480, to_minute: 1080, zone: "Europe/Berlin".into() };
    let ms = |text: &str| Timestamp::parse(text).unwrap().millis();
    let (friday, monday) = (ms("2026-06-05T15:45:00Z"), ms("2026-06-08T06:45:00Z"));
    let asked = Wait {
        within_ms: 3_600_000,
        hours: Some(office.clone()),
        escalate: vec![level("engineer", 1000, None)],
        ..waiting("w", "tell", Otherwise::Stop)
    };
    let mut world = World::new();
    world.put(given("waits", "i", &asked, friday));
    assert_eq!(world.incident().waits[0].deadline, at(monday));
    assert_eq!((world.fire(monday - 1), world.fire(monday), world.fire(monday + 1000)), (0, 1, 1));
    assert_eq!(world.dropped(Code::Unanswered), 1);

    let wrong = |wait: Wait| {
        let mut world = World::new();
        world.put(given("waits", "i", &wait, 1));
        world.dead(Code::InvalidField)
    };
    let mars = Hours { zone: "Mars".into(), ..office.clone() };
    assert_eq!(wrong(Wait { hours: Some(mars.clone()), ..asked.clone() }), 1);
    assert_eq!(wrong(Wait { escalate: vec![level("admin", 1, Some(mars))], ..asked.clone() }), 1);
    assert_eq!(wrong(Wait { escalate: vec![level("admin", -1, None)], ..asked.clone() }), 1);
    assert_eq!(wrong(Wait { escalate: vec![level("", 1, None)], ..asked.clone() }), 1);
    assert_eq!(wrong(Wait { escalate: vec![level("admin", 1, None); 9], ..asked }), 1);
}

fn policy(id: &str, action: AckAction, ms: i64) -> (Ack, i64) {
    let base = said(id, action);
    (Ack { actor: "triage@2".into(), answerer: Some(Answerer::Policy), comment: None, ..base }, ms)
}

#[test]
fn a_policy_assigns_and_judges_where_no_person_has() {
    let mut world = World::new();
    world.put(event("a", 1));
    let (told, ms) = policy("p1", AckAction::Update, 2);
    let told = Ack {
        assignee: Some("soc".into()),
        severity: Some(Severity::High),
        comment: Some("triaged".into()),
        ..told
    };
    world.put(given("acks", "i", &told, ms));
    // The same command once more, as after a crash, and the same words for another event.
    world.put(given("acks", "i", &told, 3));
    world.put(given("acks", "i", &Ack { ack_id: "p2".into(), ..told.clone() }, 4));
    let incident = world.incident();
    assert_eq!((incident.assignee.as_deref(), incident.severity), (Some("soc"), Some(Severity::High)));
    assert_eq!((incident.severity_as, incident.acked_at), (Some(Answerer::Policy), None));
    assert_eq!((world.dropped(Code::Duplicate), incident.comments.len()), (1, 1));
    assert_eq!(incident.comments[0].by, "triage@2");
    let person =
        Ack { assignee: Some("dave".into()), severity: Some(Severity::Low), ..said("h", AckAction::Update) };
    world.put(given("acks", "i", &person, 5));
    world.put(given("acks", "i", &Ack { ack_id: "p3".into(), ..told }, 6));
    let incident = world.incident();
    assert_eq!((incident.assignee.as_deref(), incident.severity), (Some("dave"), Some(Severity::Low)));
    assert_eq!(incident.severity_as, Some(Answerer::Human));
}

#[test]
fn a_policy_closes_and_what_it_says_too_late_is_no_mistake() {
    let mut world = World::new();
    world.put(event("a", 1));
    world.put(wait("w", Otherwise::Stop, 2));
    let (close, ms) = policy("p1", AckAction::Close, 3);
    world.put(given("acks", "i", &close, ms));
    let incident = world.incident();
    assert_eq!((incident.closed_at, incident.acked_as), (Some(at(3)), Some(Answerer::Policy)));
    assert_eq!((incident.acked_by.as_deref(), last(&world).answer), (Some("triage@2"), Answer::Closed));
    world.put(given("acks", "i", &Ack { ack_id: "p2".into(), ..close.clone() }, 4));
    assert_eq!((world.dropped(Code::Closed), world.dead(Code::Closed)), (2, 0));
    for wrong in [
        Ack { action: AckAction::Acknowledge, verdict: None, ..close.clone() },
        Ack { action: AckAction::Update, verdict: None, ..close },
        Ack { assignee: Some("x".into()), ..said("x", AckAction::Claim) },
        Ack { assignee: Some(String::new()), ..said("x", AckAction::Update) },
    ] {
        assert_eq!(formed(&wrong).unwrap_err().code, Code::InvalidField, "{wrong:?}");
    }
}

/// A branch tells its incident something behind a wait: the command goes to the topic of answers, and is taken from there.
#[test]
fn a_branch_tells_its_incident_behind_a_wait() {
    let mut world = World::new();
    world.put(given("waits", "i", &waiting("w", "close", Otherwise::Stop), 1));
    world.put(ack("x", AckAction::Acknowledge, 2));
    let told = world.harness.outputs.iter().find(|o| &*o.topic == "t.acks").expect("a command").clone();
    let command: Ack = deps().codec.decode(told.value.as_ref().unwrap()).unwrap();
    assert_eq!((command.actor.as_str(), command.answerer), ("respond@3", Some(Answerer::Policy)));
    assert_eq!(
        (told.key.as_deref(), told.headers.text(header::CE_ID)),
        (Some(&b"i"[..]), Some(&*command.ack_id))
    );
    assert_eq!(told.headers.text(header::RUN), Some(header::LIVE));
    world.put(given("acks", "i", &command, 3));
    assert_eq!(world.incident().closed_at, Some(at(3)));
}
