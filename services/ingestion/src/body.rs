//! Request bodies: compression undone within limits, content types checked. Pure.
use atio_schemas::Code;
use std::io::Read;

/// Raw topics take 16 MiB; more is refused at the door.
pub const MAX_BYTES: usize = 16 << 20;

/// Media types that are taken (RFC 9110 §8.3.1, parameters aside). None at all is taken as well.
const TYPES: &[&str] = &[
    "application/json",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/stix+json",
    "application/taxii+json",
    "application/xml",
    "text/xml",
    "text/csv",
    "text/plain",
    "application/octet-stream",
];

/// A refusal with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    pub message: String,
}

fn refuse<T>(code: Code, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code, message: message.into() })
}

/// Checks a `Content-Type`.
///
/// # Errors
/// `unsupported_content_type`.
pub fn check_type(content_type: Option<&str>) -> Result<(), Refused> {
    let Some(text) = content_type else { return Ok(()) };
    let media = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = text.split(';').skip(1).filter_map(|p| p.trim().strip_prefix("charset=")).next();
    if !TYPES.contains(&media.as_str()) {
        return refuse(Code::ContentType, format!("`{media}` is not taken; one of {}", TYPES.join(", ")));
    }
    match charset.map(|c| c.trim_matches('"').to_ascii_lowercase()) {
        Some(c) if c != "utf-8" && c != "us-ascii" => {
            refuse(Code::ContentType, format!("charset `{c}` is not taken; send UTF-8"))
        }
        _ => Ok(()),
    }
}

/// Undoes `Content-Encoding` (gzip, zstd, identity), to at most [`MAX_BYTES`].
///
/// # Errors
/// `expands_too_far` for a bomb, `bad_compression` for what is none, `unsupported_content_type` for other encodings.
pub fn decode(encoding: Option<&str>, body: Vec<u8>) -> Result<Vec<u8>, Refused> {
    match encoding.map(|e| e.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some("gzip" | "x-gzip") => expand(flate2::read::MultiGzDecoder::new(body.as_slice())),
        Some("zstd") => {
            let decoder = zstd::stream::read::Decoder::new(body.as_slice());
            let mut decoder = decoder.or_else(|e| refuse(Code::Compression, e.to_string()))?;
            // 2^24 bytes of window: what a body of at most 16 MiB can need.
            decoder.window_log_max(24).or_else(|e| refuse(Code::Compression, e.to_string()))?;
            expand(decoder)
        }
        Some(other) => {
            refuse(Code::ContentType, format!("content encoding `{other}` is not taken; gzip or zstd"))
        }
    }
}

fn expand(decoder: impl Read) -> Result<Vec<u8>, Refused> {
    let mut out = vec![];
    match decoder.take(MAX_BYTES as u64 + 1).read_to_end(&mut out) {
        Ok(n) if n > MAX_BYTES => {
            refuse(Code::Expanded, format!("the body expands to more than {MAX_BYTES} bytes"))
        }
        Ok(_) => Ok(out),
        Err(error) => refuse(Code::Compression, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_and_zstd_are_undone() {
        assert_eq!(decode(Some("gzip"), gzip(b"abc")).unwrap(), b"abc");
        assert_eq!(decode(Some("zstd"), zstd::encode_all(&b"abc"[..], 3).unwrap()).unwrap(), b"abc");
        assert_eq!(decode(None, b"abc".to_vec()).unwrap(), b"abc");
    }

    #[test]
    fn bombs_and_broken_streams_are_refused() {
        let zeros = vec![0; MAX_BYTES + 1];
        assert_eq!(decode(Some("gzip"), gzip(&zeros)).unwrap_err().code, Code::Expanded);
        assert_eq!(
            decode(Some("zstd"), zstd::encode_all(&zeros[..], 3).unwrap()).unwrap_err().code,
            Code::Expanded
        );
        let whole = gzip(b"abcdefghijklmnopqrstuvwxyz");
        assert_eq!(
            decode(Some("gzip"), whole[..whole.len() - 9].to_vec()).unwrap_err().code,
            Code::Compression
        );
        assert_eq!(decode(Some("zstd"), b"junk".to_vec()).unwrap_err().code, Code::Compression);
        assert_eq!(decode(Some("br"), vec![]).unwrap_err().code, Code::ContentType);
    }

    #[test]
    fn content_types() {
        assert!(check_type(None).is_ok() && check_type(Some("Application/JSON; charset=utf-8")).is_ok());
        assert_eq!(check_type(Some("image/png")).unwrap_err().code, Code::ContentType);
        assert_eq!(check_type(Some("text/xml; charset=utf-16")).unwrap_err().code, Code::ContentType);
    }
}
