//! What was done with a dead letter.
use crate::{Timestamp, detection::text_enum};
use serde::{Deserialize, Serialize};

text_enum! { /// How somebody dealt with a dead letter.
LetterAction { Replayed = "replayed", Dropped = "dropped" } }

/// On `atio.dlq-marks` (compacted), key = topic/partition/offset of the letter, in the transaction of what was done. The letter itself stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LetterMark {
    /// The dead-letter topic.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub action: LetterAction,
    /// How often it was replayed so far.
    pub replays: i32,
    /// Where the record went; null: nowhere.
    pub to: Option<String>,
    /// Of the value, hex, where it was edited on the way.
    pub sha256_before: Option<String>,
    pub sha256_after: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
    /// UUID of the command that did it; its audit entries have the same.
    pub run_id: String,
    pub at: Timestamp,
}

impl LetterMark {
    /// topic/partition/offset.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }
}
