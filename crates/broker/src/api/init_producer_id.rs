//! InitProducerId: an id for an idempotent producer, an epoch for a transactional one.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::add_partitions_to_txn::fenced_word;
use super::shape::{I16, I32, I64, Shape, TEXT, all, since};
use super::{Answer, Api, Call, Cost, Malformed, code};

pub(super) const API: Api = Api {
    key: ApiKey::InitProducerId,
    min: 0,
    max: 4,
    shape: Shape { flexible: 2, fields: &[all(TEXT), all(I32), since(3, I64), since(3, I16)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: InitProducerIdRequest = call.read(body)?;
    let txns = &call.node.txns;
    let result = match &request.transactional_id {
        // An idempotent producer that lost its place gets a new id: nothing of the old one can be mixed up.
        None => txns.new_pid().map(|pid| (pid, 0)),
        Some(id) if id.is_empty() => Err(kafka_protocol::ResponseError::InvalidRequest),
        Some(id) => {
            let expected = match call.version {
                ..=2 => (-1, -1),
                _ => (request.producer_id.0, request.producer_epoch),
            };
            txns.init(id, request.transaction_timeout_ms.into(), expected, call.now.steady)
        }
    };
    let result = result.map_err(|e| fenced_word(e, call.version, 4));
    let response = InitProducerIdResponse::default().with_error_code(code(&result));
    let (pid, epoch) = result.unwrap_or((-1, -1));
    call.ready(&response.with_producer_id(ProducerId(pid)).with_producer_epoch(epoch))
}
