//! The whole way of an alert, from its source topic to the sink's: how many a second, how long one takes at a given load, and what a trickle
//! and idling cost. Services are processes of their own, as they are deployed.
use crate::{
    alerts,
    broker::Broker,
    figures::Figures,
    hops::Hops,
    process,
    support::{Deadline, Fleet, Running, atio, unique},
};
use atio_schemas::Timestamp;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, Producer},
};
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

const PARTITIONS: i32 = 3;
/// Alerts a second.
const TRICKLE: f64 = 100.0;
/// So few that each comes after a rest.
const LONE: f64 = 3.0;

struct Pipeline<'a> {
    broker: &'a Broker,
    fleet: Fleet,
    source: String,
    sink: String,
    /// Alerts sent so far.
    sent: u64,
}

impl<'a> Pipeline<'a> {
    fn start(broker: &'a Broker) -> Self {
        let (source, sink) = (unique("bench-source"), unique("bench-sink"));
        broker.create(&[(&source, PARTITIONS), (&sink, PARTITIONS)]);
        let api = "atio/v1";
        let files = [
            (
                "sources/bench.yaml",
                json!({"apiVersion": api, "kind": "Source", "metadata": {"name": "bench"}, "format": "suricata",
                "from": {"topic": {"name": source, "start": "beginning", "payload": "naked"}}}),
            ),
            (
                "sinks/bench.yaml",
                json!({"apiVersion": api, "kind": "Sink", "metadata": {"name": "bench"}, "type": "kafka", "topic": sink,
                "format": "report", "clearance": "red"}),
            ),
            (
                "workflows/bench.yaml",
                json!({"apiVersion": api, "kind": "Workflow", "metadata": {"name": "bench"}, "on": "detection",
                "match": {"kind": "threat"}, "branches": {"out": [{"deliver": "bench"}]}}),
            ),
        ];
        let fleet = Fleet::start(&broker.bootstrap, &files.map(|(name, text)| (name, text.to_string())));
        fleet.runs("routing", "routing.bench.out");
        Self { broker, fleet, source, sink, sent: 0 }
    }

