//! The events that a replay reads: as they come, each partition in its order; or all partitions together in the order of their records' times, for
//! workflows that bring events of several partitions together. Owns that order. Must not know: what is made of them.
use crate::commands::look::{Look, read_error};
use atio_stream::read::{Entry, Next, ReadSpec, TopicReader};
use std::time::Duration;

pub enum Source {
    AsItComes(TopicReader),
    ByTime(Vec<Partition>),
}

pub struct Partition {
    reader: TopicReader,
    /// Read, and not given yet.
    head: Option<Entry>,
    ended: bool,
}

impl Source {
    pub fn as_it_comes(spec: &ReadSpec) -> anyhow::Result<Self> {
        Ok(Self::AsItComes(TopicReader::open(spec).map_err(read_error)?))
    }

    /// A reader for each partition: the times of one never go back, so that the earliest of all heads comes next.
    pub fn by_time(look: &Look, spec: &ReadSpec) -> anyhow::Result<Self> {
        let there = look.topics()?;
        let count =
            spec.topics.iter().filter_map(|topic| there.get(topic)).max().copied().unwrap_or_default();
        let one = |partition: u32| {
            let partitions = Some(vec![i32::try_from(partition)?]);
            let reader = TopicReader::open(&ReadSpec { partitions, ..spec.clone() }).map_err(read_error)?;
            Ok(Partition { reader, head: None, ended: false })
        };
        Ok(Self::ByTime((0..count).map(one).collect::<anyhow::Result<_>>()?))
    }

    /// The next one, waiting up to `wait` for it.
    pub fn next(&mut self, wait: Duration) -> anyhow::Result<Next> {
        let partitions = match self {
            Self::AsItComes(reader) => return reader.next(wait).map_err(read_error),
            Self::ByTime(partitions) => partitions,
        };
        for partition in partitions.iter_mut().filter(|p| p.head.is_none() && !p.ended) {
            match partition.reader.next(wait).map_err(read_error)? {
                Next::Record(entry) => partition.head = Some(entry),
                Next::End => partition.ended = true,
                Next::Idle => return Ok(Next::Idle),
            }
        }
        let heads = partitions.iter_mut().filter(|p| p.head.is_some());
        let earliest = heads.min_by_key(|p| p.head.as_ref().map(|head| (head.timestamp, head.partition)));
        Ok(earliest.and_then(|p| p.head.take()).map_or(Next::End, Next::Record))
    }
}
