//! Fetch: whole batches from disk, bounded; sessions are declined (session id 0), so every request is complete.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, FetchResponse, ProducerId, TopicName};

use super::shape::{I8, I32, I32S, I64, Shape, TEXT, Type, all, since};
use super::{Answer, Api, Call, Cost, Malformed};
use crate::log::LogError;
use crate::log::batch::Header;
use crate::log::producers::Aborted;
use crate::log::segment::{self, ReadPlan};
use crate::partition::Partition;

pub(super) const API: Api = Api {
    key: ApiKey::Fetch,
    min: 4,
    max: 12,
    shape: Shape {
        flexible: 12,
        fields: &[
            all(I32),
            all(I32),
            all(I32),
            all(I32),
            all(I8),
            since(7, I32),
            since(7, I32),
            all(Type::Structs(&[
                all(TEXT),
                all(Type::Structs(&[
                    all(I32),
                    since(9, I32),
                    all(I64),
                    since(12, I32),
                    since(5, I64),
                    all(I32),
                ])),
            ])),
            since(7, Type::Structs(&[all(TEXT), all(I32S)])),
            since(11, TEXT),
        ],
    },
    cost: Cost::Small,
    run,
};

const READ_COMMITTED: i8 = 1;

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    Ok(Answer::Fetch(call.read(body)?))
}

/// Where one partition of a request stands: known under its lock, read without it.
struct Planned {
    data: PartitionData,
    read: Option<ReadPlan>,
    aborted: Vec<Aborted>,
    max: usize,
    partition: Option<Arc<Partition>>,
}

/// A whole request, planned: reading may happen elsewhere.
pub(crate) struct Plan {
    topics: Vec<(TopicName, Vec<Planned>)>,
    committed: bool,
    max: usize,
    /// Some partition has an error: there is nothing to wait for.
    failed: bool,
}

/// The partitions that a request names and that exist.
pub(crate) fn partitions(call: &Call<'_>, request: &FetchRequest) -> Vec<Arc<Partition>> {
    let named = request.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p.partition)));
    named.filter_map(|(topic, index)| call.node.topics.partition(&topic.topic, index)).collect()
}

/// # Errors
/// `FETCH_SESSION_ID_NOT_FOUND` for who thinks to have one.
pub(crate) fn plan(call: &Call<'_>, request: &FetchRequest) -> Result<Plan, ResponseError> {
    if request.session_id != 0 {
        return Err(ResponseError::FetchSessionIdNotFound);
    }
    let committed = request.isolation_level == READ_COMMITTED;
    let max = (request.max_bytes.max(0) as usize).min(call.node.max_fetch_bytes);
    let mut failed = false;
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let planned = plan_partition(call, &topic.topic, wanted, committed);
            failed |= planned.data.error_code != 0;
            planned
        });
        (topic.topic.clone(), partitions.collect())
    });
    let topics = topics.collect();
    Ok(Plan { topics, committed, max, failed })
}

fn plan_partition(call: &Call<'_>, topic: &TopicName, wanted: &FetchPartition, committed: bool) -> Planned {
    let mut planned = Planned {
        data: PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1)
            .with_preferred_read_replica(BrokerId(-1))
            .with_records(Some(Bytes::new())),
        read: None,
        aborted: Vec::new(),
        max: wanted.partition_max_bytes.max(0) as usize,
        partition: None,
    };
    let Some(partition) = call.node.topics.partition(topic, wanted.partition) else {
        planned.data.error_code = ResponseError::UnknownTopicOrPartition.code();
        return planned;
    };
    let log = partition.log();
    if let Err(error) = check_epoch(wanted.current_leader_epoch, log.leader_epoch()) {
        planned.data.error_code = error.code();
        return planned;
    }
    planned.data.high_watermark = log.next();
    planned.data.last_stable_offset = log.stable();
    planned.data.log_start_offset = log.start;
    match log.plan(wanted.fetch_offset, committed) {
        Ok(found) => (planned.read, planned.aborted) = (found.read, found.aborted),
        Err(error) => planned.data.error_code = error.response().code(),
    }
    drop(log);
    planned.partition = Some(partition);
    planned
}

/// # Errors
/// `FENCED_LEADER_EPOCH` for a client that is behind, `UNKNOWN_LEADER_EPOCH` for one that is ahead.
pub(super) fn check_epoch(theirs: i32, ours: i32) -> Result<(), ResponseError> {
    match theirs {
        -1 => Ok(()),
        epoch if epoch < ours => Err(ResponseError::FencedLeaderEpoch),
        epoch if epoch > ours => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

impl Plan {
    /// How much it may come to, in bytes; one batch can be larger than asked for.
    pub(crate) fn size(&self) -> usize {
        let planned = self.topics.iter().flat_map(|(_, partitions)| partitions);
        let bytes = planned.filter_map(|p| {
            let read = p.read.as_ref()?;
            Some(((read.to - read.from.1) as usize).min(p.max.max(1)))
        });
        bytes.sum::<usize>().min(self.max.max(1))
    }

    /// Reads what was planned: the response, and whether it is worth answering now for `min_bytes`.
    pub(crate) fn read(self, min_bytes: i32) -> (FetchResponse, bool) {
        let mut total = 0;
        let mut failed = self.failed;
        let mut responses = Vec::with_capacity(self.topics.len());
        for (name, partitions) in self.topics {
            let mut answers = Vec::with_capacity(partitions.len());
            for mut planned in partitions {
                let room = planned.max.min(self.max.saturating_sub(total));
                if let Some(read) = &planned.read {
                    match segment::read(read, room, total == 0) {
                        Ok(records) => {
                            total += records.len();
                            planned.data.records = Some(records);
                        }
                        Err(error) => {
                            note(planned.partition.as_deref(), &error);
                            planned.data.error_code = error.response().code();
                            failed = true;
                        }
                    }
                }
                if self.committed {
                    planned.data.aborted_transactions = Some(aborted(&planned));
                }
                answers.push(planned.data);
            }
            responses.push(FetchableTopicResponse::default().with_topic(name).with_partitions(answers));
        }
        let enough = failed || total as i64 >= i64::from(min_bytes.max(1));
        (FetchResponse::default().with_responses(responses), enough)
    }
}

/// Damage is noted once, however often a reader comes back to it.
fn note(partition: Option<&Partition>, error: &LogError) {
    match (partition, error) {
        (Some(partition), LogError::Corrupt { offset }) => partition.note_damage(*offset, None),
        (Some(partition), error) => {
            tracing::error!(topic = partition.topic.name, partition = partition.index, %error, "read failed");
        }
        (None, _) => {}
    }
}

/// Of the aborted transactions planned, those that the records read can meet.
fn aborted(planned: &Planned) -> Vec<AbortedTransaction> {
    let mut rest = planned.data.records.as_deref().unwrap_or_default();
    let mut last = -1;
    while let Some(header) = Header::parse(rest) {
        last = header.last_offset();
        rest = rest.get(header.size..).unwrap_or_default();
    }
    let met = planned.aborted.iter().filter(|a| a.first <= last);
    met.map(|a| AbortedTransaction::default().with_producer_id(ProducerId(a.pid)).with_first_offset(a.first))
        .collect()
}
