//! A lane on a real broker, and a judge of it.
//!
//! `lane BOOTSTRAP run NAME [ORDINAL|-]` runs a stage that counts records by key until its standard input closes;
//! `lane BOOTSTRAP soak RECORDS KILLS [PARTITIONS]` feeds it, kills it with SIGKILL in mid-load, and counts what read_committed readers see;
//! `lane BOOTSTRAP deliver RECORDS KILLS [PARTITIONS]` is the same for a sink that fails, rejects and dawdles;
//! `lane BOOTSTRAP churn RECORDS TURNS [PARTITIONS] [static]` has three members that die, leave and freeze;
//! `lane BOOTSTRAP speed RECORDS [BYTES]` measures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use atio_metric::Metrics;
use atio_schemas::{Code, Codec, SchemaIds, codec::StaticIds, delivery as wire, detection::Tlp};
use atio_stage::{
    BoxFuture, Deliver, Delivery, Headers, Input, NonEmpty, Outcome, Output, Pace, Part, Processor, Receipt,
    Record, Reject, Run, Sink, Stage, StageError, StateKey, Store, StoreSpec, Timer, Timers, Tx, Verdict,
};
use atio_stream::{
    Identity, Kafka, LaneConfig, LaneState, Ledger, Limits, SchemaSource, Stop, StreamMetrics, run_lane,
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    message::{Headers as _, Message},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

struct Ids(StaticIds);
impl SchemaIds for Ids {
    fn id_of(&self, subject: &str) -> Option<i32> {
        self.0.id_of(subject)
    }
    fn schema_of(&self, id: i32) -> Option<Arc<apache_avro::Schema>> {
        self.0.schema_of(id)
    }
}
impl SchemaSource for Ids {
    fn ensure(&self, _: i32) -> Result<(), String> {
        Ok(())
    }
}

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
    Codec::new(Arc::new(Ids(StaticIds::new())))
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
        () if counting => Run::Transform(Box::new(Counter)),
        () => Run::Transform(Box::new(Pass)),
    };
    let counting = counting && !name.starts_with("deliver");
    Stage {
        name: "demo".into(),
        service: "demo",
        group: format!("{name}.group"),
        inputs: vec![Input::new(&format!("{name}.in"))],
        outputs: vec![Arc::from(format!("{name}.out"))],
        stores: if counting { stores.to_vec() } else { vec![] },
        tables: vec![],
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
    let ids = Arc::new(Ids(StaticIds::new()));
    LaneConfig {
        kafka: Kafka { bootstrap: bootstrap.into(), properties: BTreeMap::new() },
        identity: Identity { prefix: format!("{name}."), ordinal, lane: 0 },
        codec: Codec::new(ids.clone()),
        schemas: ids,
        metrics: StreamMetrics::new(&metrics.service("demo")).unwrap(),
        io: io.clone(),
        limits: Limits::default(),
        epochs: None,
    }
}

fn run(bootstrap: &str, name: &str, ordinal: Option<u32>) {
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
        std::process::exit(1);
    }
}

const T: Duration = Duration::from_secs(15);

fn client(bootstrap: &str) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    c
}

fn create(bootstrap: &str, topics: &[(String, i32, bool)]) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().unwrap();
    let new: Vec<_> = topics
        .iter()
        .map(|(name, partitions, compact)| {
            let t = NewTopic::new(name, *partitions, TopicReplication::Fixed(1));
            if *compact { t.set("cleanup.policy", "compact") } else { t }
        })
        .collect();
    let made = futures::executor::block_on(
        admin.create_topics(&new, &AdminOptions::new().operation_timeout(Some(T))),
    )
    .unwrap();
    made.into_iter().for_each(|r| drop(r.unwrap()));
}

