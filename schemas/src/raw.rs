//! The raw event: bytes as received, plus where, when and in which format.
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// On `atio.raw.<source>`. The payload is one record of the tool (one JSON document, one line, one XML report), untouched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawEvent {
    pub source: String,
    pub tenant: String,
    /// A pinned format's name, else null: normalization sniffs.
    pub format: Option<String>,
    pub content_type: Option<String>,
    pub sensor: Option<String>,
    /// `http`, `tail`, `directory`, `topic`.
    pub transport: String,
    /// Peer address, file path …: for people, never parsed.
    pub received_from: Option<String>,
    pub received_at: Timestamp,
    /// For files: sha256 of the file (directory) or a stable file id (tail), and the byte offset of the payload in it.
    pub file: Option<String>,
    pub file_offset: Option<i64>,
    /// `ce_source/ce_id` when the sender gave an id (Idempotency-Key likewise): the key of the `seen` store.
    pub dedup_key: Option<String>,
    /// Index of this record within the request, for event ids of HTTP events with a ce_id.
    pub index: i32,
    #[serde(with = "crate::codec::bytes")]
    pub payload: Vec<u8>,
}

/// On `atio.positions` (compacted): where a tail or a watched directory is, written in the transaction of its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    pub source: String,
    pub path: String,
    /// Stable identity of the file (device:inode:first bytes' hash) or its sha256.
    pub file: String,
    /// Bytes read to the end of the last complete record.
    pub offset: i64,
    pub done: bool,
    pub updated_at: Timestamp,
    /// Hash of the bytes right before `offset`: tells a file that went on from one that was cut and written anew, and finds its copy.
    #[serde(default)]
    pub check: Option<String>,
}
