//! OffsetFetch: committed positions; with "require stable", not while a transaction has sent others.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{ApiKey, OffsetFetchRequest, OffsetFetchResponse, TopicName};

use super::shape::{I8, I32S, Shape, TEXT, Type, all, since, until};
use super::{Answer, Api, Call, Cost, Malformed, text};
use crate::group::groups::look;
use crate::group::offsets::{Offset, Offsets};

const TOPICS: Type = Type::Structs(&[all(TEXT), all(I32S)]);

pub(super) const API: Api = Api {
    key: ApiKey::OffsetFetch,
    min: 1,
    max: 8,
    shape: Shape {
        flexible: 6,
        fields: &[
            until(7, TEXT),
            until(7, TOPICS),
            since(8, Type::Structs(&[all(TEXT), all(TOPICS)])),
            since(7, I8),
        ],
    },
    cost: Cost::Small,
    run,
};

/// A partition's answer: the position, or why there is none to be had.
struct One {
    index: i32,
    offset: Option<Offset>,
    error: i16,
}

type Wanted = Option<Vec<(String, Vec<i32>)>>;

fn of(offsets: &Offsets, wanted: &Wanted, stable: bool) -> BTreeMap<String, Vec<One>> {
    let one = |topic: &str, index: i32| {
        let at = (topic.to_owned(), index);
        let pending = stable && offsets.is_pending(&at);
        let error = if pending { ResponseError::UnstableOffsetCommit.code() } else { 0 };
        let offset = offsets.committed.get(&at).filter(|_| !pending).cloned();
        One { index, offset, error }
    };
    let mut found: BTreeMap<String, Vec<One>> = BTreeMap::new();
    match wanted {
        Some(topics) => {
            for (topic, indexes) in topics {
                let ones = indexes.iter().map(|index| one(topic, *index));
                found.entry(topic.clone()).or_default().extend(ones);
            }
        }
        None => {
            for (topic, index) in offsets.committed.keys() {
                found.entry(topic.clone()).or_default().push(one(topic, *index));
            }
        }
    }
    found
}

fn fetch(call: &Call<'_>, group: &str, wanted: &Wanted, stable: bool) -> BTreeMap<String, Vec<One>> {
    match call.node.groups.get(group) {
        Some(entry) => look(&entry, |e| of(&e.offsets, wanted, stable)),
        None => of(&Offsets::default(), wanted, stable),
    }
}

fn metadata(offset: &Option<Offset>) -> kafka_protocol::protocol::StrBytes {
    text(offset.as_ref().map_or("", |o| &o.metadata))
}

fn old_topic((name, ones): (String, Vec<One>)) -> OffsetFetchResponseTopic {
    let partitions = ones.into_iter().map(|one| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(one.index)
            .with_committed_offset(one.offset.as_ref().map_or(-1, |o| o.offset))
            .with_committed_leader_epoch(one.offset.as_ref().map_or(-1, |o| o.leader_epoch))
            .with_metadata(Some(metadata(&one.offset)))
            .with_error_code(one.error)
    });
    OffsetFetchResponseTopic::default()
        .with_name(TopicName(text(&name)))
        .with_partitions(partitions.collect())
}

fn new_topic((name, ones): (String, Vec<One>)) -> OffsetFetchResponseTopics {
    let partitions = ones.into_iter().map(|one| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(one.index)
            .with_committed_offset(one.offset.as_ref().map_or(-1, |o| o.offset))
            .with_committed_leader_epoch(one.offset.as_ref().map_or(-1, |o| o.leader_epoch))
            .with_metadata(Some(metadata(&one.offset)))
            .with_error_code(one.error)
    });
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(text(&name)))
        .with_partitions(partitions.collect())
}

fn run(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    let request: OffsetFetchRequest = call.read(body)?;
    let stable = request.require_stable;
    if call.version < 8 {
        let wanted: Wanted = request
            .topics
            .map(|topics| topics.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect());
        let found = fetch(call, &request.group_id, &wanted, stable);
        let topics = found.into_iter().map(old_topic).collect();
        return call.ready(&OffsetFetchResponse::default().with_topics(topics));
    }
    let groups = request.groups.into_iter().map(|group| {
        let wanted: Wanted = group
            .topics
            .map(|topics| topics.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect());
        let found = fetch(call, &group.group_id, &wanted, stable);
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id)
            .with_topics(found.into_iter().map(new_topic).collect())
    });
    call.ready(&OffsetFetchResponse::default().with_groups(groups.collect()))
}
