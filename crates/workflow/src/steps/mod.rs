//! The steps, a file each. A stranger adds one in `steps/x.rs` and one line in `STEPS`.
//! Owns the table and what all steps share. Must not know: topics, groups, time.
pub(crate) mod await_;
mod convert;
mod deliver;
mod objects;
mod sanitize;
mod set;
mod when;

pub use convert::Converted;

use crate::{check::Check, machine::Event, spec, spec::unknown};
use atio_schemas::{Code, incident::Wait};
use serde_json::{Value, json};
use std::fmt;

/// A compiled step; it keeps nothing between events.
pub trait Step: Send + Sync + fmt::Debug {
    fn name(&self) -> &'static str;
    fn run(&self, event: &mut Event<'_>) -> Flow;
}

/// What follows a step.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Flow {
    Next,
    /// The branch waits here for somebody: what waits is kept elsewhere, and goes on behind this step when there is an answer.
    Wait(Wait),
    /// The branch ends here, as it should: `when_false`, `filtered`.
    Drop(Code),
    /// A dead letter. `above_clearance` concerns one sink, so the branch goes on; else it ends.
    Reject(Code, String),
}

/// Whether a branch goes on after such a rejection.
pub(crate) const fn goes_on(code: Code) -> bool {
    matches!(code, Code::Clearance)
}

/// A step as the language has it.
struct Kind {
    name: &'static str,
    /// Reads what is written behind the name; problems go to the check.
    read: fn(&spec::Step, &mut Check<'_>) -> Option<Box<dyn Step>>,
    /// The JSON Schema of what is written behind the name.
    schema: fn() -> Value,
}

/// Every step, alphabetical, a line each.
static STEPS: &[Kind] = &[
    Kind { name: "await", read: await_::read, schema: await_::schema },
    Kind { name: "convert", read: convert::read, schema: convert::schema },
    Kind { name: "deliver", read: deliver::read, schema: deliver::schema },
    Kind { name: "filter", read: objects::read_filter, schema: objects::schema },
    Kind { name: "remove", read: objects::read_remove, schema: objects::schema },
    Kind { name: "sanitize", read: sanitize::read, schema: sanitize::schema },
    Kind { name: "set", read: set::read, schema: set::schema },
    Kind { name: "when", read: when::read, schema: when::schema },
];

/// Steps of the language that this version does not know yet.
const LATER: &[&str] = &[
    "call", "dedup", "delay", "each", "else", "enrich", "gather", "if", "incident", "merge", "parallel",
    "rate", "retry", "split", "wait",
];

/// Every step's name, and whether it is refused for now.
pub fn names() -> impl Iterator<Item = (&'static str, bool)> {
    STEPS.iter().map(|k| (k.name, false)).chain(LATER.iter().map(|name| (*name, true)))
}

/// The JSON Schema of a step: one of them an item.
pub(crate) fn schema() -> Value {
    let steps: Vec<Value> = STEPS
        .iter()
        .map(|kind| {
            json!({
                "type": "object",
                "additionalProperties": false,
                "required": [kind.name],
                "properties": {kind.name: (kind.schema)()},
            })
        })
        .collect();
    json!({"anyOf": steps})
}

pub(crate) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    if let Some(kind) = STEPS.iter().find(|k| k.name == step.name.text) {
        return (kind.read)(step, check);
    }
    let names: Vec<&str> = STEPS.iter().map(|k| k.name).collect();
    check.problems.push(unknown(&step.name, &names, LATER, "step"));
    None
}
