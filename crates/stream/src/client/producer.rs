//! The transactional producer of a lane (exactly-once, rules 5 to 10, 13). Owns its settings, draining, deadlines and the watch on the
//! client's log; must not know what is sent or what follows from a fault.
use super::{
    error::{self, Call},
    offsets::OffsetsCall,
    waiting::Waiting,
};
use crate::{
    config::Kafka,
    fault::{Fault, FaultKind, Tp},
};
use atio_stage::{Headers, Output};
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Of commit, abort and offsets; below the producer's `socket.timeout.ms`.
const DEADLINE: Duration = Duration::from_secs(3);
const SOCKET_TIMEOUT_MS: &str = "4000";
/// Offsets end at the socket's time-out or not at all.
const OFFSETS_PATIENCE: Duration = Duration::from_millis(4500);
/// librdkafka's own retries wait so long; an Ok that took three quarters of it may have been one (rule 7).
const RETRY_BACKOFF_MS: u64 = 100;
/// An Ok that took so long is counted; of itself it means nothing, for what the client repeats is in its log (rule 7).
const SLOW: Duration = Duration::from_millis(RETRY_BACKOFF_MS * 3 / 4);
/// The client's log has a line for every connection that fails only so: otherwise the same error twice within 30 s is told once, and a
/// connection that is closed on purpose (its broker has another address now) not at all.
const DEBUG: &str = "broker";
/// Lines that one look takes in at most.
const LINES_MAX: u32 = 10_000;
/// One wait for a producer id, between looks whether it was refused and whether anybody still wants it.
const INIT_LOOK: Duration = Duration::from_millis(20);
/// So long a start waits for a producer id.
const INIT_PATIENCE: Duration = Duration::from_secs(30);
/// So many producers are dropped where the coordinator has refused them; then it is the client that asks again.
const INIT_TRIES: u32 = 10;
/// Unwritten records that the client holds; above, or above a bound in bytes ([`Waiting`]), `send` waits.
const QUEUE_WAIT: Duration = Duration::from_micros(300);
const QUEUE_RECORDS: &str = "2000";

/// What the callbacks saw.
#[derive(Default)]
struct Seen {
    /// FAIL and REQTMOUT lines of the log.
    trouble: AtomicU64,
    /// Whatever came through the client's queue.
    events: AtomicU64,
    failed: AtomicU64,
    first: Mutex<Option<String>>,
}

#[derive(Clone, Default)]
struct Watch(Arc<Seen>);

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.events.fetch_add(1, Relaxed);
        if facility == "FAIL" || facility == "REQTMOUT" {
            self.0.trouble.fetch_add(1, Relaxed);
        }
        super::log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.events.fetch_add(1, Relaxed);
        // What matters of it comes back from the calls.
        tracing::debug!(error_code = "kafka_producer", error = %error, reason, "kafka producer");
    }
}

impl ProducerContext for Watch {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.events.fetch_add(1, Relaxed);
        if let Err((error, _)) = result {
            self.0.failed.fetch_add(1, Relaxed);
            let mut first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }
    }
}

/// What a producer is made of; kept, because rule 7 makes new ones.
#[derive(Clone, Debug)]
pub struct ProducerSpec {
    pub kafka: Kafka,
    pub client_id: String,
    pub transactional_id: String,
    pub transaction_timeout: Duration,
    /// Below the smallest `max.message.bytes` that is written to (rule 13).
    pub batch_bytes: usize,
    /// The longest record.
    pub message_bytes: usize,
    /// Whole milliseconds that a batch waits for more. It lengthens the drain before a commit; shorter, there are more requests.
    pub linger: Duration,
}

impl ProducerSpec {
    fn create(&self) -> Result<TxnProducer, Fault> {
        let mut config = super::base(&self.kafka, &self.client_id);
        config
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("compression.type", "lz4")
            .set("batch.size", self.batch_bytes.to_string())
            .set("message.max.bytes", self.message_bytes.to_string())
            // `send` waits far below; the longest record must fit.
            .set("queue.buffering.max.messages", QUEUE_RECORDS)
            .set("queue.buffering.max.kbytes", (self.message_bytes / 1024 + 1024).to_string());
        super::pass_through(&mut config, &self.kafka);
        config
            .set("partitioner", "murmur2_random")
            .set("delivery.report.only.error", "true")
            .set("retry.backoff.ms", RETRY_BACKOFF_MS.to_string())
            .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
            .set("message.timeout.ms", self.transaction_timeout.as_millis().to_string())
            .set("transactional.id", &self.transactional_id)
            .set("transaction.timeout.ms", self.transaction_timeout.as_millis().to_string());
        let debug = self.kafka.properties.get("debug").map(|theirs| format!("{DEBUG},{theirs}"));
        config.set("debug", debug.as_deref().unwrap_or(DEBUG)).set_log_level(RDKafkaLogLevel::Debug);
        let watch = Watch::default();
        let producer = config
            .create_with_context(watch.clone())
            .map_err(|e| Fault::new(FaultKind::Fatal, e.to_string()))?;
        Ok(TxnProducer {
            offsets: None,
            producer: Arc::new(producer),
            seen: watch.0,
            waiting: Waiting::default(),
            slow: 0,
            troubled: 0,
        })
    }

