//! Owns what is asked of a frame before a handler sees it: its length, its key and version, its header, its shape.
//! Must not know sockets, waiting or memory budgets.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::Decodable;

use crate::api::{self, Api, Malformed};

/// Requests without records are small; a bigger one is not one.
const MAX_PLAIN_FRAME: usize = 8 << 20;
/// Key, version and correlation id.
pub(crate) const HEAD: usize = 8;

/// Why a frame is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("a frame of {0} bytes is not accepted")]
    Size(i64),
    #[error("request {key} version {version} is not supported")]
    Unsupported { key: i16, version: i16 },
}

/// What a frame's first bytes say.
pub(crate) struct Door {
    pub(crate) api: &'static Api,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    /// Only the answer that this version is not supported.
    pub(crate) unsupported: bool,
}

/// The length that a frame claims.
///
/// # Errors
/// Shorter than a request can be, longer than `max`.
pub(crate) fn length(claimed: i32, max: usize) -> Result<usize, Refused> {
    let refused = || Refused::Size(claimed.into());
    let length = usize::try_from(claimed).map_err(|_| refused())?;
    if length < HEAD || length > max { Err(refused()) } else { Ok(length) }
}

/// Reads the first bytes of a frame of `length`; nothing is reserved for the rest before this.
///
/// # Errors
/// Not advertised; too long for a request without records.
pub(crate) fn door(head: &[u8; HEAD], length: usize) -> Result<Door, Refused> {
    let mut fields = &head[..];
    let (key, version) = (fields.get_i16(), fields.get_i16());
    let correlation = fields.get_i32();
    let api = api::find(key).ok_or(Refused::Unsupported { key, version })?;
    let supported = (api.min..=api.max).contains(&version);
    let unsupported = !supported && api.key == ApiKey::ApiVersions;
    if !supported && !unsupported {
        return Err(Refused::Unsupported { key, version });
    }
    if length > MAX_PLAIN_FRAME && api.key != ApiKey::Produce {
        return Err(Refused::Size(length as i64));
    }
    Ok(Door { api, version, correlation, unsupported })
}

impl Door {
    /// The client's name and the body of a whole frame, whose lengths and counts are true.
    ///
    /// # Errors
    /// The header or the body is not what it says.
    pub(crate) fn open(&self, mut frame: Bytes) -> Result<(String, Bytes), Malformed> {
        if self.unsupported {
            return Ok((String::new(), frame));
        }
        let header = RequestHeader::decode(&mut frame, self.api.key.request_header_version(self.version));
        let header = header.map_err(|e| Malformed(e.to_string()))?;
        self.api.shape.check(&frame, self.version)?;
        Ok((header.client_id.map(|c| c.to_string()).unwrap_or_default(), frame))
    }
}
