//! A lane on a real broker, and a judge of it.
//!
//! `lane BOOTSTRAP run NAME [ORDINAL|-]` runs a stage that counts records by key until its standard input closes;
//! `lane BOOTSTRAP soak RECORDS KILLS [PARTITIONS]` feeds it, kills it with SIGKILL in mid-load, and counts what read_committed readers see;
//! `lane BOOTSTRAP deliver RECORDS KILLS [PARTITIONS]` is the same for a sink that fails, rejects and dawdles;
//! `lane BOOTSTRAP churn RECORDS TURNS [PARTITIONS] [static]` has three members that die, leave and freeze;
//! `lane PROXY faults BROKER COUNT [PARTITIONS]` spoils requests on their way to a broker that advertises the proxy's address;
//! `lane BOOTSTRAP twins RECORDS` starts a second instance under the same name;
//! `lane BOOTSTRAP table` looks at tables, a failing stage and poison;
//! `lane BOOTSTRAP speed RECORDS [BYTES] [PER_SECOND]` measures: throughput, or with a rate the latency.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod judge;
mod proxy;

use atio_metric::Metrics;
use atio_schemas::{Code, Codec, codec::StaticIds, delivery as wire, detection::Tlp};
use atio_stage::{
    BoxFuture, Deliver, Delivery, Headers, Input, NonEmpty, Outcome, Output, Pace, Part, Processor, Receipt,
    Record, Reject, Run, Sink, Stage, StageError, StateKey, Store, StoreSpec, TableName, TableSpec, Timer,
    Timers, Tx, Verdict, View,
};
use atio_stream::{Identity, Kafka, LaneConfig, LaneState, Limits, Stop, StreamMetrics, run_lane};
use judge::{churn, create, faults, feed, put, soak, topics, twins, unique};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read as _,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

struct Count;
impl Store for Count {
    const NAME: &'static str = "count";
    type Value = u64;
}

/// What waits for its deadline: output topic, record key, number.
struct Waiting;
impl Store for Waiting {
    const NAME: &'static str = "waiting";
    type Value = (String, String, u64);
}

/// Every 180th record is held for a second, unless the key's next one settles it.
fn waits(n: u64) -> bool {
    n % 180 == 7
}

/// Counts by key; every 50th record is dead-lettered, every 70th dropped, every 110th has a bad part.
struct Counter;
impl Counter {
    fn count(record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let n: u64 = std::str::from_utf8(record.value.unwrap_or_default())
            .unwrap_or("")
            .split(' ')
            .next()
            .unwrap_or("")
            .parse()
            .unwrap();
        if n.is_multiple_of(50) {
            return Ok(Outcome::dead_letter(Code::InvalidJson, "every 50th"));
        }
        if n.is_multiple_of(70) {
            return Ok(Outcome::Drop(Code::Duplicate));
        }
        let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
        let topic = record.topic.replace(".in", ".out");
        let notes: u64 = tx.note().and_then(|t| t.parse().ok()).unwrap_or(0);
        tx.set_note((notes + 1).to_string())?;
        if waits(n) {
            let held = StateKey { store: Waiting::NAME, key: format!("{key}/{n}") };
            tx.store::<Waiting>().put(&held.key, &(topic, key, n))?;
            return Ok(Outcome::Hold { key: held, until: tx.now().plus_millis(1000) });
        }
        let earlier = format!("{key}/{}", n.wrapping_sub(499));
        if n >= 499 && n.is_multiple_of(2) && tx.store::<Waiting>().get(&earlier)?.is_some() {
            let end = Self::end(&earlier, tx)?;
            tx.settle(StateKey { store: Waiting::NAME, key: earlier }, end);
        }
        let count = tx.store::<Count>().get(&key)?.unwrap_or(0) + 1;
        tx.store::<Count>().put(&key, &count)?;
        let output = Output::new(topic, key, format!("{n}:{count}").into_bytes(), record.headers.carried());
        let part = Part { bytes: b"bad".to_vec(), offset: None, line: None };
        let rejected = if n.is_multiple_of(110) {
            vec![Reject { code: Code::InvalidField, message: "part".into(), part: Some(part) }]
        } else {
            vec![]
        };
        Ok(Outcome::Emit { outputs: NonEmpty::one(output), rejected })
    }
}
impl Counter {
    /// What was held is counted when it ends.
    fn end(held: &str, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let (topic, key, n) = tx.store::<Waiting>().get(held)?.expect("what is held is stored");
        tx.store::<Waiting>().delete(held);
        let count = tx.store::<Count>().get(&key)?.unwrap_or(0) + 1;
        tx.store::<Count>().put(&key, &count)?;
        Ok(Outcome::emit(Output::new(topic, key, format!("{n}:{count}").into_bytes(), Headers::default())))
    }
}
impl Processor for Counter {
    fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
        Self::end(&timer.key.key, tx).unwrap_or_else(Outcome::Fail)
    }
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        Self::count(record, tx).unwrap_or_else(Outcome::Fail)
    }
}