fn feed(bootstrap: &str, topic: &str, records: u64, per_second: u64, bytes: usize) {
    let p: BaseProducer<DefaultProducerContext> = client(bootstrap)
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    let started = Instant::now();
    let pad = "x".repeat(bytes);
    for n in 0..records {
        let key = format!("k{}", n % 499);
        let value =
            if topic.starts_with("deliver") { delivery(n) } else { format!("{n} {pad}").into_bytes() };
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        while let Err((_, back)) = p.send(record) {
            record = back;
            p.poll(Duration::from_millis(5));
        }
        while per_second > 0 && n as f64 > started.elapsed().as_secs_f64() * per_second as f64 {
            p.poll(Duration::from_millis(2));
        }
    }
    p.flush(T).unwrap();
}

fn spawn_as(bootstrap: &str, name: &str, ordinal: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([bootstrap, "run", name, ordinal])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn spawn(bootstrap: &str, name: &str) -> Child {
    spawn_as(bootstrap, name, "0")
}

/// Three members that come, go, die and freeze.
fn churn(bootstrap: &str, records: u64, turns: u64, partitions: i32, fixed: bool) {
    let name = unique("churn");
    topics(bootstrap, &name, partitions);
    let seconds = turns * 4;
    let feeder = {
        let (b, t) = (bootstrap.to_owned(), format!("{name}.in"));
        std::thread::spawn(move || feed(&b, &t, records, records / seconds, 100))
    };
    let make = |i: usize| spawn_as(bootstrap, &name, &if fixed { i.to_string() } else { "-".into() });
    let mut members: Vec<Child> = (0..3).map(make).collect();
    let mut random = u64::from(std::process::id());
    for turn in 0..turns {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(2000 + (random >> 33) % 2500));
        let who = (random >> 20) as usize % 3;
        let what = ["die", "leave", "freeze"][turn as usize % 3];
        println!("turn {turn}: {who} {what}s");
        match what {
            "die" => {
                members[who].kill().unwrap();
                members[who].wait().unwrap();
                members[who] = make(who);
            }
            "leave" => {
                drop(members[who].stdin.take());
                println!("  ended: {:?}", members[who].wait().unwrap());
                members[who] = make(who);
            }
            _ => {
                signal(&members[who], "STOP");
                std::thread::sleep(Duration::from_secs(13));
                signal(&members[who], "CONT");
            }
        }
        for (i, member) in members.iter_mut().enumerate() {
            if let Some(status) = member.try_wait().unwrap() {
                println!("  {i} has ended by itself: {status}");
                *member = make(i);
            }
        }
    }
    feeder.join().unwrap();
    println!("all committed: {}", wait_done(bootstrap, &name, partitions, Duration::from_secs(90)));
    for mut member in members {
        drop(member.stdin.take());
        println!("ended: {:?}", member.wait().unwrap());
    }
    judge(bootstrap, &name, records, partitions);
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Everything that a read_committed reader sees, in order per partition.
fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Vec<(String, Vec<u8>, Option<String>)> {
    let c: BaseConsumer = client(bootstrap)
        .set("group.id", format!("{topic}.judge"))
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    (0..partitions).for_each(|p| list.add_partition_offset(topic, p, Offset::Offset(0)).unwrap());
    c.assign(&list).unwrap();
    let (mut out, mut ended) = (vec![], HashSet::new());
    let deadline = Instant::now() + Duration::from_secs(30);
    while ended.len() < partitions as usize {
        assert!(Instant::now() < deadline, "reading {topic}");
        match c.poll(Duration::from_millis(100)) {
            Some(Ok(m)) => {
                let code = m.headers().and_then(|h| {
                    h.iter()
                        .find(|h| h.key == "atio.errors.code")
                        .map(|h| String::from_utf8_lossy(h.value.unwrap()).into_owned())
                });
                out.push((
                    String::from_utf8_lossy(m.key().unwrap()).into_owned(),
                    m.payload().unwrap().to_vec(),
                    code,
                ));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(p))) => drop(ended.insert(p)),
            Some(Err(e)) => println!("read: {e}"),
            None => {}
        }
    }
    out
}

