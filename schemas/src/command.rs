//! What people and tools ask for, on `atio.commands`: the only way in to definitions.
use crate::{Timestamp, detection::text_enum};
use serde::{Deserialize, Serialize};

text_enum! { Action { Apply = "apply", Delete = "delete", Pause = "pause", Resume = "resume", Restore = "restore", Run = "run", Promote = "promote" } }
text_enum! { ObjectKind { Workflow = "workflow", Source = "source", Sink = "sink", Table = "table", Audit = "audit" } }

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// UUID of the command: its answer (change or refusal) carries it.
    pub command_id: String,
    pub action: Action,
    pub kind: ObjectKind,
    pub name: String,
    /// The version that the sender saw; 0 = must not exist. Another version in force = refused `version_conflict`.
    pub expected_version: i64,
    /// The declaration as YAML text, for apply and restore; for run the event, a detection as JSON. A restore without one writes what monitoring has once more, or, of an object that
    /// is not in force, the tombstone.
    pub definition: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
    pub sent_at: Timestamp,
    /// For apply and restore of a workflow: the sender has seen to it that its own topic is there. Routers write only topics of which that is known.
    pub own_topic: Option<bool>,
}
