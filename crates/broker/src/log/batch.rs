//! Owns the layout of a v2 record batch's header: parsing, checksum, patching, control markers.
//! Must not know files, partitions or requests; record contents are `records`' business.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a batch's header, base offset and length included.
pub(crate) const HEADER: usize = 61;
/// Bytes before what the length field counts.
const PREFIX: usize = 12;
/// Where the checksummed part begins.
const CRC_FROM: usize = 21;

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const APPEND_TIME: i16 = 0x08;
pub(crate) const DELETE_HORIZON: i16 = 0x40;
pub(crate) const CODEC: i16 = 0x07;

/// A parsed header; `size` is the whole batch in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    pub(crate) size: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: u8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_delta: i32,
    pub(crate) base_ts: i64,
    pub(crate) max_ts: i64,
    pub(crate) pid: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) count: i32,
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..from + N)?.try_into().ok()
}

impl Header {
    /// The header at the start of `bytes`; `None` when it is too short or its length can't be one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Header> {
        let length = i32::from_be_bytes(at(bytes, 8)?);
        let size = usize::try_from(length).ok()?.checked_add(PREFIX)?;
        if size < HEADER {
            return None;
        }
        Some(Header {
            base_offset: i64::from_be_bytes(at(bytes, 0)?),
            size,
            leader_epoch: i32::from_be_bytes(at(bytes, 12)?),
            magic: at::<1>(bytes, 16)?[0],
            crc: u32::from_be_bytes(at(bytes, 17)?),
            attributes: i16::from_be_bytes(at(bytes, 21)?),
            last_delta: i32::from_be_bytes(at(bytes, 23)?),
            base_ts: i64::from_be_bytes(at(bytes, 27)?),
            max_ts: i64::from_be_bytes(at(bytes, 35)?),
            pid: i64::from_be_bytes(at(bytes, 43)?),
            epoch: i16::from_be_bytes(at(bytes, 51)?),
            sequence: i32::from_be_bytes(at(bytes, 53)?),
            count: i32::from_be_bytes(at(bytes, 57)?),
        })
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_delta))
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(crate) fn is_append_time(&self) -> bool {
        self.attributes & APPEND_TIME != 0
    }

    /// When what this batch holds of tombstones and markers may go, if a cleaning has set it.
    pub(crate) fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_ts)
    }

    pub(crate) fn last_sequence(&self) -> i32 {
        sequence_after(self.sequence, self.last_delta)
    }

    /// The header as it was parsed, encoded.
    fn encode(&self) -> [u8; HEADER] {
        let mut out = [0u8; HEADER];
        let length = (self.size - PREFIX) as i32;
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16] = self.magic;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_ts.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_ts.to_be_bytes());
        out[43..51].copy_from_slice(&self.pid.to_be_bytes());
        out[51..53].copy_from_slice(&self.epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.count.to_be_bytes());
        out
    }

    /// The header for the log: offset and epoch lie outside the checksum, so the body is never touched; with
    /// an append time the checksum is made anew over the patched header and the untouched body.
    pub(crate) fn placed(
        &self,
        body: &[u8],
        base_offset: i64,
        leader_epoch: i32,
        append_time: Option<i64>,
    ) -> (Header, [u8; HEADER]) {
        let mut placed = Header { base_offset, leader_epoch, ..*self };
        match append_time {
            Some(now) => {
                placed.attributes |= APPEND_TIME;
                placed.max_ts = now;
            }
            None => placed.attributes &= !APPEND_TIME,
        }
        if placed.attributes != self.attributes || placed.max_ts != self.max_ts {
            let head = placed.encode();
            placed.crc = crc32c::crc32c_append(crc32c::crc32c(&head[CRC_FROM..]), body);
        }
        (placed, placed.encode())
    }

    /// A whole batch of this header and `records`; count, length and checksum are set here.
    pub(crate) fn build(mut self, count: i32, records: &[u8]) -> BytesMut {
        self.size = HEADER + records.len();
        self.count = count;
        let head = self.encode();
        self.crc = crc32c::crc32c_append(crc32c::crc32c(&head[CRC_FROM..]), records);
        let mut out = BytesMut::with_capacity(self.size);
        out.put_slice(&self.encode());
        out.put_slice(records);
        out
    }
}

/// Whether the batch's checksum is that of its bytes. `batch` is exactly one batch.
pub(crate) fn crc_ok(batch: &[u8], header: &Header) -> bool {
    batch.len() == header.size && batch.get(CRC_FROM..).map(crc32c::crc32c) == Some(header.crc)
}

/// The sequence `delta` records after `first`; sequences wrap from `i32::MAX` to 0.
pub(crate) fn sequence_after(first: i32, delta: i32) -> i32 {
    let sum = i64::from(first) + i64::from(delta);
    if sum > i64::from(i32::MAX) { (sum - i64::from(i32::MAX) - 1) as i32 } else { sum as i32 }
}

/// A control batch that ends a transaction of `pid`.
pub(crate) fn marker(offset: i64, now: i64, pid: i64, epoch: i16, commit: bool) -> Bytes {
    let mut record = BytesMut::with_capacity(16);
    record.put_u8(0);
    record.put_slice(&[0, 0]); // timestamp and offset delta
    record.put_u8(8); // a key of 4 bytes: version, type
    record.put_i16(0);
    record.put_i16(i16::from(commit));
    record.put_u8(12); // a value of 6 bytes: version, coordinator epoch
    record.put_i16(0);
    record.put_i32(0);
    record.put_u8(0); // no headers
    let mut records = BytesMut::with_capacity(17);
    records.put_u8((record.len() as u8) << 1);
    records.put_slice(&record);
    let header = Header {
        base_offset: offset,
        size: 0,
        leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: TRANSACTIONAL | CONTROL,
        last_delta: 0,
        base_ts: now,
        max_ts: now,
        pid,
        epoch,
        sequence: -1,
        count: 1,
    };
    header.build(1, &records).freeze()
}

/// Whether a control batch is a commit (`Some(true)`) or an abort; `None` for other control records.
pub(crate) fn marker_type(batch: &[u8]) -> Option<bool> {
    // length, attributes, deltas and key length take one byte each in every marker that a broker writes.
    let kind = i16::from_be_bytes(at(batch, HEADER + 7)?);
    match kind {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_a_valid_batch() {
        let batch = marker(7, 1000, 3, 1, true);
        let header = Header::parse(&batch).unwrap();
        assert!(crc_ok(&batch, &header));
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.base_offset, header.last_offset(), header.pid), (7, 7, 3));
        assert_eq!(marker_type(&batch), Some(true));
        assert_eq!(marker_type(&marker(0, 0, 0, 0, false)), Some(false));
        let decoded = kafka_protocol::records::RecordBatchDecoder::decode(&mut batch.clone()).unwrap();
        assert!(decoded.records[0].control);
    }

    #[test]
    fn append_time_keeps_the_checksum_true() {
        let batch = marker(0, 5, 1, 0, true);
        let header = Header::parse(&batch).unwrap();
        let (placed, head) = header.placed(&batch[HEADER..], 44, 2, Some(99));
        let mut whole = head.to_vec();
        whole.extend_from_slice(&batch[HEADER..]);
        assert!(crc_ok(&whole, &placed));
        assert_eq!((placed.max_ts, placed.base_offset), (99, 44));
        assert!(placed.is_append_time());
    }

    #[test]
    fn sequences_wrap() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
        assert_eq!(sequence_after(4, 0), 4);
    }
}
