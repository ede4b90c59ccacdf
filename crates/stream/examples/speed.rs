//! How fast a lane hands records on: `speed BOOTSTRAP RECORDS [BYTES]` for throughput, `speed BOOTSTRAP rate PER_SECOND [BYTES]` for the time
//! from produce to a reader of committed records. What is right is judged by the conformance trials; this measures only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement on the command line"
)]
use atio_metric::Metrics;
use atio_schemas::{Codec, codec::StaticIds};
use atio_stage::{Headers, Input, Outcome, Output, Pace, Processor, Record, Run, Stage, Tx};
use atio_stream::{
    Identity, Kafka, Lane, LaneConfig, Limits, SharedTables, Stop, StreamMetrics, admin::Admin, run_lane,
};
use atio_topics::{Change, Plan};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// So long the latency is measured, after a second that warms up.
const SECONDS: u64 = 10;

/// Hands on what it gets.
struct Pass(Arc<str>);
impl Processor for Pass {
    fn process(&self, record: &Record<'_>, _: &mut Tx<'_>) -> Outcome {
        let [key, value] = [record.key, record.value].map(|b| b.unwrap_or_default().to_vec());
        Outcome::emit(Output::new(self.0.clone(), key, value, Headers::default()))
    }
}

struct Speed {
    kafka: Kafka,
    input: String,
    output: Arc<str>,
    runtime: tokio::runtime::Runtime,
    metrics: Metrics,
}

impl Speed {
    fn new(bootstrap: String) -> Self {
        let name = format!("speed-{}", std::process::id());
        let kafka = Kafka { bootstrap, properties: BTreeMap::new() };
        let (input, output) = (format!("{name}.in"), format!("{name}.out"));
        let create = |topic: &str| Change::Create {
            topic: topic.to_owned(),
            partitions: 1,
            replication: Some(1),
            configs: BTreeMap::new(),
        };
        let changes = [input.as_str(), &format!("{input}.dlq"), &output].map(create).to_vec();
        let admin = Admin::connect(&kafka, "speed").expect("a client");
        let done = admin.apply(&Plan { changes, refused: vec![] }).expect("applied");
        assert!(done.iter().all(|d| d.result.is_ok()), "{done:?}");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { kafka, input, output: Arc::from(output), runtime, metrics: Metrics::default() }
    }

    fn lane(&self, stop: &Stop) -> Lane {
        let stage = Stage {
            name: "speed".into(),
            service: "speed",
            group: format!("{}.group", self.input),
            inputs: vec![Input::new(&self.input)],
            outputs: vec![self.output.clone()],
            stores: vec![],
            tables: vec![],
            pace: Pace::Interactive,
            run: Run::Transform(Box::new(Pass(self.output.clone()))),
        };
        let ids = Arc::new(StaticIds::new());
        let config = LaneConfig {
            kafka: self.kafka.clone(),
            identity: Identity { prefix: "speed.".into(), ordinal: None, lane: 0 },
            codec: Codec::new(ids.clone()),
            schemas: ids,
            metrics: StreamMetrics::new(&self.metrics.service("speed")).expect("metrics"),
            io: self.runtime.handle().clone(),
            limits: Limits::default(),
            tables: SharedTables::default(),
            epochs: None,
            intake: None,
        };
        run_lane(Arc::new(stage), config, stop.clone()).expect("a thread")
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.bootstrap);
        config
    }

    fn throughput(&self, records: u64, bytes: usize) {
        let producer: BaseProducer = self.client().set("compression.type", "lz4").create().unwrap();
        let value = "x".repeat(bytes);
        for n in 0..records {
            let key = n.to_string();
            while producer.send(BaseRecord::to(&self.input).key(&key).payload(&value)).is_err() {
                producer.poll(Duration::from_millis(5));
            }
        }
        producer.flush(Duration::from_secs(60)).expect("fed");
        let stop = Stop::new();
        let lane = self.lane(&stop);
        let until = |done: &dyn Fn(u64) -> bool| {
            while !done(lane.status().ledger.read) {
                assert!(!lane.is_finished());
                std::thread::sleep(Duration::from_millis(1));
            }
            (lane.status().ledger.read, Instant::now())
        };
        let (first, started) = until(&|read| read > 0);
        let (last, ended) = until(&|read| read >= records);
        let status = lane.status();
        stop.stop();
        lane.join().expect("stopped");
        let rate = (last - first) as f64 / (ended - started).as_secs_f64();
        println!("{rate:.0} records/s, {} commits, {} aborts", status.commits, status.aborts);
    }

    fn latency(&self, per_second: u64, bytes: usize) {
        let stop = Stop::new();
        let lane = self.lane(&stop);
        let producer: BaseProducer = self.client().set("linger.ms", "0").create().unwrap();
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", format!("{}.latency", self.input))
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            .create()
            .unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.output, 0, Offset::Offset(0)).unwrap();
        consumer.assign(&from).unwrap();
        let (started, wanted, pad) = (Instant::now(), per_second * (SECONDS + 1), "x".repeat(bytes));
        let (mut sent, mut took) = (0, vec![]);
        while (took.len() as u64) < wanted && started.elapsed() < Duration::from_secs(SECONDS * 3) {
            let now = started.elapsed().as_micros();
            if sent < wanted && now >= u128::from(sent * 1_000_000 / per_second) {
                let value = format!("{now} {pad}");
                producer.send(BaseRecord::to(&self.input).key("k").payload(&value)).unwrap();
                sent += 1;
            }
            producer.poll(Duration::ZERO);
            if let Some(Ok(m)) = consumer.poll(Duration::from_millis(1)) {
                let value = std::str::from_utf8(m.payload().unwrap()).unwrap();
                let then: u128 = value.split(' ').next().unwrap().parse().unwrap();
                took.push(started.elapsed().as_micros() - then);
            }
        }
        stop.stop();
        lane.join().expect("stopped");
        let mut took = took.split_off(usize::try_from(per_second).unwrap().min(took.len()));
        took.sort_unstable();
        let at =
            |q: f64| took.get(((took.len() - 1) as f64 * q) as usize).map_or(0.0, |t| *t as f64 / 1000.0);
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(at);
        println!("latency of {}: p50 {p50:.1} p90 {p90:.1} p99 {p99:.1} max {max:.1} ms", took.len());
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: u64| args.get(i).map_or(or, |a| a.parse().expect("a number"));
    let speed = Speed::new(args.first().expect("BOOTSTRAP").clone());
    if args.get(1).is_some_and(|a| a == "rate") {
        speed.latency(number(2, 100), usize::try_from(number(3, 1000)).unwrap());
    } else {
        speed.throughput(number(1, 200_000), usize::try_from(number(2, 1000)).unwrap());
    }
}
