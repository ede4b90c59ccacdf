//! A week in a minute: a steady load on topics with retention and compaction, producers, transactional ids, groups and their
//! members coming and going, with times made short by the configuration. What the broker holds stays bounded, and what it
//! keeps stays right. `ATIO_WEEK_SECONDS=N` runs longer.
#![allow(clippy::expect_used, clippy::panic)] // helpers of tests are no tests to clippy
#![allow(clippy::print_stdout)] // figures
#![allow(clippy::disallowed_methods)] // the one variable, and the clock of figures

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::*;
use support::{Client, Process, batch, keyed, s, topic, wait_until};

const SECONDS: u64 = 24;
/// Groups, ids and producers that no one uses are kept so long, records of `timed` too.
const KEPT: Duration = Duration::from_secs(3);
/// And some more: a member's session, and until a look at them comes round on a machine that is busy with other things.
const LATE: Duration = Duration::from_secs(7);
const SETTINGS: &str = "upkeep=100 expiry=500 metadata_retention=3000 producer_retention=3000 metadata_rewrite=200000 \
                        checkpoint=65536 scrub_rate=4000000 scrub_every=1000";
const KEYS: u64 = 300;

fn main() {
    support::run(&[("a_week_leaves_it_as_small_as_a_day", a_week_leaves_it_as_small_as_a_day)]);
}

/// What a load has made so far, and whether it is over.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    groups: AtomicU64,
    ids: AtomicU64,
    producers: AtomicU64,
    records: AtomicU64,
    /// The latest committed value of each key of `table`.
    table: Mutex<BTreeMap<String, Option<String>>>,
}

/// Turns at a pace: the load is the same whether the machine is quick or busy, as far as it can be.
struct Pace {
    next: Instant,
    every: Duration,
}

impl Pace {
    fn every(ms: u64) -> Pace {
        Pace { next: Instant::now(), every: Duration::from_millis(ms) }
    }
    fn turn(&mut self, load: &Load) -> bool {
        std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next = Instant::now().max(self.next) + self.every;
        !load.over.load(Ordering::Relaxed)
    }
}

fn count(of: &AtomicU64) -> u64 {
    of.fetch_add(1, Ordering::Relaxed)
}

/// Numbered records, by one idempotent producer after the other.
fn write(mut client: Client, name: &str, load: &Load) {
    let (mut pace, mut number) = (Pace::every(10), 0u64);
    let padding = "x".repeat(900);
    let (mut pid, mut sequence) = (client.init(None, 0).1, 0);
    while pace.turn(load) {
        let values: Vec<String> = (0..10).map(|n| format!("{}:{padding}", number + n)).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        assert_eq!(client.produce(name, batch(&values, Some((pid, 0, sequence, false)))), (0, number as i64));
        (number, sequence) = (number + 10, sequence + 10);
        load.records.fetch_add(10, Ordering::Relaxed);
        if sequence >= 200 {
            (pid, sequence) = (client.init(None, 0).1, 0);
            count(&load.producers);
        }
    }
}

/// Transactions on `table` and on offsets; each transactional id lives for a few of them.
fn transact(mut client: Client, load: &Load) {
    let (mut pace, mut turn) = (Pace::every(10), 0u64);
    let (mut id, mut pid, mut epoch, mut sequence) = (String::new(), 0, 0, 0);
    while pace.turn(load) {
        if turn.is_multiple_of(8) {
            id = format!("id-{}", count(&load.ids));
            let (error, new, first) = client.init(Some(&id), 60_000);
            assert_eq!(error, 0);
            (pid, epoch, sequence) = (new, first, 0);
        }
        let rows: BTreeMap<String, Option<String>> = (0..10)
            .map(|n| {
                let key = (turn * 7 + n * 31) % KEYS;
                let value = (!(turn + n).is_multiple_of(19)).then(|| format!("{turn}:{}", "y".repeat(400)));
                (format!("key-{key}"), value)
            })
            .collect();
        let sent: Vec<_> = rows.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let group = format!("of-{id}");
        assert_eq!(client.add(&id, pid, epoch, "table"), 0);
        let produced =
            client.produce_as(Some(&id), "table", 0, keyed(&sent, Some((pid, epoch, sequence, true))));
        assert_eq!(produced.0, 0);
        sequence += sent.len() as i32;
        assert_eq!(client.add_group(&id, pid, epoch, &group), 0);
        assert_eq!(client.send_offset(&id, pid, epoch, &group, "timed", turn as i64), 0);
        let commit = !turn.is_multiple_of(5);
        assert_eq!(client.end(&id, pid, epoch, commit), 0);
        load.records.fetch_add(rows.len() as u64, Ordering::Relaxed);
        if commit {
            load.table.lock().expect("table").extend(rows);
        }
        turn += 1;
    }
}

