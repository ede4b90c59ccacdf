//! AddOffsetsToTxn: a group joins a transaction.

use bytes::Bytes;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, ApiKey};

use super::shape::{I16, I64, Shape, TEXT, all};
use super::{Answer, Api, Call, Cost, Malformed, code};
use crate::api::add_partitions_to_txn::fenced_word;

pub(super) const API: Api = Api {
    key: ApiKey::AddOffsetsToTxn,
    min: 0,
    max: 3,
    shape: Shape { flexible: 3, fields: &[all(TEXT), all(I64), all(I16), all(TEXT)] },
    cost: Cost::Small,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: AddOffsetsToTxnRequest = call.read(body)?;
    let result = call
        .node
        .txns
        .add_group(
            &request.transactional_id,
            request.producer_id.0,
            request.producer_epoch,
            &request.group_id,
            call.now.steady,
        )
        .map_err(|e| fenced_word(e, call.version, 2));
    call.ready(&AddOffsetsToTxnResponse::default().with_error_code(code(&result)))
}
