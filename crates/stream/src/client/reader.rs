//! Offsets by time, for readers without a group. Owns the question to the broker; must not know what is read.
use super::{assigned::Assigned, consumer::CALL, leaders::ask};
use crate::fault::{Fault, FaultKind, Tp};
use rdkafka::{
    consumer::Consumer as _,
    topic_partition_list::{Offset, TopicPartitionList},
};

impl Assigned {
    /// The first offset at or after a time (milliseconds since the epoch); None where nothing is so late.
    ///
    /// # Errors
    /// `Retry`: no answer in time.
    pub fn offset_at(&self, tp: &Tp, millis: i64) -> Result<Option<i64>, Fault> {
        let retry = |e: rdkafka::error::KafkaError| {
            Fault::new(FaultKind::Retry, format!("offsets of {tp} by time: {e}"))
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(millis.max(0))).map_err(retry)?;
        let question = || self.0.offsets_for_times(list.clone(), CALL);
        let answer = ask(&self.0, [&*tp.topic], question).map_err(retry)?;
        Ok(answer
            .elements()
            .first()
            .and_then(|e| if let Offset::Offset(n) = e.offset() { Some(n) } else { None }))
    }
}
