//! What lies on the disk when the broker starts: much of it, torn, without its index, with bytes that have flipped.
#![allow(clippy::expect_used, clippy::panic)] // helpers of tests are no tests to clippy
#![allow(clippy::print_stdout)] // figures

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use atio_broker::{Broker, Config, Health};
use kafka_protocol::ResponseError;
use support::{Client, Process, Trial, batch, wait_until};

const TRIALS: &[Trial] = &[
    ("a_start_reads_the_last_stretch_only", a_start_reads_the_last_stretch_only),
    ("what_is_broken_is_found_reported_and_not_served", what_is_broken_is_found_reported_and_not_served),
    ("wherever_a_byte_flips", wherever_a_byte_flips),
];

fn main() {
    support::run(TRIALS);
}

/// Segments of the one topic's one partition, by base offset.
fn segments(data: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).expect("dir").map(|e| e.expect("entry").path()).collect()
    };
    let topic = entries(&data.join("topics")).pop().expect("a topic");
    let mut all = entries(&topic.join("0"));
    all.retain(|p| p.extension().is_some_and(|e| e == extension));
    all.sort();
    all
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// How far an index covers its segment.
fn covered(segment: &Path) -> u64 {
    let bytes = std::fs::read(segment.with_extension("idx")).unwrap_or_default();
    let said: Option<serde_json::Value> = bytes.get(4..).and_then(|body| serde_json::from_slice(body).ok());
    said.and_then(|s| s["summary"]["size"].as_u64()).unwrap_or(0)
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("read");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("write");
}

/// Bytes that a process has read so far, from the page cache or the disk.
fn read_by(process: &Process) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", process.pid())).expect("io");
    let line = io.lines().find_map(|l| l.strip_prefix("rchar: ")).expect("rchar");
    line.trim().parse().expect("a number")
}

/// A start reads indexes and, of an active segment, what lies behind its last checkpoint: counted, not timed.
fn a_start_reads_the_last_stretch_only() {
    const CHECKPOINT: u64 = 4 << 20;
    let settings = format!("checkpoint={CHECKPOINT} scrub_rate=0 upkeep=50");
    let megabytes: u64 = 160;
    let dir = tempfile::tempdir().expect("dir");
    let process = Process::start_with(dir.path(), &settings);
    let mut client = process.client();
    assert_eq!(client.create("t", 1, &[("segment.bytes", "50000000"), ("retention.ms", "-1")]), 0);
    let value = "x".repeat(16_000);
    let values = [value.as_str(); 16];
    let mut records = 0;
    while records * 16_000 < megabytes << 20 {
        assert_eq!(client.produce("t", batch(&values, None)), (0, records as i64));
        records += 16;
    }
    let last = segments(dir.path(), "log").pop().expect("a segment");
    wait_until("the active segment's checkpoint", || size(&last) - covered(&last) < CHECKPOINT);
    let closed = segments(dir.path(), "log").len() - 1;
    wait_until("the closed segments' indexes", || {
        segments(dir.path(), "log")[..closed].iter().all(|s| covered(s) == size(s))
    });
    // And something behind the checkpoint.
    for _ in 0..4 {
        assert_eq!(client.produce("t", batch(&values, None)), (0, records as i64));
        records += 16;
    }
    process.kill();
    let there: u64 = segments(dir.path(), "log").iter().map(|s| size(s)).sum();
    let indexes: u64 = segments(dir.path(), "idx").iter().map(|s| size(s)).sum();

    let process = Process::start_with(dir.path(), &settings);
    let read = read_by(&process);
    println!("{there} bytes in {} segments: the start read {read}", closed + 1);
    assert_eq!(process.client().offset_at("t", -1).0, records as i64);
    // The stretch behind the checkpoint is read twice, headers and batches; the rest is the process's own.
    assert!(read < 2 * CHECKPOINT + indexes + (2 << 20), "{read} of {there}");
    assert!(closed >= 3 && there > megabytes << 20);
}

/// A topic of closed segments, ten records each, and an active one of five; killed.
fn data(dir: &Path) {
    let process = Process::start_with(dir, "upkeep=50");
    let mut client = process.client();
    assert_eq!(client.create("t", 1, &[("segment.bytes", "1500"), ("retention.ms", "-1")]), 0);
    for n in 0..45 {
        assert_eq!(client.produce("t", batch(&[&format!("value {n:02} {}", "x".repeat(60))], None)), (0, n));
    }
    wait_until("closed segments' indexes", || {
        let logs = segments(dir, "log");
        logs.len() == 5 && logs[..4].iter().all(|s| covered(s) == size(s))
    });
    process.kill();
}

