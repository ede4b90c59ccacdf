//! What a start finds: checkpoints, indexes that are broken or gone, ends that are missing, bytes that have flipped.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use proptest::prelude::*;

use super::batch::Header;
use super::partition::PartitionLog;
use super::records::tests::batch_of;
use super::recovery::{self, Recovered};
use super::segment::Checkpoints;
use super::tests::{NOW, config, open, plain, put, rows, seal, transactional};
use super::{LogError, compact, scrub, segment, sidecar};

const EVERY: Checkpoints = Checkpoints { bytes: 1_000, small: 300, small_after_ms: 60_000 };

fn checkpoint(log: &mut PartitionLog, now: i64) -> bool {
    let Some(seal) = log.checkpoint(EVERY, now).unwrap() else { return false };
    seal.complete().unwrap();
    log.sealed(&seal, now);
    true
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn segment_at(dir: &Path, base: i64) -> PathBuf {
    dir.join(segment::log_name(base))
}

/// Where each batch of a file begins.
fn batches(path: &Path) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    let mut at = 0;
    let mut all = Vec::new();
    while let Some(header) = Header::parse(&bytes[at..]) {
        all.push(at);
        at += header.size;
    }
    all
}

/// Three closed segments of five batches and an active one of two.
fn four_segments(dir: &Path) -> PartitionLog {
    let mut log = open(dir);
    for n in 0..17 {
        put(&mut log, &plain(&format!("k{n}"), Some("v")), &config(&[]), NOW).unwrap();
        if n % 5 == 4 {
            log.roll().unwrap();
        }
    }
    seal(&mut log);
    log
}

#[test]
fn behind_a_checkpoint_nothing_is_read_and_nothing_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let numbered = |n: i32| batch_of(&[(Some("k"), Some("value"))], NOW, (5, 0, n), false, 0);
    let mut sequence = 0;
    while !checkpoint(&mut log, NOW) {
        put(&mut log, &numbered(sequence), &config(&[]), NOW).unwrap();
        sequence += 1;
    }
    assert!((10..20).contains(&sequence), "{sequence}");
    put(&mut log, &numbered(sequence), &config(&[]), NOW).unwrap();
    // A small rest waits for its time.
    assert!(!checkpoint(&mut log, NOW + 60_001));
    for n in 1..5 {
        put(&mut log, &numbered(sequence + n), &config(&[]), NOW).unwrap();
    }
    assert!(!checkpoint(&mut log, NOW + 60_002));
    let before = rows(&log, false);
    drop(log);
    // That it is not found shows that it is not read: it is the scrub's to find.
    edit(&segment_at(dir.path(), 0), |bytes| bytes[70] ^= 1);
    let (mut log, recovered) = recovery::open(dir.path(), 0, false).unwrap();
    assert_eq!(recovered, Recovered::default());
    assert_eq!(log.next(), before.len() as i64);
    let repeat = put(&mut log, &numbered(sequence + 4), &config(&[]), NOW).unwrap();
    assert_eq!(repeat.base_offset, i64::from(sequence) + 4);
    assert_eq!(
        put(&mut log, &numbered(sequence + 5), &config(&[]), NOW).unwrap().base_offset,
        log.next() - 1
    );
}

#[test]
fn a_small_rest_is_checkpointed_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    assert!(!checkpoint(&mut log, NOW));
    for _ in 0..5 {
        put(&mut log, &plain("k", Some("value")), &config(&[]), NOW).unwrap();
    }
    assert!(!checkpoint(&mut log, NOW + 59_000));
    assert!(checkpoint(&mut log, NOW + 60_000));
    assert!(!checkpoint(&mut log, NOW + 200_000));
    // A clock that was set back does not put it off.
    for _ in 0..5 {
        put(&mut log, &plain("k", Some("value")), &config(&[]), NOW).unwrap();
    }
    assert!(!checkpoint(&mut log, NOW - 500_000));
    assert!(checkpoint(&mut log, NOW - 440_000));
}

#[test]
fn an_index_that_is_cut_flipped_or_gone_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let log = four_segments(dir.path());
    let before = rows(&log, false);
    drop(log);
    let path = sidecar::sidecar_of(&segment_at(dir.path(), 5));
    let good = std::fs::read(&path).unwrap();
    let flips = (0..good.len()).step_by(7).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        bytes
    });
    let cuts = (0..good.len()).step_by(13).map(|at| good[..at].to_vec());
    for bytes in flips.chain(cuts) {
        std::fs::write(&path, bytes).unwrap();
        let (log, recovered) = recovery::open(dir.path(), 0, false).unwrap();
        assert_eq!(recovered, Recovered { rebuilt: 1, ..Recovered::default() });
        assert_eq!(rows(&log, false), before);
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::write(dir.path().join("00000000000000000099.idx"), b"of nothing").unwrap();
    let (log, recovered) = recovery::open(dir.path(), 0, false).unwrap();
    assert_eq!((recovered, rows(&log, false)), (Recovered::default(), before));
    assert!(!dir.path().join("00000000000000000099.idx").exists());
}

