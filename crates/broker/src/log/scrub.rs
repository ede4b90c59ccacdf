//! Owns looking for damage in what is closed or checkpointed: one stretch between two index entries at a time, checksums,
//! and what lies outside of them. Must not know when it runs, nor what is done about what it finds.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::batch::{self, Header};
use super::segment::{Chain, MAX_BATCH, Summary};

/// A batch that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The offset that it should have; beside gaps, at least.
    pub(crate) offset: i64,
    /// Its byte in the segment.
    pub(crate) at: u64,
}

/// What a stretch must hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch<'a> {
    /// The first batch's base offset.
    pub(crate) base: i64,
    /// The offset behind the last one, at most; exactly, where no cleaning has been.
    pub(crate) end: i64,
    pub(crate) gaps: bool,
    /// (leader epoch, first offset), ascending.
    pub(crate) epochs: &'a [(i32, i64)],
}

/// The stretch that begins at an index entry: its position, its length.
pub(crate) fn stretch(summary: &Summary, entry: usize) -> Option<(u64, usize)> {
    let from = summary.entries.get(entry)?.1;
    let to = summary.entries.get(entry + 1).map_or(summary.size, |e| e.1);
    Some((from, usize::try_from(to.checked_sub(from)?).ok()?))
}

/// Reads one stretch of a segment and verifies it.
///
/// # Errors
/// The disk's.
pub(crate) fn read(
    file: &File,
    summary: &Summary,
    epochs: &[(i32, i64)],
    entry: usize,
) -> std::io::Result<Option<Damage>> {
    let (Some((from, size)), Some(first)) = (stretch(summary, entry), summary.entries.get(entry)) else {
        return Ok(None);
    };
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, from)?;
    let end = summary.entries.get(entry + 1).map_or(summary.end, |e| e.0);
    let holds = Stretch { base: first.0, end, gaps: summary.cleaned, epochs };
    Ok(verify(&bytes, holds).map(|d| Damage { at: d.at + from, ..d }))
}

/// The first batch of `bytes` that is not what it must be.
pub(crate) fn verify(bytes: &[u8], holds: Stretch<'_>) -> Option<Damage> {
    let mut chain = Chain::at(holds.base, holds.gaps);
    let mut at = 0;
    while at < bytes.len() {
        let damage = Damage { offset: chain.next, at: at as u64 };
        let rest = &bytes[at..];
        let Some(header) = Header::parse(rest) else { return Some(damage) };
        let whole = rest.get(..header.size.min(MAX_BATCH)).unwrap_or_default();
        let right = batch::crc_ok(whole, &header)
            && chain.takes(&header)
            && chain.next <= holds.end
            && header.leader_epoch == epoch_at(holds.epochs, header.base_offset);
        if !right {
            return Some(damage);
        }
        at += header.size;
    }
    let whole = holds.gaps || chain.next == holds.end;
    (!whole).then_some(Damage { offset: chain.next, at: bytes.len() as u64 })
}

/// The leader epoch of an offset.
fn epoch_at(epochs: &[(i32, i64)], offset: i64) -> i32 {
    let after = epochs.partition_point(|(_, first)| *first <= offset);
    after.checked_sub(1).and_then(|at| epochs.get(at)).map_or(0, |e| e.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::records::tests::batch_of;

    const EPOCHS: &[(i32, i64)] = &[(0, 0), (1, 102)];

    /// Three batches from offset 100 on, the last of them in a later epoch.
    fn stretch_of(gaps: bool) -> (Vec<u8>, Stretch<'static>) {
        let mut bytes = Vec::new();
        for (offset, epoch, codec) in [(100, 0, 0), (101, 0, 4), (102 + i64::from(gaps) * 3, 1, 0)] {
            let batch = batch_of(&[(Some("key"), Some("some value"))], 50, (7, 0, 3), false, codec);
            let header = Header::parse(&batch).unwrap();
            let body = &batch[batch::HEADER..];
            bytes.extend_from_slice(&header.placed(body, offset, epoch, None).1);
            bytes.extend_from_slice(body);
        }
        (bytes, Stretch { base: 100, end: if gaps { 110 } else { 103 }, gaps, epochs: EPOCHS })
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (bytes, holds) = stretch_of(false);
        assert_eq!(verify(&bytes, holds), None);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let damage = verify(&flipped, holds);
                assert!(damage.is_some_and(|d| d.at as usize <= at), "byte {at} bit {bit}: {damage:?}");
            }
        }
    }

    /// After a cleaning an offset that stays within its gap looks right; everything else is found.
    #[test]
    fn every_flipped_bit_is_found_beside_gaps() {
        let (bytes, holds) = stretch_of(true);
        assert_eq!(verify(&bytes, holds), None);
        let last =
            bytes.len() - batch_of(&[(Some("key"), Some("some value"))], 50, (7, 0, 3), false, 0).len();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let offset = i64::from_be_bytes(flipped[last..last + 8].try_into().unwrap());
                let within_its_gap = (last..last + 8).contains(&at) && (102..110).contains(&offset);
                assert_eq!(verify(&flipped, holds).is_none(), within_its_gap, "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn what_is_missing_at_the_end_is_found() {
        let (bytes, holds) = stretch_of(false);
        for cut in 0..bytes.len() {
            assert!(verify(&bytes[..cut], holds).is_some(), "{cut}");
        }
    }
}
