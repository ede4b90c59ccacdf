//! Definitions in force, and what changed them.
use crate::{Timestamp, command::ObjectKind, detection::text_enum};
use serde::{Deserialize, Serialize};

text_enum! { /// Where a workflow's branches run. What has a group of its own keeps it: nothing goes back into the pool.
Placement { Own = "own", Pooled = "pooled", Promoted = "promoted" } }

impl Placement {
    /// Its branches have groups of their own, on its own topic.
    #[must_use]
    pub const fn has_lanes(self) -> bool {
        matches!(self, Self::Own | Self::Promoted)
    }
}

/// On `atio.workflows` (compacted): key `<name>@<n>` holds an immutable definition, key `<name>` points to the one in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub kind: ObjectKind,
    pub name: String,
    pub version: i64,
    /// True on the record under the bare name.
    pub pointer: bool,
    pub paused: bool,
    /// YAML text; empty on a pointer.
    pub definition: String,
    /// sha256 of `definition`, hex.
    pub sha256: String,
    pub created_at: Timestamp,
    pub created_by: String,
    pub command_id: String,
    /// Of a workflow's pointer; see [`Definition::placed`].
    pub placement: Option<Placement>,
}

impl Definition {
    /// Where its branches run. Pointers that are older than the pool do not say it.
    #[must_use]
    pub fn placed(&self) -> Placement {
        self.placement.unwrap_or(Placement::Own)
    }
}

text_enum! { ChangeType { Creation = "CreationEvents", Modification = "ModificationEvents", Deletion = "DeletionEvents", Refusal = "RefusalEvents", Restoration = "RestorationEvents",
Tampering = "TamperingEvents", Run = "RunEvents" } }

/// On `atio.workflow-changes`: what a command did, with before and after; a refusal says why. Of kind tampering: what nobody asked for, `before`
/// what must be there, `after` what is, as far as it is known. Of kind run: `after` is the event, a detection as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub change_id: String,
    pub command_id: String,
    pub change_type: ChangeType,
    pub kind: ObjectKind,
    pub name: String,
    pub before_version: Option<i64>,
    pub after_version: Option<i64>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
    /// For a refusal: a reason code and a sentence.
    pub refused_code: Option<String>,
    pub refused_message: Option<String>,
    pub at: Timestamp,
    /// When it was done, by the broker's clock: the command came, or the record that nobody asked for; none where that is not known.
    pub occurred_at: Option<Timestamp>,
    /// Of kind tampering: which, a code.
    pub finding: Option<String>,
}
