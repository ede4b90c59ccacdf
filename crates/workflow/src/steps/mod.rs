//! The steps, a file each. A stranger adds one in `steps/x.rs` and one line in `STEPS`.
//! Owns the table and what all steps share. Must not know: topics, groups, time.
pub(crate) mod await_;
mod call;
mod convert;
mod dedup;
mod delay;
mod deliver;
mod each;
mod enrich;
mod gather;
mod if_;
mod incident;
mod key;
mod merge;
mod objects;
mod on_error;
mod rate;
mod rota;
mod sanitize;
mod set;
mod when;

pub use call::Called;
pub use convert::Converted;
pub(crate) use rota::zone;

use crate::{
    check::Check,
    machine::Event,
    spec::{self, unknown},
    state::gathered::Gathered,
    yaml::{Node, short},
};
use atio_schemas::{Code, Timestamp, incident::Wait};
use atio_stage::StageError;
use atio_topics::{
    Problem,
    units::{Span, parse_span},
};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// A compiled step; it keeps nothing between events.
pub trait Step: Send + Sync + fmt::Debug {
    fn name(&self) -> &'static str;
    fn run(&self, event: &mut Event<'_>) -> Flow;
    /// Of a step that gathers: what came together, brought into the event that it held.
    fn bring(&self, _: &Gathered, _: &mut Event<'_>) {}
}

/// What follows a step.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Flow {
    Next,
    /// The branch goes on behind so many of the steps that follow.
    Skip(usize),
    /// The branch waits here for somebody: what waits is kept elsewhere, and goes on behind this step when there is an answer.
    Wait(Wait),
    /// The branch goes on behind this step after so many milliseconds.
    Delay(i64),
    /// The branch goes on behind this step at this time, with what others add to it meanwhile under this name.
    Gather {
        until: Timestamp,
        name: String,
    },
    /// The branch ends here; what it has delivered stands.
    Stop,
    /// The branch ends here, as it should: `when_false`, `filtered`, `duplicate`.
    Drop(Code),
    /// The branch can't go on at all, whatever the event: it is tried again.
    Fail(StageError),
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
    read: Read,
    /// The JSON Schema of what is written behind the name; of one with steps within it, of the whole item.
    schema: fn() -> Value,
}

/// Steps one behind the other.
type Row = Vec<Box<dyn Step>>;

enum Read {
    One(fn(&spec::Step, &mut Check<'_>) -> Option<Box<dyn Step>>),
    /// It has steps within it.
    Whole(fn(&spec::Step, &mut Check<'_>) -> Option<Box<dyn Step>>),
    /// It comes to several steps in a row.
    Row(fn(&spec::Step, &mut Check<'_>) -> Option<Row>),
}

/// Every step, alphabetical, a line each.
static STEPS: &[Kind] = &[
    Kind { name: "await", read: Read::One(await_::read), schema: await_::schema },
    Kind { name: "call", read: Read::One(call::read), schema: call::schema },
    Kind { name: "convert", read: Read::One(convert::read), schema: convert::schema },
    Kind { name: "dedup", read: Read::One(dedup::read), schema: dedup::schema },
    Kind { name: "delay", read: Read::One(delay::read), schema: delay::schema },
    Kind { name: "deliver", read: Read::One(deliver::read), schema: deliver::schema },
    Kind { name: "each", read: Read::Whole(each::read), schema: each::schema },
    Kind { name: "enrich", read: Read::One(enrich::read), schema: enrich::schema },
    Kind { name: "filter", read: Read::One(objects::read_filter), schema: objects::schema },
    Kind { name: "gather", read: Read::One(gather::read), schema: gather::schema },
    Kind { name: "if", read: Read::Row(if_::read), schema: if_::schema },
    Kind { name: "incident", read: Read::One(incident::read), schema: incident::schema },
    Kind { name: "merge", read: Read::One(merge::read), schema: merge::schema },
    Kind { name: "rate", read: Read::One(rate::read), schema: rate::schema },
    Kind { name: "remove", read: Read::One(objects::read_remove), schema: objects::schema },
    Kind { name: "sanitize", read: Read::One(sanitize::read), schema: sanitize::schema },
    Kind { name: "set", read: Read::One(set::read), schema: set::schema },
    Kind { name: "split", read: Read::One(each::read_split), schema: each::split_schema },
    Kind { name: "when", read: Read::One(when::read), schema: when::schema },
];

/// Steps of the language that this version does not know yet.
const LATER: &[&str] = &["parallel", "retry", "wait"];

/// Every step's name, and whether it is refused for now.
pub fn names() -> impl Iterator<Item = (&'static str, bool)> {
    STEPS.iter().map(|k| (k.name, false)).chain(LATER.iter().map(|name| (*name, true)))
}

/// The JSON Schema of a step: one of them an item.
pub(crate) fn schema() -> Value {
    let steps: Vec<Value> = STEPS
        .iter()
        .map(|kind| {
            if !matches!(kind.read, Read::One(_)) {
                return (kind.schema)();
            }
            let mut properties = json!({kind.name: (kind.schema)()});
            if on_error::STEPS.contains(&kind.name) {
                properties["on_error"] = json!({"$ref": "#/definitions/steps"});
            }
            json!({
                "type": "object",
                "additionalProperties": false,
                "required": [kind.name],
                "properties": properties,
            })
        })
        .collect();
    json!({"anyOf": steps})
}

/// The steps that a written one comes to; problems go to the check.
pub(crate) fn read(step: &spec::Step, check: &mut Check<'_>) -> Vec<Box<dyn Step>> {
    if let Some(within) =
        check.flow.aside.filter(|_| matches!(step.name.text.as_str(), "await" | "delay" | "gather"))
    {
        check.problems.push(held_aside(step, within));
        return vec![];
    }
    match STEPS.iter().find(|k| k.name == step.name.text).map(|kind| &kind.read) {
        Some(Read::One(read) | Read::Whole(read)) => {
            let before = (!step.on_error.is_empty()).then(|| check.flow.clone());
            let mut found = read(step, check);
            if let Some(before) = before {
                found = on_error::read(step, found, before, check);
            }
            check.flow.step += 1;
            found.into_iter().collect()
        }
        Some(Read::Row(read)) => read(step, check).unwrap_or_default(),
        None => {
            check.flow.step += 1;
            check.problems.push(stranger(step));
            vec![]
        }
    }
}

/// What is done aside is done at once.
fn held_aside(step: &spec::Step, within: &str) -> Problem {
    let name = &step.name.text;
    let message = format!("`{name}` within `{within}` is not supported yet");
    let place = if within == spec::SPLIT { "before the `split`" } else { "in the branch itself" };
    let help = format!(
        "`{name}` {place}, or in a workflow that is called there: `- call: {{workflow: <name>}}`, or a second branch"
    );
    let problem = Problem::new(&step.name.place, message).help(Some(help));
    Problem { code: Code::NotYetSupported, ..problem }
}

fn stranger(step: &spec::Step) -> Problem {
    let of = match step.name.text.as_str() {
        "then" | "else" => Some("its `if`"),
        "do" => Some("its `each`"),
        "on_error" => Some("its step"),
        _ => None,
    };
    if let Some(of) = of {
        let help = "beside it, without a `- ` of its own: `- if: …`, and under the `if` `then: […]` and `else: […]`; `- each: …` and `do: […]`; `- convert: …` and `on_error: […]`";
        let message = format!("`{}` stands in the item of {of}", step.name.text);
        return Problem::new(&step.name.place, message).help(Some(help.to_owned()));
    }
    let names: Vec<&str> = STEPS.iter().map(|k| k.name).collect();
    unknown(&step.name, &names, LATER, "step")
}

const SHORTEST: Span = Span(Duration::from_secs(1));
const LONGEST: Span = Span(Duration::from_hours(30 * 24));

/// A time that a step waits or counts for, or a trigger, 1s to 30d. `example`: what would do.
pub(crate) fn span(node: &Node, what: &str, example: &str, check: &mut Check<'_>) -> Option<Span> {
    let text = spec::text(node, &format!("`{what}`"), &mut check.problems)?;
    let Some(span) = parse_span(&text.text) else {
        let help = format!("a whole number with s, m, h or d: `{example}`");
        check.problem(&text.place, format!("`{}` is no duration", short(&text.text)), Some(help));
        return None;
    };
    if span < SHORTEST || span > LONGEST {
        let message = format!("`{what}` is {SHORTEST} to {LONGEST}, not {}", text.text);
        check.problem(&text.place, message, Some(format!("`{example}`")));
        return None;
    }
    Some(span)
}

pub(crate) fn span_schema(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": description})
}
