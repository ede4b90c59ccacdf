//! Metadata: the broker, topics, partitions; topics come into being here only where that is configured.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataRequest, MetadataResponse, TopicName};
use uuid::Uuid;

use super::shape::{I8, Shape, TEXT, Type, UUID, all, between, since};
use super::{Answer, Api, Call, Cost, Malformed, NODE_ID, text};
use crate::topics::{Found, is_name};

pub(super) const API: Api = Api {
    key: ApiKey::Metadata,
    min: 0,
    max: 12,
    shape: Shape {
        flexible: 9,
        fields: &[
            all(Type::Structs(&[since(10, UUID), all(TEXT)])),
            since(4, I8),
            between(8, 10, I8),
            since(8, I8),
        ],
    },
    cost: Cost::Small,
    run,
};

fn describe(found: &Found) -> MetadataResponseTopic {
    let partitions = found.partitions.iter().enumerate().map(|(index, partition)| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(partition.log().leader_epoch())
            .with_replica_nodes(vec![BrokerId(NODE_ID)])
            .with_isr_nodes(vec![BrokerId(NODE_ID)])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&found.topic.name))))
        .with_topic_id(found.topic.id)
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(i32::MIN)
}

fn missing(name: Option<TopicName>, id: Uuid, error: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(name)
        .with_topic_id(id)
        .with_topic_authorized_operations(i32::MIN)
}

fn by_name(call: &Call<'_>, name: TopicName, may_create: bool) -> MetadataResponseTopic {
    if let Some(found) = call.node.topics.get(&name) {
        return describe(&found);
    }
    if !is_name(&name) {
        return missing(Some(name), Uuid::nil(), ResponseError::InvalidTopicException);
    }
    if may_create && call.node.auto_create {
        let count = call.node.default_partitions;
        // Someone else may have made it meanwhile: what counts is that it is there.
        let made = call.node.topics.create(&name, count, BTreeMap::new(), false);
        return match (call.node.topics.get(&name), made) {
            (Some(found), _) => describe(&found),
            (None, Err((error, _))) => missing(Some(name), Uuid::nil(), error),
            (None, Ok(_)) => missing(Some(name), Uuid::nil(), ResponseError::UnknownTopicOrPartition),
        };
    }
    missing(Some(name), Uuid::nil(), ResponseError::UnknownTopicOrPartition)
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: MetadataRequest = call.read(body)?;
    let everything = match &request.topics {
        None => true,
        Some(named) => call.version == 0 && named.is_empty(),
    };
    let may_create = call.version < 4 || request.allow_auto_topic_creation;
    let topics = if everything {
        call.node.topics.list().iter().map(describe).collect()
    } else {
        let named = request.topics.unwrap_or_default().into_iter();
        named
            .map(|topic| match topic.name {
                Some(name) => by_name(call, name, may_create),
                None => match call.node.topics.by_id(topic.topic_id) {
                    Some(found) => describe(&found),
                    None => missing(None, topic.topic_id, ResponseError::UnknownTopicId),
                },
            })
            .collect()
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE_ID))
        .with_host(text(call.host))
        .with_port(call.port);
    let response = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(&call.node.cluster_id)))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics)
        .with_cluster_authorized_operations(i32::MIN);
    call.ready(&response)
}
