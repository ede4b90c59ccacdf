//! Deliveries to a sink that answers as the payload says.
use super::*;
use crate::ledger::Counts;
use atio_schemas::{Code, codec::StaticIds, delivery as wire, detection::Tlp, header};
use atio_stage::{BoxFuture, Headers, Input, Pace, Receipt, Reject, Sink};
use std::{collections::HashMap, sync::Mutex, time::Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const NOW: Timestamp = Timestamp(1_795_485_600_000_000);
/// Longer than all else of a record.
const PADDING: usize = 20_000;

#[derive(Default)]
struct Obedient {
    /// Payloads of each try.
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Sink for Obedient {
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>> {
        let mut seen = self.seen.lock().unwrap();
        seen.extend(batch.iter().map(|d| d.record.payload.clone()));
        let answer = |d: &Delivery| match d.record.payload[0] {
            b'r' => Verdict::Reject(Reject::whole(Code::SinkRejected, "never")),
            b'a' if d.attempt < 3 => Verdict::Retry { after: Some(Duration::ZERO), error: "busy".into() },
            b'h' => Verdict::Retry { after: Some(AFTER_MAX), error: "held".into() },
            _ => Verdict::Delivered(Receipt { external_id: Some("x".into()), code: None }),
        };
        let verdicts = batch.iter().map(answer).collect();
        Box::pin(async move { verdicts })
    }
    fn batch_size(&self) -> usize {
        3
    }
}

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

/// With a payload that begins so.
fn value(first: u8) -> Vec<u8> {
    let mut payload = vec![b'.'; PADDING];
    payload[0] = first;
    let record = wire::Delivery {
        sink: "s".into(),
        idempotency_key: format!("key-{first}"),
        event_id: format!("event-{first}"),
        incident_id: None,
        asset: Some("asset".into()),
        workflow: "w@1".into(),
        branch: "b".into(),
        format: "report".into(),
        content_type: "application/json".into(),
        tlp: Tlp::Clear,
        occurred_at: None,
        received_at: None,
        payload,
        residue: vec![],
    };
    codec().encode(&record).unwrap()
}

struct Lane {
    deliveries: Deliveries,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    tp: Tp,
    next: i64,
    _io: tokio::runtime::Runtime,
}

impl Lane {
    fn new(limit: usize) -> Self {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let sink = Obedient::default();
        let seen = sink.seen.clone();
        let deliver = Deliver { sink: Box::new(sink), codec: codec(), receipts: Arc::from("receipts") };
        let stage = Stage {
            name: "delivery.s".into(),
            service: "delivery",
            group: "delivery.s".into(),
            inputs: vec![Input::new("in")],
            outputs: vec![],
            stores: vec![],
            tables: vec![],
            pace: Pace::Interactive,
            run: Run::Deliver(deliver),
        };
        let deliveries = Deliveries::new(&Arc::new(stage), io.handle(), limit).unwrap();
        Self { deliveries, seen, tp: Tp::new("in", 0), next: 0, _io: io }
    }

    fn hold(&mut self, value: Option<&[u8]>, run: &str) {
        let headers = [("ce_id", "e"), (header::RUN, run), ("theirs", "h")];
        let headers = Headers(headers.map(|(n, v)| (Arc::from(n), v.as_bytes().to_vec())).to_vec());
        let key = format!("key-{}", self.next);
        let item = Item::read(&codec(), (Some(key.as_bytes()), value), NOW, headers);
        self.deliveries.hold(&self.tp, self.next, item);
        self.next += 1;
    }

    /// Turns until so many are finished.
    fn finish(&mut self, records: i64) {
        let deadline = Instant::now() + PATIENCE;
        let mut end = None;
        while end != Some(records) {
            assert!(Instant::now() < deadline, "finished up to {end:?}, not {records}");
            self.deliveries.advance(0, false);
            end = self.deliveries.finished().get(&self.tp).copied().or(end);
            std::thread::yield_now();
        }
    }

    /// Turns until the sink has seen so many tries and answered all of them.
    fn answered(&mut self, tries: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.seen.lock().unwrap().len() < tries || self.deliveries.flying() > 0 {
            assert!(Instant::now() < deadline, "not so many tries");
            self.deliveries.advance(0, false);
            std::thread::yield_now();
        }
    }

    fn outputs(&mut self) -> (Vec<Output>, Counts) {
        let mut books = Books::default();
        let outputs = self.deliveries.outputs(&mut books, &TopicLimits::default(), NOW).unwrap();
        (outputs, books.open())
    }

    fn bytes(&self) -> usize {
        self.deliveries.lots[&self.tp].window.bytes()
    }
}

#[test]
fn each_ends_as_the_sink_says_and_an_abort_changes_nothing() {
    let mut lane = Lane::new(64);
    let (ok, rejected, again) = (value(b'o'), value(b'r'), value(b'a'));
    for value in [Some(&*ok), Some(&*rejected), Some(&*again), Some(b"no avro".as_slice()), None] {
        lane.hold(value, header::LIVE);
    }
    lane.hold(Some(&ok), "replay-1");
    lane.finish(6);
    let (outputs, counts) = lane.outputs();
    assert_eq!((counts.read, counts.emitted, counts.dead_lettered_total()), (6, 2, 3));
    let letters: Vec<_> = outputs.iter().filter(|o| &*o.topic == "in.dlq").collect();
    // The original bytes and headers, untouched.
    let values: Vec<_> = letters.iter().map(|l| l.value.as_deref()).collect();
    assert_eq!(values, [Some(&*rejected), Some(b"no avro".as_slice()), None]);
    let keys: Vec<_> = letters.iter().map(|l| l.key.as_deref().unwrap()).collect();
    assert_eq!(keys, [b"key-1", b"key-3", b"key-4"]);
    assert!(letters.iter().all(|l| l.headers.text("theirs") == Some("h")));
    let receipts = outputs.iter().filter(|o| &*o.topic == "receipts");
    let told = receipts.map(|o| {
        assert_eq!((o.key.as_deref(), o.headers.text("theirs")), (Some(b"asset".as_slice()), None));
        codec().decode::<wire::ReceiptRecord>(o.value.as_ref().unwrap()).unwrap()
    });
    let told: Vec<_> = told.map(|r| (r.idempotency_key, r.status, r.attempts)).collect();
    let expected = [("key-111", "delivered", 1), ("key-114", "rejected", 1), ("key-97", "delivered", 3)];
    assert_eq!(told, expected.map(|(key, status, n)| (key.to_owned(), status.to_owned(), n)));
    // Each try had the payload.
    let mut tries: HashMap<u8, u32> = HashMap::new();
    for payload in lane.seen.lock().unwrap().iter() {
        assert_eq!(payload.len(), PADDING);
        *tries.entry(payload[0]).or_default() += 1;
    }
    assert_eq!(tries, HashMap::from([(b'o', 1), (b'r', 1), (b'a', 3)]));

    lane.deliveries.aborted();
    assert!(!lane.deliveries.is_idle(&lane.tp));
    lane.finish(6);
    assert_eq!(lane.outputs(), (outputs, counts), "written again as it was");
    lane.deliveries.committed();
    assert_eq!((lane.bytes(), lane.deliveries.is_idle(&lane.tp)), (0, true));
}

#[test]
fn what_is_delivered_keeps_no_payload_and_what_is_rejected_does() {
    let mut lane = Lane::new(64);
    // The first is held back: what is behind it stays in the window.
    for first in *b"hor" {
        lane.hold(Some(&value(first)), header::LIVE);
    }
    let before = lane.bytes();
    assert!((3 * PADDING..3 * PADDING + PADDING / 2).contains(&before), "each once: {before}");
    lane.answered(3);
    assert!((2 * PADDING..before - PADDING / 2).contains(&lane.bytes()), "{}", lane.bytes());
    assert!(lane.deliveries.finished().is_empty());
}

#[test]
fn a_look_never_overruns_a_window() {
    let mut lane = Lane::new(2);
    let none = BTreeSet::new();
    let most = 2 * WINDOW_FACTOR;
    assert_eq!(lane.deliveries.room(&none), (most, WINDOWS_BYTES));
    for held in 1..=most {
        assert_eq!((lane.deliveries.full().count(), lane.deliveries.room(&none).0), (0, most - held + 1));
        lane.hold(Some(&value(b'h')), header::LIVE);
    }
    let tp = lane.tp.clone();
    assert!(lane.deliveries.full().eq([&tp]) && !lane.deliveries.has_room(&tp));
    assert_eq!(lane.deliveries.room(&none).0, 0);
    // Its partition is paused: others go on.
    assert_eq!(lane.deliveries.room(&BTreeSet::from([tp.clone()])).0, most);

    // In bytes, each partition has its share.
    (lane.tp, lane.next) = (Tp::new("in", 1), 0);
    lane.hold(Some(&vec![0; WINDOWS_BYTES / 2]), header::LIVE);
    let paused = BTreeSet::from([tp]);
    assert_eq!(lane.deliveries.room(&paused), (most - 1, 0));
    assert!(lane.deliveries.full().any(|full| *full == lane.tp));
    lane.deliveries.release(&paused.into_iter().next().unwrap());
    let (records, bytes) = lane.deliveries.room(&none);
    assert!(records == most - 1 && bytes > WINDOWS_BYTES / 2 - 10_000, "{bytes}");
}