fn corrupt() -> i16 {
    ResponseError::CorruptMessage.code()
}

fn what_is_broken_is_found_reported_and_not_served() {
    let dir = tempfile::tempdir().expect("dir");
    data(dir.path());
    let logs = segments(dir.path(), "log");
    let each = size(&logs[1]) / 10;
    // A closed segment with a flipped byte, one with half an index, the last one torn in its last batch.
    edit(&logs[1], |bytes| bytes[each as usize * 4 + 100] ^= 4);
    edit(&logs[2].with_extension("idx"), |bytes| bytes.truncate(bytes.len() / 2));
    edit(&logs[4], |bytes| bytes.truncate(bytes.len() - 20));
    let log = dir.path().join("broker.log");
    let process = Process::start_logging(dir.path(), "", &log);
    let said = |what: &[&str]| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().any(|line| what.iter().all(|w| line.contains(w)))
    };
    wait_until("the flipped byte in the log", || {
        said(&[
            "ERROR",
            "damaged on disk",
            "offset=14",
            &format!("byte={}", each * 4),
            "00000000000000000010.log",
        ])
    });
    assert!(said(&["WARN", "index can't be read", "00000000000000000020.log"]));
    assert!(said(&["WARN", "torn", "partition=0"]));
    let mut client = process.client();
    assert_eq!(client.offset_at("t", -1).0, 44);
    assert_eq!(client.fetch("t", 10, false, 0).values.len(), 4);
    for _ in 0..3 {
        assert_eq!(client.fetch("t", 14, false, 0).error, corrupt());
    }
    assert_eq!(client.read_all("t", 15, false).len(), 29);
    assert_eq!(client.produce("t", batch(&["more"], None)), (0, 44));
    process.kill();
    let lines = std::fs::read_to_string(&log).expect("log");
    assert_eq!(lines.lines().filter(|l| l.contains("damaged on disk")).count(), 1, "told once:\n{lines}");
}

/// A broker in this process, once it has verified everything.
fn verified(data: &Path, ask: impl FnOnce(&mut Client, Health)) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let config = Config::new(data, SocketAddr::from(([127, 0, 0, 1], 0)));
    let broker = runtime.block_on(Broker::start(config)).expect("start");
    wait_until("a scrub", || broker.health().scrubs > 0);
    ask(&mut Client::connect(broker.addr()), broker.health());
    runtime.block_on(broker.shutdown());
}

/// Header, offset, length, epoch, checksum, attributes, records, index: found at the start, answered for what it is.
fn wherever_a_byte_flips() {
    let dir = tempfile::tempdir().expect("dir");
    data(dir.path());
    verified(dir.path(), |client, health| {
        assert_eq!((health.damaged, health.torn, health.rebuilt, health.missing), (0, 0, 0, 0));
        assert!(health.scrubbed > 4_000, "{health:?}");
        assert_eq!(client.read_all("t", 0, false).len(), 45);
    });
    let path = segments(dir.path(), "log")[1].clone();
    let good = std::fs::read(&path).expect("read");
    let batch = good.len() / 10 * 4;
    for at in
        [0, 5, 7, 8, 11, 13, 15, 16, 17, 20, 22, 26, 30, 42, 50, 52, 56, 60, 61, 64, 80, good.len() / 10 - 1]
    {
        edit(&path, |bytes| bytes[batch + at] ^= 1);
        verified(dir.path(), |client, health| {
            assert_eq!(health.damaged, 1, "byte {at}: {health:?}");
            assert_eq!(client.fetch("t", 13, false, 0).error, 0, "byte {at}");
            // The leader epoch is told apart by the scrub only: records are as they were.
            let epoch = (12..16).contains(&at);
            assert_eq!(client.fetch("t", 14, false, 0).error, if epoch { 0 } else { corrupt() }, "byte {at}");
            assert_eq!(client.read_all("t", 20, false).len(), 25, "byte {at}");
        });
        std::fs::write(&path, &good).expect("write");
    }
}
