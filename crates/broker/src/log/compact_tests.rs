//! Compaction on a real disk: what stays, what goes, what a restart in the middle leaves.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;

use super::batch::Header;
use super::config::TopicConfig;
use super::partition::PartitionLog;
use super::records::tests::batch_of;
use super::tests::{NOW, config, open, plain, put, rows, seal, transactional};
use super::{LogError, compact, segment};

fn compacting() -> TopicConfig {
    let pairs = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    config(&[&pairs[..], &[("delete.retention.ms", "1000")]].concat())
}

/// Rolls, seals and cleans.
fn clean(log: PartitionLog, config: &TopicConfig, now: i64) -> PartitionLog {
    let mut log = log;
    log.roll().unwrap();
    seal(&mut log);
    let shared = Mutex::new(log);
    assert!(compact::run(&shared, config, now, 1000).unwrap());
    shared.into_inner().unwrap()
}

#[test]
fn compaction_keeps_the_last_of_each_key_and_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let config = compacting();
    for codec in 0..=4 {
        let dir = dir.path().join(codec.to_string());
        let mut log = open(&dir);
        for n in 0..30 {
            let (a, b) = (format!("k{}", n % 3), n.to_string());
            let records = [(Some(a.as_str()), Some(b.as_str())), (Some("x"), Some(b.as_str()))];
            put(&mut log, &batch_of(&records, NOW, (-1, -1, -1), false, codec), &config, NOW).unwrap();
        }
        let log = clean(log, &config, NOW);
        let row = |o: i64, k: &str, v: &str| (o, k.to_owned(), Some(v.to_owned()));
        let expected = [row(54, "k0", "27"), row(56, "k1", "28"), row(58, "k2", "29"), row(59, "x", "29")];
        assert_eq!(rows(&log, false), expected, "codec {codec}");
        assert_eq!(log.next(), 60);
        drop(log);
        assert_eq!(rows(&open(&dir), true), expected);
        assert_eq!(open(&dir).next(), 60);
    }
}

#[test]
fn a_tombstone_outlives_its_key_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let config = compacting();
    let mut log = open(dir.path());
    put(&mut log, &plain("a", Some("1")), &config, NOW).unwrap();
    put(&mut log, &plain("a", None), &config, NOW).unwrap();
    put(&mut log, &plain("b", Some("1")), &config, NOW).unwrap();
    let mut log = clean(log, &config, NOW);
    let all = |log: &PartitionLog| rows(log, false).into_iter().map(|r| (r.1, r.2)).collect::<Vec<_>>();
    let b = ("b".to_owned(), Some("1".to_owned()));
    assert_eq!(all(&log), [("a".to_owned(), None), b.clone()]);
    put(&mut log, &plain("c", Some("1")), &config, NOW + 500).unwrap();
    let mut log = clean(log, &config, NOW + 500);
    assert_eq!(all(&log).len(), 3);
    put(&mut log, &plain("c", Some("2")), &config, NOW + 1500).unwrap();
    let log = clean(log, &config, NOW + 1500);
    assert_eq!(all(&log), [b, ("c".to_owned(), Some("2".to_owned()))]);
}

#[test]
fn compaction_drops_what_was_aborted_and_keeps_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let config = compacting();
    let mut log = open(dir.path());
    put(&mut log, &plain("a", Some("kept")), &config, NOW).unwrap();
    transactional(&mut log, 1, 0, "a", &config);
    log.end_transaction(1, 0, false, &config, NOW).unwrap();
    transactional(&mut log, 2, 0, "b", &config);
    log.end_transaction(2, 0, true, &config, NOW).unwrap();
    log = clean(log, &config, NOW);
    let keys = |log: &PartitionLog| rows(log, true).into_iter().map(|r| r.1).collect::<Vec<_>>();
    assert_eq!(keys(&log), ["a", "b"]);
    assert_eq!(rows(&log, true)[0].2.as_deref(), Some("kept"));
    transactional(&mut log, 3, 0, "a", &config);
    log.roll().unwrap();
    let shared = Mutex::new(log);
    assert!(!compact::run(&shared, &config, NOW, 1000).unwrap());
    drop(shared);
    // Without sidecars, from the batches alone: what was decided stays decided.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "idx") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let log = open(dir.path());
    assert_eq!((keys(&log), log.stable()), (vec!["a".to_owned(), "b".to_owned()], 5));
}