    /// A producer whose predecessor under this id is fenced and its transaction ended. Where that takes a moment the coordinator refuses, and
    /// librdkafka waits 500 ms before it asks again; a new producer asks at once (rule 9). One that merely waits for an answer is waited for: a new
    /// one would have to find its way to the coordinator again.
    ///
    /// # Errors
    /// What the last call said; at the latest a moment after it is no longer `wanted`.
    pub fn init(&self, wanted: &dyn Fn() -> bool) -> Result<TxnProducer, Fault> {
        let deadline = Instant::now() + INIT_PATIENCE;
        let mut tries = 1;
        let mut made = self.create()?;
        loop {
            let Err(error) = made.producer.init_transactions(INIT_LOOK) else { return Ok(made) };
            let fault = error::of_call(Call::Init, &error);
            // A time-out says nothing; where the coordinator has refused, that is said in its place.
            let refused = fault.kind == FaultKind::Retry;
            let again = refused || fault.kind == FaultKind::Unknown;
            if !again || !wanted() || Instant::now() >= deadline {
                return Err(fault);
            }
            if refused && tries < INIT_TRIES {
                tries += 1;
                made = self.create()?;
            }
        }
    }
}

/// One transactional producer. After a fault of kind `Unknown`, `Fenced` or `Fatal` it is to be dropped.
pub struct TxnProducer {
    /// Made when first needed; ends before the producer.
    offsets: Option<OffsetsCall>,
    producer: Arc<BaseProducer<Watch>>,
    seen: Arc<Seen>,
    waiting: Waiting,
    /// Calls that said Ok and took too long.
    pub slow: u64,
    /// Calls during which the log showed a lost connection or a time-out.
    pub troubled: u64,
}

/// The position of a partition, with the metadata that rides along.
#[derive(Clone, Debug)]
pub struct Committing {
    pub tp: Tp,
    pub next: i64,
    /// ASCII, at most 4,096 (rule 14).
    pub metadata: String,
}

impl Drop for TxnProducer {
    fn drop(&mut self) {
        // What is left in its queue counts as in flight, and the client would wait 100 ms for it.
        self.take_in();
    }
}

impl TxnProducer {
    /// # Errors
    /// See [`Fault`].
    pub fn begin(&self) -> Result<(), Fault> {
        self.producer.begin_transaction().map_err(|e| error::of_call(Call::Begin, &e))
    }

