//! EndTxn: commit or abort.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, EndTxnRequest, EndTxnResponse};

use super::add_partitions_to_txn::fenced_word;
use super::shape::{I8, I16, I64, Shape, TEXT, all};
use super::{Answer, Api, Call, Cost, Malformed, code};

pub(super) const API: Api = Api {
    key: ApiKey::EndTxn,
    min: 0,
    max: 3,
    shape: Shape { flexible: 3, fields: &[all(TEXT), all(I64), all(I16), all(I8)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: EndTxnRequest = call.read(body)?;
    let result = call
        .node
        .txns
        .end(
            &request.transactional_id,
            request.producer_id.0,
            request.producer_epoch,
            request.committed,
            call.now.steady,
        )
        .map_err(|e| fenced_word(e, call.version, 2));
    call.ready(&EndTxnResponse::default().with_error_code(code(&result)))
}
