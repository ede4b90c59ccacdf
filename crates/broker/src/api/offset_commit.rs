//! OffsetCommit: a member, or someone for an empty group, commits positions with metadata.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetCommitRequest, OffsetCommitResponse};

use super::shape::{I32, I64, Shape, TEXT, Type, all, between, since};
use super::{Answer, Api, Call, Cost, Malformed};
use crate::group::offsets::Offset;

pub(super) const API: Api = Api {
    key: ApiKey::OffsetCommit,
    min: 2,
    max: 8,
    shape: Shape {
        flexible: 8,
        fields: &[
            all(TEXT),
            all(I32),
            all(TEXT),
            since(7, TEXT),
            between(2, 4, I64),
            all(Type::Structs(&[
                all(TEXT),
                all(Type::Structs(&[all(I32), all(I64), since(6, I32), all(TEXT)])),
            ])),
        ],
    },
    cost: Cost::Small,
    run,
};

/// Longer metadata is refused, as Kafka does by default; bytes.
pub(super) const MAX_METADATA: usize = 4096;

/// Judges one partition of a commit on its own.
pub(super) fn check_one(
    call: &Call<'_>,
    topic: &str,
    index: i32,
    metadata: usize,
) -> Result<(), ResponseError> {
    if call.node.topics.partition(topic, index).is_none() {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    if metadata > MAX_METADATA {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(())
}

fn topic_response(
    topic: &OffsetCommitRequestTopic,
    code: impl Fn(i32, usize) -> i16,
) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|p| {
        let metadata = p.committed_metadata.as_ref().map_or(0, |m| m.len());
        OffsetCommitResponsePartition::default()
            .with_partition_index(p.partition_index)
            .with_error_code(code(p.partition_index, metadata))
    });
    OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: OffsetCommitRequest = call.read(body)?;
    let mut offsets = Vec::new();
    for topic in &request.topics {
        for p in &topic.partitions {
            let metadata = p.committed_metadata.as_deref().unwrap_or_default();
            if check_one(call, &topic.name, p.partition_index, metadata.len()).is_ok() {
                let offset = Offset {
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: metadata.to_owned(),
                    committed_ms: call.now.steady,
                };
                offsets.push(((topic.name.to_string(), p.partition_index), offset));
            }
        }
    }
    let result = call.node.groups.commit(&request.group_id, None, offsets, |group| {
        group.check_commit(
            &request.member_id,
            request.group_instance_id.as_deref(),
            request.generation_id_or_member_epoch,
            false,
            call.now.mono,
        )
    });
    let topics = request.topics.iter().map(|topic| {
        topic_response(topic, |index, metadata| {
            match (result, check_one(call, &topic.name, index, metadata)) {
                (Err(error), _) | (Ok(()), Err(error)) => error.code(),
                (Ok(()), Ok(())) => 0,
            }
        })
    });
    call.ready(&OffsetCommitResponse::default().with_topics(topics.collect()))
}
