//! ListOffsets: earliest, latest, by time, and where the largest timestamp is.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ApiKey, ListOffsetsRequest, ListOffsetsResponse};

use super::fetch::check_epoch;
use super::shape::{I8, I32, I64, Shape, TEXT, Type, all, since};
use super::{Answer, Api, Call, Cost, Malformed};
use crate::log::partition::first_at_time;
use crate::partition::Partition;

pub(super) const API: Api = Api {
    key: ApiKey::ListOffsets,
    min: 1,
    max: 7,
    shape: Shape {
        flexible: 6,
        fields: &[
            all(I32),
            since(2, I8),
            all(Type::Structs(&[all(TEXT), all(Type::Structs(&[all(I32), since(4, I32), all(I64)]))])),
        ],
    },
    cost: Cost::Disk,
    run,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

/// (offset, timestamp) of the first record at or after a time.
fn by_time(partition: &Partition, ts: i64, below: i64) -> Result<Option<(i64, i64)>, ResponseError> {
    let mut base = i64::MIN;
    loop {
        let planned = partition.log().plan_time(ts, base).map_err(|e| e.response())?;
        let Some((plan, end)) = planned else { return Ok(None) };
        let found = first_at_time(&plan, ts).map_err(|e| e.response())?;
        match found {
            Some(found) => return Ok((found.0 < below).then_some(found)),
            None => base = end,
        }
    }
}

fn find(
    call: &Call<'_>,
    topic: &str,
    wanted: &ListOffsetsPartition,
    committed: bool,
) -> Result<(i64, i64, i32), ResponseError> {
    let partition = call
        .node
        .topics
        .partition(topic, wanted.partition_index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let (start, below, largest, epoch) = {
        let log = partition.log();
        let below = if committed { log.stable() } else { log.next() };
        (log.start, below, log.max_timestamp(), log.leader_epoch())
    };
    check_epoch(wanted.current_leader_epoch, epoch)?;
    let found = match wanted.timestamp {
        LATEST => Some((below, -1)),
        EARLIEST => Some((start, -1)),
        MAX_TIMESTAMP if largest < 0 => None,
        MAX_TIMESTAMP => by_time(&partition, largest, below)?,
        ts if ts >= 0 => by_time(&partition, ts, below)?,
        _ => return Err(ResponseError::UnsupportedVersion),
    };
    let (offset, timestamp) = found.unwrap_or((-1, -1));
    Ok((offset, timestamp, epoch))
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: ListOffsetsRequest = call.read(body)?;
    let committed = request.isolation_level == 1;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let answer = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
            match find(call, &topic.name, wanted, committed) {
                Ok((offset, timestamp, epoch)) => {
                    // Older versions have no field for it.
                    let epoch = if call.version >= 4 { epoch } else { -1 };
                    answer.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(epoch)
                }
                Err(error) => answer
                    .with_error_code(error.code())
                    .with_offset(-1)
                    .with_timestamp(-1)
                    .with_leader_epoch(-1),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    call.ready(&ListOffsetsResponse::default().with_topics(topics.collect()))
}
