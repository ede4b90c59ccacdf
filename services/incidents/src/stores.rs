//! What the stage keeps, all of it by incident (the inputs' key), so that it moves with the partition.
use atio_schemas::{
    Timestamp,
    delivery::ReceiptRecord,
    incident::{Ack, Incident, Wait},
};
use atio_stage::{StateKey, Store};
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// An incident that nothing was heard of for so long is forgotten here; its last state stays on its topic.
pub(crate) const KEPT_MS: i64 = 400 * DAY_MS;

/// Key incident.
pub(crate) struct Incidents;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IncidentState {
    pub incident: Incident,
    /// Waits that have ended, newest last: who comes after joins them.
    pub ended: Vec<String>,
    /// Answers that were taken, newest last.
    pub acks: Vec<String>,
    /// When somebody last answered all open waits: a wait that was on its topic by then is answered too.
    pub answered_all_at: Option<Timestamp>,
}

impl Store for Incidents {
    const NAME: &'static str = "incidents";
    const RETENTION_MS: Option<i64> = Some(KEPT_MS);
    type Value = IncidentState;
}

/// Key `incident/wait_id`: an open wait, whole. It is held under the same key, so that a deadline finds it.
pub(crate) struct Waits;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub wait: Wait,
    /// Headers that go on to what is delivered.
    pub carried: Vec<(String, String)>,
}

impl Store for Waits {
    const NAME: &'static str = "waits";
    type Value = Waiting;
}

/// Key incident: what came before anything was known of it. Each is held under `incident/id`.
pub(crate) struct Early;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EarlyRecord {
    /// The record's timestamp.
    pub at: Timestamp,
    pub what: EarlyWhat,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum EarlyWhat {
    Ack(Ack),
    Receipt(ReceiptRecord),
}

impl EarlyRecord {
    /// Unique among what is early of one incident.
    pub(crate) fn id(&self) -> String {
        match &self.what {
            EarlyWhat::Ack(ack) => format!("ack-{}", ack.ack_id),
            EarlyWhat::Receipt(receipt) => format!("receipt-{}", receipt.idempotency_key),
        }
    }
}

impl Store for Early {
    const NAME: &'static str = "early";
    type Value = Vec<EarlyRecord>;
}

/// Under which key something of an incident is held.
pub(crate) fn held(store: &'static str, incident_id: &str, id: &str) -> StateKey {
    StateKey { store, key: format!("{incident_id}/{id}") }
}
