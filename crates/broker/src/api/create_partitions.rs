//! CreatePartitions: a topic grows.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{ApiKey, CreatePartitionsRequest, CreatePartitionsResponse};

use super::shape::{I8, I32, I32S, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed, NODE_ID, text};

pub(super) const API: Api = Api {
    key: ApiKey::CreatePartitions,
    min: 0,
    max: 3,
    shape: Shape {
        flexible: 2,
        fields: &[
            all(Type::Structs(&[all(TEXT), all(I32), all(Type::Structs(&[all(I32S)]))])),
            all(I32),
            all(I8),
        ],
    },
    cost: Cost::Disk,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: CreatePartitionsRequest = call.read(body)?;
    let answer = |topic: CreatePartitionsTopic| {
        let mut assigned = topic.assignments.iter().flatten();
        let elsewhere = assigned.any(|a| a.broker_ids.iter().any(|b| b.0 != NODE_ID));
        let result = match elsewhere {
            true => Err((ResponseError::InvalidReplicaAssignment, "there is one broker".to_owned())),
            false => call.node.topics.grow(&topic.name, topic.count, request.validate_only),
        };
        let (code, message) = result.map_or_else(|(e, m)| (e.code(), Some(text(&m))), |()| (0, None));
        CreatePartitionsTopicResult::default()
            .with_name(topic.name)
            .with_error_code(code)
            .with_error_message(message)
    };
    let results = request.topics.into_iter().map(answer).collect();
    call.ready(&CreatePartitionsResponse::default().with_results(results))
}
