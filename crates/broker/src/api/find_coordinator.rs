//! FindCoordinator: it is always this broker.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ApiKey, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::shape::{I8, Shape, TEXT, TEXTS, since, until};
use super::{Answer, Api, Call, Cost, Malformed, NODE_ID, text};

pub(super) const API: Api = Api {
    key: ApiKey::FindCoordinator,
    min: 0,
    max: 4,
    shape: Shape { flexible: 3, fields: &[until(3, TEXT), since(1, I8), since(4, TEXTS)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: FindCoordinatorRequest = call.read(body)?;
    // 0 is a group, 1 a transactional id.
    let code = if matches!(request.key_type, 0 | 1) { 0 } else { ResponseError::InvalidRequest.code() };
    let response = if call.version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            Coordinator::default()
                .with_key(key)
                .with_node_id(BrokerId(NODE_ID))
                .with_host(text(call.host))
                .with_port(call.port)
                .with_error_code(code)
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    } else {
        FindCoordinatorResponse::default()
            .with_error_code(code)
            .with_node_id(BrokerId(NODE_ID))
            .with_host(text(call.host))
            .with_port(call.port)
    };
    call.ready(&response)
}
