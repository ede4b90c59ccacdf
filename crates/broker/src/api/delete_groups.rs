//! DeleteGroups: empty groups and their offsets go.

use bytes::Bytes;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{ApiKey, DeleteGroupsRequest, DeleteGroupsResponse};

use super::shape::{Shape, TEXTS, all};
use super::{Answer, Api, Call, Cost, Malformed, code};

pub(super) const API: Api = Api {
    key: ApiKey::DeleteGroups,
    min: 0,
    max: 2,
    shape: Shape { flexible: 2, fields: &[all(TEXTS)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DeleteGroupsRequest = call.read(body)?;
    let results = request.groups_names.into_iter().map(|group| {
        let result = call.node.groups.delete(&group);
        DeletableGroupResult::default().with_error_code(code(&result)).with_group_id(group)
    });
    call.ready(&DeleteGroupsResponse::default().with_results(results.collect()))
}
