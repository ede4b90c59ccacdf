//! Joining a group: that it happens, also where a node goes away meanwhile, and what is told to whoever gets nothing.
use super::*;
use crate::client::mock::Mock;

const GROUPS: usize = 50;
/// Between their starts; an answer takes twelve times as long, so that some wait for one when the node goes.
const APART: Duration = Duration::from_millis(25);
const ANSWER: Duration = Duration::from_millis(300);

fn join(mock: &Mock, group: usize) -> LaneConsumer {
    let spec = ConsumerSpec {
        kafka: mock.kafka.clone(),
        client_id: format!("joins-{group}"),
        group: format!("group-{group}"),
        instance: None,
        session: Duration::from_secs(6),
        together: false,
    };
    LaneConsumer::join(&spec, &["rows"]).unwrap()
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
