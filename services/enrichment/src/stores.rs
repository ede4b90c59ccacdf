//! What enrichment remembers, all of it by asset (the input's key), so that it moves with the partition.
use atio_stage::Store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Key `asset|finding_uid`: the life of one finding of a scanner.
pub(crate) struct Findings;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FindingState {
    /// An `atio_schemas::detection::Status` as text.
    pub status: String,
    pub first_seen: i64,
    pub last_seen: i64,
    pub count: i64,
    /// What is needed to tell of its end when a complete scan no longer has it.
    pub source: String,
    pub rule: Option<String>,
    pub name: Option<String>,
    pub product: Option<String>,
    pub sensor: Option<String>,
    pub severity: Option<f64>,
    pub severity_id: Option<i32>,
    pub cvss: Option<f64>,
    pub confidence: Option<i32>,
    pub cves: Vec<String>,
    /// First scan's start, microseconds: `has`.start_time.
    pub since: i64,
}

impl Store for Findings {
    const NAME: &'static str = "findings";
    type Value = FindingState;
}

/// Key asset: which findings are open there, and when a complete scan last said so.
pub(crate) struct Exposed;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExposedState {
    /// finding_uid → CVEs.
    pub open: BTreeMap<String, Vec<String>>,
    /// reported_at of the last complete scan, microseconds.
    pub complete_at: Option<i64>,
}

impl Store for Exposed {
    const NAME: &'static str = "exposed";
    type Value = ExposedState;
}

/// Key `asset|rule|actor`: a window of repeats of one threat.
pub(crate) struct Repeats;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RepeatState {
    pub first_event: String,
    /// reported_at of the first event.
    pub created: i64,
    pub first_seen: i64,
    pub last_seen: i64,
    pub count: i64,
    /// modified of the last version of the sighting.
    pub modified: i64,
    /// Timestamp of the last record: the window runs on it.
    pub last_record: i64,
}

impl Store for Repeats {
    const NAME: &'static str = "repeats";
    const RETENTION_MS: Option<i64> = Some(DAY_MS);
    type Value = RepeatState;
}

/// Key `asset|rule`: the open incident of a threat.
pub(crate) struct Incidents;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IncidentState {
    pub incident_id: String,
    pub last_record: i64,
}

impl Store for Incidents {
    const NAME: &'static str = "incidents";
    const RETENTION_MS: Option<i64> = Some(DAY_MS);
    type Value = IncidentState;
}

/// Key asset: what its risk is made of, one item a rule.
pub(crate) struct Risk;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RiskState {
    pub items: Vec<RiskItem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RiskItem {
    /// Rule id; for a vulnerability the finding_uid.
    pub rule: String,
    pub importance: f64,
    /// Microseconds.
    pub at: i64,
    pub tactics: Vec<String>,
}

impl Store for Risk {
    const NAME: &'static str = "risk";
    type Value = RiskState;
}
