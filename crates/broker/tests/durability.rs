//! The broker's process is killed, its disk fills, its directory is shared: nothing acknowledged is lost.
#![allow(clippy::expect_used, clippy::panic)] // helpers of tests are no tests to clippy

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use atio_broker::{Broker, BrokerError, Config, Fsync};
use kafka_protocol::messages::ProduceRequest;
use support::{Client, Process, Trial, batch};

const TRIALS: &[Trial] = &[
    ("everything_survives_kill_9", everything_survives_kill_9),
    ("killed_under_load_it_has_what_it_acknowledged", killed_under_load_it_has_what_it_acknowledged),
    ("a_full_disk_refuses_writes_and_nothing_else", a_full_disk_refuses_writes_and_nothing_else),
    ("the_directory_belongs_to_one", the_directory_belongs_to_one),
    ("damage_is_named_and_not_hidden", damage_is_named_and_not_hidden),
    ("every_fsync_policy_serves", every_fsync_policy_serves),
];

fn main() {
    support::run(TRIALS);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("runtime")
}

fn config(data: &Path) -> Config {
    Config::new(data, SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn everything_survives_kill_9() {
    let dir = tempfile::tempdir().expect("dir");
    let process = Process::start(dir.path());
    let mut client = process.client();
    assert_eq!(client.create("in", 1, &[("retention.ms", "-1")]), 0);
    assert_eq!(client.create("out", 1, &[]), 0);
    let (_, pid, _) = client.init(None, 0);
    for n in 0..200 {
        let value = n.to_string();
        assert_eq!(client.produce("in", batch(&[&value], Some((pid, 0, n, false)))), (0, n.into()));
    }
    assert_eq!(client.commit("plain", "in", 7, "ledger of plain"), 0);
    // One transaction committed, one aborted, one open.
    let mut ids = Vec::new();
    for (id, end) in [("a", Some(true)), ("b", Some(false)), ("c", None)] {
        let (_, pid, epoch) = client.init(Some(id), 60_000);
        assert_eq!(client.add(id, pid, epoch, "out"), 0);
        let sent = client.produce_as(Some(id), "out", 0, batch(&[id], Some((pid, epoch, 0, true))));
        assert_eq!(sent.0, 0);
        assert_eq!(client.add_group(id, pid, epoch, id), 0);
        assert_eq!(client.send_offset(id, pid, epoch, id, "in", 5), 0);
        if let Some(commit) = end {
            assert_eq!(client.end(id, pid, epoch, commit), 0);
        }
        ids.push((pid, epoch));
    }
    process.kill();

    let process = Process::start(dir.path());
    let mut client = process.client();
    let read = client.fetch("in", 0, false, 0);
    assert_eq!(read.values, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(client.committed("plain", "in", true), (0, 7, "ledger of plain".to_owned()));
    assert_eq!(client.committed("a", "in", true).1, 5);
    assert_eq!(client.committed("b", "in", true).1, -1);
    let unstable = kafka_protocol::ResponseError::UnstableOffsetCommit.code();
    assert_eq!(client.committed("c", "in", true).0, unstable);
    // The retry of a batch whose answer was lost is known, the next one follows.
    assert_eq!(client.produce("in", batch(&["199"], Some((pid, 0, 199, false)))), (0, 199));
    assert_eq!(client.produce("in", batch(&["200"], Some((pid, 0, 200, false)))), (0, 200));
    let before = client.fetch("out", 0, true, 0);
    assert_eq!((before.values, before.stable), (vec!["a".to_owned()], 4));
    // The open transaction goes on where it was.
    let (pid, epoch) = ids[2];
    let more = client.produce_as(Some("c"), "out", 0, batch(&["c2"], Some((pid, epoch, 1, true))));
    assert_eq!(more.0, 0);
    assert_eq!(client.end("c", pid, epoch, true), 0);
    assert_eq!(client.fetch("out", 0, true, 0).values, ["a", "c", "c2"]);
    assert_eq!(client.committed("c", "in", true), (0, 5, "ledger".to_owned()));
    // Ids never come twice.
    assert!(client.init(None, 0).1 > ids.iter().map(|i| i.0).max().expect("ids"));
}

fn killed_under_load_it_has_what_it_acknowledged() {
    let dir = tempfile::tempdir().expect("dir");
    let mut acknowledged = 0;
    for _ in 0..4 {
        let process = Process::start(dir.path());
        let mut client = process.client();
        client.create("t", 1, &[("segment.bytes", "20000"), ("retention.ms", "-1")]);
        let addr = process.addr;
        let writer = std::thread::spawn(move || {
            let mut client = Client::connect(addr);
            let mut last = -1;
            let request = support::produce_request(None, "t", 0, batch(&[&"x".repeat(700)], None));
            loop {
                // The kill cuts the connection: whatever was answered before counts.
                let sent = client.try_send(&request, 9);
                let answered = sent.and_then(|()| client.try_receive::<ProduceRequest>(9));
                let Ok(answer) = answered else { return last };
                let one = &answer.responses[0].partition_responses[0];
                assert_eq!(one.error_code, 0);
                last = one.base_offset;
            }
        });
        support::wait_until("some writes", || client.offset_at("t", -1).0 > acknowledged + 150);
        process.kill();
        acknowledged = writer.join().expect("writer") + 1;
        let process = Process::start(dir.path());
        let high = process.client().offset_at("t", -1).0;
        assert!(high >= acknowledged, "{high} of {acknowledged}");
        acknowledged = high;
    }
    let process = Process::start(dir.path());
    let mut client = process.client();
    let mut next = 0;
    while next < acknowledged {
        let read = client.fetch("t", next, false, 0);
        assert_eq!(read.error, 0);
        assert!(!read.values.is_empty());
        next = read.next;
    }
}

fn a_full_disk_refuses_writes_and_nothing_else() {
    let dir = tempfile::tempdir().expect("dir");
    let process = Process::start_limited(dir.path(), 64);
    let mut client = process.client();
    assert_eq!(client.create("t", 1, &[]), 0);
    let big = "x".repeat(10_000);
    let mut written = 0;
    let error = loop {
        match client.produce("t", batch(&[&big], None)) {
            (0, offset) => written = offset + 1,
            (error, _) => break error,
        }
    };
    assert_eq!(error, kafka_protocol::ResponseError::KafkaStorageError.code());
    assert!(written >= 5);
    // What fits still goes in, right behind the last whole batch; what is there can be read.
    assert_eq!(client.produce("t", batch(&["small"], None)), (0, written));
    assert_eq!(client.produce("t", batch(&[&big], None)).0, error);
    let read = client.fetch("t", written, false, 0);
    assert_eq!(read.values, ["small"]);
    assert_eq!(client.commit("g", "t", 3, ""), 0);
    process.kill();
    let process = Process::start(dir.path());
    let mut client = process.client();
    assert_eq!(client.offset_at("t", -1).0, written + 1);
    assert_eq!(client.produce("t", batch(&[&big], None)), (0, written + 1));
    assert_eq!(client.committed("g", "t", true).1, 3);
}

fn the_directory_belongs_to_one() {
    let dir = tempfile::tempdir().expect("dir");
    runtime().block_on(async {
        let first = Broker::start(config(dir.path())).await.expect("start");
        let second = Broker::start(config(dir.path())).await;
        assert!(matches!(second, Err(BrokerError::Locked(_))));
        first.shutdown().await;
        Broker::start(config(dir.path())).await.expect("free again").shutdown().await;
    });
}

/// Every file under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in std::fs::read_dir(at).expect("dir") {
            let path = entry.expect("entry").path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found
}

fn damage_is_named_and_not_hidden() {
    for broken in ["log", "metadata"] {
        let dir = tempfile::tempdir().expect("dir");
        let process = Process::start(dir.path());
        let mut client = process.client();
        client.create("t", 1, &[]);
        for n in 0..5 {
            assert_eq!(client.produce("t", batch(&["value"], None)), (0, n));
            assert_eq!(client.commit("g", "t", n, ""), 0);
        }
        process.kill();
        let found = files(dir.path());
        let path = found.iter().find(|p| p.to_string_lossy().ends_with(broken)).expect("file");
        let mut bytes = std::fs::read(path).expect("read");
        bytes[70] ^= 1;
        std::fs::write(path, bytes).expect("write");
        let started = runtime().block_on(Broker::start(config(dir.path())));
        let error = started.err().expect("refused");
        assert_eq!(error.code(), "data_damaged", "{error}");
    }
}

fn every_fsync_policy_serves() {
    for fsync in [Fsync::Strict, Fsync::Interval(std::time::Duration::from_millis(5)), Fsync::Os] {
        let dir = tempfile::tempdir().expect("dir");
        let runtime = runtime();
        let start = |fsync| runtime.block_on(Broker::start(Config { fsync, ..config(dir.path()) }));
        let broker = start(fsync).expect("start");
        let mut client = Client::connect(broker.addr());
        assert_eq!(client.create("t", 1, &[("segment.bytes", "2000")]), 0);
        for n in 0..40 {
            assert_eq!(client.produce("t", batch(&["some value"], None)), (0, n));
        }
        assert_eq!(client.commit("g", "t", 40, ""), 0);
        assert_eq!(client.offset_at("t", -1).0, 40);
        runtime.block_on(broker.shutdown());
        let broker = start(Fsync::Os).expect("again");
        let mut client = Client::connect(broker.addr());
        assert_eq!(client.offset_at("t", -1).0, 40);
        assert_eq!(client.committed("g", "t", true).1, 40);
        runtime.block_on(broker.shutdown());
    }
}
