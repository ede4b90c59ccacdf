//! Contestants of ours, each in a process of its own (this program, started again with a job): what a bare client, a size-matched one and one
//! that normalizes at least once do, and the stage itself on a lane with the commit interval that is asked for. Must not know who watches.
use crate::alerts;
use atio_metric::Metrics;
use atio_normalization::{Deps, assets_table, config, processor, stages};
use atio_schemas::{Codec, Timestamp, codec::StaticIds};
use atio_stage::{Headers, NonEmpty, Outcome, Output, Overlay, Processor, Record, State, Tables, Tx};
use atio_stream::{Identity, Kafka, LaneConfig, Limits, SharedTables, Stop, StreamMetrics, run_lane};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// The job is handed over here.
pub const JOB: &str = "ATIO_BENCH_JOB";
/// Ready records that the size-matched contestants send in turn.
const READY: u64 = 4096;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Hands on what it reads.
    Passthrough,
    /// Sends a ready record of the size that normalization writes: key, headers and value as one value, or as they are.
    Matched { headers: bool },
    /// Normalizes, without transactions.
    AtLeastOnce,
    /// The stage on a lane.
    ExactlyOnce { commit_ms: u64 },
    /// No broker: so many times, for counting instructions.
    Count { what: String, times: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub task: Task,
    pub bootstrap: String,
    pub input: String,
    /// Of output topics and groups.
    pub prefix: String,
}

impl Job {
    pub fn output(&self) -> String {
        format!("{}detections", self.prefix)
    }
    pub fn group(&self) -> String {
        format!("{}normalization", self.prefix)
    }
    pub fn deps(&self, ids: &Arc<StaticIds>) -> Deps {
        let source = config::Source {
            naked: true,
            format: Some("suricata".to_owned()),
            ..config::Source::new("bench", &self.input)
        };
        Deps {
            prefix: self.prefix.clone(),
            codec: Codec::new(ids.clone()),
            config: config::Config::default(),
            sources: vec![source],
        }
    }
}

/// Does the job; a worker ends when it is killed, or with whoever started it.
pub fn run(job: &str) {
    let job: Job = serde_json::from_str(job).expect("a job");
    if let Task::Count { what, times } = &job.task {
        return crate::instructions::work(what, *times);
    }
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(Duration::from_secs(1));
        }
        std::process::exit(1);
    });
    match job.task {
        Task::ExactlyOnce { commit_ms } => lane(&job, commit_ms),
        Task::Passthrough => each(&job, |record, out| {
            out.push(Output::new(
                Arc::from(""),
                vec![],
                record.value.unwrap_or_default().to_vec(),
                Headers::default(),
            ));
        }),
        Task::Matched { headers } => {
            let ready = ready(&job, headers);
            let mut next = 0;
            each(&job, |_, out| {
                next = (next + 1) % ready.len();
                out.push(ready[next].clone());
            });
        }
        Task::AtLeastOnce => {
            let mut normalizer = Normalizer::new(&job);
            each(&job, |record, out| out.extend(normalizer.outputs(record)));
        }
        Task::Count { .. } => {}
    }
}

/// The stage's function without its lane.
pub struct Normalizer {
    processor: atio_normalization::stage::Normalizer,
    tables: Tables,
    state: State,
    overlay: Overlay,
}

impl Normalizer {
    pub fn new(job: &Job) -> Self {
        let deps = job.deps(&Arc::new(StaticIds::new()));
        let table = assets_table(&deps.prefix, &deps.codec);
        let tables = Tables([(table.name.clone(), (table.make)())].into_iter().collect());
        Self { processor: processor(deps), tables, state: State::default(), overlay: Overlay::default() }
    }
    pub fn outputs(&mut self, record: &Record<'_>) -> Vec<Output> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let now = Timestamp(i64::try_from(now.as_micros()).expect("a time"));
        let mut tx = Tx::new(now, &self.state, &mut self.overlay, &self.tables);
        match self.processor.process(record, &mut tx) {
            Outcome::Emit { outputs, .. } => NonEmpty::into_vec(outputs),
            other => panic!("an alert ends as a detection, not as {other:?}"),
        }
    }
}