/// A sink that fails, rejects and dawdles, and notices when two of a key are under way.
#[derive(Default)]
struct Odd {
    busy: Arc<Mutex<HashSet<String>>>,
    last: Arc<Mutex<HashMap<String, u64>>>,
}
impl Odd {
    async fn one(&self, d: &Delivery) -> Verdict {
        let key = d.record.asset.clone().unwrap();
        let n: u64 = d.record.idempotency_key.parse().unwrap();
        assert!(self.busy.lock().unwrap().insert(key.clone()), "two of key {key} at once");
        tokio::time::sleep(Duration::from_millis(n * 7 % 10)).await;
        self.busy.lock().unwrap().remove(&key);
        if (n * 31 + u64::from(d.attempt) * 17).is_multiple_of(13) {
            return Verdict::Retry { after: Some(Duration::from_millis(30)), error: "busy".into() };
        }
        let before = self.last.lock().unwrap().insert(key.clone(), n);
        assert!(before.is_none_or(|b| b < n), "key {key}: {n} after {before:?}");
        if n.is_multiple_of(50) {
            return Verdict::Reject(Reject::whole(Code::SinkRejected, "every 50th"));
        }
        Verdict::Delivered(Receipt { external_id: Some(format!("x{n}")), code: Some("201".into()) })
    }
}
impl Sink for Odd {
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>> {
        Box::pin(async move { vec![self.one(&batch[0]).await] })
    }
}

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn delivery(n: u64) -> Vec<u8> {
    let record = wire::Delivery {
        sink: "odd".into(),
        idempotency_key: n.to_string(),
        event_id: n.to_string(),
        incident_id: None,
        asset: Some(format!("k{}", n % 499)),
        workflow: "w@1".into(),
        branch: "b".into(),
        format: "stix".into(),
        content_type: "application/json".into(),
        tlp: Tlp::Clear,
        occurred_at: None,
        received_at: None,
        payload: b"{}".to_vec(),
        residue: vec![],
    };
    codec().encode(&record).unwrap()
}

/// A table's rows as they are.
#[derive(Default)]
struct Rows(HashMap<Vec<u8>, Vec<u8>>);
impl View for Rows {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        match value {
            Some(b"bad") => return Err(StageError { code: Code::InvalidField, message: "bad row".into() }),
            Some(value) => drop(self.0.insert(key.to_vec(), value.to_vec())),
            None => drop(self.0.remove(key)),
        }
        Ok(())
    }
}

/// Answers with the row of the record's value; without one, the record fails the stage, is too large, or is poison.
struct Join;
impl Processor for Join {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let (key, value) = (record.key.unwrap_or_default().to_vec(), record.value.unwrap_or_default());
        let topic = record.topic.replace(".in", ".out");
        let rows: &Rows = match tx.table("rows") {
            Ok(rows) => rows,
            Err(e) => return Outcome::Fail(e),
        };
        match (rows.0.get(value), value) {
            (Some(row), _) => Outcome::emit(Output::new(topic, key, row.clone(), Headers::default())),
            (None, b"fail") => {
                Outcome::Fail(StageError { code: Code::Internal, message: "no row yet".into() })
            }
            (None, b"huge") => {
                Outcome::emit(Output::new(topic, key, vec![b'x'; 2_000_000], Headers::default()))
            }
            (None, b"panic") => panic!("on purpose"),
            (None, _) => Outcome::dead_letter(Code::NotFound, "no row"),
        }
    }
}

/// Hands on what it gets.
struct Pass;
impl Processor for Pass {
    fn process(&self, record: &Record<'_>, _: &mut Tx<'_>) -> Outcome {
        let key = record.key.unwrap_or_default().to_vec();
        Outcome::emit(Output::new(
            record.topic.replace(".in", ".out"),
            key,
            record.value.unwrap_or_default().to_vec(),
            Headers::default(),
        ))
    }
}

