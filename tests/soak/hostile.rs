//! Bad input under load: every bad record is a dead letter, whole and with a reason; good ones go through, at nearly their pace.
use super::{
    bed::Bed,
    load::{alert, host, producer, send},
    oracle::{self, Evidence, Findings},
};
use crate::support::{Deadline, On, brief, topic};
use libtest_mimic::Failed;
use rdkafka::{Message, producer::Producer};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// `ATIO_SOAK_HOSTILE` says another number.
const EVENTS: u64 = 10_000;
/// One in so many is hostile, where any is.
const ONE_IN: u64 = 10;
/// Good and mixed in turn, so many times.
const TURNS: u64 = 2;
/// Good traffic keeps at least this share of its pace: a bound for a stall, the target is 0.9.
const LEAST: f64 = 0.5;
/// Numbers of alerts that must never come out.
const NOBODY: u64 = 1_000_000_000;

/// The large ones come once in so many turns: a thousand times a common alert's size, they would say more of the mix than of the code.
const LARGE_ONE_IN: usize = 20;

type Bad = (&'static str, &'static [&'static str], fn() -> Vec<u8>);

/// A name, the reasons that are right, the bytes.
const BAD: &[Bad] = &[
    ("cut", &["truncated"], || alert(NOBODY).into_bytes()[..200].to_vec()),
    ("broken", &["invalid_json"], || br#"{"event_type":"alert",,}"#.to_vec()),
    ("deep", &["too_deep"], || {
        format!("{{\"event_type\":\"alert\",\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))
            .into_bytes()
    }),
    ("deep and cut", &["too_deep", "truncated"], || "{\"a\":".repeat(100_000).into_bytes()),
    ("nul", &["invalid_json", "unknown_format", "bad_encoding"], || vec![0; 64]),
    ("no UTF-8", &["bad_encoding"], || {
        let mut bytes = alert(NOBODY).into_bytes();
        let at = bytes.windows(5).position(|w| w == b"soak-").expect("its mark");
        bytes[at] = 0xff;
        bytes
    }),
    ("huge field without an end", &["truncated"], || {
        format!("{{\"event_type\":\"alert\",\"x\":\"{}", "y".repeat(900_000)).into_bytes()
    }),
    ("empty", &["empty"], Vec::new),
    ("blank", &["empty"], || b"   \t ".to_vec()),
    ("wrong types", &["missing_field", "invalid_field"], || {
        br#"{"event_type":["alert"],"timestamp":{},"src_ip":17,"alert":"none"}"#.to_vec()
    }),
    ("nothing in it", &["missing_field"], || b"{}".to_vec()),
    ("entities", &["invalid_json"], || {
        br#"<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>"#.to_vec()
    }),
    ("gzip, cut", &["unsupported_content_type", "bad_encoding", "invalid_json"], || {
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x56".to_vec()
    }),
];

pub fn run(on: On) -> Result<(), Failed> {
    let events = std::env::var("ATIO_SOAK_HOSTILE")
        .map_or(EVENTS, |n| n.parse().expect("ATIO_SOAK_HOSTILE is a number"));
    let mixed = events / TURNS;
    let good = mixed - mixed / ONE_IN;
    let (mut bed, mut fed, mut hostile) = (Bed::start(on), 0, BTreeMap::new());
    let mut took = [0.0; 2];
    for _ in 0..TURNS {
        for (share, ones) in [(0, good), (ONE_IN, mixed)] {
            bed.fleet.kill("normalization");
            fed = feed(&bed, ones, share, fed, &mut hostile);
            took[usize::from(share > 0)] += normalized(&mut bed)?;
            bed.settle()?;
        }
    }
    let rate = took.map(|t| (TURNS * good) as f64 / t);
    println!(
        "good alerts a second through normalization: {:.0} alone, {:.0} with {} hostile among {events}: {:.2} (target 0.90)",
        rate[0],
        rate[1],
        hostile.len(),
        rate[1] / rate[0]
    );
    let mut wrong: Vec<String> =
        bed.fleet.ended().into_iter().map(|(s, said)| format!("{s} has ended: {said}")).collect();
    if rate[1] < rate[0] * LEAST {
        wrong.push("hostile input slows good input down".into());
    }
    wrong.extend(through(&bed, fed).lines());
    wrong.extend(letters(&bed, &hostile));
    let counted = ledger(&bed);
    if counted != [fed + hostile.len() as u64, fed, hostile.len() as u64] {
        wrong.push(format!(
            "the ledger has read, emitted, dead {counted:?}; {fed} good, {} hostile",
            hostile.len()
        ));
    }
    bed.fleet.stop();
    if wrong.is_empty() { Ok(()) } else { Err(brief(&wrong).into()) }
}

/// Writes so many; numbers of the good ones follow `from`, and the last one's successor is returned. Hostile ones are noted by their key.
fn feed(bed: &Bed, ones: u64, share: u64, from: u64, hostile: &mut BTreeMap<String, &'static Bad>) -> u64 {
    let (producer, mut next) = (producer(&bed.broker.bootstrap), from);
    for n in 0..ones {
        if share > 0 && n % share == share / 2 {
            let bad = pick(hostile.len());
            let key = format!("bad-{}", hostile.len());
            send(&producer, bed.alerts(), &key, &bad.2());
            hostile.insert(key, bad);
        } else {
            send(&producer, bed.alerts(), &host(next), alert(next).as_bytes());
            next += 1;
        }
    }
    producer.flush(Duration::from_secs(120)).expect("produced");
    next
}

/// By turns; in place of a large one whose turn it is not, its neighbour.
fn pick(nth: usize) -> &'static Bad {
    let (turn, at) = (nth / BAD.len(), nth % BAD.len());
    let large = ["deep", "deep and cut", "huge field without an end"].contains(&BAD[at].0);
    if large && !turn.is_multiple_of(LARGE_ONE_IN) { &BAD[(at + 7) % BAD.len()] } else { &BAD[at] }
}

/// Starts normalization on what is there; seconds from its first commit to its last.
fn normalized(bed: &mut Bed) -> Result<f64, String> {
    let committed = |bed: &Bed| bed.groups[0].committed().unwrap_or(0);
    let (before, end) = (committed(bed), bed.groups[0].end().expect("the broker answers"));
    bed.fleet.start_again("normalization");
    let deadline = Deadline::after(900);
    let pace = Duration::from_millis(5);
    let first = deadline.every(pace, || (committed(bed) > before).then(Instant::now));
    let last = deadline.every(pace, || (committed(bed) >= end).then(Instant::now));
    let (Some(first), Some(last)) = (first, last) else {
        return Err(format!("normalization is at {} of {end}: {:?}", committed(bed), bed.fleet.ended()));
    };
    Ok((last - first).as_secs_f64())
}

/// The good ones are on every topic, once.
fn through(bed: &Bed, fed: u64) -> Findings {
    let whole = bed.evidence(fed);
    let own = letters_topic(bed);
    oracle::judge(&Evidence {
        fed,
        topics: whole.topics[1..].to_vec(),
        books: whole.books[1..].to_vec(),
        dead: whole.dead.into_iter().filter(|(topic, _)| *topic != own).collect(),
    })
}

fn letters_topic(bed: &Bed) -> String {
    bed.fleet.topic("raw.eve.dlq")
}

/// Each hostile one is dead-lettered once, whole, for a reason that is right.
fn letters(bed: &Bed, hostile: &BTreeMap<String, &'static Bad>) -> Vec<String> {
    let (mut left, mut wrong) = (hostile.clone(), vec![]);
    let mut reasons: BTreeMap<(&str, String), u64> = BTreeMap::new();
    topic::each(&bed.broker.bootstrap, &letters_topic(bed), |m| {
        let key = String::from_utf8_lossy(m.key().unwrap_or_default()).into_owned();
        let Some((name, codes, bytes)) = left.remove(&key) else {
            return wrong.push(format!("a dead letter more: {key}"));
        };
        let headers = topic::headers(m);
        let header = |name: &str| headers.get(&format!("atio.errors.{name}")).cloned().unwrap_or_default();
        let code = header("code");
        if !codes.contains(&code.as_str()) || header("message").is_empty() {
            wrong.push(format!("{name}: the reason is {code:?} {:?}", header("message")));
        }
        if m.payload().unwrap_or_default() != bytes() {
            wrong.push(format!("{name}: not whole, {} bytes of {}", m.payload_len(), bytes().len()));
        }
        *reasons.entry((name, code)).or_default() += 1;
    });
    println!("dead letters: {reasons:?}");
    if !left.is_empty() {
        wrong.push(format!(
            "{} hostile ones are no dead letters: {:?}",
            left.len(),
            left.values().next().map(|b| b.0)
        ));
    }
    wrong
}

/// Read, emitted, dead-lettered by normalization.
fn ledger(bed: &Bed) -> [u64; 3] {
    let all = bed.groups[0].ledgers().into_iter().flatten();
    all.fold([0; 3], |sums, l| {
        let c = &l.counts;
        [sums[0] + c.read, sums[1] + c.emitted, sums[2] + c.dead_lettered_total()]
    })
}
