//! OffsetForLeaderEpoch: where an epoch ended, so that a reader notices a log that was cut.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{ApiKey, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::fetch::check_epoch;
use super::shape::{I32, Shape, TEXT, Type, all, since};
use super::{Answer, Api, Call, Cost, Malformed};

pub(super) const API: Api = Api {
    key: ApiKey::OffsetForLeaderEpoch,
    min: 2,
    max: 4,
    shape: Shape {
        flexible: 4,
        fields: &[
            since(3, I32),
            all(Type::Structs(&[all(TEXT), all(Type::Structs(&[all(I32), all(I32), all(I32)]))])),
        ],
    },
    cost: Cost::Small,
    run,
};

fn find(
    call: &Call<'_>,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    let partition =
        call.node.topics.partition(topic, wanted.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let log = partition.log();
    check_epoch(wanted.current_leader_epoch, log.leader_epoch())?;
    Ok(log.epoch_end(wanted.leader_epoch))
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: OffsetForLeaderEpochRequest = call.read(body)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let end = EpochEndOffset::default().with_partition(wanted.partition);
            match find(call, &topic.topic, wanted) {
                Ok((epoch, offset)) => end.with_leader_epoch(epoch).with_end_offset(offset),
                Err(error) => end.with_error_code(error.code()).with_leader_epoch(-1).with_end_offset(-1),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    call.ready(&OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
}
