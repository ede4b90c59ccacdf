//! Incidents: what enrichment says about them, and their state with timings. (Acks and waits join with the incidents service.)
use crate::{Timestamp, detection::Kind};
use serde::{Deserialize, Serialize};

/// On `atio.incident-events`, key = incident id, written by enrichment in the transaction of the detection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentEvent {
    pub incident_id: String,
    pub event_id: String,
    pub tenant: String,
    pub kind: Kind,
    pub asset: Option<String>,
    pub rule_id: Option<String>,
    /// True for the event that opened the incident.
    pub opened: bool,
    pub importance: Option<f64>,
    pub status: Option<crate::detection::Status>,
    pub occurred_at: Option<Timestamp>,
    pub received_at: Option<Timestamp>,
}

/// On `atio.incidents` (compacted), key = incident id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub incident_id: String,
    pub tenant: String,
    pub kind: Kind,
    pub asset: Option<String>,
    pub rule_id: Option<String>,
    pub events: i64,
    pub importance: Option<f64>,
    pub occurred_at: Option<Timestamp>,
    pub detected_at: Option<Timestamp>,
    pub notified_at: Option<Timestamp>,
    pub acked_at: Option<Timestamp>,
    pub acked_by: Option<String>,
    pub handed_over_at: Option<Timestamp>,
    pub contained_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub verdict: Option<String>,
}
