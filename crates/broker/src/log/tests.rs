//! A partition's log on a real disk: recovery, damage, retention, transactions.

use std::path::Path;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use proptest::prelude::*;

use super::batch::Header;
use super::config::TopicConfig;
use super::partition::{Appended, PartitionLog, first_at_time, validate};
use super::records::tests::batch_of;
use super::{LogError, records, recovery, segment};

pub(super) const NOW: i64 = 1_800_000_000_000;

pub(super) fn config(pairs: &[(&str, &str)]) -> TopicConfig {
    let overrides = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    TopicConfig::parse(&overrides).unwrap()
}

pub(super) fn open(dir: &Path) -> PartitionLog {
    recovery::open(dir, 0, false).unwrap().0
}

pub(super) fn put(
    log: &mut PartitionLog,
    batch: &Bytes,
    config: &TopicConfig,
    now: i64,
) -> Result<Appended, LogError> {
    let header = validate(batch, config, now)?;
    log.append(batch, &header, config, now)
}

/// What is due of segments that were rolled.
pub(super) fn seal(log: &mut PartitionLog) {
    for seal in log.seals().unwrap() {
        seal.complete().unwrap();
        log.sealed(&seal, NOW);
    }
}

pub(super) fn plain(key: &str, value: Option<&str>) -> Bytes {
    batch_of(&[(Some(key), value)], NOW, (-1, -1, -1), false, 0)
}

pub(super) type Row = (i64, String, Option<String>);

/// What a reader gets, aborted transactions filtered as clients do.
pub(super) fn rows(log: &PartitionLog, committed: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut at = log.start;
    loop {
        let planned = log.plan(at, committed).unwrap();
        let Some(plan) = planned.read else { return rows };
        let bytes = segment::read(&plan, 1000, true).unwrap();
        let mut rest = &bytes[..];
        while let Some(header) = Header::parse(rest) {
            let gone = header.is_control()
                || planned.aborted.iter().any(|a| {
                    a.pid == header.pid && a.first <= header.base_offset && header.base_offset < a.marker
                });
            if !gone {
                records::for_each(&rest[..header.size], &header, 1 << 20, |r| {
                    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
                    if r.offset >= at {
                        rows.push((r.offset, r.key.map(text).unwrap_or_default(), r.value.map(text)));
                    }
                    true
                })
                .unwrap();
            }
            at = header.last_offset() + 1;
            rest = &rest[header.size..];
        }
        if bytes.is_empty() {
            return rows;
        }
    }
}

fn last_file(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut logs: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs.pop().unwrap()
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for n in 0..10 {
        put(&mut log, &plain("k", Some(&n.to_string())), &config(&[]), NOW).unwrap();
    }
    let before = rows(&log, false);
    drop(log);
    let path = last_file(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let size = bytes.len();
    bytes.extend_from_slice(&plain("k", Some("torn"))[..40]);
    std::fs::write(&path, &bytes).unwrap();
    let (log, recovered) = recovery::open(dir.path(), 0, false).unwrap();
    assert!(recovered.torn);
    assert_eq!(rows(&log, false), before);
    assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, size);
}

#[test]
fn a_flipped_byte_in_the_middle_is_not_taken_for_a_torn_tail() {
    for sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        for n in 0..10 {
            put(&mut log, &plain("k", Some(&n.to_string())), &config(&[]), NOW).unwrap();
        }
        let path = last_file(dir.path());
        if sealed {
            log.roll().unwrap();
        }
        drop(log);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[200] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let opened = recovery::open(dir.path(), 0, false);
        assert!(matches!(opened, Err(LogError::Damaged { .. })), "sealed {sealed}");
    }
}

#[test]
fn what_rots_while_open_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for _ in 0..3 {
        put(&mut log, &plain("k", Some("v")), &config(&[]), NOW).unwrap();
    }
    let path = last_file(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.len() / 3 + 65;
    bytes[second] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let read = |offset| segment::read(&log.plan(offset, false).unwrap().read.unwrap(), 10_000, true);
    assert_eq!(read(0).unwrap().len(), bytes.len() / 3);
    assert!(matches!(read(1), Err(LogError::Corrupt { offset: 1 })));
    assert!(read(2).is_ok());
}