#[test]
fn an_end_that_was_on_the_disk_and_is_gone_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = four_segments(dir.path());
    let before = rows(&log, false);
    log.close().unwrap();
    drop(log);
    let path = segment_at(dir.path(), 15);
    let second = batches(&path)[1];
    edit(&path, |bytes| bytes.truncate(second + 10));
    let (log, recovered) = recovery::open(dir.path(), 0, false).unwrap();
    assert!(recovered.torn && recovered.missing > 0, "{recovered:?}");
    assert_eq!(rows(&log, false), before[..16]);
    drop(log);
    // A closed one that ends early, at a batch, reads well: only its index knows.
    let path = segment_at(dir.path(), 0);
    let last = batches(&path)[4];
    let size = std::fs::metadata(&path).unwrap().len();
    edit(&path, |bytes| bytes.truncate(last));
    let (log, recovered) = recovery::open(dir.path(), 0, false).unwrap();
    assert_eq!(recovered, Recovered { missing: size - last as u64, ..Recovered::default() });
    assert_eq!(rows(&log, false).len(), 15);
}

#[test]
fn an_offset_that_flipped_is_damage_and_costs_no_segment() {
    // Of the last batch of a closed segment: it would reach into the next one's offsets, or far beyond.
    for (byte, bit) in [(7, 1), (7, 4), (3, 1), (0, 0x40)] {
        let dir = tempfile::tempdir().unwrap();
        drop(four_segments(dir.path()));
        let path = segment_at(dir.path(), 5);
        std::fs::remove_file(sidecar::sidecar_of(&path)).unwrap();
        let last = batches(&path)[4];
        edit(&path, |bytes| bytes[last + byte] ^= bit);
        let opened = recovery::open(dir.path(), 0, false);
        assert!(matches!(opened, Err(LogError::Damaged { at, .. }) if at == last as u64), "{byte} {bit}");
        assert!(segment_at(dir.path(), 10).exists() && segment_at(dir.path(), 15).exists());
    }
    // Of the last batch of all: no torn tail, for it is whole.
    let dir = tempfile::tempdir().unwrap();
    drop(four_segments(dir.path()));
    let path = segment_at(dir.path(), 15);
    let last = batches(&path)[1];
    edit(&path, |bytes| bytes[last + 6] ^= 1);
    assert!(matches!(recovery::open(dir.path(), 0, false), Err(LogError::Damaged { .. })));
}

#[test]
fn an_offset_that_flipped_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let log = four_segments(dir.path());
    let path = segment_at(dir.path(), 5);
    let third = batches(&path)[2];
    edit(&path, |bytes| bytes[third + 7] ^= 8);
    let read = |offset| segment::read(&log.plan(offset, false).unwrap().read.unwrap(), 10_000, true);
    assert_eq!(read(5).unwrap().len(), third);
    for offset in [7, 8, 9] {
        assert!(matches!(read(offset), Err(LogError::Corrupt { .. })), "{offset}");
    }
    assert!(read(10).is_ok());
}

/// Readers, wherever in it they want to begin, and the scrub call a broken batch by the same offset: it is told and counted once.
#[test]
fn a_broken_batch_has_one_name() {
    for (cleaned, at) in [(false, 16), (false, 66), (true, 16), (true, 66)] {
        let dir = tempfile::tempdir().unwrap();
        let compacting = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
        let mut log = open(dir.path());
        for keys in [&["a", "x"][..], &["k"], &["b", "k"], &["c"]] {
            let records: Vec<_> = keys.iter().map(|key| (Some(*key), Some("value"))).collect();
            let batch = batch_of(&records, NOW, (-1, -1, -1), false, 0);
            put(&mut log, &batch, &compacting, NOW).unwrap();
        }
        log.roll().unwrap();
        seal(&mut log);
        let log = Mutex::new(log);
        if cleaned {
            assert!(compact::run(&log, &compacting, NOW, 1_000).unwrap());
        }
        let log = log.into_inner().unwrap();
        let path = segment_at(dir.path(), 0);
        let all = batches(&path);
        let broken = all[all.len() - 2];
        edit(&path, |bytes| bytes[broken + at] ^= 1);
        let (summary, _, file) = log.to_verify(0).unwrap().unwrap();
        let damage = scrub::read(&file, &summary, &log.epochs, 0).unwrap().unwrap();
        for offset in [3, 4] {
            let read = segment::read(&log.plan(offset, false).unwrap().read.unwrap(), 10_000, true);
            let same = matches!(read, Err(LogError::Corrupt { offset }) if offset == damage.offset);
            assert!(same, "cleaned {cleaned}, byte {at}, from {offset}: {read:?}, {damage:?}");
        }
    }
}

