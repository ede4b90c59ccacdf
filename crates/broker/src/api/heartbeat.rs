//! Heartbeat: a member lives.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse};

use super::shape::{I32, Shape, TEXT, all, since};
use super::{Answer, Api, Call, Cost, Malformed, code};

pub(super) const API: Api = Api {
    key: ApiKey::Heartbeat,
    min: 0,
    max: 4,
    shape: Shape { flexible: 4, fields: &[all(TEXT), all(I32), all(TEXT), since(3, TEXT)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: HeartbeatRequest = call.read(body)?;
    let result = call.node.groups.heartbeat(
        &request.group_id,
        &request.member_id,
        request.group_instance_id.as_deref(),
        request.generation_id,
        call.now.mono,
    );
    call.ready(&HeartbeatResponse::default().with_error_code(code(&result)))
}