fn committed(bootstrap: &str, name: &str, partitions: i32) -> Vec<(i64, i64, Option<Ledger>)> {
    let c: BaseConsumer = client(bootstrap)
        .set("group.id", format!("{name}.group"))
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let topic = format!("{name}.in");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&topic, 0, partitions - 1);
    let found = c.committed_offsets(list, T).unwrap();
    let each = found.elements().into_iter().map(|e| {
        let high = c.fetch_watermarks(&topic, e.partition(), T).unwrap().1;
        (e.offset().to_raw().unwrap_or(-1), high, Ledger::from_metadata(e.metadata()))
    });
    each.collect()
}

fn wait_done(bootstrap: &str, name: &str, partitions: i32, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        let done = |(at, high, ledger): &(i64, i64, Option<Ledger>)| {
            at == high && ledger.as_ref().is_some_and(|l| l.counts.held == 0)
        };
        if committed(bootstrap, name, partitions).iter().all(done) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

fn unique(what: &str) -> String {
    let ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    format!("{what}-{}", ms % 1_000_000_000)
}

fn topics(bootstrap: &str, name: &str, partitions: i32) {
    create(
        bootstrap,
        &[
            (format!("{name}.in"), partitions, false),
            (format!("{name}.in.dlq"), partitions, false),
            (format!("{name}.out"), partitions, false),
            (format!("{name}.state.demo.count"), partitions, true),
            (format!("{name}.state.demo.timers"), partitions, true),
            (format!("{name}.state.demo.waiting"), partitions, true),
        ],
    );
}

fn soak(bootstrap: &str, what: &str, records: u64, kills: u64, partitions: i32) {
    let name = unique(what);
    topics(bootstrap, &name, partitions);
    let seconds = (kills * 3).max(4);
    let feeder = {
        let (b, t) = (bootstrap.to_owned(), format!("{name}.in"));
        std::thread::spawn(move || feed(&b, &t, records, records / seconds, 100))
    };
    let mut child = spawn(bootstrap, &name);
    let mut random = u64::from(std::process::id());
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(1500 + (random >> 33) % 2500));
        child.kill().unwrap();
        child.wait().unwrap();
        let died = Instant::now();
        child = spawn(bootstrap, &name);
        // Waits until the transaction that was cut off is ended.
        let at: Vec<_> = committed(bootstrap, &name, partitions).iter().map(|c| c.0).collect();
        println!("kill {kill}: stable offsets after {:?}: {at:?}", died.elapsed());
    }
    feeder.join().unwrap();
    println!("all committed: {}", wait_done(bootstrap, &name, partitions, Duration::from_secs(60)));
    drop(child.stdin.take());
    println!("ended: {:?}", child.wait().unwrap());
    if what == "deliver" {
        judge_deliveries(bootstrap, &name, records, partitions);
    } else {
        judge(bootstrap, &name, records, partitions);
    }
}

/// Each delivery has one receipt, whatever was killed when.
fn judge_deliveries(bootstrap: &str, name: &str, records: u64, partitions: i32) {
    let receipts = read_all(bootstrap, &format!("{name}.out"), partitions);
    let dead = read_all(bootstrap, &format!("{name}.in.dlq"), partitions);
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut wrong = 0;
    for (_, value, _) in &receipts {
        let receipt: wire::ReceiptRecord = codec().decode(value).unwrap();
        let n: u64 = receipt.idempotency_key.parse().unwrap();
        *seen.entry(n).or_default() += 1;
        wrong += u32::from((receipt.status == "rejected") != n.is_multiple_of(50) || receipt.attempts < 1);
    }
    let lost = (0..records).filter(|n| !seen.contains_key(n)).count();
    let twice = seen.values().filter(|n| **n > 1).count();
    let mut total = atio_stream::Counts::default();
    committed(bootstrap, name, partitions)
        .iter()
        .for_each(|c| total.add(&c.2.as_ref().expect("a ledger").counts));
    println!(
        "RESULT deliveries {records} receipts {} dead {}: lost {lost}, twice {twice}, wrong {wrong}",
        receipts.len(),
        dead.len()
    );
    println!("LEDGER {total:?} balanced {}", total.balanced());
    let good = lost == 0
        && twice == 0
        && wrong == 0
        && total.balanced()
        && total.read == records
        && dead.len() as u64 == records.div_ceil(50);
    println!("{}", if good { "GOOD" } else { "BAD" });
    std::process::exit(i32::from(!good));
}

