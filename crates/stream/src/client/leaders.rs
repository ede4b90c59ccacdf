//! Questions about partitions by a client that neither reads nor writes them. Owns that they are asked of whoever leads them now; must not know
//! what is asked.
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use std::time::{Duration, Instant};

/// A look at who leads a topic waits so long for a broker.
const LOOK: Duration = Duration::from_secs(1);
/// Who has waited for an answer for longer than this does not begin anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks, and where that fails looks who leads these topics now, and asks again. For what it merely asks about the client looks every 5 minutes
/// only: until then it goes on asking a broker that is gone, or says that it knows no such partition.
///
/// # Errors
/// Those of the last question. After a wait there is none: the look was taken, so the caller's next one goes to the right broker.
pub(super) fn ask<'a, C: ConsumerContext, T, E>(
    consumer: &BaseConsumer<C>,
    topics: impl IntoIterator<Item = &'a str>,
    question: impl Fn() -> Result<T, E>,
) -> Result<T, E> {
    let from = Instant::now();
    let answer = question();
    if answer.is_ok() {
        return answer;
    }
    let looked = topics.into_iter().all(|topic| consumer.fetch_metadata(Some(topic), LOOK).is_ok());
    if looked && from.elapsed() < PATIENCE { question() } else { answer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{
        assigned::{Assigned, Isolation},
        mock::Mock,
    };
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

    const ANSWER: Duration = Duration::from_millis(300);

    #[test]
    fn a_partition_whose_leader_is_gone_is_asked_of_the_new_one() {
        let mock = Mock::of(2, "rows", 1);
        mock.leads("rows", 0, 1);
        let client = Assigned::new(&mock.kafka, "asking", Isolation::Uncommitted).unwrap();
        let answered = || {
            let question = || {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset("rows", 0, Offset::End)?;
                client.0.offsets_for_times(list, ANSWER)?.elements()[0].error()
            };
            ask(&client.0, ["rows"], question).is_ok()
        };
        let until_answered = || {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !answered() {
                assert!(Instant::now() < deadline, "answered in time");
            }
        };
        until_answered();
        mock.down(1);
        assert!(!answered(), "nobody leads it");
        mock.leads("rows", 0, 2);
        until_answered();
    }
}