fn stage(name: &str, counting: bool) -> Stage {
    let prefix = format!("{name}.");
    let stores = [
        StoreSpec::of::<Count>(&prefix, "demo"),
        StoreSpec::of::<Timers>(&prefix, "demo"),
        StoreSpec::of::<Waiting>(&prefix, "demo"),
    ];
    let run = match () {
        () if name.starts_with("deliver") => Run::Deliver(Deliver {
            sink: Box::new(Odd::default()),
            codec: codec(),
            receipts: Arc::from(format!("{name}.out")),
        }),
        () if name.starts_with("table") => Run::Transform(Box::new(Join)),
        () if counting => Run::Transform(Box::new(Counter)),
        () => Run::Transform(Box::new(Pass)),
    };
    let table = TableSpec {
        name: TableName::new("rows"),
        topic: Arc::from(format!("{name}.rows")),
        make: Arc::new(|| Box::new(Rows::default())),
    };
    let tables = if name.starts_with("table") { vec![table] } else { vec![] };
    let counting = counting && !name.starts_with("deliver");
    Stage {
        name: "demo".into(),
        service: "demo",
        group: format!("{name}.group"),
        inputs: vec![Input::new(&format!("{name}.in"))],
        outputs: vec![Arc::from(format!("{name}.out"))],
        stores: if counting { stores.to_vec() } else { vec![] },
        tables,
        pace: if std::env::var("BULK").is_ok() { Pace::Bulk } else { Pace::Interactive },
        run,
    }
}

fn config(
    bootstrap: &str,
    name: &str,
    ordinal: Option<u32>,
    metrics: &Metrics,
    io: &tokio::runtime::Handle,
) -> LaneConfig {
    let ids = Arc::new(StaticIds::new());
    LaneConfig {
        kafka: Kafka { bootstrap: bootstrap.into(), properties: BTreeMap::new() },
        identity: Identity { prefix: format!("{name}."), ordinal, lane: 0 },
        codec: Codec::new(ids.clone()),
        schemas: ids,
        metrics: StreamMetrics::new(&metrics.service("demo")).unwrap(),
        io: io.clone(),
        limits: Limits::default(),
        epochs: name.starts_with("table").then(|| Arc::from(format!("{name}.epochs"))),
    }
}

