//! The group consumer of a lane (exactly-once, rules 2, 10, 12). Owns its settings and the stored rebalance events; must not know what the
//! driver makes of them.
use super::queues::{Bell, Queues};
use crate::{
    config::Kafka,
    fault::{Fault, FaultKind, Tp},
    machine::End,
};
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers as _, Message as _},
    topic_partition_list::{Offset, TopicPartitionList},
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// A call to a broker ends within this: a lane that is stopped while its broker is away may be in the middle of one.
pub const CALL: Duration = Duration::from_secs(5);
/// A session that ran out longer ago explains nothing any more.
const OVERDUE: Duration = Duration::from_secs(60);
/// What is sought again, or given to us while a fetch waits, comes after this at the latest.
pub(super) const FETCH_WAIT_MS: &str = "500";
/// A client that waits for the answer of a node that is no longer known waits for the next look at its topics, 5 minutes by default, before it
/// joins its group: librdkafka 2.12.1 fails the question as `_DESTROY_BROKER`, which is neither tried again nor said.
const METADATA_MS: &str = "5000";
/// Of one partition, in one answer.
pub(super) const FETCH_BYTES: &str = "65536";
/// Records that wait for the driver: the work of some 20 ms. With four times as much a lane was no faster.
pub(super) const QUEUE_KIB: &str = "512";
/// The same where each partition has a queue of its own; one answer still goes above.
const SPLIT_QUEUE_KIB: &str = "256";
/// There is one fetch at a time, and it leaves out whose queue is full: where all are full that have records, it waits for those that have none, so
/// long, and nothing comes meanwhile. One shared queue that is full leaves out all, and no fetch waits.
const SPLIT_FETCH_WAIT_MS: &str = "50";

/// What the group told, in its order; each is to be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    Assigned(Vec<Tp>),
    Revoked { partitions: Vec<Tp>, lost: bool },
}

#[derive(Default)]
struct Stored {
    events: Mutex<VecDeque<Rebalance>>,
    /// When the client last said that its session ran out.
    overdue: Mutex<Option<Instant>>,
    closing: AtomicBool,
}

#[derive(Clone, Default)]
pub struct Membership(Arc<Stored>);

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "SESSTMOUT" {
            *self.0.overdue.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        super::log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        // Polling says the same, and the driver tells it with measure.
        tracing::debug!(error_code = "kafka_consumer", error = %error, reason, "kafka consumer");
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assign = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.0.closing.load(SeqCst) {
            if let Err(error) = acknowledge(consumer, assign, list) {
                tracing::warn!(error_code = "rebalance", error = %error, "rebalance while closing");
            }
            return;
        }
        let partitions = list.elements().iter().map(|e| Tp::new(e.topic(), e.partition())).collect();
        let event = if assign {
            Rebalance::Assigned(partitions)
        } else {
            Rebalance::Revoked { partitions, lost: consumer.assignment_lost() }
        };
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}

fn acknowledge<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    assign: bool,
    list: &TopicPartitionList,
) -> Result<(), KafkaError> {
    use rdkafka::consumer::RebalanceProtocol as P;
    match (consumer.rebalance_protocol(), assign) {
        (P::Cooperative, true) => consumer.incremental_assign(list),
        (P::Cooperative, false) => consumer.incremental_unassign(list),
        (_, true) => consumer.assign(list),
        (_, false) => consumer.unassign(),
    }
}

/// How a member joins.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    pub kafka: Kafka,
    pub client_id: String,
    pub group: String,
    /// Static membership: `group.instance.id`.
    pub instance: Option<String>,
    pub session: Duration,
    /// Inputs whose partitions must meet in one lane (state is keyed by partition): `range` puts them together, cooperative-sticky does not.
    pub together: bool,
    /// A queue for each partition: records are taken by [`LaneConsumer::take`], and the common queue has what concerns the group.
    pub split: bool,
}

/// A member of the stage's group.
pub struct LaneConsumer {
    /// They end before their consumer.
    queues: Option<Queues>,
    consumer: Arc<BaseConsumer<Membership>>,
    stored: Arc<Stored>,
    client_id: String,
}

/// What a poll gave.
pub enum Polled<'a> {
    Record(Incoming<'a>),
    Nothing,
    /// `auto.offset.reset=error` came through: the position is outside of the partition.
    OutOfRange(String),
    /// The client can't go on.
    Fatal(String),
    /// Reported and left to the client, which tries again.
    Trouble(String),
}

