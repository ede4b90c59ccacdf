//! JoinGroup: the answer comes when the group's members are together.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{ApiKey, JoinGroupRequest, JoinGroupResponse};
use tokio::sync::oneshot;

use super::shape::{BLOB, I32, Shape, TEXT, Type, all, since};
use super::{Answer, Api, Call, Cost, Malformed, text};
use crate::group::members::{Join, Joined};

pub(super) const API: Api = Api {
    key: ApiKey::JoinGroup,
    min: 0,
    max: 9,
    shape: Shape {
        flexible: 6,
        fields: &[
            all(TEXT),
            all(I32),
            since(1, I32),
            all(TEXT),
            since(5, TEXT),
            all(TEXT),
            all(Type::Structs(&[all(TEXT), all(BLOB)])),
            since(8, TEXT),
        ],
    },
    cost: Cost::Small,
    run,
};

/// From this version on a client can be told its id before it joins.
const ID_REQUIRED: i16 = 4;

fn refuse(member: &str, error: ResponseError) -> Answer {
    let (sender, receiver) = oneshot::channel();
    sender.send(Joined::refused(member, error)).ok();
    Answer::Join(receiver)
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: JoinGroupRequest = call.read(body)?;
    let session_ms = i64::from(request.session_timeout_ms);
    let limits = call.node.session_ms;
    if !(limits.0..=limits.1).contains(&session_ms) {
        return Ok(refuse(&request.member_id, ResponseError::InvalidSessionTimeout));
    }
    let rebalance_ms = match call.version {
        0 => session_ms,
        _ => i64::from(request.rebalance_timeout_ms).max(0),
    };
    let prefix = request.group_instance_id.as_deref().unwrap_or(call.client);
    let prefix: String = prefix.chars().take(100).collect();
    let protocols = request.protocols.iter().map(|p| (p.name.to_string(), p.metadata.to_vec()));
    let join = Join {
        member: request.member_id.to_string(),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        client: call.client.to_owned(),
        host: call.peer.to_owned(),
        session_ms,
        rebalance_ms: rebalance_ms.min(limits.1),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        id_required: call.version >= ID_REQUIRED,
        may_skip: call.version >= 9,
        fresh: format!("{prefix}-{}", uuid::Uuid::new_v4()),
    };
    Ok(Answer::Join(call.node.groups.join(&request.group_id, join, call.now.mono)))
}

/// The response for what the group came to.
pub(crate) fn response(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|(id, instance, metadata)| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&id))
            .with_group_instance_id(instance.as_deref().map(text))
            .with_metadata(metadata.into())
    });
    let failed = joined.error.is_some();
    let none = failed && version >= 7;
    JoinGroupResponse::default()
        .with_error_code(joined.error.map_or(0, |e| e.code()))
        .with_generation_id(joined.generation)
        .with_protocol_type((!failed).then(|| text(&joined.protocol_type)))
        .with_protocol_name((!none).then(|| text(&joined.protocol)))
        .with_leader(text(&joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(&joined.member))
        .with_members(members.collect())
}
