//! ListGroups: names, protocol types, states.

use bytes::Bytes;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ApiKey, GroupId, ListGroupsRequest, ListGroupsResponse};

use super::shape::{Shape, TEXTS, since};
use super::{Answer, Api, Call, Cost, Malformed, text};
use crate::group::groups::look;

pub(super) const API: Api = Api {
    key: ApiKey::ListGroups,
    min: 0,
    max: 5,
    shape: Shape { flexible: 3, fields: &[since(4, TEXTS), since(5, TEXTS)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: ListGroupsRequest = call.read(body)?;
    let any = |filter: &[kafka_protocol::protocol::StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(value))
    };
    let groups = call.node.groups.names().into_iter().filter_map(|name| {
        let entry = call.node.groups.get(&name)?;
        let (state, protocol) = look(&entry, |e| (e.machine.state, e.machine.protocol_type.clone()));
        let wanted = any(&request.states_filter, state.name()) && any(&request.types_filter, "classic");
        wanted.then(|| {
            ListedGroup::default()
                .with_group_id(GroupId(text(&name)))
                .with_protocol_type(text(&protocol))
                .with_group_state(text(state.name()))
                .with_group_type(text("classic"))
        })
    });
    call.ready(&ListGroupsResponse::default().with_groups(groups.collect()))
}
