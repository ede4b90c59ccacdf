//! The idempotent producer and its thread. Owns its settings, its deliveries and when its callbacks are served; must not know who publishes.
use crate::publish::{Position, PublishError, PublisherSpec};
use atio_stage::Output;
use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// While something is in flight its callbacks are served this often; `poll` of more than 0 would spin (exactly-once, rule 5).
const BUSY_WAIT: Duration = Duration::from_micros(500);
/// With nothing in flight only the client's log waits.
const IDLE_WAIT: Duration = Duration::from_millis(250);
/// The client's own head on a record.
const MARGIN: usize = 4096;

type Answer = Result<Position, PublishError>;

/// The answers of one call.
struct Batch {
    state: Mutex<BatchState>,
}
struct BatchState {
    answers: Vec<Option<Answer>>,
    left: usize,
    done: Option<oneshot::Sender<Vec<Option<Answer>>>>,
}

impl Batch {
    fn answer(&self, index: usize, answer: Answer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = state.answers.get_mut(index).filter(|s| s.is_none()) else { return };
        *slot = Some(answer);
        state.left -= 1;
        if state.left == 0 {
            let answers = std::mem::take(&mut state.answers);
            // Nobody waits any more when the caller has gone.
            if let Some(Err(_gone)) = state.done.take().map(|done| done.send(answers)) {
                tracing::debug!("answers of a publisher without a reader");
            }
        }
    }
}

struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

#[derive(Clone, Default)]
struct Watch {
    failed: Arc<AtomicBool>,
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.failed.store(true, SeqCst);
        }
        tracing::warn!(error_code = "kafka_publisher", error = %error, reason, "kafka publisher");
    }
}

impl ProducerContext for Watch {
    type DeliveryOpaque = Box<Ticket>;
    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let answer = match result {
            Ok(message) => Ok(Position {
                topic: Arc::from(message.topic()),
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((error, message)) => Err(failed(error, message.topic())),
        };
        ticket.batch.answer(ticket.index, answer);
    }
}

fn failed(error: &KafkaError, topic: &str) -> PublishError {
    use RDKafkaErrorCode as E;
    match error.rdkafka_error_code() {
        Some(E::QueueFull) => PublishError::Busy,
        Some(
            E::MessageSizeTooLarge
            | E::InvalidMessageSize
            | E::TopicAuthorizationFailed
            | E::ClusterAuthorizationFailed
            | E::UnknownTopicOrPartition
            | E::UnknownTopic
            | E::InvalidTopic
            | E::UnknownPartition
            | E::InvalidRecord
            | E::PolicyViolation,
        ) => PublishError::Refused(format!("{topic}: {error}")),
        _ => PublishError::Unavailable(format!("{topic}: {error}")),
    }
}

/// A producer and the thread that serves it. The thread ends when the last owner is gone and nothing is in flight.
pub(crate) struct Running {
    shared: Arc<Shared>,
}

struct Shared {
    producer: BaseProducer<Watch>,
    failed: Arc<AtomicBool>,
    closing: AtomicBool,
    idle: Mutex<()>,
    wake: Condvar,
}

impl Running {
    pub(crate) fn start(
        spec: &PublisherSpec,
        limits: &HashMap<Arc<str>, usize>,
    ) -> Result<Arc<Self>, PublishError> {
        let refused = |e: String| PublishError::Refused(e);
        let smallest = limits.values().min().copied().unwrap_or(1_000_000);
        let largest = limits.values().max().copied().unwrap_or(1_000_000);
        let mut config = super::base(&spec.kafka, &spec.client_id);
        config.set("linger.ms", "1").set("compression.type", "lz4");
        super::pass_through(&mut config, &spec.kafka);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("retry.backoff.ms", "50")
            .set("message.timeout.ms", spec.deadline.as_millis().to_string())
            .set("batch.size", smallest.saturating_sub(MARGIN).clamp(1, 1_000_000).to_string())
            .set("message.max.bytes", (largest + MARGIN).clamp(1000, 1_000_000_000).to_string())
            .set("queue.buffering.max.messages", spec.waiting_records.max(1).to_string())
            .set("queue.buffering.max.kbytes", spec.waiting_kib.max(1).to_string());
        let watch = Watch::default();
        let failed = Arc::clone(&watch.failed);
        let producer = config.create_with_context(watch).map_err(|e: KafkaError| refused(e.to_string()))?;
        let shared = Arc::new(Shared {
            producer,
            failed,
            closing: AtomicBool::new(false),
            idle: Mutex::new(()),
            wake: Condvar::new(),
        });
        let served = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("publish-{}", spec.client_id))
            .spawn(move || served.serve())
            .map_err(|e| refused(e.to_string()))?;
        Ok(Arc::new(Self { shared }))
    }

    pub(crate) fn failed(&self) -> bool {
        self.shared.failed.load(SeqCst)
    }

    /// `checked` says which may be sent at all.
    pub(crate) async fn send(
        &self,
        outputs: &[Output],
        checked: Vec<Result<(), PublishError>>,
    ) -> Vec<Answer> {
        if outputs.is_empty() {
            return vec![];
        }
        let count = outputs.len();
        let (done, answers) = oneshot::channel();
        let state =
            BatchState { answers: outputs.iter().map(|_| None).collect(), left: count, done: Some(done) };
        let batch = Arc::new(Batch { state: Mutex::new(state) });
        for (index, (output, may)) in outputs.iter().zip(checked).enumerate() {
            match may {
                Ok(()) => self.shared.hand_over(output, Ticket { batch: Arc::clone(&batch), index }),
                Err(error) => batch.answer(index, Err(error)),
            }
        }
        self.shared.wake.notify_one();
        let lost = || Err(PublishError::Unavailable("the producer ended".to_owned()));
        match answers.await {
            Ok(answers) => answers.into_iter().map(|a| a.unwrap_or_else(lost)).collect(),
            Err(_) => (0..count).map(|_| lost()).collect(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.closing.store(true, SeqCst);
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn hand_over(&self, output: &Output, ticket: Ticket) {
        let mut record =
            BaseRecord::<[u8], [u8], Box<Ticket>>::with_opaque_to(&output.topic, Box::new(ticket));
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
            record = record.headers(super::producer::owned(&output.headers));
        }
        if let Err((error, back)) = self.producer.send(record) {
            let ticket = back.delivery_opaque;
            ticket.batch.answer(ticket.index, Err(failed(&error, &output.topic)));
        }
    }

    fn serve(&self) {
        loop {
            self.producer.poll(Duration::ZERO);
            if self.producer.in_flight_count() > 0 {
                crate::clock::pause(BUSY_WAIT);
            } else if self.closing.load(SeqCst) {
                return;
            } else {
                let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                // A wake that came just before is made up for by the short wait.
                drop(self.wake.wait_timeout(idle, IDLE_WAIT));
            }
        }
    }
}
