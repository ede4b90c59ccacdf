//! Produce: one batch a partition, kept as it came; written before it is answered.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, TopicName, TransactionalId};

use super::shape::{BLOB, I16, I32, Shape, TEXT, Type, all};
use super::{Answer, Api, Call, Cost, Malformed};
use crate::log::LogError;
use crate::log::partition::{Appended, validate};

pub(super) const API: Api = Api {
    key: ApiKey::Produce,
    min: 3,
    max: 9,
    shape: Shape {
        flexible: 9,
        fields: &[
            all(TEXT),
            all(I16),
            all(I32),
            all(Type::Structs(&[all(TEXT), all(Type::Structs(&[all(I32), all(BLOB)]))])),
        ],
    },
    cost: Cost::Small,
    run,
};

impl From<ResponseError> for LogError {
    fn from(error: ResponseError) -> LogError {
        LogError::Refused(error)
    }
}

fn append(
    call: &Call<'_>,
    id: Option<&TransactionalId>,
    topic: &TopicName,
    data: &PartitionProduceData,
) -> Result<Appended, LogError> {
    let partition =
        call.node.topics.partition(topic, data.index).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let config = partition.topic.config();
    let records = data.records.as_ref().ok_or(ResponseError::InvalidRecord)?;
    let header = validate(records, &config, call.now.wall)?;
    let write = || {
        let appended = partition.log().append(records, &header, &config, call.now.wall);
        if let Err(LogError::Io(error)) = &appended {
            partition.note_failure(error, call.now.mono);
        }
        appended
    };
    let appended = match (header.is_transactional(), id) {
        (false, _) => write()?,
        (true, None) => return Err(ResponseError::InvalidTxnState.into()),
        (true, Some(id)) => {
            let check = |txn: &crate::txn::machine::Txn| {
                txn.check_produce(header.pid, header.epoch, topic, data.index)
            };
            call.node.txns.during(id, check, write)?
        }
    };
    partition.wake();
    Ok(appended)
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: ProduceRequest = call.read(body)?;
    let id = request.transactional_id.as_ref();
    let acks_known = matches!(request.acks, -1..=1);
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|data| {
            let answer = PartitionProduceResponse::default().with_index(data.index);
            let result = match acks_known {
                true => append(call, id, &topic.name, data),
                false => Err(ResponseError::InvalidRequiredAcks.into()),
            };
            match result {
                Ok(appended) => answer
                    .with_base_offset(appended.base_offset)
                    .with_log_append_time_ms(appended.append_time)
                    .with_log_start_offset(appended.start),
                Err(error) => answer
                    .with_error_code(error.response().code())
                    .with_base_offset(-1)
                    .with_log_append_time_ms(-1)
                    .with_log_start_offset(-1),
            }
        });
        let partitions = partitions.collect();
        TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions)
    });
    let response = ProduceResponse::default().with_responses(topics.collect());
    match request.acks {
        0 => Ok(Answer::Silent),
        _ => call.ready(&response),
    }
}