impl LaneConsumer {
    /// # Errors
    /// `Fatal`: settings that librdkafka refuses.
    pub fn join(spec: &ConsumerSpec, topics: &[&str]) -> Result<Self, Fault> {
        let fatal = |e: KafkaError| Fault::new(FaultKind::Fatal, e.to_string());
        let mut config = super::base(&spec.kafka, &spec.client_id);
        config
            .set("fetch.queue.backoff.ms", "5")
            // A fetch ends when something comes; without that, this often for nothing.
            .set("fetch.wait.max.ms", if spec.split { SPLIT_FETCH_WAIT_MS } else { FETCH_WAIT_MS })
            .set("fetch.min.bytes", "1")
            .set("topic.metadata.refresh.interval.ms", METADATA_MS)
            // As compressed: in memory a partition's answer can be thirty times that, which was most of a service's memory. A larger batch
            // still comes, alone.
            .set("fetch.message.max.bytes", FETCH_BYTES)
            .set("queued.min.messages", "2000")
            .set("queued.max.messages.kbytes", if spec.split { SPLIT_QUEUE_KIB } else { QUEUE_KIB })
            .set("retry.backoff.ms", "20")
            .set("heartbeat.interval.ms", "1000")
            .set("max.poll.interval.ms", "600000");
        super::pass_through(&mut config, &spec.kafka);
        let strategy = if spec.together { "range" } else { "cooperative-sticky" };
        config
            .set("group.id", &spec.group)
            .set("session.timeout.ms", spec.session.as_millis().to_string())
            .set("partition.assignment.strategy", strategy)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed");
        if let Some(instance) = &spec.instance {
            config.set("group.instance.id", instance);
        }
        let membership = Membership::default();
        let stored = membership.0.clone();
        let mut consumer: BaseConsumer<Membership> = config.create_with_context(membership).map_err(fatal)?;
        let queues = spec.split.then(|| {
            let bell = Bell::default();
            let common = bell.clone();
            consumer.set_nonempty_callback(move || common.ring());
            Queues::new(bell)
        });
        consumer.subscribe(topics).map_err(fatal)?;
        Ok(Self { queues, consumer: Arc::new(consumer), stored, client_id: spec.client_id.clone() })
    }

    /// What the group calls this member's client.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.client_id
    }

    #[must_use]
    pub fn next_event(&self) -> Option<Rebalance> {
        self.stored.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.stored.events.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// One record, waiting up to `wait`.
    pub fn poll(&self, wait: Duration) -> Polled<'_> {
        polled(self.consumer.poll(whole(wait)))
    }

    /// What is at hand in a partition's own queue.
    pub fn take(&self, queue: usize) -> Polled<'_> {
        let queue = self.queues.as_ref().and_then(|queues| queues.get(queue));
        queue.map_or(Polled::Nothing, |queue| polled(queue.poll(Duration::ZERO)))
    }

    /// The queue of an assigned partition; none: its records come by [`Self::poll`].
    #[must_use]
    pub fn queue(&self, tp: &Tp) -> Option<usize> {
        self.queues.as_ref()?.find(tp)
    }

    /// Until something comes to a queue that was empty, or so long.
    pub fn rest(&self, limit: Duration) {
        if let Some(queues) = &self.queues {
            queues.wait(whole(limit));
        }
    }

    /// Why this consumer can't go on, where it can't: another instance has its name, or worse.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        let (code, text) = self.consumer.client().fatal_error()?;
        Some(match code {
            RDKafkaErrorCode::FencedInstanceId => End::Fenced(text),
            code => End::Failed(format!("consumer: {code}: {text}")),
        })
    }

    /// Whether its session ran out a short while ago: it then joins anew, and what it still asked as the old member is answered as if
    /// another had its name.
    #[must_use]
    pub fn overdue(&self) -> bool {
        let last = *self.stored.overdue.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|at| at.elapsed() < OVERDUE)
    }

    /// Whether the group has given our partitions to others already.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.consumer.assignment_lost()
    }

    /// # Errors
    /// What the client says; the lane can't go on then.
    pub fn assign(&self, positions: &BTreeMap<Tp, Option<i64>>) -> Result<(), Fault> {
        if let Some(queues) = &self.queues {
            positions.keys().for_each(|tp| queues.split(&self.consumer, tp));
        }
        let list = list(positions.iter().map(|(tp, next)| (tp, *next)))?;
        acknowledge(&self.consumer, true, &list)
            .map_err(|e| Fault::new(FaultKind::Fatal, format!("assign: {e}")))
    }
    /// # Errors
    /// What the client says; the lane can't go on then.
    pub fn unassign(&self, partitions: &[Tp]) -> Result<(), Fault> {
        let list = list(partitions.iter().map(|tp| (tp, None)))?;
        acknowledge(&self.consumer, false, &list)
            .map_err(|e| Fault::new(FaultKind::Fatal, format!("unassign: {e}")))
    }

    /// Committed offsets with their metadata; waits for pending transactions (stable offsets, rule 16).
    ///
    /// # Errors
    /// `Retry`: no answer in time, or an error of a partition.
    pub fn committed(&self, partitions: &[Tp]) -> Result<BTreeMap<Tp, Option<(i64, String)>>, Fault> {
        let retry = |e: String| Fault::new(FaultKind::Retry, format!("committed offsets: {e}"));
        let asked = list(partitions.iter().map(|tp| (tp, None)))?;
        let answer = self.consumer.committed_offsets(asked, CALL).map_err(|e| retry(e.to_string()))?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|e| retry(e.to_string()))?;
            let at = match element.offset() {
                Offset::Offset(n) => Some((n, element.metadata().to_owned())),
                _ => None,
            };
            found.insert(Tp::new(element.topic(), element.partition()), at);
        }
        Ok(found)
    }

    /// # Errors
    /// `Retry`: a partition did not seek.
    pub fn seek(&self, positions: &BTreeMap<Tp, i64>) -> Result<(), Fault> {
        let retry = |e: String| Fault::new(FaultKind::Retry, format!("seek: {e}"));
        let asked = list(positions.iter().map(|(tp, next)| (tp, Some(*next))))?;
        let answer = self.consumer.seek_partitions(asked, CALL).map_err(|e| retry(e.to_string()))?;
        for element in answer.elements() {
            element
                .error()
                .map_err(|e| retry(format!("{}/{}: {e}", element.topic(), element.partition())))?;
        }
        Ok(())
    }

    /// Where each assigned partition stands; those that have no number yet are left out (rule 3).
    #[must_use]
    pub fn positions(&self) -> Vec<(Tp, i64)> {
        let Ok(list) = self.consumer.position() else { return vec![] };
        let numbers = list.elements().into_iter().filter_map(|e| match e.offset() {
            Offset::Offset(n) => Some((Tp::new(e.topic(), e.partition()), n)),
            _ => None,
        });
        numbers.collect()
    }

    /// # Errors
    /// What the client says.
    pub fn pause(&self, partitions: &[Tp]) -> Result<(), Fault> {
        let list = list(partitions.iter().map(|tp| (tp, None)))?;
        self.consumer.pause(&list).map_err(|e| Fault::new(FaultKind::Retry, format!("pause: {e}")))
    }
    /// # Errors
    /// What the client says.
    pub fn resume(&self, partitions: &[Tp]) -> Result<(), Fault> {
        let list = list(partitions.iter().map(|tp| (tp, None)))?;
        self.consumer.resume(&list).map_err(|e| Fault::new(FaultKind::Retry, format!("resume: {e}")))
    }

    /// Member and generation, to be read right before the offsets are sent (rule 2).
    #[must_use]
    pub fn group(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// Leaves the group. Every stored event must be acknowledged before (rule 15).
    pub fn close(self) {
        self.stored.closing.store(true, SeqCst);
        drop(self.queues);
        drop(self.consumer);
    }
}

