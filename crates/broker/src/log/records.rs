//! Owns the records inside a batch: reading them with every length checked, and writing them back when a cleaning
//! drops some. Must not know files or partitions.

use super::batch::{CODEC, HEADER, Header};
use super::codec::{self, CodecError};

/// One record of a batch, borrowed from its decompressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Header count and headers, as they were.
    pub(crate) headers: &'a [u8],
}

/// Why a batch's records can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("a record's length is wrong")]
    Length,
    #[error("the batch says {said} records and holds {holds}")]
    Count { said: i32, holds: i32 },
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn varint(&mut self) -> Result<i64, RecordError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(RecordError::Length)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(RecordError::Length)?;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(RecordError::Length)
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.0.split_at_checked(size).ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(head)
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        match self.varint()? {
            -1 => Ok(None),
            size => {
                let size = usize::try_from(size).map_err(|_| RecordError::Length)?;
                self.take(size).map(Some)
            }
        }
    }
}

/// Calls `each` for every record of `batch`; stops early when it returns false.
///
/// # Errors
/// Broken compression, more than `limit` decompressed bytes, lengths that do not add up, a wrong count.
pub(crate) fn for_each(
    batch: &[u8],
    header: &Header,
    limit: usize,
    mut each: impl FnMut(Record<'_>) -> bool,
) -> Result<(), RecordError> {
    let body = batch.get(HEADER..).ok_or(RecordError::Length)?;
    let plain = codec::decompress(header.attributes & CODEC, body, limit)?;
    let mut cursor = Cursor(&plain);
    let mut holds = 0;
    while !cursor.0.is_empty() {
        let size = usize::try_from(cursor.varint()?).map_err(|_| RecordError::Length)?;
        let mut inner = Cursor(cursor.take(size)?);
        inner.take(1)?;
        let timestamp_delta = inner.varint()?;
        let offset_delta = inner.varint()?;
        let record = Record {
            offset: header.base_offset.wrapping_add(offset_delta),
            timestamp: if header.is_append_time() {
                header.max_ts
            } else {
                header.base_ts.wrapping_add(timestamp_delta)
            },
            key: inner.nullable()?,
            value: inner.nullable()?,
            headers: inner.0,
        };
        holds += 1;
        if !each(record) {
            return Ok(());
        }
    }
    if holds != header.count {
        return Err(RecordError::Count { said: header.count, holds });
    }
    Ok(())
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_nullable(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends one record, its deltas against the given bases.
pub(crate) fn put(out: &mut Vec<u8>, record: &Record<'_>, base_offset: i64, base_ts: i64) {
    let mut body = Vec::with_capacity(record.value.map_or(0, <[u8]>::len) + 32);
    body.push(0);
    put_varint(&mut body, record.timestamp.wrapping_sub(base_ts));
    put_varint(&mut body, record.offset - base_offset);
    put_nullable(&mut body, record.key);
    put_nullable(&mut body, record.value);
    body.extend_from_slice(record.headers);
    put_varint(out, body.len() as i64);
    out.extend_from_slice(&body);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A batch of (key, value) records, as a client makes it.
    pub(crate) fn batch_of(
        records: &[(Option<&str>, Option<&str>)],
        ts: i64,
        producer: (i64, i16, i32),
        transactional: bool,
        codec: i16,
    ) -> bytes::Bytes {
        let mut body = Vec::new();
        for (index, (key, value)) in records.iter().enumerate() {
            let record = Record {
                offset: index as i64,
                timestamp: ts + index as i64,
                key: key.map(str::as_bytes),
                value: value.map(str::as_bytes),
                headers: &[0],
            };
            put(&mut body, &record, 0, ts);
        }
        let header = Header {
            base_offset: 0,
            size: 0,
            leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: codec | if transactional { 0x10 } else { 0 },
            last_delta: records.len() as i32 - 1,
            base_ts: ts,
            max_ts: ts + records.len() as i64 - 1,
            pid: producer.0,
            epoch: producer.1,
            sequence: producer.2,
            count: 0,
        };
        let packed = codec::compress(codec, &body).unwrap();
        header.build(records.len() as i32, &packed).freeze()
    }

    #[test]
    fn records_come_back_from_every_codec() {
        for codec in 0..=4 {
            let batch = batch_of(
                &[(Some("a"), Some("1")), (None, Some("2")), (Some("c"), None)],
                50,
                (-1, -1, -1),
                false,
                codec,
            );
            let header = Header::parse(&batch).unwrap();
            let mut seen = Vec::new();
            for_each(&batch, &header, 1000, |r| {
                seen.push((r.offset, r.timestamp, r.key.map(<[u8]>::to_vec)));
                true
            })
            .unwrap();
            assert_eq!(seen, vec![(0, 50, Some(b"a".to_vec())), (1, 51, None), (2, 52, Some(b"c".to_vec()))]);
        }
    }

    proptest::proptest! {
        #[test]
        fn broken_records_never_panic(body in proptest::collection::vec(0u8.., 0..200), codec in 0i16..8) {
            let header = Header::parse(&batch_of(&[], 0, (-1, -1, -1), false, 0)).unwrap();
            let header = Header { attributes: codec, count: 3, ..header };
            let mut batch = vec![0; HEADER];
            batch.extend_from_slice(&body);
            let mut count = 0;
            let result = for_each(&batch, &header, 1 << 16, |_| { count += 1; true });
            proptest::prop_assert!(count == 3 || result.is_err());
        }
    }
}
