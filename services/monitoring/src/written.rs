//! What an audit entry says was written with it, and what else of its details others go by. Owns the JSON of the details; must not know how
//! records are made or read.
use atio_schemas::{
    Timestamp,
    audit::AuditEntry,
    command::{Action, Command, ObjectKind},
    definition::{Change, ChangeType, Placement},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// sha256.
pub type Hash = [u8; 32];

/// The topics that monitoring alone writes, audit aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    #[serde(rename = "workflows")]
    Workflows,
    #[serde(rename = "workflow-changes")]
    Changes,
    #[serde(rename = "audit")]
    Audit,
}

impl Topic {
    pub const ALL: [Self; 3] = [Self::Workflows, Self::Changes, Self::Audit];

    /// Without the prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workflows => "workflows",
            Self::Changes => "workflow-changes",
            Self::Audit => "audit",
        }
    }
}

/// A record that went out in the transaction of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub topic: Topic,
    pub key: String,
    /// Of the value, hex; none for a tombstone.
    pub sha256: Option<String>,
}

impl Written {
    pub(crate) fn of(topic: Topic, output: &atio_stage::Output) -> Self {
        let key = String::from_utf8_lossy(output.key.as_deref().unwrap_or_default()).into_owned();
        Self { topic, key, sha256: output.value.as_deref().map(|v| hex(&digest(v))) }
    }
}

#[must_use]
pub fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[must_use]
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

#[must_use]
pub fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(hash)
}

/// The details of a command's entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    pub change: String,
    pub before_version: Option<i64>,
    pub after_version: Option<i64>,
    /// Of what is in force afterwards, hex.
    pub sha256: Option<String>,
    /// What is in force afterwards, else, for a deletion, what was before: what can be restored.
    pub definition: Option<String>,
    /// Of a run.
    pub event: Option<String>,
    /// Where the branches of the workflow that is in force run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    pub reason: Option<String>,
    pub refused_code: Option<String>,
    pub refused_message: Option<String>,
    pub sent_at: Timestamp,
    /// None: an entry of a version that did not note it.
    pub written: Option<Vec<Written>>,
}

impl Details {
    pub(crate) fn of(command: &Command, change: &Change, written: Vec<Written>) -> Self {
        let definition = match (change.change_type, command.action) {
            // What a pause quotes is no definition, nor is an event.
            (ChangeType::Refusal, _)
            | (_, Action::Pause | Action::Resume | Action::Run | Action::Promote) => None,
            (ChangeType::Deletion, _) => change.before.clone(),
            _ => change.after.clone(),
        };
        let in_force = definition.as_deref().filter(|_| change.after_version.is_some());
        Self {
            change: change.change_type.to_string(),
            before_version: change.before_version,
            after_version: change.after_version,
            sha256: in_force.map(|d| hex(&digest(d.as_bytes()))),
            definition,
            placement: None,
            event: change.after.clone().filter(|_| change.change_type == ChangeType::Run),
            reason: change.reason.clone(),
            refused_code: change.refused_code.clone(),
            refused_message: change.refused_message.clone(),
            sent_at: command.sent_at,
            written: Some(written),
        }
    }

    /// None: no command's entry.
    #[must_use]
    pub fn read(entry: &AuditEntry) -> Option<Self> {
        let details: Self = serde_json::from_str(&entry.details).ok()?;
        ChangeType::parse(&details.change).map(|_| details)
    }

    #[must_use]
    pub fn change_type(&self) -> Option<ChangeType> {
        ChangeType::parse(&self.change)
    }
}

/// The object that an entry is about: `workflow/<name>`.
#[must_use]
pub fn object(entry: &AuditEntry) -> Option<(ObjectKind, &str)> {
    let (kind, name) = entry.object.split_once('/')?;
    Some((ObjectKind::parse(kind)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_text() {
        let hash = digest(b"x");
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        for wrong in ["", "zz", &"é".repeat(32), &"0".repeat(63)] {
            assert_eq!(unhex(wrong), None);
        }
    }
}
