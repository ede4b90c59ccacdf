//! Feeds a lane, disturbs it, and counts what readers see.
use crate::{
    codec, delivery,
    proxy::{Act, Proxy},
};
use atio_schemas::delivery as wire;
use atio_stream::Ledger;
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
    collections::{HashMap, HashSet},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) const T: Duration = Duration::from_secs(15);

pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    c
}

pub(crate) fn create(bootstrap: &str, topics: &[(String, i32, bool)]) {
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

pub(crate) fn feed(bootstrap: &str, topic: &str, records: u64, per_second: u64, bytes: usize) {
    let p: BaseProducer<DefaultProducerContext> = client(bootstrap)
        .set("linger.ms", "5")
        .set("enable.idempotence", "true")
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
    p.flush(T * 4).unwrap();
}

pub(crate) fn put(bootstrap: &str, topic: &str, records: &[(&str, &str)]) {
    let p: BaseProducer<DefaultProducerContext> =
        client(bootstrap).set("linger.ms", "5").set("partitioner", "murmur2_random").create().unwrap();
    for (key, value) in records {
        p.send(BaseRecord::to(topic).key(*key).payload(*value)).unwrap();
    }
    p.flush(T).unwrap();
}

pub(crate) fn spawn_as(bootstrap: &str, name: &str, ordinal: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([bootstrap, "run", name, ordinal])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn spawn(bootstrap: &str, name: &str) -> Child {
    spawn_as(bootstrap, name, "0")
}

/// Three members that come, go, die and freeze.
pub(crate) fn churn(bootstrap: &str, records: u64, turns: u64, partitions: i32, fixed: bool) -> bool {
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
    judge(bootstrap, &name, records, partitions)
}

/// From produce to read_committed, at a trickle: percentiles in milliseconds.
pub(crate) fn latency(bootstrap: &str, topic: &str, per_second: u64, seconds: u64) {
    let p: BaseProducer<DefaultProducerContext> = client(bootstrap).set("linger.ms", "0").create().unwrap();
    let c: BaseConsumer = client(bootstrap)
        .set("group.id", format!("{topic}.latency"))
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "100")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic.replace(".in", ".out"), 0, Offset::Offset(0)).unwrap();
    c.assign(&list).unwrap();
    let (started, mut sent, mut took) = (Instant::now(), 0u64, vec![]);
    while took.len() < (per_second * seconds) as usize && started.elapsed() < Duration::from_secs(seconds * 3)
    {
        let now = started.elapsed().as_micros() as u64;
        if sent < per_second * seconds && now >= sent * 1_000_000 / per_second {
            p.send(BaseRecord::to(topic).partition(0).key("k").payload(&now.to_string())).unwrap();
            sent += 1;
        }
        p.poll(Duration::ZERO);
        if let Some(Ok(m)) = c.poll(Duration::from_millis(1)) {
            let then: u64 = std::str::from_utf8(m.payload().unwrap()).unwrap().parse().unwrap();
            took.push(started.elapsed().as_micros() as u64 - then);
        }
    }
    // The first second warms up.
    let mut took = took.split_off(per_second as usize);
    took.sort_unstable();
    let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize] as f64 / 1000.0;
    println!(
        "latency of {}: p50 {:.1} p90 {:.1} p99 {:.1} max {:.1} ms",
        took.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// A second instance under the same name: the first ends by itself, once, and nothing is lost or doubled.
pub(crate) fn twins(bootstrap: &str, records: u64, partitions: i32) -> bool {
    let name = unique("twins");
    topics(bootstrap, &name, partitions);
    let feeder = {
        let (b, t) = (bootstrap.to_owned(), format!("{name}.in"));
        std::thread::spawn(move || feed(&b, &t, records, records / 8, 100))
    };
    let mut first = spawn(bootstrap, &name);
    std::thread::sleep(Duration::from_secs(3));
    let mut second = spawn(bootstrap, &name);
    let started = Instant::now();
    // `wait` would close its standard input, and so stop it.
    let ended = loop {
        if let Some(status) = first.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "both run");
        std::thread::sleep(Duration::from_millis(20));
    };
    println!("the first ended after {:?}: {ended}", started.elapsed());
    feeder.join().unwrap();
    println!("all committed: {}", wait_done(bootstrap, &name, partitions, Duration::from_secs(60)));
    assert!(!ended.success() && second.try_wait().unwrap().is_none(), "the second goes on");
    drop(second.stdin.take());
    println!("ended: {:?}", second.wait().unwrap());
    judge(bootstrap, &name, records, partitions)
}

