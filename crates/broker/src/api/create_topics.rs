//! CreateTopics.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, CreateTopicsResponse};
use uuid::Uuid;

use super::shape::{I8, I16, I32, I32S, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed, NODE_ID, describe_configs, text};

pub(super) const API: Api = Api {
    key: ApiKey::CreateTopics,
    min: 2,
    max: 7,
    shape: Shape {
        flexible: 5,
        fields: &[
            all(Type::Structs(&[
                all(TEXT),
                all(I32),
                all(I16),
                all(Type::Structs(&[all(I32), all(I32S)])),
                all(Type::Structs(&[all(TEXT), all(TEXT)])),
            ])),
            all(I32),
            all(I8),
        ],
    },
    cost: Cost::Disk,
    run,
};

type Refused = (ResponseError, String);

/// How many partitions the request means.
fn partitions(call: &Call<'_>, topic: &CreatableTopic) -> Result<i32, Refused> {
    if !topic.assignments.is_empty() {
        let here = topic.assignments.iter().all(|a| a.broker_ids.iter().all(|b| b.0 == NODE_ID));
        return match here && topic.num_partitions == -1 {
            true => Ok(topic.assignments.len() as i32),
            false => Err((ResponseError::InvalidReplicaAssignment, "there is one broker".to_owned())),
        };
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        let message = "there is one broker: the replication factor is 1".to_owned();
        return Err((ResponseError::InvalidReplicationFactor, message));
    }
    match topic.num_partitions {
        -1 => Ok(call.node.default_partitions),
        count => Ok(count),
    }
}

fn create(call: &Call<'_>, topic: &CreatableTopic, dry_run: bool) -> Result<(Uuid, i32), Refused> {
    let count = partitions(call, topic)?;
    let configs: BTreeMap<String, String> = topic
        .configs
        .iter()
        .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())))
        .collect();
    let id = call.node.topics.create(&topic.name, count, configs, dry_run)?;
    Ok((id, count))
}

fn answer(call: &Call<'_>, topic: CreatableTopic, dry_run: bool) -> CreatableTopicResult {
    let result = create(call, &topic, dry_run);
    let mut answer = CreatableTopicResult::default().with_name(topic.name.clone());
    match result {
        Ok((id, count)) => {
            answer.num_partitions = count;
            answer.replication_factor = 1;
            if !dry_run {
                answer.topic_id = id;
            }
            let found = call.node.topics.get(&topic.name);
            let overrides = found.map(|f| f.topic.overrides()).unwrap_or_default();
            let configs = describe_configs::effective(&overrides).map(|(known, value, own)| {
                CreatableTopicConfigs::default()
                    .with_name(text(known.name))
                    .with_value(Some(text(&value)))
                    .with_config_source(describe_configs::source(own))
            });
            answer.configs = Some(configs.collect());
        }
        Err((error, message)) => {
            answer.error_code = error.code();
            answer.error_message = Some(text(&message));
            answer.num_partitions = -1;
            answer.replication_factor = -1;
            answer.configs = None;
        }
    }
    answer
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: CreateTopicsRequest = call.read(body)?;
    let dry_run = request.validate_only;
    let topics = request.topics.into_iter().map(|t| answer(call, t, dry_run)).collect();
    call.ready(&CreateTopicsResponse::default().with_topics(topics))
}
