//! Random orders of events, waits, answers, receipts and deadlines: the ledger stays balanced, each wait ends once and runs on at most once.
use super::*;
use atio_schemas::incident::{Level, Rejected};
use proptest::prelude::*;
use std::collections::BTreeMap;

const DAY_MS: i64 = 24 * 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    Event,
    Wait(u8, Otherwise),
    /// Which wait (none = all), and under which id.
    Ack(Option<u8>, u8),
    /// One that offers a choice; what is chosen, and the answer's id.
    Choose(u8),
    Chosen(Option<&'static str>, u8),
    /// One that takes two; who says yes, no, or works on it.
    Two(u8),
    By(bool, AckAction, u8),
    Close(u8),
    Comment(u8),
    Receipt,
    /// Time passes, deadlines fire.
    Pass(i64),
    /// The same transaction is aborted first.
    Abort,
}

fn step() -> impl Strategy<Value = Step> {
    let otherwise = prop_oneof![Just(Otherwise::Stop), Just(Otherwise::Continue), Just(Otherwise::Escalate)];
    let action = prop_oneof![
        4 => Just(AckAction::Acknowledge),
        1 => Just(AckAction::Reject),
        1 => Just(AckAction::Claim),
        1 => Just(AckAction::Release),
    ];
    prop_oneof![
        3 => Just(Step::Event),
        6 => (0..4_u8, otherwise).prop_map(|(id, otherwise)| Step::Wait(id, otherwise)),
        4 => (proptest::option::of(0..5_u8), 0..12_u8).prop_map(|(wait, id)| Step::Ack(wait, id)),
        3 => (0..4_u8).prop_map(Step::Choose),
        3 => (proptest::option::of(prop_oneof![Just("isolate"), Just("monitor"), Just("shout")]), 0..12_u8)
            .prop_map(|(choice, id)| Step::Chosen(choice, id)),
        2 => (0..3_u8).prop_map(Step::Two),
        4 => (any::<bool>(), action, 0..20_u8).prop_map(|(who, action, id)| Step::By(who, action, id)),
        1 => (0..12_u8).prop_map(Step::Close),
        1 => (0..12_u8).prop_map(Step::Comment),
        1 => Just(Step::Receipt),
        3 => prop_oneof![Just(1), Just(5_000), Just(12_000), Just(61_000), Just(31 * DAY_MS)].prop_map(Step::Pass),
        1 => Just(Step::Abort),
    ]
}

/// Each wait is a branch's: its id is in the idempotency key of what is delivered for it, through the event.
fn named(id: u8, otherwise: Otherwise) -> Wait {
    let mut wait = waiting(&format!("w{id}"), "tell", otherwise);
    wait.original.event_id = format!("e{id}");
    wait.detection.event_id = format!("e{id}");
    wait
}

fn run(steps: &[Step]) -> World {
    let mut world = World::new();
    let (mut now, mut events) = (1000, 0_i64);
    let mut abort = false;
    for step in steps {
        now += 1;
        let record = match step {
            Step::Event => {
                events += 1;
                event(&format!("v{events}"), now)
            }
            Step::Wait(id, otherwise) => given("waits", "i", &named(*id, *otherwise), now),
            Step::Ack(wait, id) => {
                let wait_id = wait.map(|w| format!("w{w}"));
                given("acks", "i", &Ack { wait_id, ..said(&format!("a{id}"), AckAction::Acknowledge) }, now)
            }
            Step::Choose(id) => {
                let mut wait = choosing(&format!("c{id}"));
                wait.original.event_id = format!("ec{id}");
                wait.detection.event_id = format!("ec{id}");
                given("waits", "i", &wait, now)
            }
            Step::Two(id) => {
                let mut wait = named(10 + id, Otherwise::Stop);
                wait.approvers = Some(2);
                wait.rejected = (*id == 0).then_some(Rejected::Continue);
                let level = |within_ms| Level { role: "engineer".into(), within_ms, hours: None };
                wait.escalate = (0..*id).map(|n| level(30_000 * (i64::from(n) + 1))).collect();
                given("waits", "i", &wait, now)
            }
            Step::By(who, action, id) => {
                let actor = if *who { "dave" } else { "carol" }.to_owned();
                given("acks", "i", &Ack { actor, ..said(&format!("b{id}"), *action) }, now)
            }
            Step::Chosen(choice, id) => {
                let choice = choice.map(str::to_owned);
                given("acks", "i", &Ack { choice, ..said(&format!("a{id}"), AckAction::Acknowledge) }, now)
            }
            Step::Close(id) => ack(&format!("a{id}"), AckAction::Close, now),
            Step::Comment(id) => ack(&format!("a{id}"), AckAction::Comment, now),
            Step::Receipt => receipt("tool", "delivered", now),
            Step::Pass(ms) => {
                // An incident that nothing is heard of is forgotten after 400 days: not what is looked at here.
                now += if now > 300 * DAY_MS { 1 } else { *ms };
                world.fire(now);
                continue;
            }
            Step::Abort => {
                abort = true;
                continue;
            }
        };
        if std::mem::take(&mut abort) {
            drop(world.harness.abort(std::slice::from_ref(&record)));
        }
        world.put(record);
    }
    // Nothing is held for ever: what is early, what waits, what was escalated.
    for _ in 0..5 {
        now += 31 * DAY_MS;
        world.fire(now);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_wait_ends_once_and_runs_on_at_most_once(steps in proptest::collection::vec(step(), 1..60)) {
        let world = run(&steps);
        let harness = &world.harness;
        prop_assert!(harness.counts.balanced() && harness.failures.is_empty());
        prop_assert_eq!((harness.counts.held, harness.next_deadline()), (0, None));
        let mut delivered: BTreeMap<String, u32> = BTreeMap::new();
        for delivery in world.deliveries() {
            *delivered.entry(delivery.event_id).or_default() += 1;
        }
        prop_assert!(delivered.values().all(|n| *n == 1), "{:?}", delivered);
        let kept = |store: &str| harness.state(0).map_or(0, |state| state.len(store));
        prop_assert_eq!((kept("waits"), kept("early")), (0, 0));
        let known = harness.outputs.iter().any(|o| &*o.topic == "t.incidents");
        prop_assert!(!known || world.incident().waits.is_empty());
        if known {
            let incident = world.incident();
            let wanted = steps.iter().filter(|s| matches!(s, Step::Event)).count();
            prop_assert_eq!(incident.events, i64::try_from(wanted).expect("a count"));
            let times = [incident.acked_at.is_some(), incident.acked_as.is_some()];
            prop_assert!(times == [true, true] || times == [false, false]);
            prop_assert!(incident.closed_at.is_none() || incident.acked_at.is_some());
        }
    }

    /// What was answered in broker time does not depend on which topic is read first.
    #[test]
    fn an_answer_to_all_finds_what_waited_whichever_is_read_first(ack_first in any::<bool>()) {
        let mut world = World::new();
        world.put(event("a", 1));
        let (wait, ack) = (wait("w", Otherwise::Stop, 2), ack("x", AckAction::Acknowledge, 3));
        let order = if ack_first { [ack, wait] } else { [wait, ack] };
        order.into_iter().for_each(|record| world.put(record));
        prop_assert_eq!((world.deliveries().len(), world.harness.counts.held), (1, 0));
        prop_assert_eq!(world.incident().acked_at, Some(at(3)));
    }
}
