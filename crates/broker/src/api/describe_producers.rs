//! DescribeProducers: who writes to a partition, and since when a transaction is open.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::shape::{I32S, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed};
use crate::partition::Partition;

pub(super) const API: Api = Api {
    key: ApiKey::DescribeProducers,
    min: 0,
    max: 0,
    shape: Shape { flexible: 0, fields: &[all(Type::Structs(&[all(TEXT), all(I32S)]))] },
    cost: Cost::Small,
    run,
};

fn producers(partition: &Partition) -> Vec<ProducerState> {
    let log = partition.log();
    let state = log.producers.iter().map(|(pid, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(pid))
            .with_producer_epoch(producer.epoch.into())
            .with_last_sequence(producer.batches.back().map_or(-1, |b| b.last))
            .with_last_timestamp(producer.last_ms)
            .with_coordinator_epoch(0)
            .with_current_txn_start_offset(producer.open.unwrap_or(-1))
    });
    state.collect()
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DescribeProducersRequest = call.read(body)?;
    let answer = |topic: TopicRequest| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(*index);
            match call.node.topics.partition(&topic.name, *index) {
                Some(partition) => response.with_active_producers(producers(&partition)),
                None => response.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            }
        });
        let partitions = partitions.collect();
        TopicResponse::default().with_name(topic.name).with_partitions(partitions)
    };
    let topics = request.topics.into_iter().map(answer).collect();
    call.ready(&DescribeProducersResponse::default().with_topics(topics))
}