/// A record of the input topic.
pub fn record<'a>(topic: &'a str, offset: i64, value: &'a [u8], headers: &'a Headers) -> Record<'a> {
    let timestamp = Timestamp(1_795_485_600_000_000);
    Record { topic, partition: 0, offset, timestamp, key: None, value: Some(value), headers }
}

fn ready(job: &Job, with_headers: bool) -> Vec<Output> {
    let mut normalizer = Normalizer::new(job);
    let none = Headers::default();
    let made = |n: u64| {
        let alert = alerts::alert(n);
        let offset = i64::try_from(n).expect("an offset");
        let mut output = normalizer.outputs(&record(&job.input, offset, alert.as_bytes(), &none)).remove(0);
        if !with_headers {
            let mut all = output.value.take().unwrap_or_default();
            all.extend(output.key.take().unwrap_or_default());
            for (name, value) in std::mem::take(&mut output.headers).0 {
                all.extend_from_slice(name.as_bytes());
                all.extend(value);
            }
            output.value = Some(all);
        }
        output
    };
    (0..READY).map(made).collect()
}

fn client(job: &Job) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &job.bootstrap).set("broker.address.family", "v4");
    config
}

/// Reads, makes, produces idempotently, commits every 100 ms what was acknowledged.
fn each(job: &Job, mut make: impl FnMut(&Record<'_>, &mut Vec<Output>)) -> ! {
    // As our own lanes read.
    let consumer: BaseConsumer = client(job)
        .set("group.id", job.group())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.message.max.bytes", "4194304")
        .set("queued.min.messages", "2000")
        .set("queued.max.messages.kbytes", "16384")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[&job.input]).expect("subscribed");
    let producer: BaseProducer<DefaultProducerContext> = client(job)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("batch.size", "1000000")
        .set("delivery.report.only.error", "true")
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer");
    let topic = job.output();
    let (mut next, mut done, mut outputs, none) = (0, 0, vec![], Headers::default());
    let mut last = Instant::now();
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(20)) {
            let message = message.expect("a record");
            let value = message.payload().unwrap_or_default();
            make(&record(&job.input, message.offset(), value, &none), &mut outputs);
            outputs.drain(..).for_each(|output| send(&producer, &topic, &output));
            next = message.offset() + 1;
            if next % 256 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        // Asked seldom, as a clock costs too.
        if (next % 128 == 0 || last.elapsed() > Duration::from_millis(200))
            && last.elapsed() >= Duration::from_millis(100)
        {
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_micros(300));
            }
            if next > done {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&job.input, 0, Offset::Offset(next)).expect("a list");
                consumer.commit(&list, CommitMode::Async).expect("asked for");
                done = next;
            }
            last = Instant::now();
        }
    }
}

fn send(producer: &BaseProducer, topic: &str, output: &Output) {
    let headers = (!output.headers.0.is_empty()).then(|| {
        let start = OwnedHeaders::new_with_capacity(output.headers.0.len());
        output
            .headers
            .0
            .iter()
            .fold(start, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
    });
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(output.value.as_deref().unwrap_or_default());
    if let Some(key) = output.key.as_deref().filter(|k| !k.is_empty()) {
        record = record.key(key);
    }
    if let Some(headers) = headers {
        record = record.headers(headers);
    }
    while let Err((_, again)) = producer.send(record) {
        record = again;
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn lane(job: &Job, commit_ms: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let ids = Arc::new(StaticIds::new());
    let stage = stages(job.deps(&ids)).remove(0);
    let metrics = Metrics::default();
    let config = LaneConfig {
        kafka: Kafka { bootstrap: job.bootstrap.clone(), properties: BTreeMap::new() },
        identity: Identity { prefix: job.prefix.clone(), ordinal: Some(0), lane: 0 },
        codec: Codec::new(ids.clone()),
        schemas: ids,
        metrics: StreamMetrics::new(&metrics.service("normalization")).expect("metrics"),
        io: runtime.handle().clone(),
        limits: Limits { commit_interval: Some(Duration::from_millis(commit_ms)), ..Limits::default() },
        tables: SharedTables::default(),
        epochs: Some(Arc::from(format!("{}epochs", job.prefix))),
        intake: None,
    };
    let ended = run_lane(Arc::new(stage), config, Stop::new()).expect("a thread").join();
    panic!("the lane ended: {ended:?}");
}
