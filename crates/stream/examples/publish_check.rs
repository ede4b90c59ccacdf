//! Judges publishing and reading against a running Kafka: `publish_check HOST:PORT [BROKER_PID]`. With the broker's process id it is
//! stopped for a while, to see what callers get then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a check on the command line"
)]
use atio_schemas::Timestamp;
use atio_stage::{Headers, Output};
use atio_stream::{
    Kafka,
    admin::Admin,
    publish::{PublishError, Publisher, PublisherSpec, TransactError, Transactional, TransactionalSpec},
    read::{Entry, From, Next, ReadSpec, TopicReader, Until, latest_by_key},
};
use atio_topics::{Change, Plan};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

struct Check {
    kafka: Kafka,
    admin: Admin,
    topic: Arc<str>,
    small: Arc<str>,
}

fn output(topic: &Arc<str>, key: &str, value: Option<&str>) -> Output {
    let mut headers = Headers::default();
    headers.set("ce_id", key);
    let mut o = Output::new(topic.clone(), key, vec![], headers);
    o.value = value.map(|v| v.as_bytes().to_vec());
    o
}

fn main() {
    let mut args = std::env::args().skip(1);
    let kafka = Kafka { bootstrap: args.next().expect("HOST:PORT"), ..Kafka::default() };
    let pid = args.next();
    let admin = Admin::connect(&kafka, "check").expect("a client");
    let name = format!("check{}", std::process::id());
    let topic: Arc<str> = Arc::from(format!("{name}.a"));
    let small: Arc<str> = Arc::from(format!("{name}.small"));
    let create = |topic: &str, max: &str| Change::Create {
        topic: topic.into(),
        partitions: 3,
        replication: Some(1),
        configs: BTreeMap::from([
            ("max.message.bytes".to_owned(), max.to_owned()),
            ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned()),
        ]),
    };
    let plan = Plan { changes: vec![create(&topic, "17000000"), create(&small, "20000")], refused: vec![] };
    assert!(admin.apply(&plan).expect("applied").iter().all(|d| d.result.is_ok()));
    let check = Check { kafka, admin, topic, small };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    publishing(&check, &runtime);
    reading(&check, &runtime);
    transactions(&check);
    if let Some(pid) = pid {
        stopped(&check, &runtime, &pid);
    }
    check.admin.delete_topic(&check.topic).expect("deleted");
    check.admin.delete_topic(&check.small).expect("deleted");
    println!("ok");
}

fn publishing(c: &Check, runtime: &tokio::runtime::Runtime) {
    let publisher = Publisher::open(PublisherSpec::new(&c.kafka, "check", &[&c.topic])).expect("a publisher");
    let outputs: Vec<Output> =
        (0..1000).map(|i| output(&c.topic, &format!("k{}", i % 10), Some(&format!("v{i}")))).collect();
    let started = Instant::now();
    let answers = runtime.block_on(publisher.send(outputs));
    let positions: Vec<_> = answers.into_iter().map(|a| a.expect("published")).collect();
    println!("1000 in {:?}", started.elapsed());
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for p in &positions {
        let next = last.insert(p.partition, p.offset).map_or(0, |o| o + 1);
        assert_eq!(p.offset, next, "order within a partition");
    }
    let mut times: Vec<_> = (0..200)
        .map(|i| {
            let started = Instant::now();
            runtime.block_on(publisher.send(vec![output(&c.topic, "one", Some(&i.to_string()))]))[0]
                .as_ref()
                .expect("published");
            started.elapsed()
        })
        .collect();
    times.sort();
    println!("one at a time: p50 {:?} p99 {:?}", times[100], times[197]);
    let big = "x".repeat(16 << 20);
    runtime.block_on(publisher.send(vec![output(&c.topic, "big", Some(&big))]))[0]
        .as_ref()
        .expect("16 MiB fit");
    publisher.learn(std::slice::from_ref(&c.small)).expect("learnt");
    let many: Vec<Output> =
        (0..300).map(|i| output(&c.small, &i.to_string(), Some(&"y".repeat(1000)))).collect();
    assert!(
        runtime.block_on(publisher.send(many)).iter().all(Result::is_ok),
        "batches stay below the smallest limit"
    );
    let mixed = vec![
        output(&c.topic, "a", Some("1")),
        output(&c.small, "b", Some(&"z".repeat(30_000))),
        output(&Arc::from("other"), "c", None),
    ];
    let answers = runtime.block_on(publisher.send(mixed));
    let codes: Vec<_> =
        answers.iter().map(|a| a.as_ref().map_or_else(PublishError::code, |_| "ok")).collect();
    assert_eq!(codes, ["ok", "too_large", "refused"]);
    let absent =
        Publisher::open(PublisherSpec::new(&c.kafka, "check", &["no-such-topic"])).err().expect("refused");
    assert_eq!(absent.code(), "refused");
}

