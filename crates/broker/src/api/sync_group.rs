//! SyncGroup: the answer comes when the leader has assigned.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, SyncGroupRequest, SyncGroupResponse};

use super::shape::{BLOB, I32, Shape, TEXT, Type, all, since};
use super::{Answer, Api, Call, Cost, Malformed, text};
use crate::group::members::{Sync, Synced};

pub(super) const API: Api = Api {
    key: ApiKey::SyncGroup,
    min: 0,
    max: 5,
    shape: Shape {
        flexible: 4,
        fields: &[
            all(TEXT),
            all(I32),
            all(TEXT),
            since(3, TEXT),
            since(5, TEXT),
            since(5, TEXT),
            all(Type::Structs(&[all(TEXT), all(BLOB)])),
        ],
    },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: SyncGroupRequest = call.read(body)?;
    let assignments = request.assignments.iter().map(|a| (a.member_id.to_string(), a.assignment.to_vec()));
    let sync = Sync {
        member: request.member_id.to_string(),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments.collect(),
    };
    Ok(Answer::Sync(call.node.groups.sync(&request.group_id, sync, call.now.mono)))
}

/// The response for what the group came to.
pub(crate) fn response(synced: Synced) -> SyncGroupResponse {
    let failed = synced.error.is_some();
    SyncGroupResponse::default()
        .with_error_code(synced.error.map_or(0, |e| e.code()))
        .with_protocol_type((!failed).then(|| text(&synced.protocol_type)))
        .with_protocol_name((!failed).then(|| text(&synced.protocol)))
        .with_assignment(synced.assignment.into())
}
