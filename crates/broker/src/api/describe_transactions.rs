//! DescribeTransactions: one transactional id each.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{
    ApiKey, DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId, TopicName, TransactionalId,
};

use super::shape::{Shape, TEXTS, all};
use super::{Answer, Api, Call, Cost, Malformed, text};
use crate::group::groups::by_topic;
use crate::txn::machine::Txn;

pub(super) const API: Api = Api {
    key: ApiKey::DescribeTransactions,
    min: 0,
    max: 0,
    shape: Shape { flexible: 0, fields: &[all(TEXTS)] },
    cost: Cost::Small,
    run,
};

fn describe(id: TransactionalId, txn: Option<&Txn>) -> TransactionState {
    let state = TransactionState::default().with_transactional_id(id);
    let Some(txn) = txn else {
        return state.with_error_code(ResponseError::TransactionalIdNotFound.code());
    };
    let topics = by_topic(txn.partitions.iter().map(|at| (at.clone(), ())));
    let topics = topics.into_iter().map(|(name, partitions)| {
        TopicData::default()
            .with_topic(TopicName(text(&name)))
            .with_partitions(partitions.into_iter().map(|(index, ())| index).collect())
    });
    state
        .with_transaction_state(text(txn.state.name()))
        .with_transaction_timeout_ms(txn.timeout_ms as i32)
        .with_transaction_start_time_ms(txn.started_ms)
        .with_producer_id(ProducerId(txn.pid))
        .with_producer_epoch(txn.epoch)
        .with_topics(topics.collect())
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DescribeTransactionsRequest = call.read(body)?;
    let all = call.node.txns.list();
    let states = request.transactional_ids.into_iter().map(|id| {
        let txn = all.get(id.as_str());
        describe(id, txn)
    });
    call.ready(&DescribeTransactionsResponse::default().with_transaction_states(states.collect()))
}