/// Requests of transactions that are held, cut, swallowed and delivered late. `upstream` is the broker, which advertises `bootstrap`.
pub(crate) fn faults(bootstrap: &str, upstream: &str, count: u64, partitions: i32) -> bool {
    let proxy = Proxy::start(bootstrap, upstream);
    let name = unique("faults");
    topics(bootstrap, &name, partitions);
    let records = count * 5000;
    let feeder = {
        let (b, t) = (bootstrap.to_owned(), format!("{name}.in"));
        std::thread::spawn(move || feed(&b, &t, records, 1500, 100))
    };
    let mut child = spawn(bootstrap, &name);
    std::thread::sleep(Duration::from_millis(1500));
    let mut random = u64::from(std::process::id());
    for fault in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Produce, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit.
        let key = [0, 24, 25, 26, 26, 28][(random >> 33) as usize % 6];
        let act = [
            Act::Delay(300),
            Act::Delay(1500),
            Act::SwallowAnswer,
            Act::CutAfter,
            Act::CutBefore,
            Act::CutThenDeliver(150),
            Act::CutThenDeliver(600),
        ][(random >> 40) as usize % 7];
        println!("fault {fault}: {act:?} on {key}");
        proxy.arm(&name, key, act);
        let deadline = Instant::now() + Duration::from_secs(10);
        while proxy.armed() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(300 + (random >> 20) % 900));
        if let Some(status) = child.try_wait().unwrap() {
            println!("  the lane has ended by itself: {status}");
            child = spawn(bootstrap, &name);
        }
    }
    proxy.disarm();
    feeder.join().unwrap();
    println!(
        "faults done: {}, all committed: {}",
        proxy.done(),
        wait_done(bootstrap, &name, partitions, Duration::from_secs(90))
    );
    drop(child.stdin.take());
    println!("ended: {:?}", child.wait().unwrap());
    judge(bootstrap, &name, records, partitions)
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Everything that a read_committed reader sees, in order per partition.
pub(crate) fn read_all(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
) -> Vec<(String, Vec<u8>, Option<String>)> {
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

pub(crate) fn committed(bootstrap: &str, name: &str, partitions: i32) -> Vec<(i64, i64, Option<Ledger>)> {
    let c: BaseConsumer = client(bootstrap)
        .set("group.id", format!("{name}.group"))
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let topic = format!("{name}.in");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&topic, 0, partitions - 1);
    // A broker that starts again takes its time.
    let asked = Instant::now();
    let found = loop {
        match c.committed_offsets(list.clone(), T) {
            Ok(found) => break found,
            Err(e) => assert!(asked.elapsed() < Duration::from_secs(90), "{e}"),
        }
    };
    let each = found.elements().into_iter().map(|e| {
        let high = c.fetch_watermarks(&topic, e.partition(), T).unwrap().1;
        (e.offset().to_raw().unwrap_or(-1), high, Ledger::from_metadata(e.metadata()))
    });
    each.collect()
}

pub(crate) fn wait_done(bootstrap: &str, name: &str, partitions: i32, limit: Duration) -> bool {
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

pub(crate) fn unique(what: &str) -> String {
    let ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    format!("{what}-{}", ms % 1_000_000_000)
}

pub(crate) fn topics(bootstrap: &str, name: &str, partitions: i32) {
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

pub(crate) fn soak(bootstrap: &str, what: &str, records: u64, kills: u64, partitions: i32) -> bool {
    let name = unique(what);
    topics(bootstrap, &name, partitions);
    let seconds = (kills * 3).max(12);
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
        judge_deliveries(bootstrap, &name, records, partitions)
    } else {
        judge(bootstrap, &name, records, partitions)
    }
}

/// Each delivery has one receipt, whatever was killed when.
pub(crate) fn judge_deliveries(bootstrap: &str, name: &str, records: u64, partitions: i32) -> bool {
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
    lost == 0
        && twice == 0
        && wrong == 0
        && total.balanced()
        && total.read == records
        && dead.len() as u64 == records.div_ceil(50)
}

pub(crate) fn judge(bootstrap: &str, name: &str, records: u64, partitions: i32) -> bool {
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
    lost == 0
        && twice == 0
        && jumps == 0
        && balanced
        && total.read == records
        && total.parts == parts
        && notes == total.emitted
}