fn reading(c: &Check, runtime: &tokio::runtime::Runtime) {
    let whole = ReadSpec::whole(&c.kafka, "check-read", &c.topic);
    let entries: Vec<Entry> = TopicReader::open(&whole).expect("open").map(|e| e.expect("read")).collect();
    assert_eq!(entries.len(), 1000 + 200 + 1 + 1);
    assert_eq!(
        entries[0].headers.text("ce_id"),
        entries[0].key.as_deref().map(|k| std::str::from_utf8(k).unwrap())
    );
    assert!(entries.iter().all(|e| e.timestamp > Timestamp(1_600_000_000_000_000)));
    let latest = latest_by_key(&c.kafka, "check-read", &c.topic, 100).expect("read");
    assert_eq!(latest[b"k9".as_slice()].value.as_deref(), Some(b"v999".as_slice()));
    latest_by_key(&c.kafka, "check-read", &c.topic, 3).expect_err("too many");
    let marks = c.admin.watermarks(&c.topic).expect("marks");
    let tail = ReadSpec { from: From::Offset(marks[0].high - 2), partitions: Some(vec![0]), ..whole.clone() };
    assert_eq!(
        TopicReader::open(&tail).expect("open").count(),
        2.min(usize::try_from(marks[0].high).unwrap())
    );
    let future = ReadSpec { from: From::Time(Timestamp(4_000_000_000_000_000)), ..whole.clone() };
    assert_eq!(TopicReader::open(&future).expect("open").count(), 0);
    let past = ReadSpec { from: From::Time(entries[0].timestamp), ..whole.clone() };
    assert!(TopicReader::open(&past).expect("open").count() > 0);
    assert_eq!(
        TopicReader::open(&ReadSpec::whole(&c.kafka, "x", "no-such")).err().expect("refused").code(),
        "unknown_topic"
    );
    let mut seen = 0;
    TopicReader::open(&whole)
        .expect("open")
        .for_each(
            || false,
            |_| {
                seen += 1;
                if seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )
        .expect("read");
    assert_eq!(seen, 5);
    let mut channel = TopicReader::open(&whole).expect("open").into_channel(16).expect("a thread");
    let count = runtime.block_on(async {
        let mut n = 0;
        while let Some(e) = channel.recv().await {
            e.expect("read");
            n += 1;
        }
        n
    });
    assert_eq!(count, entries.len());
    println!("read {count}");
}

fn transactions(c: &Check) {
    let spec = TransactionalSpec {
        kafka: c.kafka.clone(),
        client_id: "check-txn".into(),
        transactional_id: format!("{}.txn", c.topic),
        topics: vec![c.topic.clone()],
        transaction_timeout: Duration::from_secs(5),
    };
    let before = TopicReader::open(&ReadSpec::whole(&c.kafka, "check-read", &c.topic)).expect("open").count();
    let mut txn = Transactional::open(spec.clone()).expect("open");
    let mut committed = 0;
    let mut times = vec![];
    for i in 0..50 {
        let started = Instant::now();
        loop {
            match txn.transaction(&[
                output(&c.topic, "t", Some(&i.to_string())),
                output(&c.topic, "u", Some(&i.to_string())),
            ]) {
                Ok(()) => {
                    committed += 2;
                    break;
                }
                // Under load an Ok may be too slow to be believed; then what is there counts.
                Err(TransactError::Unknown(why)) => {
                    txn.recover().expect("recovered");
                    let is = TopicReader::open(&ReadSpec::whole(&c.kafka, "check-read", &c.topic))
                        .expect("open")
                        .count();
                    println!("unknown ({why}): {}", is - before - committed);
                    if is - before > committed {
                        committed += 2;
                        break;
                    }
                }
                Err(e) => panic!("{e}"),
            }
        }
        times.push(started.elapsed());
    }
    times.sort();
    println!("transaction p50 {:?} p99 {:?}", times[25], times[49]);
    // The last thing on each partition is a marker now; reading to the end must pass it, and soon.
    let started = Instant::now();
    let after = TopicReader::open(&ReadSpec::whole(&c.kafka, "check-read", &c.topic)).expect("open").count();
    println!("read past markers in {:?}", started.elapsed());
    assert_eq!(after - before, committed);
    assert!(started.elapsed() < Duration::from_secs(5));
    let large = output(&c.topic, "l", Some(&"x".repeat(17_000_000)));
    assert!(matches!(
        txn.transaction(&[output(&c.topic, "t", Some("no")), large]),
        Err(TransactError::TooLarge { index: 1, .. })
    ));
    // A successor fences this one, which tells, and never writes again.
    let mut successor = Transactional::open(spec.clone()).expect("open");
    let fenced = txn.transaction(&[output(&c.topic, "t", Some("zombie"))]).expect_err("fenced");
    println!("fenced: {fenced}");
    assert!(matches!(
        txn.transaction(&[output(&c.topic, "t", Some("zombie"))]),
        Err(TransactError::Unknown(_))
    ));
    successor.transaction(&[output(&c.topic, "t", Some("successor"))]).expect("committed");
    let all: Vec<Entry> = TopicReader::open(&ReadSpec::whole(&c.kafka, "check-read", &c.topic))
        .expect("open")
        .map(|e| e.expect("read"))
        .collect();
    assert!(all.iter().all(|e| e.value.as_deref() != Some(b"zombie".as_slice())));
    assert_eq!(all.len(), after + 1);
    // Both claim the id: they must not fight for ever.
    txn.recover().expect("takes the id back");
    txn.transaction(&[output(&c.topic, "t", Some("back"))]).expect("its own again");
    let mut third = Transactional::open(spec).expect("open");
    third.transaction(&[output(&c.topic, "t", Some("third"))]).expect("committed");
    let twice = txn.transaction(&[output(&c.topic, "t", Some("zombie"))]).expect_err("fenced twice");
    println!("fenced twice: {twice}");
    assert_eq!(twice.code(), "fatal");
    let mut follow = TopicReader::open(&ReadSpec {
        from: From::End,
        until: Until::Never,
        ..ReadSpec::whole(&c.kafka, "check-read", &c.topic)
    })
    .expect("open");
    assert_eq!(follow.next(Duration::from_millis(300)).expect("nothing yet"), Next::Idle);
}

fn stopped(c: &Check, runtime: &tokio::runtime::Runtime, pid: &str) {
    let signal = |s: &str| assert!(Command::new("kill").args([s, pid]).status().expect("kill").success());
    let mut spec = PublisherSpec::new(&c.kafka, "check", &[&c.topic]);
    spec.deadline = Duration::from_secs(2);
    spec.waiting_records = 100;
    let publisher = Publisher::open(spec).expect("a publisher");
    runtime.block_on(publisher.send(vec![output(&c.topic, "s", Some("warm"))]))[0]
        .as_ref()
        .expect("published");
    signal("-STOP");
    let started = Instant::now();
    let answers = runtime
        .block_on(publisher.send((0..150).map(|i| output(&c.topic, &i.to_string(), Some("s"))).collect()));
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for a in &answers {
        *codes.entry(a.as_ref().map_or_else(PublishError::code, |_| "ok")).or_default() += 1;
    }
    println!("a stopped broker: {codes:?} after {:?}", started.elapsed());
    signal("-CONT");
    assert_eq!((codes["busy"], codes["unavailable"]), (50, 100));
    assert!(started.elapsed() < Duration::from_secs(10));
    let deadline = Instant::now() + Duration::from_secs(30);
    while runtime.block_on(publisher.send(vec![output(&c.topic, "s", Some("back"))]))[0].is_err() {
        assert!(Instant::now() < deadline, "it comes back");
    }
    println!("back after {:?}", started.elapsed());
}
