//! `topics.yaml`: the topics that are not derived from a declaration, and the families of those that are.
use crate::{
    place::{Place, Problem},
    units::{Size, Span},
    yaml,
};
use serde::Deserialize;

const TEXT: &str = include_str!("../topics.yaml");

/// The file as it stands; names without the prefix.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub kind: String,
    pub defaults: Defaults,
    pub topics: Vec<Entry>,
    pub families: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    pub partitions: u32,
    pub embedded_partitions: u32,
    pub dead_letter_retention: Span,
    /// How long a tombstone stays on a compacted topic.
    pub tombstone_retention: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    Delete,
    Compact,
}

impl Policy {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
        }
    }
}

/// A topic or a family (`raw.<source>`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// What its records are keyed by, for people.
    pub key: String,
    /// None = the layout's.
    pub partitions: Option<u32>,
    pub policy: Policy,
    /// Of policy delete.
    pub retention: Option<Span>,
    pub min_compaction_lag: Option<Span>,
    /// max.message.bytes.
    pub max: Size,
    /// The subject of its values, or `none`.
    pub schema: String,
    /// `own`, `none`, or the name of a shared dead-letter topic.
    pub dead: String,
    /// Co-partition group.
    pub group: Option<String>,
    pub writers: String,
    pub holds: String,
}

/// A topic's dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead<'a> {
    None,
    Own,
    Shared(&'a str),
}

impl Entry {
    #[must_use]
    pub fn dead(&self) -> Dead<'_> {
        match self.dead.as_str() {
            "none" => Dead::None,
            "own" => Dead::Own,
            shared => Dead::Shared(shared),
        }
    }
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        (self.schema != "none").then_some(self.schema.as_str())
    }
}

impl Fixed {
    /// The file that comes with the program.
    ///
    /// # Errors
    /// It does not read; a test holds that it does.
    pub fn shipped() -> Result<Self, Problem> {
        let fixed: Self = yaml::read("topics.yaml", TEXT)?;
        let stray = fixed.topics.iter().chain(&fixed.families).find(|e| {
            (e.policy == Policy::Delete) != e.retention.is_some()
                || (e.policy == Policy::Delete && e.min_compaction_lag.is_some())
        });
        match stray {
            Some(e) => Err(Problem::new(
                &Place::file("topics.yaml"),
                format!("{}: retention belongs to policy delete, and only there", e.name),
            )),
            None => Ok(fixed),
        }
    }
    /// The settings of `raw`, `workflow`, `delivery`, `reference` or `state`.
    #[must_use]
    pub fn family(&self, first: &str) -> Option<&Entry> {
        self.families.iter().find(|e| e.name.split('.').next() == Some(first))
    }
}
