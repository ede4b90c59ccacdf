//! What routing writes for a workflow: the detection with the list of matches (one for a workflow's own topic, several when pooled).
use crate::Detection;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routed {
    /// `name@version` of each workflow whose trigger matched.
    pub matches: Vec<String>,
    pub detection: Detection,
}