fn polled(polled: Option<Result<BorrowedMessage<'_>, KafkaError>>) -> Polled<'_> {
    match polled {
        None => Polled::Nothing,
        Some(Ok(message)) => Polled::Record(Incoming::of(message)),
        Some(Err(e)) => match e {
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                Polled::OutOfRange(e.to_string())
            }
            KafkaError::MessageConsumptionFatal(_) => Polled::Fatal(e.to_string()),
            e => Polled::Trouble(e.to_string()),
        },
    }
}

/// Up to the next millisecond: the client spins through a fraction.
pub(super) fn whole(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

fn list<'a>(partitions: impl Iterator<Item = (&'a Tp, Option<i64>)>) -> Result<TopicPartitionList, Fault> {
    let mut list = TopicPartitionList::new();
    for (tp, next) in partitions {
        match next {
            Some(next) => list
                .add_partition_offset(&tp.topic, tp.partition, Offset::Offset(next))
                .map_err(|e| Fault::new(FaultKind::Fatal, format!("{tp} at {next}: {e}")))?,
            None => drop(list.add_partition(&tp.topic, tp.partition)),
        }
    }
    Ok(list)
}

/// One record, borrowed from the client.
pub struct Incoming<'a>(BorrowedMessage<'a>);

impl<'a> Incoming<'a> {
    pub(super) fn of(message: BorrowedMessage<'a>) -> Self {
        Self(message)
    }
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.topic()
    }
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }
    /// Milliseconds since the epoch; 0 where the record has none.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp().to_millis().unwrap_or(0)
    }
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }
    #[must_use]
    pub fn headers(&self) -> atio_stage::Headers {
        let Some(headers) = self.0.headers() else { return atio_stage::Headers::default() };
        // The iterator does not say how many it gives.
        let mut pairs = Vec::with_capacity(headers.count());
        pairs.extend(headers.iter().map(|h| (Arc::from(h.key), h.value.unwrap_or_default().to_vec())));
        atio_stage::Headers(pairs)
    }
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