fn run(bootstrap: &str, name: &str, ordinal: Option<u32>) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let metrics = Metrics::default();
    let stop = Stop::new();
    let lane = run_lane(
        Arc::new(stage(name, true)),
        config(bootstrap, name, ordinal, &metrics, runtime.handle()),
        stop.clone(),
    )
    .unwrap();
    std::thread::spawn(move || {
        let read = std::io::stdin().read(&mut [0u8; 1]);
        drop(read);
        stop.stop();
    });
    let mut last = LaneState::Starting;
    while !lane.is_finished() {
        let status = lane.status();
        if status.state != last {
            eprintln!("lane {:?} {:?}", status.state, status.assigned);
            last = status.state;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!(
        "{}",
        metrics
            .text()
            .unwrap()
            .lines()
            .filter(|l| !l.starts_with('#') && !l.contains("_bucket"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    if let Err(e) = lane.join() {
        eprintln!("lane ended: {e}");
        return false;
    }
    true
}

fn speed(bootstrap: &str, records: u64, bytes: usize, per_second: u64) -> bool {
    let name = unique("speed");
    topics(bootstrap, &name, 1);
    if per_second == 0 {
        feed(bootstrap, &format!("{name}.in"), records, 0, bytes);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let metrics = Metrics::default();
    let stop = Stop::new();
    let counting = std::env::var("COUNT").is_ok();
    let lane = run_lane(
        Arc::new(stage(&name, counting)),
        config(bootstrap, &name, Some(0), &metrics, runtime.handle()),
        stop.clone(),
    )
    .unwrap();
    if per_second > 0 {
        judge::latency(bootstrap, &format!("{name}.in"), per_second, 10);
    }
    while lane.status().ledger.read == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (from, started) = (lane.status().ledger.read, Instant::now());
    while per_second == 0 && lane.status().ledger.read < records {
        std::thread::sleep(Duration::from_millis(1));
        assert!(!lane.is_finished());
    }
    let rate = records.saturating_sub(from) as f64 / started.elapsed().as_secs_f64();
    let status = lane.status();
    stop.stop();
    lane.join().unwrap();
    println!(
        "{rate:.0} records/s, {} commits, {} aborts, {} rebuilds",
        status.commits, status.aborts, status.rebuilds
    );
    println!(
        "{}",
        metrics
            .text()
            .unwrap()
            .lines()
            .filter(|l| l.contains("commit_seconds")
                || l.contains("doubtful")
                || l.contains("restore_seconds_sum"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    true
}

/// Tables before the first batch and between transactions; a failing stage, an output that is too large, a panic, and poison.
fn tables(bootstrap: &str) -> bool {
    let name = unique("table");
    topics(bootstrap, &name, 2);
    let (rows, epochs) = (format!("{name}.rows"), format!("{name}.epochs"));
    create(bootstrap, &[(rows.clone(), 3, true), (epochs.clone(), 1, true)]);
    let input = format!("{name}.in");
    put(bootstrap, &rows, &[("a", "one"), ("b", "bad"), ("c", "three")]);
    put(bootstrap, &input, &[("k1", "a"), ("k1", "b"), ("k1", "c"), ("k1", "huge"), ("k1", "panic")]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (metrics, stop) = (Metrics::default(), Stop::new());
    let config = config(bootstrap, &name, Some(0), &metrics, runtime.handle());
    let lane = run_lane(Arc::new(stage(&name, false)), config, stop.clone()).unwrap();
    let until = |what: &str, done: &dyn Fn(&atio_stream::LaneStatus) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done(&lane.status()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", lane.status());
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("{what}: {:?}", lane.status().ledger);
    };
    until("joined", &|s| s.ledger.read == 5 && s.ledger.emitted == 2 && s.ledger.dead_lettered_total() == 3);
    put(bootstrap, &input, &[("k1", "fail")]);
    until("stalled", &|s| matches!(s.state, LaneState::Stalled { .. }));
    put(bootstrap, &rows, &[("fail", "four")]);
    until("went on", &|s| s.state == LaneState::Running && s.ledger.emitted == 3);
    let epochs = judge::read_all(bootstrap, &epochs, 1);
    println!("epochs {}", epochs.len());
    assert!(
        epochs.len() >= 2
            && metrics
                .text()
                .unwrap()
                .contains("table_rows_refused_total{service=\"demo\",stage=\"demo\"} 1")
    );
    let poison: Vec<(String, String)> = (0..1500).map(|n| (format!("p{n}"), "none".to_owned())).collect();
    put(bootstrap, &input, &poison.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>());
    until("poisoned", &|s| matches!(&s.state, LaneState::Failed(e) if e.code() == "poisoned"));
    let dead = judge::read_all(bootstrap, &format!("{input}.dlq"), 2);
    println!(
        "dead letters {:?} .. {}",
        &dead.iter().filter_map(|d| d.2.clone()).take(4).collect::<Vec<_>>(),
        dead.len()
    );
    lane.join().is_err()
}

fn main() {
    if std::env::var("LOG").is_ok() {
        tracing_subscriber::fmt()
            .with_env_filter(std::env::var("LOG").unwrap())
            .with_writer(std::io::stderr)
            .init();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: u64| args.get(i).map_or(or, |a| a.parse().unwrap());
    let bootstrap = args.first().expect("BOOTSTRAP");
    let good = match args.get(1).map(String::as_str) {
        Some("run") => {
            let good = run(bootstrap, &args[2], args.get(3).and_then(|a| a.parse().ok()));
            std::process::exit(i32::from(!good));
        }
        Some(what @ ("soak" | "deliver")) => {
            soak(bootstrap, what, number(2, 20_000), number(3, 5), number(4, 4) as i32)
        }
        Some("churn") => {
            churn(bootstrap, number(2, 40_000), number(3, 9), number(4, 6) as i32, args.get(5).is_some())
        }
        Some("faults") => faults(bootstrap, &args[2], number(3, 30), number(4, 4) as i32),
        Some("twins") => twins(bootstrap, number(2, 16_000), number(3, 4) as i32),
        Some("table") => tables(bootstrap),
        Some("speed") => speed(bootstrap, number(2, 200_000), number(3, 1000) as usize, number(4, 0)),
        _ => panic!("run, soak or speed"),
    };
    println!("{}", if good { "GOOD" } else { "BAD" });
    std::process::exit(i32::from(!good));
}
