//! A tampering as it is told: the intent that the watcher sends, and the change event that comes of it. Owns both texts; must not know how it was found.
use crate::{
    object_key,
    written::{Topic, digest, hex},
};
use atio_schemas::{
    Timestamp,
    audit::AuditIntent,
    command::ObjectKind,
    definition::{Change, ChangeType},
};
use serde::{Deserialize, Serialize};

/// The action of such an entry.
pub const ACTION: &str = "tampering";
/// Who says so.
pub const ACTOR: &str = "monitoring";

/// What was done behind ATIO's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A tombstone that monitoring did not write.
    Deleted,
    /// A record under a key, or of a chain, that monitoring never wrote, or beyond the chain's end.
    Foreign,
    /// A record under a key of monitoring's that it did not write, or wrote once and not again.
    Rewritten,
    /// What monitoring wrote last under a key is not there.
    Missing,
    /// An entry's hash is not that of its content.
    Altered,
    /// An entry lies under another one's key.
    WrongKey,
    /// What lies there is no entry.
    Unreadable,
    /// Entries of a chain are missing, or do not link.
    Gap,
    /// A chain ends before the head that monitoring noted.
    Truncated,
    /// A chain has entries, and monitoring noted no head.
    Unnoted,
    /// More than is looked at one by one.
    TooMany,
}

impl Kind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Foreign => "foreign",
            Self::Rewritten => "rewritten",
            Self::Missing => "missing",
            Self::Altered => "altered",
            Self::WrongKey => "wrong_key",
            Self::Unreadable => "unreadable",
            Self::Gap => "gap",
            Self::Truncated => "truncated",
            Self::Unnoted => "unnoted",
            Self::TooMany => "too_many",
        }
    }
}

/// One tampering; the details of its audit entry, `written` aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub finding: Kind,
    pub topic: Topic,
    pub key: String,
    /// Where it lies; none for what is missing.
    pub offset: Option<i64>,
    /// The record's time as the broker has it.
    pub timestamp: Option<Timestamp>,
    /// sha256 of the value that must be the newest, hex; none for a tombstone or where nothing is known.
    pub expected: Option<String>,
    /// sha256 of the value that lies there, hex; none for a tombstone or where nothing is.
    pub found: Option<String>,
    pub message: String,
    /// The object: the workflow, or `audit` and the chain.
    pub kind: ObjectKind,
    pub name: String,
    /// The version that must be in force, and its text.
    pub version: Option<i64>,
    pub definition: Option<String>,
    /// The text that lies there instead, where it is a definition.
    pub found_definition: Option<String>,
}

impl Report {
    /// The same for the same act, however often it is found: place, time and content, and what must be there; not how it is called.
    #[must_use]
    pub fn id(&self) -> String {
        let what = if self.offset.is_some() { "" } else { self.finding.as_str() };
        let expected = if self.offset.is_some() { None } else { self.expected.as_deref() };
        let at = |n: Option<i64>| n.map_or_else(String::new, |n| n.to_string());
        let parts = [
            self.topic.as_str(),
            what,
            &self.key,
            &at(self.offset),
            &at(self.timestamp.map(|t| t.0)),
            expected.unwrap_or_default(),
            self.found.as_deref().unwrap_or_default(),
        ];
        let mut text = Vec::new();
        for part in parts {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        format!("tampering-{}", &hex(&digest(&text))[..32])
    }

    /// What the log is to record.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn intent(&self, at: Timestamp) -> Result<AuditIntent, serde_json::Error> {
        Ok(AuditIntent {
            intent_id: self.id(),
            actor: ACTOR.to_owned(),
            action: ACTION.to_owned(),
            object: object_key(self.kind, &self.name),
            details: serde_json::to_string(self)?,
            at,
        })
    }

    /// What an intent reports; none where it is about something else.
    #[must_use]
    pub fn of(intent: &AuditIntent) -> Option<Self> {
        (intent.action == ACTION).then(|| serde_json::from_str(&intent.details).ok()).flatten()
    }

    /// What whoever follows changes is told.
    pub(crate) fn change(&self, intent: &AuditIntent, change_id: String) -> Change {
        Change {
            change_id,
            command_id: intent.intent_id.clone(),
            change_type: ChangeType::Tampering,
            kind: self.kind,
            name: self.name.clone(),
            before_version: self.version,
            after_version: None,
            before: self.definition.clone(),
            after: self.found_definition.clone(),
            actor: "unknown".to_owned(),
            reason: Some(self.message.clone()),
            refused_code: None,
            refused_message: None,
            at: intent.at,
            occurred_at: self.timestamp,
            finding: Some(self.finding.as_str().to_owned()),
        }
    }
}
