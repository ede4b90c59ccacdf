//! ListTransactions: transactional ids and their states.

use bytes::Bytes;
use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{
    ApiKey, ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
};

use super::shape::{I64, I64S, Shape, TEXTS, all, since};
use super::{Answer, Api, Call, Cost, Malformed, text};

pub(super) const API: Api = Api {
    key: ApiKey::ListTransactions,
    min: 0,
    max: 1,
    shape: Shape { flexible: 0, fields: &[all(TEXTS), all(I64S), since(1, I64)] },
    cost: Cost::Small,
    run,
};

const STATES: [&str; 6] =
    ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"];

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: ListTransactionsRequest = call.read(body)?;
    let unknown = request.state_filters.iter().filter(|f| !STATES.contains(&f.as_str())).cloned();
    let states = call.node.txns.list().into_iter().filter(|(_, txn)| {
        let by_state = request.state_filters.is_empty()
            || request.state_filters.iter().any(|f| f.as_str() == txn.state.name());
        let by_pid = request.producer_id_filters.is_empty()
            || request.producer_id_filters.contains(&ProducerId(txn.pid));
        let open_for = if txn.started_ms < 0 { 0 } else { call.now.steady - txn.started_ms };
        by_state && by_pid && (call.version < 1 || open_for >= request.duration_filter)
    });
    let states = states.map(|(id, txn)| {
        TransactionState::default()
            .with_transactional_id(TransactionalId(text(&id)))
            .with_producer_id(ProducerId(txn.pid))
            .with_transaction_state(text(txn.state.name()))
    });
    let response = ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown.collect())
        .with_transaction_states(states.collect());
    call.ready(&response)
}
