//! DeleteRecords: a log's start moves up.

use bytes::Bytes;
use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{ApiKey, DeleteRecordsRequest, DeleteRecordsResponse};

use super::shape::{I32, I64, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed, code};

pub(super) const API: Api = Api {
    key: ApiKey::DeleteRecords,
    min: 0,
    max: 2,
    shape: Shape {
        flexible: 2,
        fields: &[all(Type::Structs(&[all(TEXT), all(Type::Structs(&[all(I32), all(I64)]))])), all(I32)],
    },
    cost: Cost::Disk,
    run,
};

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: DeleteRecordsRequest = call.read(body)?;
    let answer = |topic: DeleteRecordsTopic| {
        let partitions = topic.partitions.iter().map(|p| {
            let result = call.node.topics.delete_records(&topic.name, p.partition_index, p.offset);
            DeleteRecordsPartitionResult::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code(&result))
                .with_low_watermark(result.unwrap_or(-1))
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
    };
    let topics = request.topics.into_iter().map(answer).collect();
    call.ready(&DeleteRecordsResponse::default().with_topics(topics))
}
