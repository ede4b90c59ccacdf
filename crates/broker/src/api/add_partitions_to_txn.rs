//! AddPartitionsToTxn: partitions join a transaction, all or none.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey};

use super::shape::{I16, I32S, I64, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed, code};

pub(super) const API: Api = Api {
    key: ApiKey::AddPartitionsToTxn,
    min: 0,
    max: 3,
    shape: Shape {
        flexible: 3,
        fields: &[all(TEXT), all(I64), all(I16), all(Type::Structs(&[all(TEXT), all(I32S)]))],
    },
    cost: Cost::Small,
    run,
};

/// Clients before `since` know a fenced producer by another name.
pub(crate) fn fenced_word(error: ResponseError, version: i16, since: i16) -> ResponseError {
    match error {
        ResponseError::ProducerFenced if version < since => ResponseError::InvalidProducerEpoch,
        other => other,
    }
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: AddPartitionsToTxnRequest = call.read(body)?;
    let named = request.v3_and_below_topics.iter();
    let wanted: Vec<(String, i32)> =
        named.flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), *p))).collect();
    let exists = |name: &str, index: i32| call.node.topics.partition(name, index).is_some();
    let whole = wanted.iter().all(|(name, index)| exists(name, *index));
    let result = match whole {
        false => Err(ResponseError::OperationNotAttempted),
        true => call
            .node
            .txns
            .add_partitions(
                &request.v3_and_below_transactional_id,
                request.v3_and_below_producer_id.0,
                request.v3_and_below_producer_epoch,
                wanted,
                call.now.steady,
            )
            .map_err(|e| fenced_word(e, call.version, 2)),
    };
    let topics = request.v3_and_below_topics.into_iter().map(|topic| {
        let partition = |index: i32| {
            let error = match whole || exists(&topic.name, index) {
                true => code(&result),
                false => ResponseError::UnknownTopicOrPartition.code(),
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(error)
        };
        let partitions = topic.partitions.iter().map(|p| partition(*p)).collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions)
    });
    let topics = topics.collect();
    call.ready(&AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics))
}