#[test]
fn bad_batches_are_refused_by_name() {
    let batch = plain("k", Some("v"));
    let reason = |bytes: &Bytes, pairs: &[(&str, &str)]| match validate(bytes, &config(pairs), NOW) {
        Err(LogError::Refused(error)) => Some(error),
        _ => None,
    };
    assert_eq!(reason(&batch, &[]), None);
    let mut flipped = batch.to_vec();
    flipped[63] ^= 1;
    assert_eq!(reason(&flipped.into(), &[]), Some(ResponseError::CorruptMessage));
    assert_eq!(reason(&batch.slice(..50), &[]), Some(ResponseError::CorruptMessage));
    let small = [("max.message.bytes", "20")];
    assert_eq!(reason(&batch, &small), Some(ResponseError::MessageTooLarge));
    let two = [&batch[..], &batch[..]].concat();
    assert_eq!(reason(&two.into(), &[]), Some(ResponseError::InvalidRecord));
    let future = batch_of(&[(Some("k"), None)], NOW + 7_200_000, (-1, -1, -1), false, 0);
    assert_eq!(reason(&future, &[]), Some(ResponseError::InvalidTimestamp));
    assert_eq!(reason(&future, &[("message.timestamp.type", "LogAppendTime")]), None);
    let keyless = batch_of(&[(None, Some("v"))], NOW, (-1, -1, -1), false, 1);
    assert_eq!(reason(&keyless, &[("cleanup.policy", "compact")]), Some(ResponseError::InvalidRecord));
    assert_eq!(reason(&keyless, &[]), None);
}

#[test]
fn append_time_is_the_brokers() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let config = config(&[("message.timestamp.type", "LogAppendTime")]);
    let appended = put(&mut log, &plain("k", Some("v")), &config, NOW + 5).unwrap();
    assert_eq!(appended.append_time, NOW + 5);
    let plan = log.plan_time(NOW + 1, i64::MIN).unwrap().unwrap().0;
    assert_eq!(first_at_time(&plan, NOW + 1).unwrap(), Some((0, NOW + 5)));
}

#[test]
fn offsets_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for n in 0..5 {
        let records = [(Some("a"), Some("1")), (Some("b"), Some("2"))];
        let batch = batch_of(&records, NOW + n * 100, (-1, -1, -1), false, 4);
        put(&mut log, &batch, &config(&[]), NOW).unwrap();
        log.roll().unwrap();
    }
    let find = |ts| {
        let plan = log.plan_time(ts, i64::MIN).unwrap()?.0;
        first_at_time(&plan, ts).unwrap()
    };
    assert_eq!(find(0), Some((0, NOW)));
    assert_eq!(find(NOW + 1), Some((1, NOW + 1)));
    assert_eq!(find(NOW + 2), Some((2, NOW + 100)));
    assert_eq!(find(NOW + 401), Some((9, NOW + 401)));
    assert_eq!(find(NOW + 402), None);
    assert_eq!(log.max_timestamp(), NOW + 401);
}

#[test]
fn duplicates_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let batch = |sequence| batch_of(&[(Some("k"), Some("v"))], NOW, (5, 0, sequence), false, 0);
    let mut log = open(dir.path());
    for n in 0..3 {
        put(&mut log, &batch(n), &config(&[]), NOW).unwrap();
        if n == 1 {
            log.roll().unwrap();
        }
    }
    for clean in [false, true] {
        if clean {
            log.close().unwrap();
        }
        log = open(dir.path());
        assert_eq!(put(&mut log, &batch(2), &config(&[]), NOW).unwrap().base_offset, 2);
        assert_eq!(put(&mut log, &batch(1), &config(&[]), NOW).unwrap().base_offset, 1);
        let gap = put(&mut log, &batch(5), &config(&[]), NOW);
        assert!(matches!(gap, Err(LogError::Refused(ResponseError::OutOfOrderSequenceNumber))));
        assert_eq!(log.next(), 3);
    }
}

pub(super) fn transactional(
    log: &mut PartitionLog,
    pid: i64,
    sequence: i32,
    key: &str,
    config: &TopicConfig,
) {
    let batch = batch_of(&[(Some(key), Some("tx"))], NOW, (pid, 0, sequence), true, 0);
    put(log, &batch, config, NOW).unwrap();
}

#[test]
fn committed_readers_see_decided_transactions_only() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&[]);
    let mut log = open(dir.path());
    transactional(&mut log, 1, 0, "a", &config);
    transactional(&mut log, 2, 0, "b", &config);
    put(&mut log, &plain("c", Some("plain")), &config, NOW).unwrap();
    assert_eq!(log.stable(), 0);
    assert!(rows(&log, true).is_empty());
    log.end_transaction(1, 0, false, &config, NOW).unwrap();
    assert_eq!(log.stable(), 1);
    log = open(dir.path());
    assert_eq!(log.stable(), 1);
    log.end_transaction(2, 0, true, &config, NOW).unwrap();
    transactional(&mut log, 1, 1, "d", &config);
    let keys = |log: &PartitionLog| rows(log, true).into_iter().map(|r| r.1).collect::<Vec<_>>();
    assert_eq!(keys(&log), ["b", "c"]);
    assert_eq!(rows(&log, false).len(), 4);
    log.close().unwrap();
    log = open(dir.path());
    assert_eq!((keys(&log), log.stable()), (vec!["b".to_owned(), "c".to_owned()], 5));
}

