//! What one lane makes of its batches: commit, abort, tables, dead letters, sizes.
use super::{
    lane::{Inside, Worker},
    oracle::{self, Evidence},
    stages::Kind,
    world::{Feeder, Seen, World},
};
use crate::support::{Broker, Deadline, On};
use atio_stream::LaneState;

/// Everything that is fed comes out once; the oracle that says so also says no, to any other evidence.
pub fn commit(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Count, 4);
    let worker = Worker::start(&world, &broker.bootstrap, Some(0));
    let fed = Feeder::start(&world, 0, 5000).end();
    world.done(Deadline::after(60));
    worker.stop();
    oracle::prove(&Evidence::of(&world, fed));
}

fn values(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|s| String::from_utf8_lossy(s.value()).into_owned()).collect()
}

fn is_stalled(state: &LaneState) -> bool {
    matches!(state, LaneState::Stalled { .. })
}

/// A stage fails in the middle of a batch: what it had written is aborted, and comes once when it goes on.
pub fn abort(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Join, 1);
    world.put("rows", 0, &[("a", b"one"), ("c", b"three")]);
    world.put("in", 0, &[("1", b"a"), ("2", b"poison"), ("3", b"fail"), ("4", b"c")]);
    let lane = Inside::start(&world);
    let status = lane.until("it stalls", |s| is_stalled(&s.state) && s.aborts >= 2);
    assert_eq!((status.commits, status.ledger.read), (0, 0), "{status:?}");
    assert_eq!(values(&world.read("out")), [""; 0], "nothing of the batch is visible");
    assert_eq!(world.read("in.dlq"), []);
    let tried = values(&world.read_as("out", "read_uncommitted"));
    assert!(tried.len() >= 2 && tried.iter().all(|v| v == "one"), "it was written and aborted: {tried:?}");
    assert_eq!(world.positions().expect("an answer")[0].next, None);

    world.put("rows", 0, &[("fail", b"two")]);
    let status = lane.until("it goes on", |s| s.state == LaneState::Running && s.ledger.read == 4);
    assert_eq!((status.ledger.emitted, status.ledger.dead_lettered_total()), (3, 1));
    lane.stop().expect("stopped in order");
    assert_eq!(values(&world.read("out")), ["one", "two", "three"]);
    assert_eq!(values(&world.read("in.dlq")), ["poison"]);
}

/// Tables are there before the first batch and advance between transactions; each advance is noted.
pub fn tables(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Join, 2);
    world.put("rows", 0, &[("a", b"one"), ("b", b"bad"), ("c", b"three")]);
    world.put("in", 0, &[("1", b"a"), ("2", b"b"), ("3", b"c")]);
    let lane = Inside::start(&world);
    let status = lane.until("it joins", |s| s.ledger.read == 3);
    assert_eq!((status.ledger.emitted, status.ledger.dead_lettered_total()), (2, 1));
    let before = world.read("epochs").len();
    assert!(before >= 1, "what the first batch saw is noted");
    world.put("rows", 0, &[("a", b"two")]);
    lane.until("it has the new row", |s| s.tables.iter().map(|t| t.offset).sum::<i64>() >= 4);
    world.put("in", 0, &[("4", b"a")]);
    lane.until("it joins again", |s| s.ledger.emitted == 3);
    assert_eq!(values(&world.read("out")), ["one", "three", "two"]);
    assert!(world.read("epochs").len() > before, "what the next batch saw is noted");
    let metrics = lane.metrics.text().expect("metrics");
    assert!(
        metrics.contains("table_rows_refused_total{service=\"demo\",stage=\"demo\"} 1"),
        "a row that the view refuses is counted: {metrics}"
    );
    lane.stop().expect("stopped in order");
}

/// Each dead letter is its original, whole, and says why; neighbours are unharmed.
fn all_whole(dead: &[Seen], input: &[Seen], codes: &[&str]) {
    let said: Vec<_> = dead.iter().map(|d| d.header("atio.errors.code").unwrap_or_default()).collect();
    assert_eq!(said, codes);
    for letter in dead {
        let at = oracle::origin(letter).expect("where it was");
        let original = input.iter().find(|s| (s.partition, s.offset) == at).expect("an original");
        assert!(oracle::is_whole(letter, original), "{letter:?}\nof {original:?}");
    }
}

