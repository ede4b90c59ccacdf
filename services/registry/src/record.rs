//! The records of the topic `_schemas`, in Confluent's own format: JSON keys and values. Owns reading and writing them; must not know what
//! they add up to.
use serde::{Deserialize, Serialize};

/// Key and value of a record; a null value takes the key back.
pub type Entry = (Vec<u8>, Option<Vec<u8>>);

/// What a key names. The order of the fields is Confluent's: compaction compares bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "keytype", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Key {
    Schema { subject: String, version: i32 },
    Config { subject: Option<String> },
    DeleteSubject { subject: String },
    Mode { subject: Option<String> },
    ClearSubject { subject: String },
    Context {},
    Noop {},
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaValue {
    pub subject: String,
    pub version: i32,
    pub id: i32,
    /// Null for Avro. Others can't be registered here, but may be in a topic that another registry wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<serde_json::Value>,
    pub schema: String,
    #[serde(default)]
    pub deleted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigValue {
    pub(crate) compatibility_level: String,
}

/// All versions of the subject up to this one are deleted (softly).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeleteSubjectValue {
    pub(crate) subject: String,
    pub(crate) version: i32,
}

/// Why a record of the topic can't be read; it is passed over.
#[derive(Debug, thiserror::Error)]
#[error("record of _schemas cannot be read: {0}")]
pub struct BadRecord(pub String);

impl From<serde_json::Error> for BadRecord {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl Key {
    /// # Errors
    /// Bytes that are no key of this format.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The key's bytes, as Confluent writes them.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let text = |s: &str| serde_json::Value::from(s).to_string();
        let optional = |s: &Option<String>| s.as_deref().map_or_else(|| "null".to_owned(), text);
        let line = match self {
            Self::Schema { subject, version } => {
                format!(r#"{{"keytype":"SCHEMA","subject":{},"version":{version},"magic":1}}"#, text(subject))
            }
            Self::Config { subject } => {
                format!(r#"{{"keytype":"CONFIG","subject":{},"magic":0}}"#, optional(subject))
            }
            Self::Mode { subject } => {
                format!(r#"{{"keytype":"MODE","subject":{},"magic":0}}"#, optional(subject))
            }
            Self::DeleteSubject { subject } => {
                format!(r#"{{"keytype":"DELETE_SUBJECT","subject":{},"magic":0}}"#, text(subject))
            }
            Self::ClearSubject { subject } => {
                format!(r#"{{"keytype":"CLEAR_SUBJECT","subject":{},"magic":0}}"#, text(subject))
            }
            Self::Context {} => r#"{"keytype":"CONTEXT","magic":0}"#.to_owned(),
            Self::Noop {} => r#"{"keytype":"NOOP","magic":0}"#.to_owned(),
        };
        line.into_bytes()
    }

    /// The record that takes this key back.
    #[must_use]
    pub fn tombstone(&self) -> Entry {
        (self.bytes(), None)
    }

    pub(crate) fn with<V: Serialize>(&self, value: &V) -> Result<Entry, BadRecord> {
        Ok((self.bytes(), Some(serde_json::to_vec(value)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kafka-console-consumer shows them on a topic that Confluent's registry wrote.
    #[test]
    fn confluents_bytes() {
        let keys = [
            r#"{"keytype":"SCHEMA","subject":"a \"b\"","version":2,"magic":1}"#,
            r#"{"keytype":"CONFIG","subject":null,"magic":0}"#,
            r#"{"keytype":"CONFIG","subject":"s","magic":0}"#,
            r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#,
            r#"{"keytype":"MODE","subject":null,"magic":0}"#,
            r#"{"keytype":"CLEAR_SUBJECT","subject":"s","magic":0}"#,
            r#"{"keytype":"NOOP","magic":0}"#,
        ];
        for text in keys {
            let key = Key::read(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(key.bytes()).unwrap(), text);
        }
        let value = r#"{"subject":"s","version":1,"id":7,"schema":"\"string\"","deleted":false}"#;
        let read: SchemaValue = serde_json::from_str(value).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), value);
    }
}
