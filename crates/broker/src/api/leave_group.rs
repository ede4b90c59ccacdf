//! LeaveGroup: one member, or several from version 3 on.

use bytes::Bytes;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{ApiKey, LeaveGroupRequest, LeaveGroupResponse};

use super::shape::{Shape, TEXT, Type, all, since, until};
use super::{Answer, Api, Call, Cost, Malformed, code};

pub(super) const API: Api = Api {
    key: ApiKey::LeaveGroup,
    min: 0,
    max: 5,
    shape: Shape {
        flexible: 4,
        fields: &[
            all(TEXT),
            until(2, TEXT),
            since(3, Type::Structs(&[all(TEXT), all(TEXT), since(5, TEXT)])),
        ],
    },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: LeaveGroupRequest = call.read(body)?;
    let leave = |id: &str, instance: Option<&str>| {
        call.node.groups.leave(&request.group_id, id, instance, call.now.mono)
    };
    if call.version < 3 {
        let result = leave(&request.member_id, None);
        return call.ready(&LeaveGroupResponse::default().with_error_code(code(&result)));
    }
    let members = request.members.iter().map(|member| {
        let result = leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code(&result))
    });
    call.ready(&LeaveGroupResponse::default().with_members(members.collect()))
}
