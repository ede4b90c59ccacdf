//! A converted payload on its way to one sink, and what the sink answered.
use crate::{Timestamp, detection::Tlp};
use serde::{Deserialize, Serialize};

/// On `atio.delivery.<sink>`, key = incident id, else asset. The idempotency key also travels as the header `atio_idempotency_key`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub sink: String,
    /// Deterministic: UUIDv5 over event, workflow, branch, sink; the sink's document id.
    pub idempotency_key: String,
    pub event_id: String,
    pub incident_id: Option<String>,
    pub asset: Option<String>,
    pub workflow: String,
    pub branch: String,
    /// `stix`, `report`, `ecs` …
    pub format: String,
    pub content_type: String,
    pub tlp: Tlp,
    pub occurred_at: Option<Timestamp>,
    pub received_at: Option<Timestamp>,
    #[serde(with = "crate::codec::bytes")]
    pub payload: Vec<u8>,
    /// What the format could not carry: column names.
    pub residue: Vec<String>,
}

/// On `atio.receipts`, key = incident id, else asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Receipt")]
pub struct ReceiptRecord {
    pub sink: String,
    pub idempotency_key: String,
    pub event_id: String,
    pub incident_id: Option<String>,
    pub workflow: String,
    pub branch: String,
    /// `delivered` or `rejected`.
    pub status: String,
    /// HTTP status or the like; null for files and topics.
    pub code: Option<String>,
    /// Id that the sink gave: document id, case id, topic/partition/offset.
    pub external_id: Option<String>,
    pub attempts: i32,
    pub delivered_at: Timestamp,
}
