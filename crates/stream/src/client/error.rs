//! Reads librdkafka's errors (exactly-once, rule 6). Owns the order in which they are told apart; must not know what the driver does then.
use crate::fault::{Fault, FaultKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Which transaction call it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Begin,
    Offsets,
    Commit,
    Abort,
    Init,
}

/// What librdkafka says of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    pub fatal: bool,
    pub abort_required: bool,
    pub retriable: bool,
}

/// Rule 6, in its order.
#[must_use]
pub fn classify(call: Call, code: RDKafkaErrorCode, flags: Flags) -> FaultKind {
    use RDKafkaErrorCode as E;
    match code {
        // A time-out says nothing about what the broker did; neither does a lost connection.
        E::OperationTimedOut
        | E::Conflict
        | E::RequestTimedOut
        | E::NetworkException
        | E::BrokerTransportFailure
            if call != Call::Begin =>
        {
            FaultKind::Unknown
        }
        E::InvalidTransactionalState if matches!(call, Call::Commit | Call::Abort) => FaultKind::Torn,
        E::IllegalGeneration | E::RebalanceInProgress => FaultKind::Generation,
        E::UnknownMemberId | E::FencedInstanceId => FaultKind::Member,
        E::Fenced | E::ProducerFenced | E::InvalidProducerEpoch => FaultKind::Fenced,
        _ if flags.fatal => FaultKind::Fatal,
        _ if flags.abort_required => FaultKind::Abort,
        _ if flags.retriable => FaultKind::Retry,
        _ => FaultKind::Fatal,
    }
}

/// A failed transaction call.
#[must_use]
pub fn of_call(call: Call, error: &KafkaError) -> Fault {
    let KafkaError::Transaction(e) = error else {
        return Fault::new(FaultKind::Fatal, error.to_string());
    };
    let flags =
        Flags { fatal: e.is_fatal(), abort_required: e.txn_requires_abort(), retriable: e.is_retriable() };
    Fault::new(classify(call, e.code(), flags), format!("{call:?}: {} ({})", e.string(), e.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as E;
    const NONE: Flags = Flags { fatal: false, abort_required: false, retriable: false };
    const FATAL: Flags = Flags { fatal: true, ..NONE };
    const ABORT: Flags = Flags { abort_required: true, ..NONE };
    const RETRY: Flags = Flags { retriable: true, ..NONE };

    #[test]
    fn a_time_out_is_unknown_whatever_else_it_says() {
        for call in [Call::Offsets, Call::Commit, Call::Abort, Call::Init] {
            for flags in [NONE, FATAL, ABORT, RETRY] {
                assert_eq!(classify(call, E::OperationTimedOut, flags), FaultKind::Unknown);
                assert_eq!(classify(call, E::Conflict, flags), FaultKind::Unknown);
            }
        }
    }

    #[test]
    fn the_order_of_rule_6() {
        let all = Flags { fatal: true, abort_required: true, retriable: true };
        assert_eq!(classify(Call::Commit, E::InvalidTransactionalState, all), FaultKind::Torn);
        assert_eq!(classify(Call::Offsets, E::InvalidTransactionalState, all), FaultKind::Fatal);
        assert_eq!(classify(Call::Offsets, E::IllegalGeneration, ABORT), FaultKind::Generation);
        assert_eq!(classify(Call::Offsets, E::UnknownMemberId, ABORT), FaultKind::Member);
        assert_eq!(classify(Call::Offsets, E::FencedInstanceId, ABORT), FaultKind::Member);
        assert_eq!(classify(Call::Commit, E::Fenced, FATAL), FaultKind::Fenced);
        assert_eq!(classify(Call::Commit, E::ProducerFenced, FATAL), FaultKind::Fenced);
        assert_eq!(classify(Call::Commit, E::TopicAuthorizationFailed, all), FaultKind::Fatal);
        assert_eq!(classify(Call::Commit, E::TopicAuthorizationFailed, ABORT), FaultKind::Abort);
        assert_eq!(classify(Call::Commit, E::NotCoordinator, RETRY), FaultKind::Retry);
        assert_eq!(classify(Call::Commit, E::InvalidTopic, NONE), FaultKind::Fatal);
    }
}
