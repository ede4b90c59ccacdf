//! What monitoring keeps: objects with the version in force, and where its chains end.
use atio_schemas::{audit::ChainHead, definition::Placement};
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
    /// Where its branches run, or did when it was deleted. What has a group of its own once never goes back into the pool.
    #[serde(default = "own")]
    pub(crate) placement: Placement,
    /// Of `latest`; none: of a version of ATIO that did not count them.
    #[serde(default)]
    pub(crate) branches: Option<u32>,
}

/// As it was before there was a pool.
const fn own() -> Placement {
    Placement::Own
}

impl Object {
    /// What was never defined.
    pub(crate) const fn never() -> Self {
        Self {
            latest: 0,
            in_force: false,
            paused: false,
            definition: String::new(),
            placement: Placement::Own,
            branches: None,
        }
    }

    /// Groups of its own, while it is in force.
    pub(crate) fn groups(&self) -> u64 {
        let has = self.in_force && self.placement.has_lanes();
        self.branches.filter(|_| has).map_or(0, u64::from)
    }
}

pub(crate) struct Objects;
impl Store for Objects {
    const NAME: &'static str = "objects";
    type Value = Object;
}

/// How many groups the branches of all workflows in force have that are not pooled; key = [`Groups::ALL`].
pub(crate) struct Groups;
impl Groups {
    pub(crate) const ALL: &'static str = "all";
}
impl Store for Groups {
    const NAME: &'static str = "groups";
    type Value = u64;
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
