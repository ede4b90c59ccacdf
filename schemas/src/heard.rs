//! What a workflow that waits for silence is told by those who listen, one a partition of the events: that something comes there again, or not any more.
use crate::{Timestamp, detection::text_enum};
use serde::{Deserialize, Serialize};

text_enum! { /// Whether something comes.
Sound { Heard = "heard", Quiet = "quiet" } }

/// On `atio.heard`, key `<workflow>/<mark>/<key>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    pub workflow: String,
    /// The version that was listened under.
    pub version: i64,
    /// What is listened for: the same as long as `match` and `key` are.
    pub mark: String,
    /// The key's value; empty where there is no key.
    pub key: String,
    /// Of the events.
    pub partition: i32,
    pub sound: Sound,
    /// When the last of it came, by the broker's clock; up to an eighth of the workflow's time before that.
    pub seen: Timestamp,
}
