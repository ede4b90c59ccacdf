//! The load: alerts with numbers of their own, at a steady pace and in bursts, by a producer that knows nothing of ATIO.
use rdkafka::{
    config::ClientConfig,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// So many hosts are attacked in turn; a host's alerts stay in order.
pub const HOSTS: u64 = 37;

/// The text that an alert carries through every form it takes.
pub fn mark(n: u64) -> String {
    format!("soak-{n}-end")
}

pub fn host(n: u64) -> String {
    format!("10.0.0.{}", n % HOSTS)
}

pub fn alert(n: u64) -> String {
    let (a, b) = (n % 200, n / 200 % 200);
    json!({
        "timestamp": format!("2026-03-02T09:{:02}:{:02}.{:06}+0000", n / 60 % 60, n % 60, n % 1_000_000), "flow_id": n, "event_type": "alert",
        "src_ip": format!("203.0.{b}.{a}"), "src_port": 1024 + n % 60000, "dest_ip": host(n), "dest_port": 80, "proto": "TCP",
        "alert": {"action": "allowed", "gid": 1, "signature_id": 9_100_000 + n % 11, "rev": 1, "signature": mark(n), "severity": 2},
    })
    .to_string()
}

pub type Client = BaseProducer<DefaultProducerContext>;

pub fn producer(bootstrap: &str) -> Client {
    let mut config = ClientConfig::new();
    let set = [
        ("bootstrap.servers", bootstrap),
        ("enable.idempotence", "true"),
        // With more, librdkafka sends again under a new epoch what may be in already, where a leader is gone: it would be there twice.
        ("max.in.flight.requests.per.connection", "1"),
        ("acks", "all"),
        ("linger.ms", "5"),
        ("compression.type", "lz4"),
        ("message.timeout.ms", "300000"),
        ("reconnect.backoff.max.ms", "500"),
        ("partitioner", "murmur2_random"),
    ];
    for (name, value) in set {
        config.set(name, value);
    }
    config.create().expect("a producer")
}

/// Queues it, and waits while the queue is full.
pub fn send(producer: &Client, topic: &str, key: &str, value: &[u8]) {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    while let Err((error, back)) = producer.send(record) {
        let full = error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
        assert!(full, "{topic}: {error}");
        record = back;
        producer.poll(Duration::from_millis(5));
    }
}

#[derive(Default)]
struct Shared {
    enough: AtomicBool,
    extra: AtomicU64,
    fed: AtomicU64,
}

pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Open loop: what is due is sent, whether or not it is taken away.
    pub fn start(bootstrap: &str, topic: &str, per_second: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let (told, bootstrap, topic) = (shared.clone(), bootstrap.to_owned(), topic.to_owned());
        let thread = std::thread::spawn(move || {
            let producer = producer(&bootstrap);
            let started = Instant::now();
            let mut n = 0;
            while !told.enough.load(SeqCst) {
                let due =
                    (started.elapsed().as_secs_f64() * per_second as f64) as u64 + told.extra.load(SeqCst);
                while n < due {
                    send(&producer, &topic, &host(n), alert(n).as_bytes());
                    n += 1;
                    told.fed.store(n, SeqCst);
                }
                producer.poll(Duration::from_millis(5));
            }
            producer.flush(Duration::from_secs(120)).expect("produced");
        });
        Self { shared, thread }
    }

    /// So many at once, besides.
    pub fn burst(&self, records: u64) {
        self.shared.extra.fetch_add(records, SeqCst);
    }

    pub fn fed(&self) -> u64 {
        self.shared.fed.load(SeqCst)
    }

    /// Ends it; how many it fed.
    pub fn stop(self) -> u64 {
        self.shared.enough.store(true, SeqCst);
        self.thread.join().expect("fed");
        self.shared.fed.load(SeqCst)
    }
}