    /// As fast as they are taken; alerts a second.
    fn rate(&mut self, alerts: u64) -> f64 {
        let consumer = self.at_the_end();
        let began = Instant::now();
        let first = self.sent;
        self.broker.fill(&self.source, PARTITIONS, alerts, |n| alerts::alert(first + n));
        self.sent += alerts;
        let deadline = Deadline::after(300);
        // Records, not offsets: commit markers own some too.
        let mut seen = 0;
        while seen < alerts {
            if deadline.left().is_none() {
                return f64::NAN;
            }
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                message.expect("a record");
                seen += 1;
            }
        }
        alerts as f64 / began.elapsed().as_secs_f64()
    }

    /// Open loop: alerts are sent when they are due, whatever becomes of those before; each one's time counts from when it was due.
    /// Milliseconds, sorted, without those of the first second.
    fn latencies(&mut self, per_second: f64, time: Duration) -> Vec<f64> {
        let consumer = self.at_the_end();
        let alerts = (per_second * time.as_secs_f64()) as u64;
        let (first, source) = (self.sent, self.source.clone());
        self.sent += alerts;
        let producer = self.broker.producer();
        let began = Instant::now() + Duration::from_millis(200);
        let due = move |n: u64| began + Duration::from_secs_f64(n as f64 / per_second);
        let sender = thread::spawn(move || {
            for n in 0..alerts {
                while let Some(early) = due(n).checked_duration_since(Instant::now()) {
                    producer.poll(Duration::ZERO);
                    thread::sleep(early.min(Duration::from_micros(500)));
                }
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
                let at = Timestamp(i64::try_from(now.as_micros()).expect("a time"));
                let text = alerts::alert_at(first + n, at);
                let partition = i32::try_from(n % u64::from(PARTITIONS.unsigned_abs())).expect("a partition");
                let record = BaseRecord::<(), str>::to(&source).partition(partition).payload(&text);
                producer.send(record).expect("the queue has room");
            }
            producer.flush(Duration::from_secs(60)).expect("sent");
        });
        let deadline = Deadline::after(time.as_secs() + 120);
        let (mut seen, mut all) = (0, vec![]);
        while seen < alerts && deadline.left().is_some() {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.expect("a record");
            let arrived = Instant::now();
            let n = number(message.payload().unwrap_or_default()).expect("the alert's number") - first;
            seen += 1;
            if n as f64 >= per_second {
                all.push(arrived.saturating_duration_since(due(n)).as_secs_f64() * 1000.0);
            }
        }
        sender.join().expect("sent");
        assert_eq!(seen, alerts, "all arrive");
        all.sort_by(f64::total_cmp);
        all
    }

    /// A reader of what comes from now on.
    fn at_the_end(&self) -> BaseConsumer {
        let consumer: BaseConsumer = self
            .broker
            .client()
            .set("group.id", "arrivals")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .expect("a consumer");
        let mut from = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let (_, end) =
                consumer.fetch_watermarks(&self.sink, partition, Duration::from_secs(20)).expect("ends");
            from.add_partition_offset(&self.sink, partition, Offset::Offset(end)).expect("a list");
        }
        consumer.assign(&from).expect("assigned");
        consumer
    }

    /// CPU so far, in microseconds, of each service and of the broker.
    fn cpu(&self) -> Vec<(&'static str, f64)> {
        let services = self.fleet.pids().into_iter().map(|(name, pid)| (name, process::cpu_us(pid)));
        services.chain([("broker", process::cpu_us(self.broker.pid()))]).collect()
    }

    fn hops(&self) -> Hops {
        let way = WAY.iter().map(|(topic, _)| self.fleet.topic(topic));
        let all = std::iter::once(self.source.clone()).chain(way).chain([self.sink.clone()]);
        Hops::before(self.broker, all.collect(), PARTITIONS)
    }

    /// CPU of services and of the broker in microseconds, bytes that the broker gave to the disk.
    fn spent(&self) -> [f64; 3] {
        let services = self.fleet.pids().iter().map(|(_, pid)| process::cpu_us(*pid)).sum();
        [services, process::cpu_us(self.broker.pid()), process::disk(self.broker.pid())]
    }

    /// What an alert costs at a trickle, beyond idling.
    fn trickle(&mut self, figures: &mut Figures, time: Duration) {
        let during = |pipeline: &mut Self, alerts: bool| {
            let before = pipeline.spent();
            let took = if alerts {
                pipeline.latencies(TRICKLE, time)
            } else {
                thread::sleep(time);
                vec![]
            };
            let after = pipeline.spent();
            ([0, 1, 2].map(|n| after[n] - before[n]), took)
        };
        let (idle, _) = during(self, false);
        let (busy, took) = during(self, true);
        let name = |of: &str| format!("{}.trickle{of}", self.broker.name());
        percentiles(figures, &name(""), &took, &[("p50", 0.5), ("p99", 0.99)]);
        let alerts = TRICKLE * time.as_secs_f64();
        for (n, (name, unit)) in
            [("cpu.services", "us/event"), ("cpu.broker", "us/event"), ("disk", "bytes/event")]
                .into_iter()
                .enumerate()
        {
            let name = format!("{}.trickle.{name}", self.broker.name());
            figures.add(&name, vec![(busy[n] - idle[n]) / alerts], unit);
            if n < 2 {
                let percent = idle[n] / time.as_secs_f64() / 10_000.0;
                figures.add(&format!("{name}.idle"), vec![percent], "%-of-a-core");
            }
        }
        let alone = self.latencies(LONE, time);
        percentiles(figures, &format!("{}.lone", self.broker.name()), &alone, &[("p50", 0.5), ("p99", 0.99)]);
    }
}

/// The topics of the way, and what each is called as the end of a hop.
const WAY: [(&str, &str); 4] = [
    ("detections", "normalization"),
    ("enriched", "enrichment"),
    ("workflow.bench", "routing"),
    ("delivery.bench", "branch"),
];

/// The alert's number, out of its URL.
fn number(payload: &[u8]) -> Option<u64> {
    let mark = b"index.action?id=";
    let at = payload.windows(mark.len()).position(|w| w == mark)? + mark.len();
    let digits = payload.get(at..)?.iter().take_while(|b| b.is_ascii_digit());
    digits.map(|b| char::from(*b)).collect::<String>().parse().ok()
}

