//! DescribeGroups: state, protocol, members.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::shape::{I8, Shape, TEXTS, all, since};
use super::{Answer, Api, Call, Cost, Malformed, text};
use crate::group::groups::{Entry, look};

pub(super) const API: Api = Api {
    key: ApiKey::DescribeGroups,
    min: 0,
    max: 6,
    shape: Shape { flexible: 5, fields: &[all(TEXTS), since(3, I8)] },
    cost: Cost::Small,
    run,
};

fn describe(id: GroupId, entry: &Entry) -> DescribedGroup {
    let group = &entry.machine;
    let members = group.members.iter().map(|(id, member)| {
        DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_client_id(text(&member.client))
            .with_client_host(text(&member.host))
            .with_member_metadata(Bytes::copy_from_slice(member.metadata(&group.protocol)))
            .with_member_assignment(Bytes::copy_from_slice(&member.assignment))
    });
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(text(group.state.name()))
        .with_protocol_type(text(&group.protocol_type))
        .with_protocol_data(text(&group.protocol))
        .with_members(members.collect())
        .with_authorized_operations(i32::MIN)
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DescribeGroupsRequest = call.read(body)?;
    let groups = request.groups.into_iter().map(|id| match call.node.groups.get(&id) {
        Some(entry) => look(&entry, |e| describe(id, e)),
        None => {
            let missing = if call.version >= 6 { ResponseError::GroupIdNotFound.code() } else { 0 };
            DescribedGroup::default()
                .with_error_code(missing)
                .with_group_id(id)
                .with_group_state(text("Dead"))
                .with_authorized_operations(i32::MIN)
        }
    });
    call.ready(&DescribeGroupsResponse::default().with_groups(groups.collect()))
}