/// Members of groups: each joins one of its own, reads a little of `timed`, commits, and leaves or is simply gone.
fn consume(connect: impl Fn() -> Client, load: &Load) {
    let mut pace = Pace::every(40);
    while pace.turn(load) {
        let number = count(&load.groups);
        let mut client = connect();
        let group = GroupId(s(&format!("group-{number}")));
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(s("range"))
            .with_metadata(vec![0; 8].into());
        let join = JoinGroupRequest::default()
            .with_group_id(group.clone())
            .with_session_timeout_ms(2_000)
            .with_rebalance_timeout_ms(2_000)
            .with_protocol_type(s("consumer"))
            .with_protocols(vec![protocol]);
        let joined = client.call(&join, 3);
        assert_eq!(joined.error_code, 0);
        let sync = SyncGroupRequest::default()
            .with_group_id(group.clone())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        // On a machine that had no time for it, it may have been taken for dead.
        let late = ResponseError::UnknownMemberId.code();
        match client.call(&sync, 3).error_code {
            0 => {}
            error if error == late => continue,
            error => panic!("sync: {error}"),
        }
        let end = client.offset_at("timed", -1).0;
        assert_eq!(client.fetch("timed", end, true, 5).error, 0);
        let committed =
            offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(end);
        let of = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(topic("timed"))
            .with_partitions(vec![committed]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(group.clone())
            .with_generation_id_or_member_epoch(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_topics(vec![of]);
        let error = client.call(&commit, 7).topics[0].partitions[0].error_code;
        assert!(error == 0 || error == late, "commit: {error}");
        if number.is_multiple_of(2) {
            let leave = LeaveGroupRequest::default().with_group_id(group).with_member_id(joined.member_id);
            let error = client.call(&leave, 2).error_code;
            assert!(error == 0 || error == late, "leave: {error}");
        }
    }
}

/// What the broker holds at a time.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    disk: u64,
    metadata: u64,
    rss: u64,
    files: u64,
    threads: u64,
    groups: u64,
    ids: u64,
    producers: u64,
}

fn bytes_below(dir: &Path) -> u64 {
    // What is listed may be gone when it is looked at.
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => bytes_below(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

fn sample(client: &mut Client, data: &Path, pid: u32) -> Sample {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).expect("a line");
        line.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
    };
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").count() as u64;
    let described = describe_producers_request::TopicRequest::default();
    let topics = ["timed", "sized", "table"]
        .map(|t| described.clone().with_name(topic(t)).with_partition_indexes(vec![0]));
    let producers = client.call(&DescribeProducersRequest::default().with_topics(topics.to_vec()), 0);
    let producers = producers.topics.iter().map(|t| t.partitions[0].active_producers.len() as u64).sum();
    Sample {
        disk: bytes_below(data),
        metadata: std::fs::metadata(data.join("metadata")).map_or(0, |m| m.len()),
        rss: number("VmRSS") * 1024,
        files,
        threads: number("Threads"),
        groups: client.call(&ListGroupsRequest::default(), 3).groups.len() as u64,
        ids: client.call(&ListTransactionsRequest::default(), 0).transaction_states.len() as u64,
        producers,
    }
}

/// When a sample was taken, what had been made by then, what there was.
type Seen = (Duration, [u64; 3], Sample);

/// Nothing grows from one third of the time to the next, by more than this factor and this much.
fn assert_bounded(samples: &[Seen]) {
    type Get = fn(&Sample) -> u64;
    let measures: [(&str, Get, f64, u64); 5] = [
        ("bytes on disk", |s| s.disk, 1.5, 2 << 20),
        ("bytes of metadata", |s| s.metadata, 1.5, 400_000),
        ("bytes of memory", |s| s.rss, 1.1, 8 << 20),
        ("open files", |s| s.files, 1.0, 30),
        ("threads", |s| s.threads, 1.0, 10),
    ];
    let third = samples.len() / 3;
    assert!(third >= 10, "{} samples", samples.len());
    for (what, get, factor, slack) in measures {
        let most = |part: &[Seen]| part.iter().map(|s| get(&s.2)).max().unwrap_or_default();
        let (middle, last) = (most(&samples[third..2 * third]), most(&samples[2 * third..]));
        println!("{what}: at most {middle} in the middle third, {last} in the last");
        assert!(last as f64 <= middle as f64 * factor + slack as f64, "{what}: {middle}, then {last}");
    }
}

/// What is kept of groups, ids and producers is what was made lately: all that was made before has been forgotten.
fn assert_forgotten(samples: &[Seen]) {
    for (at, made, sample) in samples {
        let since = at.saturating_sub(KEPT + LATE);
        let before = samples
            .iter()
            .take_while(|(then, ..)| *then <= since)
            .last()
            .map_or([0; 3], |(_, made, _)| *made);
        // A transactional producer is one of `table`; ids have groups of their own.
        let lately = [made[0] - before[0], made[1] - before[1], made[2] - before[2]];
        assert!(sample.groups <= lately[0] + lately[1] + 5, "at {at:?}: {sample:?}, made lately {lately:?}");
        assert!(sample.ids <= lately[1] + 5, "at {at:?}: {sample:?}, made lately {lately:?}");
        assert!(
            sample.producers <= lately[1] + lately[2] + 5,
            "at {at:?}: {sample:?}, made lately {lately:?}"
        );
    }
}

/// What is kept is right: of `table` the latest of every key, of the others an unbroken end.
fn assert_right(client: &mut Client, load: &Load) {
    let start = client_start(client, "table");
    let all = client.read_all("table", start, true);
    let mut latest = BTreeMap::new();
    for (_, key, value) in &all {
        latest.insert(key.clone(), value.clone());
    }
    latest.retain(|_, value| value.is_some());
    let mut wanted = load.table.lock().expect("table").clone();
    wanted.retain(|_, value| value.is_some());
    assert_eq!(latest.len(), wanted.len());
    assert!(latest == wanted, "the latest of every key");
    for name in ["timed", "sized"] {
        // Retention goes on, also under a reader's hands: then from where the log begins now.
        let mut found = None;
        wait_until("a read that retention leaves alone", || {
            let (start, end) = (client_start(client, name), client.offset_at(name, -1).0);
            found = client.try_read_all(name, start, true).ok().map(|rows| (start, end, rows));
            found.is_some()
        });
        let (start, end, rows) = found.expect("read");
        assert_eq!(rows.len() as i64, end - start, "{name}");
        for (n, (offset, _, value)) in rows.iter().enumerate() {
            let said: i64 = value
                .as_deref()
                .and_then(|v| v.split_once(':'))
                .and_then(|v| v.0.parse().ok())
                .expect("numbered");
            assert_eq!((*offset, said), (start + n as i64, start + n as i64), "{name}");
        }
    }
}

fn client_start(client: &mut Client, name: &str) -> i64 {
    client.offset_at(name, -2).0
}

fn a_week_leaves_it_as_small_as_a_day() {
    let seconds = std::env::var("ATIO_WEEK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let dir = tempfile::tempdir().expect("dir");
    let data = dir.path().join("data");
    let process = Process::start_with(&data, SETTINGS);
    let mut client = process.client();
    let segment = ("segment.bytes", "100000");
    assert_eq!(client.create("timed", 1, &[segment, ("retention.ms", "3000"), ("segment.ms", "1000")]), 0);
    assert_eq!(client.create("sized", 1, &[segment, ("retention.bytes", "1000000")]), 0);
    let compacted =
        [segment, ("cleanup.policy", "compact"), ("delete.retention.ms", "1000"), ("segment.ms", "1000")];
    assert_eq!(client.create("table", 1, &compacted), 0);
    let load = Arc::new(Load::default());
    let addr = process.addr;
    let run = |work: Box<dyn FnOnce(&Load) + Send>| {
        let load = load.clone();
        std::thread::spawn(move || work(&load))
    };
    let workers = vec![
        run(Box::new(move |load| write(Client::connect(addr), "timed", load))),
        run(Box::new(move |load| write(Client::connect(addr), "sized", load))),
        run(Box::new(move |load| transact(Client::connect(addr), load))),
        run(Box::new(move |load| consume(|| Client::connect(addr), load))),
    ];
    let began = Instant::now();
    let mut samples: Vec<Seen> = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        // Made before counted: what is there is never more than what had been made.
        let now = sample(&mut client, &data, process.pid());
        let made = [&load.groups, &load.ids, &load.producers].map(|of| of.load(Ordering::Relaxed));
        samples.push((began.elapsed(), made, now));
        assert!(workers.iter().all(|w| !w.is_finished()), "the load goes on");
        std::thread::sleep(Duration::from_millis(100));
    }
    load.over.store(true, Ordering::Relaxed);
    workers.into_iter().for_each(|w| w.join().expect("a worker"));
    let records = load.records.load(Ordering::Relaxed);
    let (_, made, last) = samples.last().expect("samples");
    println!("{seconds} s: {records} records; made {made:?} groups, ids, producers; at last {last:?}");
    assert_bounded(&samples);
    assert_forgotten(&samples);
    assert!(
        client_start(&mut client, "timed") > 0 && client_start(&mut client, "sized") > 0,
        "retention was at work"
    );
    // All that was written to the table, kept whole, would be many times this.
    let end = client.offset_at("table", -1).0;
    wait_until("compaction", || client.read_all("table", 0, false).len() as i64 <= end / 2);
    assert_right(&mut client, &load);
    process.kill();
    let process = Process::start_with(&data, SETTINGS);
    assert_right(&mut process.client(), &load);
    wait_until("everything unused is forgotten", || {
        let left = sample(&mut process.client(), &data, process.pid());
        left.groups == 0 && left.ids == 0 && left.producers == 0
    });
    assert_right(&mut process.client(), &load);
}
