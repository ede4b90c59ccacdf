//! What routing writes for a workflow: the detection with the list of matches (one for a workflow's own topic, several when pooled).
use crate::Detection;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routed {
    /// `name@version` of each workflow whose trigger matched.
    pub matches: Vec<String>,
    pub detection: Detection,
}

impl Routed {
    /// Name and version of each match that is one.
    pub fn workflows(&self) -> impl Iterator<Item = (&str, i64)> {
        self.matches.iter().filter_map(|workflow| parsed(workflow))
    }
}

/// `name@version`.
#[must_use]
pub fn parsed(workflow: &str) -> Option<(&str, i64)> {
    let (name, version) = workflow.rsplit_once('@')?;
    Some((name, version.parse().ok()?))
}
