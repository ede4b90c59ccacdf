//! Owns compression of a batch's records, with a limit on what comes out: a bomb is an error, never memory.
//! Must not know batches or files.

use std::borrow::Cow;
use std::io::{Read, Write};

/// Why records could not be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("unknown compression codec {0}")]
    Unknown(i16),
    #[error("more than {0} bytes decompressed")]
    TooLarge(usize),
    #[error("compressed records are broken: {0}")]
    Broken(String),
}

const XERIAL: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEAD: usize = 16;
const XERIAL_BLOCK: usize = 32 * 1024;

fn broken(error: impl std::fmt::Display) -> CodecError {
    CodecError::Broken(error.to_string())
}

fn bounded(reader: impl Read, limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut out).map_err(broken)?;
    if out.len() > limit {
        return Err(CodecError::TooLarge(limit));
    }
    Ok(out)
}

/// The records behind codec 0 none, 1 gzip, 2 snappy, 3 lz4 or 4 zstd; at most `limit` bytes.
pub(crate) fn decompress(codec: i16, data: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, CodecError> {
    match codec {
        0 => Ok(Cow::Borrowed(data)),
        1 => bounded(flate2::read::GzDecoder::new(data), limit).map(Cow::Owned),
        2 => unsnap(data, limit).map(Cow::Owned),
        3 => {
            let mut decoder = lz4::Decoder::new(data).map_err(broken)?;
            let out = bounded(&mut decoder, limit)?;
            // It takes the end of its input for the end of the frame; only here it says whether that is so.
            decoder.finish().1.map_err(broken)?;
            Ok(Cow::Owned(out))
        }
        4 => {
            let decoder = zstd::stream::read::Decoder::new(data).map_err(broken)?;
            bounded(decoder, limit).map(Cow::Owned)
        }
        other => Err(CodecError::Unknown(other)),
    }
}

fn unsnap_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let size = snap::raw::decompress_len(block).map_err(broken)?;
    if out.len().saturating_add(size) > limit {
        return Err(CodecError::TooLarge(limit));
    }
    let part = snap::raw::Decoder::new().decompress_vec(block).map_err(broken)?;
    out.extend_from_slice(&part);
    Ok(())
}

fn unsnap(data: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    if !data.starts_with(&XERIAL) {
        unsnap_block(data, limit, &mut out)?;
        return Ok(out);
    }
    let mut rest = data.get(XERIAL_HEAD..).unwrap_or_default();
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| broken("short snappy frame"))?;
        let size = u32::from_be_bytes(*head) as usize;
        let block = tail.get(..size).ok_or_else(|| broken("short snappy block"))?;
        unsnap_block(block, limit, &mut out)?;
        rest = &tail[size..];
    }
    Ok(out)
}

/// The inverse of [`decompress`], in framings that every client reads.
pub(crate) fn compress(codec: i16, data: &[u8]) -> Result<Cow<'_, [u8]>, CodecError> {
    match codec {
        0 => Ok(Cow::Borrowed(data)),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data).map_err(broken)?;
            encoder.finish().map(Cow::Owned).map_err(broken)
        }
        2 => resnap(data).map(Cow::Owned),
        3 => {
            // Java reads independent blocks only.
            let mut encoder = lz4::EncoderBuilder::new()
                .block_mode(lz4::BlockMode::Independent)
                .build(Vec::new())
                .map_err(broken)?;
            encoder.write_all(data).map_err(broken)?;
            let (out, result) = encoder.finish();
            result.map_err(broken)?;
            Ok(Cow::Owned(out))
        }
        4 => zstd::stream::encode_all(data, 0).map(Cow::Owned).map_err(broken),
        other => Err(CodecError::Unknown(other)),
    }
}

fn resnap(data: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = XERIAL.to_vec();
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    for block in data.chunks(XERIAL_BLOCK) {
        let packed = snap::raw::Encoder::new().compress_vec(block).map_err(broken)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_round_trips_and_bombs_are_refused() {
        let data = vec![b'a'; 200_000];
        for codec in 0..=4 {
            let packed = compress(codec, &data).unwrap();
            assert_eq!(decompress(codec, &packed, 200_000).unwrap(), data, "{codec}");
            if codec != 0 {
                assert!(matches!(decompress(codec, &packed, 199_999), Err(CodecError::TooLarge(_))));
                let half = &packed[..packed.len() / 2];
                assert!(decompress(codec, half, 200_000).is_err(), "{codec}");
            }
        }
        assert!(decompress(5, &data, 10).is_err());
    }
}
