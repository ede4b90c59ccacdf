//! STIX patterns in definitions. Owns where what is wrong with one is shown, and its JSON Schema. Must not know: what patterns mean.
use crate::{
    spec,
    yaml::{Key, Node},
};
use atio_stix::pattern::{MAX_BYTES, Pattern};
use atio_topics::Problem;
use serde_json::{Value, json};
use std::sync::Arc;

/// Stands in `match` beside the columns, and in `filter` and `remove`.
pub(crate) const PATTERN: &str = "pattern";

/// The pattern that stands at a node.
pub(crate) fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<Arc<Pattern>> {
    let text = spec::text(node, "`pattern`", problems)?;
    match Pattern::parse(&text.text) {
        Ok(pattern) => Some(Arc::new(pattern)),
        Err(error) => {
            let place = node.place_at(error.offset);
            problems.push(Problem::new(&place, format!("STIX pattern: {error}")).help(Some(error.help)));
            None
        }
    }
}

/// The pattern of `match`.
pub(super) fn of_match(written: &[(Key, Node)], problems: &mut Vec<Problem>) -> Option<Arc<Pattern>> {
    read(spec::field(written, PATTERN)?, problems)
}

pub(crate) fn schema() -> Value {
    json!({
        "type": "string",
        "description": "A STIX 2.1 pattern, held against what the bundle observed: [ipv4-addr:value = '198.51.100.3']",
        "minLength": 1,
        "maxLength": MAX_BYTES,
    })
}
