//! From bytes to raw events: a format's records, each with its place; what is no record is refused here. Pure.
use crate::body::{MAX_BYTES, Refused};
use atio_formats::{
    limits::Limits,
    split::{self, Shape},
};
use atio_schemas::{Code, Codec, CodecError, Timestamp, header, raw::RawEvent};
use atio_stage::{Headers, Output};
use atio_topics::Source;

/// Records of one request, or of one transaction of a file.
pub const MAX_RECORDS: usize = 10_000;

/// One record of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub raw: &'a [u8],
    /// Bytes from the start of the input.
    pub offset: u64,
}

/// What an input divides into, in order.
pub type Pieces<'a> = Vec<Result<Piece<'a>, Refused>>;

/// Divides an input by the source's format, pinned or found.
///
/// # Errors
/// The input as a whole: empty, of no known format, or with too many records.
pub fn divide<'a>(source: &Source, raw: &'a [u8]) -> Result<Pieces<'a>, Refused> {
    if split::without_bom(raw).iter().all(u8::is_ascii_whitespace) {
        return Err(Refused { code: Code::Empty, message: "there is nothing in it".into() });
    }
    let format = atio_formats::detect(raw, source.format.as_deref());
    let format = format.map_err(|e| Refused { code: e.code(), message: e.to_string() })?;
    if format.shape == Shape::Whole {
        return Ok(vec![Ok(Piece { raw, offset: 0 })]);
    }
    let mut all = vec![];
    for piece in split::split(raw, format.shape, &Limits::default()) {
        if all.len() == MAX_RECORDS {
            return Err(Refused {
                code: Code::TooMany,
                message: format!("more than {MAX_RECORDS} records; send them in several requests"),
            });
        }
        all.push(match piece {
            Ok(p) => Ok(Piece { raw: p.raw, offset: p.offset }),
            Err(r) => Err(Refused { code: r.code, message: format!("line {}: {}", r.line, r.message) }),
        });
    }
    Ok(all)
}

/// The envelope of a source's raw events.
pub fn event(source: &Source, payload: &[u8], received_at: Timestamp) -> RawEvent {
    RawEvent {
        source: source.meta.name.clone(),
        tenant: source.tenant.clone(),
        format: source.format.clone(),
        content_type: None,
        sensor: None,
        transport: source.from.transport().to_owned(),
        received_from: None,
        received_at,
        file: None,
        file_offset: None,
        dedup_key: None,
        index: 0,
        payload: payload.to_vec(),
    }
}

/// The record of a raw event; `key` decides the partition, None = spread.
///
/// # Errors
/// The codec's: a subject is not registered, or the payload is above its limit.
pub fn record(
    codec: &Codec,
    prefix: &str,
    key: Option<&str>,
    event: &RawEvent,
) -> Result<Output, CodecError> {
    if event.payload.len() > MAX_BYTES {
        return Err(CodecError::TooLarge(event.payload.len()));
    }
    let mut headers = Headers::default();
    let source = format!("/atio/{}/{}", event.tenant, event.source);
    headers.describe("atio.raw-event", &ce_id(event), source, Some(event.received_at));
    headers.set(header::RUN, header::LIVE);
    headers.set(header::TENANT, event.tenant.as_bytes());
    let topic = format!("{prefix}raw.{}", event.source);
    Ok(Output {
        topic: topic.into(),
        partition: None,
        key: key.map(|k| k.as_bytes().to_vec()),
        value: Some(codec.encode(event)?),
        headers,
    })
}

/// The sender's own id, else the place in its file, else one that nobody else has: an event's final id is known only with its offset.
fn ce_id(event: &RawEvent) -> String {
    let index = event.index;
    match (&event.dedup_key, &event.file, event.file_offset) {
        (Some(key), ..) if index > 0 => format!("{key}/{index}"),
        (Some(key), ..) => key.clone(),
        (None, Some(file), Some(offset)) => format!("{file}/{offset}"),
        _ => uuid::Uuid::new_v4().to_string(),
    }
}