/// Header, offset, length, records: wherever a byte of a closed segment flips, a cleaning leaves the files as they are,
/// is not tried again, and what lies before the damage can still be cleaned.
#[test]
fn a_cleaning_stops_before_damage() {
    for at in [0, 7, 8, 11, 12, 16, 17, 22, 60, 61, 66] {
        let dir = tempfile::tempdir().unwrap();
        let compacting = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
        let mut log = open(dir.path());
        for n in 0..15 {
            put(&mut log, &plain("k", Some(&n.to_string())), &compacting, NOW).unwrap();
            if n % 5 == 4 {
                log.roll().unwrap();
            }
        }
        seal(&mut log);
        let path = segment_at(dir.path(), 5);
        let second = batches(&path)[1];
        edit(&path, |bytes| bytes[second + at] ^= 0x10);
        let damaged = std::fs::read(&path).unwrap();
        let log = Mutex::new(log);
        let first = compact::run(&log, &compacting, NOW, 1_000);
        // The leader epoch lies outside the checksum and means nothing to a cleaning.
        if at == 12 {
            assert!(first.unwrap());
            continue;
        }
        assert!(matches!(first, Err(LogError::Corrupt { offset: 6 })), "byte {at}: {first:?}");
        assert!(
            compact::run(&log, &compacting, NOW, 1_000).unwrap(),
            "byte {at}: what lies before it is cleaned"
        );
        assert!(!compact::run(&log, &compacting, NOW, 1_000).unwrap(), "byte {at}: and that is that");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "byte {at}");
        assert_eq!(log.lock().unwrap().segments.len(), 4, "byte {at}");
        assert!(std::fs::read_dir(dir.path()).unwrap().all(|e| {
            let name = e.unwrap().file_name().into_string().unwrap();
            name.ends_with(".log") || name.ends_with(".idx")
        }));
    }
}

/// A cleaning that a kill stopped between its rename and deleting what it had merged: every state on the way opens, and
/// has the latest of every key.
#[test]
fn a_stopped_cleaning_is_sorted_out() {
    for (sidecar_there, sources_there) in [(true, 2), (true, 1), (false, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let compacting = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
        let mut log = open(dir.path());
        for n in 0..16 {
            put(&mut log, &plain(&format!("k{}", n % 4), Some(&n.to_string())), &compacting, NOW).unwrap();
            if n == 15 {
                transactional(&mut log, 1, 0, "aborted", &compacting);
                log.end_transaction(1, 0, false, &compacting, NOW).unwrap();
            }
            if n % 5 == 4 || n == 15 {
                log.roll().unwrap();
            }
        }
        seal(&mut log);
        let latest = |log: &PartitionLog| {
            let all = rows(log, true).into_iter().map(|(_, key, value)| (key, value.unwrap_or_default()));
            all.collect::<std::collections::BTreeMap<_, _>>()
        };
        let wanted = latest(&log);
        let saved: Vec<(PathBuf, Vec<u8>)> = [10, 15]
            .iter()
            .flat_map(|base| {
                [segment_at(dir.path(), *base), sidecar::sidecar_of(&segment_at(dir.path(), *base))]
            })
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect();
        let shared = Mutex::new(log);
        assert!(compact::run(&shared, &compacting, NOW, 1_000).unwrap());
        assert_eq!(latest(&shared.lock().unwrap()), wanted);
        drop(shared);
        let back = if sources_there == 2 { &saved[..] } else { &saved[2..] };
        for (path, bytes) in back {
            std::fs::write(path, bytes).unwrap();
        }
        if !sidecar_there {
            std::fs::remove_file(sidecar::sidecar_of(&segment_at(dir.path(), 0))).unwrap();
        }
        let (log, _) = recovery::open(dir.path(), 0, false).unwrap();
        assert_eq!(latest(&log), wanted, "{sidecar_there} {sources_there}");
        assert_eq!(log.next(), 18);
        drop(log);
        let (log, _) = recovery::open(dir.path(), 0, false).unwrap();
        assert_eq!((latest(&log), log.next()), (wanted, 18));
    }
}

#[test]
fn times_of_a_future_that_never_came_do_not_keep_segments() {
    let dir = tempfile::tempdir().unwrap();
    let aged = config(&[("retention.ms", "1000")]);
    let year = 365 * 86_400_000;
    let mut log = open(dir.path());
    let ahead = batch_of(&[(Some("k"), Some("v"))], NOW + year, (-1, -1, -1), false, 0);
    put(&mut log, &ahead, &aged, NOW + year).unwrap();
    log.roll().unwrap();
    seal(&mut log);
    // The clock is right again: the segment is as old as the first look at it.
    assert_eq!(log.retain(&aged, NOW).unwrap(), None);
    assert_eq!(log.retain(&aged, NOW + 1_000).unwrap(), None);
    assert_eq!(log.retain(&aged, NOW + 1_001).unwrap(), Some(1));
}

/// What becomes of a file: bytes that change, an end that goes, an end that comes.
#[derive(Debug, Clone)]
enum Harm {
    Flip(prop::sample::Index, u8),
    Zeros(prop::sample::Index, usize),
    Cut(prop::sample::Index),
    Grow(Vec<u8>),
    Gone,
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), 1u8..).prop_map(|(at, bits)| Harm::Flip(at, bits)),
        2 => (at(), 1usize..400).prop_map(|(at, size)| Harm::Zeros(at, size)),
        2 => at().prop_map(Harm::Cut),
        1 => proptest::collection::vec(any::<u8>(), 1..200).prop_map(Harm::Grow),
        1 => Just(Harm::Gone),
    ]
}

