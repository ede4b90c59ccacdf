//! TxnOffsetCommit: positions that count when the transaction commits.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::add_partitions_to_txn::fenced_word;
use super::offset_commit::check_one;
use super::shape::{I16, I32, I64, Shape, TEXT, Type, all, since};
use super::{Answer, Api, Call, Cost, Malformed};
use crate::group::offsets::{At, Offset};

pub(super) const API: Api = Api {
    key: ApiKey::TxnOffsetCommit,
    min: 0,
    max: 3,
    shape: Shape {
        flexible: 3,
        fields: &[
            all(TEXT),
            all(TEXT),
            all(I64),
            all(I16),
            since(3, I32),
            since(3, TEXT),
            since(3, TEXT),
            all(Type::Structs(&[
                all(TEXT),
                all(Type::Structs(&[all(I32), all(I64), since(2, I32), all(TEXT)])),
            ])),
        ],
    },
    cost: Cost::Small,
    run,
};

fn offsets(call: &Call<'_>, request: &TxnOffsetCommitRequest) -> Vec<(At, Offset)> {
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
    offsets
}

fn commit(call: &Call<'_>, request: &TxnOffsetCommitRequest) -> Result<(), ResponseError> {
    let (pid, epoch) = (request.producer_id.0, request.producer_epoch);
    // Before version 3 a member says nothing of itself.
    let (generation, member) = match call.version {
        ..=2 => (-1, ""),
        _ => (request.generation_id, request.member_id.as_str()),
    };
    let instance = request.group_instance_id.as_deref();
    call.node.txns.during(
        &request.transactional_id,
        |txn| txn.check_offsets(pid, epoch, &request.group_id),
        || {
            call.node.groups.commit(&request.group_id, Some(pid), offsets(call, request), |group| {
                group.check_commit(member, instance, generation, true, call.now.mono)
            })
        },
    )
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: TxnOffsetCommitRequest = call.read(body)?;
    // Clients know a fenced producer here by its epoch.
    let result = commit(call, &request).map_err(|e| fenced_word(e, 0, 1));
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let metadata = p.committed_metadata.as_ref().map_or(0, |m| m.len());
            let one = check_one(call, &topic.name, p.partition_index, metadata);
            let error = result.and(one).map_or_else(|e| e.code(), |()| 0);
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(error)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    call.ready(&TxnOffsetCommitResponse::default().with_topics(topics.collect()))
}