    /// Hands a record to the client; waits while its queue is full, for as long as a transaction may take.
    ///
    /// # Errors
    /// The record can't be produced; the transaction is lost (rule 13).
    pub fn send(&mut self, output: &Output) -> Result<(), Fault> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&output.topic);
        if let Some(partition) = output.partition {
            record = record.partition(partition);
        }
        if let Some(key) = &output.key {
            record = record.key(key);
        }
        if let Some(value) = &output.value {
            record = record.payload(value);
        }
        if !output.headers.0.is_empty() {
            record = record.headers(owned(&output.headers));
        }
        let size = output.size();
        let deadline = Instant::now() + DEADLINE;
        let full = |why: &str| Fault::new(FaultKind::Unknown, format!("send to {}: {why}", output.topic));
        loop {
            if self.waiting.has_room(size, || usize::try_from(self.producer.in_flight_count()).unwrap_or(0)) {
                match self.producer.send(record) {
                    Ok(()) => {
                        self.waiting.add(size);
                        return Ok(());
                    }
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
                    Err((e, _)) => return Err(full(&e.to_string())),
                }
            }
            if Instant::now() >= deadline {
                return Err(full("what was sent before is not answered"));
            }
            self.take_in();
            crate::clock::pause(QUEUE_WAIT);
        }
    }

    /// Serves callbacks; does not wait.
    pub fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until nothing is in flight (rule 5).
    ///
    /// # Errors
    /// `Unknown`: a record failed, or the deadline passed.
    pub fn drain(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + DEADLINE;
        let mut wait = Duration::from_micros(300);
        loop {
            self.take_in();
            if self.producer.in_flight_count() == 0 {
                break;
            }
            if Instant::now() > deadline {
                return Err(Fault::new(
                    FaultKind::Unknown,
                    format!("{} records in flight", self.producer.in_flight_count()),
                ));
            }
            crate::clock::pause(wait);
            wait = (wait * 5 / 4).min(Duration::from_millis(1));
        }
        self.delivered()
    }

    fn delivered(&self) -> Result<(), Fault> {
        let failed = self.seen.failed.load(Relaxed);
        if failed == 0 {
            return Ok(());
        }
        let first = self.seen.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = format!("{failed} records were not produced: {}", first.unwrap_or_default());
        Err(Fault::new(FaultKind::Unknown, text))
    }

    /// Why the client can't go on, where it has said so. A fenced producer's records fail one by one, and only this tells why.
    #[must_use]
    pub fn fatal(&self) -> Option<Fault> {
        let (code, text) = self.producer.client().fatal_error()?;
        let flags = error::Flags { fatal: true, abort_required: false, retriable: false };
        Some(Fault::new(error::classify(Call::Begin, code, flags), text))
    }

    /// # Errors
    /// See [`Fault`].
    pub fn send_offsets(
        &mut self,
        positions: &[Committing],
        group: ConsumerGroupMetadata,
    ) -> Result<(), Fault> {
        let mut list = TopicPartitionList::new();
        for position in positions {
            let mut element = list.add_partition(&position.tp.topic, position.tp.partition);
            element
                .set_offset(Offset::Offset(position.next))
                .map_err(|e| Fault::new(FaultKind::Fatal, e.to_string()))?;
            element.set_metadata(&position.metadata);
        }
        let mut offsets = match self.offsets.take() {
            Some(offsets) => offsets,
            None => {
                let producer = self.producer.clone();
                OffsetsCall::start(move |list, group| {
                    producer.send_offsets_to_transaction(list, group, DEADLINE)
                })?
            }
        };
        let sent = self.watched(Call::Offsets, |_| offsets.call(list, group, OFFSETS_PATIENCE));
        self.offsets = Some(offsets);
        sent
    }
    /// # Errors
    /// See [`Fault`].
    pub fn commit(&mut self) -> Result<(), Fault> {
        let call = Call::Commit;
        self.watched(call, |p| p.commit_transaction(DEADLINE).map_err(|e| error::of_call(call, &e)))
    }
    /// To be drained before.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn abort(&mut self) -> Result<(), Fault> {
        let call = Call::Abort;
        self.watched(call, |p| p.abort_transaction(DEADLINE).map_err(|e| error::of_call(call, &e)))
    }

    /// librdkafka retries by itself and says Ok, and the late first copy acts on the next transaction: an Ok during which a connection failed
    /// or a request timed out is as good as unknown (rule 7). It repeats what it has sent after one of these only, or after an answer.
    fn watched(
        &mut self,
        call: Call,
        f: impl FnOnce(&BaseProducer<Watch>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.take_in();
        let before = self.seen.trouble.load(Relaxed);
        let started = Instant::now();
        f(&self.producer)?;
        let took = started.elapsed();
        self.take_in();
        let troubled = self.seen.trouble.load(Relaxed) != before;
        let slow = took >= SLOW;
        self.troubled += u64::from(troubled);
        self.slow += u64::from(slow);
        if troubled {
            let text = format!("{call:?} said ok after {took:?}: a connection failed meanwhile");
            return Err(Fault::new(FaultKind::Unknown, text));
        }
        Ok(())
    }

    /// Log lines come through the client's queue, in their order, one a poll: all of them, so that the next look sees only what is new.
    fn take_in(&self) {
        for _ in 0..LINES_MAX {
            let before = self.seen.events.load(Relaxed);
            self.producer.poll(Duration::ZERO);
            if self.seen.events.load(Relaxed) == before {
                return;
            }
        }
    }
}

pub(super) fn owned(headers: &Headers) -> OwnedHeaders {
    let with = OwnedHeaders::new_with_capacity(headers.0.len());
    headers.0.iter().fold(with, |h, (key, value)| h.insert(Header { key, value: Some(value) }))
}