#[test]
fn damage_is_not_given_a_new_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let config = compacting();
    let mut log = open(dir.path());
    for n in 0..4 {
        put(&mut log, &plain("k", Some(&n.to_string())), &config, NOW).unwrap();
    }
    log.roll().unwrap();
    seal(&mut log);
    let path = dir.path().join(segment::log_name(0));
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let shared = Mutex::new(log);
    let cleaned = compact::run(&shared, &config, NOW, 1000);
    assert!(matches!(cleaned, Err(LogError::Corrupt { offset: 3 })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn min_compaction_lag_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let lagging = config(&[
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("min.compaction.lag.ms", "5000"),
    ]);
    let mut log = open(dir.path());
    for n in 0..3 {
        put(&mut log, &plain("k", Some(&n.to_string())), &lagging, NOW).unwrap();
    }
    log.roll().unwrap();
    seal(&mut log);
    let shared = Mutex::new(log);
    assert!(!compact::run(&shared, &lagging, NOW + 4999, 1000).unwrap());
    assert!(compact::run(&shared, &lagging, NOW + 5000, 1000).unwrap());
}

#[test]
fn leftovers_of_a_stopped_compaction_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config = compacting();
    let mut log = open(dir.path());
    for n in 0..6 {
        put(&mut log, &plain(&format!("k{}", n % 2), Some(&n.to_string())), &config, NOW).unwrap();
        if n == 2 {
            log.roll().unwrap();
        }
    }
    let second = dir.path().join(segment::log_name(3));
    let copy = std::fs::read(&second).unwrap();
    let log = clean(log, &config, NOW);
    let expected = rows(&log, false);
    drop(log);
    // As if the process had ended between the rename and the deletion of what was merged.
    std::fs::write(&second, copy).unwrap();
    std::fs::write(dir.path().join("00000000000000000000.cleaned"), b"half").unwrap();
    let log = open(dir.path());
    assert_eq!(rows(&log, false), expected);
    assert!(!second.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is written, aborted, rolled and cleaned: a reader's last value of each key is what it was.
    #[test]
    fn compaction_changes_no_final_value(
        steps in proptest::collection::vec((0u8..5, 0u8..4, any::<bool>()), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = compacting();
        let mut log = open(dir.path());
        let mut sequences: BTreeMap<i64, i32> = BTreeMap::new();
        for (n, (what, key, roll)) in steps.iter().enumerate() {
            let (key, value) = (format!("k{key}"), n.to_string());
            match what {
                0 => drop(put(&mut log, &plain(&key, None), &config, NOW).unwrap()),
                1 | 2 => {
                    let pid = i64::from(*what);
                    let sequence = sequences.entry(pid).or_default();
                    let records = [(Some(key.as_str()), Some(value.as_str()))];
                    let batch = batch_of(&records, NOW, (pid, 0, *sequence), true, 0);
                    put(&mut log, &batch, &config, NOW).unwrap();
                    *sequence += 1;
                }
                3 => log.end_transaction(1 + i64::from(*roll), 0, *roll, &config, NOW).unwrap(),
                _ => drop(put(&mut log, &plain(&key, Some(&value)), &config, NOW).unwrap()),
            }
            if *roll {
                log.roll().unwrap();
            }
        }
        log.end_transaction(1, 0, true, &config, NOW).unwrap();
        log.end_transaction(2, 0, false, &config, NOW).unwrap();
        let last = |log: &PartitionLog| {
            let mut last: BTreeMap<String, String> = BTreeMap::new();
            for (_, key, value) in rows(log, true) {
                match value {
                    Some(value) => drop(last.insert(key, value)),
                    None => drop(last.remove(&key)),
                }
            }
            last
        };
        let (before, next) = (last(&log), log.next());
        let mut log = clean(log, &config, NOW);
        prop_assert_eq!(&last(&log), &before);
        put(&mut log, &plain("other", Some("1")), &config, NOW).unwrap();
        let log = clean(log, &config, NOW + 5000);
        drop(log);
        let log = open(dir.path());
        let mut expected = before;
        expected.insert("other".to_owned(), "1".to_owned());
        prop_assert_eq!(last(&log), expected);
        prop_assert_eq!(log.next(), next + 1);
    }
}

/// A reader that goes from batch to batch, as clients do, comes to the end, whatever the end was: a lag that never
/// becomes 0 would be a restore that never ends.
#[test]
fn the_end_can_be_reached() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&[
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("delete.retention.ms", "0"),
    ]);
    let mut log = open(dir.path());
    let reached = |log: &PartitionLog| {
        let mut at = 0;
        while let Some(plan) = log.plan(at, true).unwrap().read {
            let bytes = segment::read(&plan, 1 << 20, true).unwrap();
            let mut rest = &bytes[..];
            while let Some(header) = Header::parse(rest) {
                at = header.last_offset() + 1;
                rest = &rest[header.size..];
            }
            assert!(!bytes.is_empty());
        }
        at
    };
    for turn in 0..3 {
        transactional(&mut log, 1, turn * 2, "a", &config);
        log.end_transaction(1, 0, true, &config, NOW).unwrap();
        log = clean(log, &config, NOW);
        assert_eq!(reached(&log), log.next(), "a marker of a commit");
        transactional(&mut log, 1, turn * 2 + 1, "a", &config);
        log.end_transaction(1, 0, false, &config, NOW).unwrap();
        log = clean(log, &config, NOW);
        assert_eq!(reached(&log), log.next(), "a marker of an abort");
        for _ in 0..2 {
            put(&mut log, &plain("a", None), &config, NOW).unwrap();
            log = clean(log, &config, NOW + 10);
            assert_eq!(reached(&log), log.next(), "a tombstone");
        }
    }
    // What was kept for the end goes once it is not the end any more.
    put(&mut log, &plain("b", Some("1")), &config, NOW).unwrap();
    let log = clean(log, &config, NOW + 20);
    assert_eq!(rows(&log, false).len(), 1);
    assert_eq!((reached(&log), log.segments[0].summary.aborted.len()), (log.next(), 0));
    drop(log);
    let log = open(dir.path());
    assert_eq!(reached(&log), log.next());
}