fn judge(bootstrap: &str, name: &str, records: u64, partitions: i32) {
    let out = read_all(bootstrap, &format!("{name}.out"), partitions);
    let dead = read_all(bootstrap, &format!("{name}.in.dlq"), partitions);
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut counts: HashMap<String, u64> = HashMap::new();
    let (mut jumps, mut parts) = (0, 0);
    for (key, value, _) in &out {
        let (n, count) = std::str::from_utf8(value).unwrap().split_once(':').unwrap();
        *seen.entry(n.parse().unwrap()).or_default() += 1;
        let last = counts.entry(key.clone()).or_default();
        jumps += u64::from(count.parse::<u64>().unwrap() != *last + 1);
        *last = count.parse().unwrap();
    }
    for (_, value, code) in &dead {
        if code.as_deref() == Some("invalid_field") {
            parts += 1;
            continue;
        }
        *seen
            .entry(std::str::from_utf8(value).unwrap().split(' ').next().unwrap().parse().unwrap())
            .or_default() += 1;
    }
    let dropped = (0..records).filter(|n| n % 70 == 0 && n % 50 != 0).count() as u64;
    let lost = (0..records).filter(|n| !seen.contains_key(n)).count() as u64 - dropped;
    let twice = seen.values().filter(|n| **n > 1).count();
    let mut total = atio_stream::Counts::default();
    let mut balanced = true;
    let mut notes = 0u64;
    for (_, _, ledger) in committed(bootstrap, name, partitions) {
        let ledger = ledger.expect("a ledger");
        balanced &= ledger.counts.balanced();
        notes += ledger.note.as_deref().unwrap_or("0").parse::<u64>().unwrap();
        total.add(&ledger.counts);
    }
    println!(
        "RESULT records {records} out {} dead {} (parts {parts}): lost {lost}, twice {twice}, counts that do not go up by one {jumps}",
        out.len(),
        dead.len()
    );
    println!("LEDGER {total:?} balanced {balanced} notes {notes}");
    let good = lost == 0
        && twice == 0
        && jumps == 0
        && balanced
        && total.read == records
        && total.parts == parts
        && notes == total.emitted;
    println!("{}", if good { "GOOD" } else { "BAD" });
    std::process::exit(i32::from(!good));
}

fn speed(bootstrap: &str, records: u64, bytes: usize) {
    let name = unique("speed");
    topics(bootstrap, &name, 1);
    feed(bootstrap, &format!("{name}.in"), records, 0, bytes);
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
    while lane.status().ledger.read == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (from, started) = (lane.status().ledger.read, Instant::now());
    while lane.status().ledger.read < records {
        std::thread::sleep(Duration::from_millis(1));
        assert!(!lane.is_finished());
    }
    let rate = (records - from) as f64 / started.elapsed().as_secs_f64();
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
    match args.get(1).map(String::as_str) {
        Some("run") => run(bootstrap, &args[2], args.get(3).and_then(|a| a.parse().ok())),
        Some(what @ ("soak" | "deliver")) => {
            soak(bootstrap, what, number(2, 20_000), number(3, 5), number(4, 4) as i32)
        }
        Some("churn") => {
            churn(bootstrap, number(2, 40_000), number(3, 9), number(4, 6) as i32, args.get(5).is_some())
        }
        Some("speed") => speed(bootstrap, number(2, 200_000), number(3, 1000) as usize),
        _ => panic!("run, soak or speed"),
    }
}
