//! Joining a group: that it happens, also where a node goes away meanwhile, and what is told to whoever gets nothing.
use super::*;
use crate::client::mock::Mock;

const GROUPS: usize = 50;
/// Between their starts; an answer takes twelve times as long, so that some wait for one when the node goes.
const APART: Duration = Duration::from_millis(25);
const ANSWER: Duration = Duration::from_millis(300);

fn spec(mock: &Mock, group: usize) -> ConsumerSpec {
    ConsumerSpec {
        kafka: mock.kafka.clone(),
        client_id: format!("joins-{group}"),
        group: format!("group-{group}"),
        instance: None,
        session: Duration::from_secs(6),
        together: false,
        split: false,
    }
}

fn join(mock: &Mock, group: usize) -> LaneConsumer {
    LaneConsumer::join(&spec(mock, group), &["rows"]).unwrap()
}

/// A node that a client asks about the topic may be gone from what another one knows before it has answered; librdkafka then forgets the question.
#[test]
fn whoever_joins_while_a_node_goes_away_is_in_its_group_soon() {
    let mock = Mock::of(2, "rows", 1);
    mock.leads("rows", 0, 1);
    mock.slow(ANSWER);
    let (mut waiting, mut joined) = (vec![], vec![]);
    for group in 0..GROUPS {
        mock.coordinates(&format!("group-{group}"), 1);
        let consumer = join(&mock, group);
        drop(consumer.poll(APART));
        waiting.push(consumer);
    }
    mock.down(2);
    let from = Instant::now();
    while !waiting.is_empty() {
        let (told, still): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|consumer| {
            drop(consumer.poll(Duration::from_millis(1)));
            consumer.next_event().is_some()
        });
        joined.extend(told);
        let names: Vec<_> = still.iter().map(LaneConsumer::member).collect();
        assert!(from.elapsed() < Duration::from_secs(90), "not in their groups: {names:?}");
        waiting = still;
    }
    mock.slow(Duration::ZERO);
    joined.into_iter().for_each(LaneConsumer::close);
}

/// So that a lane knows that it is in its group, and is ready to take over.
#[test]
fn whoever_gets_nothing_is_told_so() {
    let mock = Mock::of(1, "rows", 1);
    let members = [join(&mock, 0), join(&mock, 0)];
    let mut given: [Option<usize>; 2] = [None; 2];
    let from = Instant::now();
    while given.contains(&None) || given.iter().flatten().sum::<usize>() != 1 {
        for (member, given) in members.iter().zip(&mut given) {
            drop(member.poll(Duration::from_millis(10)));
            match member.next_event() {
                Some(Rebalance::Assigned(partitions)) => {
                    *given = Some(given.unwrap_or(0) + partitions.len());
                    member.assign(&partitions.into_iter().map(|tp| (tp, Some(0))).collect()).unwrap();
                }
                Some(Rebalance::Revoked { partitions, .. }) => {
                    *given = Some(given.unwrap_or(0) - partitions.len());
                    member.unassign(&partitions).unwrap();
                }
                None => {}
            }
        }
        assert!(from.elapsed() < Duration::from_secs(30), "both are told: {given:?}");
    }
    members.into_iter().for_each(LaneConsumer::close);
}

/// Offsets of what a partition's own queue gives, until there is one past the last that is wanted.
fn taken(consumer: &LaneConsumer, tp: &Tp, until: i64) -> Vec<i64> {
    let queue = consumer.queue(tp).expect("it is ours");
    let (mut offsets, from) = (vec![], Instant::now());
    while offsets.last() != Some(&until) {
        assert!(from.elapsed() < Duration::from_secs(30), "{tp} up to {until}: {offsets:?}");
        assert!(
            matches!(consumer.poll(Duration::ZERO), Polled::Nothing),
            "nothing comes by the common queue"
        );
        match consumer.take(queue) {
            Polled::Record(record) => offsets.push(record.offset()),
            _ => consumer.rest(Duration::from_millis(100)),
        }
    }
    offsets
}

/// Each partition by itself, in order; what is sought comes again, what was given back and comes again too.
#[test]
fn partitions_with_queues_of_their_own_are_taken_from_at_will() {
    let mock = Mock::new("rows", 2);
    let spec = ConsumerSpec { split: true, ..spec(&mock, 7) };
    let consumer = LaneConsumer::join(&spec, &["rows"]).unwrap();
    let [left, right] = [0, 1].map(|p| Tp::new("rows", p));
    let at = |offset: i64| BTreeMap::from([(left.clone(), offset), (right.clone(), offset)]);
    let given = |consumer: &LaneConsumer| {
        let from = Instant::now();
        loop {
            drop(consumer.poll(Duration::from_millis(10)));
            if let Some(Rebalance::Assigned(partitions)) = consumer.next_event() {
                return partitions;
            }
            assert!(from.elapsed() < Duration::from_secs(30), "it joins");
        }
    };
    assert_eq!(given(&consumer).len(), 2);
    assert_eq!(consumer.queue(&left), None, "not before it is assigned");
    consumer.assign(&at(0).into_iter().map(|(tp, next)| (tp, Some(next))).collect()).unwrap();
    for n in 0..20 {
        mock.put(0, &n.to_string());
        mock.put(1, &n.to_string());
    }
    assert_eq!(taken(&consumer, &right, 19), (0..20).collect::<Vec<_>>());
    assert_eq!(consumer.positions(), [(right.clone(), 20)], "what was not taken has no position yet");
    assert_eq!(taken(&consumer, &left, 4), (0..5).collect::<Vec<_>>());
    consumer.seek(&BTreeMap::from([(left.clone(), 2), (right.clone(), 18)])).unwrap();
    assert_eq!(
        taken(&consumer, &left, 9),
        (2..10).collect::<Vec<_>>(),
        "what was at hand is not what is sought"
    );
    assert_eq!(taken(&consumer, &right, 19), [18, 19]);
    consumer.unassign(&[left.clone(), right.clone()]).unwrap();
    consumer.assign(&at(7).into_iter().map(|(tp, next)| (tp, Some(next))).collect()).unwrap();
    assert_eq!(taken(&consumer, &left, 19), (7..20).collect::<Vec<_>>());
    consumer.close();
}