/// The trickle alone.
pub fn trickle(broker: &Broker, figures: &mut Figures, quick: bool) {
    let mut pipeline = Pipeline::start(broker);
    // A broker in Java is slow before it is warm.
    for _ in 0..3 {
        pipeline.rate(10_000);
    }
    pipeline.trickle(figures, trickling(quick));
}

fn trickling(quick: bool) -> Duration {
    Duration::from_secs(if quick { 10 } else { 30 })
}

pub fn part(broker: &Broker, figures: &mut Figures, quick: bool) {
    let name = |of: &str| format!("{}.pipeline.{of}", broker.name());
    let mut pipeline = Pipeline::start(broker);
    pipeline.rate(3000);
    let (alerts, times) = if quick { (40_000, 2) } else { (150_000, 3) };
    let before = pipeline.cpu();
    let rates: Vec<f64> = (0..times).map(|_| pipeline.rate(alerts)).collect();
    for ((who, before), (_, after)) in before.into_iter().zip(pipeline.cpu()) {
        let each = (after - before) / (alerts * times) as f64;
        figures.add(&name(&format!("cpu.{who}")), vec![each], "us/event");
    }
    let most = rates.iter().copied().fold(f64::NAN, f64::max);
    figures.add(&name("rate"), rates, "alerts/s");
    for load in [25, 50, 80] {
        let time = Duration::from_secs(if quick { 8 } else { 30 });
        let hops = pipeline.hops();
        let all = pipeline.latencies(most * f64::from(load) / 100.0, time);
        let shares = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
        percentiles(figures, &name(&format!("load{load}")), &all, &shares);
        where_time_goes(figures, &name(&format!("load{load}.hop")), hops.after(broker));
    }
    let mut largest: f64 = 0.0;
    for (service, pid) in pipeline.fleet.pids() {
        let rss = process::peak_rss_mb(pid);
        figures.add(&name(&format!("rss.{service}")), vec![rss], "MB");
        largest = largest.max(rss);
    }
    figures.add(&name("rss.largest"), vec![largest], "MB");
    pipeline.trickle(figures, trickling(quick));
}

/// Of these times, sorted, in milliseconds.
fn percentiles(figures: &mut Figures, name: &str, sorted: &[f64], shares: &[(&str, f64)]) {
    for (of, share) in shares {
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        figures.add(&format!("{name}.{of}"), sorted.get(at).copied().into_iter().collect(), "ms");
    }
}

/// Of each hop, how long it took the alerts of the sample.
fn where_time_goes(figures: &mut Figures, name: &str, hops: Vec<Vec<f64>>) {
    let names = WAY.iter().map(|(_, name)| *name).chain(["delivery"]);
    for (hop, took) in names.zip(hops) {
        percentiles(figures, &format!("{name}.{hop}"), &took, &[("p50", 0.5), ("p99", 0.99)]);
    }
}

/// What `atio up` costs while nothing happens.
pub fn idle(figures: &mut Figures, quick: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("atio.yaml");
    std::fs::write(&config, json!({"registry": {"listen": "127.0.0.1:0"}}).to_string())
        .expect("a configuration");
    let mut command = atio();
    command.arg("--config").arg(&config).arg("--data").arg(dir.path().join("data"));
    let up = Running::start("up", command.args(["up", "--http", "127.0.0.1:0"]));
    let (pid, time) = (up.child.pid(), Duration::from_secs(if quick { 10 } else { 30 }));
    // What starting left to do is not idling.
    thread::sleep(Duration::from_secs(5));
    let before = process::cpu_us(pid);
    thread::sleep(time);
    let percent = (process::cpu_us(pid) - before) / time.as_secs_f64() / 10_000.0;
    figures.add("idle.up.cpu", vec![percent], "%-of-a-core");
    figures.add("idle.up.rss", vec![process::rss_mb(pid)], "MB");
    figures.add("idle.up.threads", vec![process::threads(pid)], "threads");
    up.stop("up");
}
