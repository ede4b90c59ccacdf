//! DeleteTopics: by name, or by id from version 6 on.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{ApiKey, DeleteTopicsRequest, DeleteTopicsResponse, TopicName};

use super::shape::{I32, Shape, TEXT, TEXTS, Type, UUID, all, since, until};
use super::{Answer, Api, Call, Cost, Malformed, code, text};

pub(super) const API: Api = Api {
    key: ApiKey::DeleteTopics,
    min: 1,
    max: 6,
    shape: Shape {
        flexible: 4,
        fields: &[since(6, Type::Structs(&[all(TEXT), all(UUID)])), until(5, TEXTS), all(I32)],
    },
    cost: Cost::Disk,
    run,
};

fn delete(call: &Call<'_>, name: &str) -> Result<(), ResponseError> {
    call.node.topics.delete(name)?;
    call.node.groups.topic_deleted(name);
    Ok(())
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DeleteTopicsRequest = call.read(body)?;
    let named = request.topic_names.into_iter().map(|n| DeleteTopicState::default().with_name(Some(n)));
    let answer = |topic: DeleteTopicState| {
        let found = match &topic.name {
            Some(name) => call.node.topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition),
            None => call.node.topics.by_id(topic.topic_id).ok_or(ResponseError::UnknownTopicId),
        };
        let name = found.as_ref().ok().map(|f| TopicName(text(&f.topic.name)));
        let id = found.as_ref().map_or(topic.topic_id, |f| f.topic.id);
        let result = found.and_then(|f| delete(call, &f.topic.name));
        DeletableTopicResult::default()
            .with_name(name.or(topic.name))
            .with_topic_id(id)
            .with_error_code(code(&result))
    };
    let responses = named.chain(request.topics).map(answer).collect();
    call.ready(&DeleteTopicsResponse::default().with_responses(responses))
}