fn inflict(path: &Path, harm: &Harm) {
    let Ok(mut bytes) = std::fs::read(path) else { return };
    let size = bytes.len();
    match harm {
        Harm::Gone => return std::fs::remove_file(path).unwrap(),
        Harm::Grow(more) => bytes.extend_from_slice(more),
        _ if size == 0 => return,
        Harm::Flip(at, bits) => bytes[at.index(size)] ^= bits,
        Harm::Zeros(at, count) => {
            let from = at.index(size);
            bytes[from..(from + count).min(size)].fill(0);
        }
        Harm::Cut(at) => bytes.truncate(at.index(size)),
    }
    std::fs::write(path, bytes).unwrap();
}

/// All that a reader gets who seeks on, offset by offset, where it meets damage.
fn stubborn_rows(log: &PartitionLog) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = log.start;
    while at < log.next() {
        let read = log.plan(at, false).and_then(|planned| match planned.read {
            Some(plan) => segment::read(&plan, 1 << 20, true),
            None => Ok(bytes::Bytes::new()),
        });
        let from = at;
        let bytes = read.unwrap_or_default();
        let mut rest = &bytes[..];
        while let Some(header) = Header::parse(rest) {
            super::records::for_each(&rest[..header.size], &header, 1 << 20, |r| {
                found.push((r.offset, r.value.unwrap_or_default().to_vec()));
                true
            })
            .unwrap();
            at = header.last_offset() + 1;
            rest = &rest[header.size..];
        }
        at = at.max(from + 1);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever happens to one or two files, closed or not, with or without their indexes: the start is refused, or
    /// every record that is served is one that was written there, in order, and new ones can be written.
    #[test]
    fn nothing_is_served_that_was_not_written(
        harms in proptest::collection::vec((any::<prop::sample::Index>(), harm()), 1..3),
        indexes in any::<bool>(),
        cleaned in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let compacting = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
        let mut log = open(dir.path());
        for n in 0..23 {
            let value = format!("value {n}");
            let records = [(Some("k"), Some(value.as_str())), (Some(["x", "y"][n % 2]), Some(value.as_str()))];
            let batch = batch_of(&records, NOW, (-1, -1, -1), false, [0, 4][n % 2]);
            put(&mut log, &batch, &compacting, NOW).unwrap();
            if n % 6 == 5 {
                log.roll().unwrap();
            }
        }
        seal(&mut log);
        let log = Mutex::new(log);
        if cleaned {
            compact::run(&log, &compacting, NOW, 1_000).unwrap();
            let mut log = log.lock().unwrap();
            log.roll().unwrap();
            seal(&mut log);
        }
        drop(log);
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for (which, harm) in &harms {
            inflict(&files[which.index(files.len())], harm);
        }
        if !indexes {
            files.iter().filter(|p| p.extension().is_some_and(|e| e == "idx")).for_each(|p| drop(std::fs::remove_file(p)));
        }
        let mut log = match recovery::open(dir.path(), 0, false) {
            Ok((log, _)) => log,
            Err(error) => {
                prop_assert!(matches!(error, LogError::Damaged { .. }), "{error}");
                return Ok(());
            }
        };
        let rows = stubborn_rows(&log);
        let mut last = -1;
        for (offset, value) in rows {
            prop_assert!(offset > last, "{offset} after {last}");
            let value = String::from_utf8_lossy(&value);
            // After a cleaning, an offset that moved within its gap looks right where the index is lost as well.
            let written = match cleaned {
                true => (0..23).any(|n| value == format!("value {n}")),
                false => value == format!("value {}", offset / 2),
            };
            prop_assert!(written, "{offset}: {value}");
            last = offset;
        }
        let appended = put(&mut log, &plain("k", Some("new")), &compacting, NOW).unwrap();
        prop_assert!(appended.base_offset > last);
        prop_assert_eq!(log.next(), appended.base_offset + 1);
    }
}