#[test]
fn retention_by_size_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let small = config(&[("segment.bytes", "1024"), ("retention.bytes", "2500")]);
    let mut log = open(dir.path());
    for _ in 0..20 {
        put(&mut log, &plain("k", Some(&"v".repeat(300))), &small, NOW).unwrap();
    }
    let start = log.retain(&small, NOW).unwrap().unwrap();
    assert!(start > 0 && log.size() >= 2500 && log.size() < 2500 + 1024, "{} {}", start, log.size());
    let planned = log.plan(0, false);
    assert!(matches!(planned, Err(LogError::Refused(ResponseError::OffsetOutOfRange))));
    let aged = config(&[("retention.ms", "1000")]);
    assert_eq!(log.retain(&aged, NOW + 1000).unwrap(), None);
    assert_eq!(log.retain(&aged, NOW + 1001).unwrap(), Some(20));
    assert_eq!((log.start, log.next(), log.size()), (20, 20, 0));
    log.close().unwrap();
    let mut log = open(dir.path());
    assert_eq!((log.start, log.next()), (20, 20));
    assert_eq!(put(&mut log, &plain("k", None), &aged, NOW).unwrap().base_offset, 20);
}

#[test]
fn old_timestamps_written_now_stay() {
    let dir = tempfile::tempdir().unwrap();
    let aged = config(&[("retention.ms", "1000")]);
    let mut log = open(dir.path());
    let old = batch_of(&[(Some("k"), Some("v"))], 1_000_000, (-1, -1, -1), false, 0);
    put(&mut log, &old, &aged, NOW).unwrap();
    assert_eq!(log.retain(&aged, NOW + 900).unwrap(), None);
}

#[test]
fn an_open_transaction_holds_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let aged = config(&[("retention.ms", "1000")]);
    let mut log = open(dir.path());
    transactional(&mut log, 1, 0, "a", &aged);
    log.roll().unwrap();
    assert_eq!(log.retain(&aged, NOW + 9_000).unwrap(), None);
    log.end_transaction(1, 0, true, &aged, NOW).unwrap();
    assert_eq!(log.retain(&aged, NOW + 9_000).unwrap(), Some(2));
}

#[test]
fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for n in 0..6 {
        put(&mut log, &plain("k", Some(&n.to_string())), &config(&[]), NOW).unwrap();
        if n == 2 {
            log.roll().unwrap();
        }
    }
    assert_eq!(log.delete_records(4).unwrap(), 4);
    assert_eq!(log.segments.len(), 1);
    assert_eq!(rows(&log, false).first().map(|r| r.0), Some(4));
    drop(log);
    let (log, _) = recovery::open(dir.path(), 4, false).unwrap();
    assert_eq!((log.start, rows(&log, false).len()), (4, 2));
}

#[test]
fn epochs_end_where_the_next_begins() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.epochs = vec![(0, 0), (2, 10)];
    assert_eq!(log.epoch_end(0), (0, 10));
    assert_eq!(log.epoch_end(1), (0, 10));
    assert_eq!(log.epoch_end(2), (2, 0));
    assert_eq!(log.epoch_end(-1), (-1, -1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Cut anywhere, a log comes back as a prefix of what was written: whole batches, nothing else.
    #[test]
    fn any_cut_leaves_a_prefix(counts in proptest::collection::vec(1usize..4, 1..12), cut in 0.0f64..1.0) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        for (n, count) in counts.iter().enumerate() {
            let value = n.to_string();
            let records = vec![(Some("k"), Some(value.as_str())); *count];
            let codec = (n % 5) as i16;
            put(&mut log, &batch_of(&records, NOW, (-1, -1, -1), false, codec), &config(&[]), NOW).unwrap();
        }
        let before = rows(&log, false);
        drop(log);
        let path = last_file(dir.path());
        let size = std::fs::metadata(&path).unwrap().len();
        let keep = (size as f64 * cut) as u64;
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(keep).unwrap();
        let mut log = open(dir.path());
        let after = rows(&log, false);
        prop_assert_eq!(&before[..after.len()], &after[..]);
        prop_assert_eq!(log.next(), after.len() as i64);
        put(&mut log, &plain("k", Some("new")), &config(&[]), NOW).unwrap();
        prop_assert_eq!(rows(&log, false).len(), after.len() + 1);
    }
}
