//! A consumer without a group: reads given partitions from given offsets (changelogs, tables). Owns its settings; must not know what it reads.
use super::{
    consumer::{CALL, FETCH_BYTES, FETCH_WAIT_MS, Incoming, QUEUE_KIB, whole},
    leaders::ask,
};
use crate::{
    config::Kafka,
    fault::{Fault, FaultKind, Tp},
    ledger::Span,
};
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        // The lane's own clients say the same aloud.
        tracing::debug!(error_code = "kafka_reader", error = %error, reason, "kafka reader");
    }
}
impl ConsumerContext for Quiet {}

fn away(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(code, E::AllBrokersDown | E::BrokerTransportFailure | E::Resolve | E::OperationTimedOut)
}

/// Whether records of open and aborted transactions are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Committed,
    Uncommitted,
}

/// See the module's head.
pub struct Assigned(pub(super) BaseConsumer<Quiet>);

impl Assigned {
    /// # Errors
    /// `Fatal`: settings that librdkafka refuses.
    pub fn new(kafka: &Kafka, client_id: &str, isolation: Isolation) -> Result<Self, Fault> {
        let mut config = super::base(kafka, client_id);
        config
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", FETCH_WAIT_MS)
            .set("fetch.message.max.bytes", FETCH_BYTES)
            .set("queued.min.messages", "2000")
            .set("queued.max.messages.kbytes", QUEUE_KIB);
        super::pass_through(&mut config, kafka);
        let level = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
        config
            .set("group.id", client_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", level);
        let made: Result<BaseConsumer<Quiet>, _> = config.create_with_context(Quiet);
        made.map(Self).map_err(|e| Fault::new(FaultKind::Fatal, e.to_string()))
    }

    /// Finds the leaders of these. What is assigned before the client knows its topic waits for a look that it takes once a second.
    ///
    /// # Errors
    /// `Retry`: no answer in time, or an error of a partition.
    pub fn find<'a>(&self, partitions: impl Iterator<Item = &'a Tp>) -> Result<(), Fault> {
        let partitions: Vec<Tp> = partitions.cloned().collect();
        self.at(&partitions, Offset::Beginning).map(drop)
    }

    /// Reads these from here on, and nothing else. For a quick start they are to be found, or their ends asked for, before.
    ///
    /// # Errors
    /// What the client says.
    pub fn assign(&self, positions: &BTreeMap<Tp, i64>) -> Result<(), Fault> {
        let fatal = |e: KafkaError| Fault::new(FaultKind::Fatal, e.to_string());
        let mut list = TopicPartitionList::new();
        for (tp, next) in positions {
            list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(*next)).map_err(fatal)?;
        }
        self.0.assign(&list).map_err(fatal)
    }

    /// One record; none when there was none in time.
    ///
    /// # Errors
    /// `Retry`: what the client says of the topic or a broker.
    pub fn poll(&self, wait: Duration) -> Result<Option<Incoming<'_>>, Fault> {
        match self.0.poll(whole(wait)) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(Incoming::of(message))),
            // The client connects again by itself; whoever waits has a deadline.
            Some(Err(KafkaError::MessageConsumption(code) | KafkaError::Global(code))) if away(code) => {
                Ok(None)
            }
            Some(Err(e)) => Err(Fault::new(FaultKind::Retry, e.to_string())),
        }
    }

    /// Takes in what the client has to say while nothing is assigned.
    pub fn serve(&self) {
        drop(self.0.poll(Duration::ZERO));
    }

    /// Where each stands, once it has a number.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<Tp, i64> {
        let Ok(list) = self.0.position() else { return BTreeMap::new() };
        let numbers = list.elements().into_iter().filter_map(|e| match e.offset() {
            Offset::Offset(n) => Some((Tp::new(e.topic(), e.partition()), n)),
            _ => None,
        });
        numbers.collect()
    }

    /// The low watermark of one, and by isolation the high watermark or the last stable offset.
    ///
    /// # Errors
    /// `Retry`: no answer in time.
    pub fn watermarks(&self, tp: &Tp) -> Result<(i64, i64), Fault> {
        ask(&self.0, [&*tp.topic], || self.0.fetch_watermarks(&tp.topic, tp.partition, CALL))
            .map_err(|e| Fault::new(FaultKind::Retry, format!("watermarks of {tp}: {e}")))
    }

    /// The same of many partitions, with two requests a broker.
    ///
    /// # Errors
    /// `Retry`: no answer in time, or an error of a partition.
    pub fn spans(&self, partitions: &[Tp]) -> Result<BTreeMap<Tp, Span>, Fault> {
        // Kafka's ListOffsets takes these two in the place of a time.
        let (lows, ends) = (self.at(partitions, Offset::Beginning)?, self.at(partitions, Offset::End)?);
        let span = |(tp, low): (Tp, i64)| Some((tp.clone(), Span { low, end: *ends.get(&tp)? }));
        Ok(lows.into_iter().filter_map(span).collect())
    }

    fn at(&self, partitions: &[Tp], which: Offset) -> Result<BTreeMap<Tp, i64>, Fault> {
        let topics: BTreeSet<&str> = partitions.iter().map(|tp| &*tp.topic).collect();
        ask(&self.0, topics, || self.at_once(partitions, which))
    }

    fn at_once(&self, partitions: &[Tp], which: Offset) -> Result<BTreeMap<Tp, i64>, Fault> {
        let retry = |e: String| Fault::new(FaultKind::Retry, format!("ends of partitions: {e}"));
        let mut list = TopicPartitionList::new();
        for tp in partitions {
            list.add_partition_offset(&tp.topic, tp.partition, which).map_err(|e| retry(e.to_string()))?;
        }
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.0.offsets_for_times(list, CALL).map_err(|e| retry(e.to_string()))?;
        let each = found.elements().into_iter().map(|e| {
            let tp = Tp::new(e.topic(), e.partition());
            e.error().map_err(|error| retry(format!("{tp}: {error}")))?;
            match e.offset() {
                Offset::Offset(n) => Ok((tp, n)),
                other => Err(retry(format!("{tp}: {other:?}"))),
            }
        });
        each.collect()
    }

    /// How many partitions a topic has; 0 where there is none.
    ///
    /// # Errors
    /// `Retry`: no answer in time.
    pub fn partitions(&self, topic: &str) -> Result<i32, Fault> {
        let metadata = self
            .0
            .fetch_metadata(Some(topic), CALL)
            .map_err(|e| Fault::new(FaultKind::Retry, format!("metadata of {topic}: {e}")))?;
        let count = metadata
            .topics()
            .iter()
            .find(|t| t.name() == topic && t.error().is_none())
            .map_or(0, |t| t.partitions().len());
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }
}
