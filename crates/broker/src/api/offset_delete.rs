//! OffsetDelete: committed positions go, of topics that no member is subscribed to.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetDeleteRequest, OffsetDeleteResponse};

use super::shape::{I32, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed, code};
use crate::group::groups::Entry;
use crate::group::members::State;

pub(super) const API: Api = Api {
    key: ApiKey::OffsetDelete,
    min: 0,
    max: 0,
    shape: Shape {
        flexible: i16::MAX,
        fields: &[all(TEXT), all(Type::Structs(&[all(TEXT), all(Type::Structs(&[all(I32)]))]))],
    },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: OffsetDeleteRequest = call.read(body)?;
    let mut held = Vec::new();
    let choose = |entry: &Entry| {
        let group = &entry.machine;
        if group.state != State::Empty && group.protocol_type != "consumer" {
            return Err(ResponseError::NonEmptyGroup);
        }
        held = request.topics.iter().map(|t| t.name.to_string()).filter(|t| group.subscribed(t)).collect();
        let free = request.topics.iter().filter(|t| !held.contains(&t.name.to_string()));
        let gone = free.flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), p.partition_index)));
        Ok(gone.collect())
    };
    let result = call.node.groups.forget(&request.group_id, choose);
    let mut response = OffsetDeleteResponse::default().with_error_code(code(&result));
    if result.is_ok() {
        let topics = request.topics.iter().map(|topic| {
            let subscribed = held.contains(&topic.name.to_string());
            let error = if subscribed { ResponseError::GroupSubscribedToTopic.code() } else { 0 };
            let partitions = topic.partitions.iter().map(|p| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(error)
            });
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        response.topics = topics.collect();
    }
    call.ready(&response)
}
