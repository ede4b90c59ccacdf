//! What stages keep about themselves: changelog entries, epochs, applied versions.
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// On `atio.state.<service>.<store>` (compacted), in the transaction that changed it. Key = the state key; a tombstone deletes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateEntry {
    pub store: String,
    /// Version of the value's layout.
    pub layout: i32,
    /// JSON text of the value.
    pub value: String,
    pub updated_at: Timestamp,
}

/// On `atio.epochs` (compacted): which tables a stage saw from which input offset on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    pub stage: String,
    pub topic: String,
    pub partition: i32,
    pub first_offset: i64,
    pub tables: Vec<TableOffset>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableOffset {
    pub table: String,
    pub partition: i32,
    pub offset: i64,
}

/// On `atio.applied` (compacted), key = instance: how far an instance has applied the definitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    pub instance: String,
    pub service: String,
    /// Offset in `atio.workflows` up to which (exclusive) everything is in force here.
    pub offset: i64,
    pub at: Timestamp,
}
