//! What monitoring keeps: objects with the version in force, and where its chains end.
use atio_schemas::audit::ChainHead;
use atio_stage::Store;
use serde::{Deserialize, Serialize};

/// An object that was ever defined; key = [`crate::object_key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// The highest version ever given; never given again.
    pub(crate) latest: i64,
    /// Whether `latest` is in force, or the object deleted.
    pub(crate) in_force: bool,
    pub(crate) paused: bool,
    /// Of `latest`, YAML.
    pub(crate) definition: String,
}

impl Object {
    /// What was never defined.
    pub(crate) const fn never() -> Self {
        Self { latest: 0, in_force: false, paused: false, definition: String::new() }
    }
}

pub(crate) struct Objects;
impl Store for Objects {
    const NAME: &'static str = "objects";
    type Value = Object;
}

/// Commands that had their answer; key = object and command id. Who sends a command again, not knowing whether it arrived, gets no second
/// answer, and a refused one does not come true later.
pub(crate) struct Answered;
impl Store for Answered {
    const NAME: &'static str = "answered";
    const RETENTION_MS: Option<i64> = Some(24 * 3600 * 1000);
    type Value = ();
}

/// Beside the note of the offset commit, which is what counts: committed in the same transaction, so that one of them shows when the other
/// was lost or altered. Key = chain.
pub(crate) struct CommandChains;
impl Store for CommandChains {
    const NAME: &'static str = "command-chains";
    type Value = ChainHead;
}

/// Tamperings that are recorded; key = intent id. Whoever looks finds the same again after each start: it is one.
pub(crate) struct Reported;
impl Store for Reported {
    const NAME: &'static str = "reported";
    type Value = ();
}

/// As [`CommandChains`].
pub(crate) struct IntentChains;
impl Store for IntentChains {
    const NAME: &'static str = "intent-chains";
    type Value = ChainHead;
}