/// Records that the stage refuses, and one that makes it panic.
pub fn poison(on: On) {
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Join, 2);
    world.put("rows", 0, &[("a", b"one")]);
    let records: [(&str, &[u8]); 6] =
        [("1", b"a"), ("2", b"\xff\x00not text"), ("3", b"panic"), ("", b"a"), ("5", b""), ("6", b"a")];
    world.put("in", 1, &records);
    let lane = Inside::start(&world);
    let status = lane.until("all are settled", |s| s.ledger.read == 6);
    assert!(status.ledger.balanced() && status.ledger.emitted == 3, "{status:?}");
    lane.stop().expect("stopped in order");
    assert_eq!(values(&world.read("out")), ["one"; 3]);
    all_whole(&world.read("in.dlq"), &world.read("in"), &["not_found", "internal", "not_found"]);
}

/// Nearly everything is poison: the stage stops and says so; what it had settled is settled once, and the rest is done when it is mended.
pub fn all_poison(on: On) {
    const RECORDS: usize = 2500;
    let broker = Broker::shared(on);
    let world = World::new(&broker.bootstrap, Kind::Join, 1);
    let keys: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
    let records: Vec<(&str, &[u8])> = keys.iter().map(|k| (k.as_str(), b"none".as_slice())).collect();
    world.put("in", 0, &records);
    let lane = Inside::start(&world);
    lane.until("it stops", |s| matches!(&s.state, LaneState::Failed(e) if e.code() == "poisoned"));
    assert_eq!(lane.end().expect_err("it failed").code(), "poisoned");
    let (dead, position) = (world.read("in.dlq"), world.positions().expect("an answer").remove(0));
    assert!(dead.len() < 1500, "{} of {RECORDS} before it stopped", dead.len());
    assert_eq!(position.next.unwrap_or(0), dead.len() as i64, "what is dead-lettered is committed");

    world.put("rows", 0, &[("none", b"mended")]);
    let lane = Inside::start(&world);
    lane.until("the rest is done", |s| s.ledger.read == RECORDS as u64);
    lane.stop().expect("stopped in order");
    let (dead, out) = (world.read("in.dlq"), world.read("out"));
    let all: Vec<String> = dead.iter().chain(&out).map(Seen::key).collect();
    assert_eq!(all, keys, "each once");
    all_whole(&dead, &world.read("in"), &vec!["not_found"; dead.len()]);
}

/// Outputs that their topic does not take are whole dead letters; many small ones stay below its limit together.
pub fn oversize(on: On) {
    let broker = Broker::shared(on);
    let limits = [
        ("in", "max.message.bytes", "120000"),
        ("in.dlq", "max.message.bytes", "185536"),
        ("out", "max.message.bytes", "60000"),
    ];
    let world = World::with(&broker.bootstrap, Kind::Pass, 1, &limits);
    let sizes = [10, 110_000, 20, 70_000, 59_000, 30];
    let bytes: Vec<Vec<u8>> = sizes.iter().chain(&[1000; 300]).map(|n| vec![b'x'; *n]).collect();
    let records: Vec<(&str, &[u8])> = bytes.iter().map(|b| ("key", b.as_slice())).collect();
    world.put("in", 0, &records);
    let lane = Inside::start(&world);
    let status = lane.until("all are settled", |s| s.ledger.read == 306);
    assert!(status.ledger.balanced() && status.rebuilds == 0, "{status:?}");
    lane.stop().expect("stopped in order");
    let out: Vec<usize> = world.read("out").iter().map(|s| s.value().len()).collect();
    assert_eq!((&out[..4], out.len()), (&[10, 20, 59_000, 30][..], 304));
    all_whole(&world.read("in.dlq"), &world.read("in"), &["too_large", "too_large"]);
}
