//! `each: '<list>'` with `do` beside it, and `split: '<list>'`: steps that run once for each element of a list, each time on a copy of the event. Owns which
//! elements there are, and what becomes of those that fail. Must not know: what the steps do.
use super::{Flow, Step, when::expression};
use crate::{
    check::{self, Check},
    machine::{self, Event},
    spec,
    yaml::short,
};
use atio_schemas::Code;
use atio_stage::{Reject, StageError};
use atio_topics::Problem;
use atio_vrl::{Expression, Purpose, Scalar, ScalarType, Scope};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Elements of one list.
const MAX_ITEMS: usize = 100;
/// What is delivered for all of them together.
const MAX_BYTES: usize = 64 << 20;

#[derive(Debug)]
struct Each {
    name: &'static str,
    list: Expression,
    steps: Vec<Box<dyn Step>>,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    elements(step, ("each", "do"), check)
}

/// The event goes on as many: what stands behind it in the branch is what each of them does.
pub(super) fn read_split(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    if step.each.is_empty() && check.flow.in_each.is_none() {
        let message = "in the branch itself nothing stands behind `split`";
        let help = "`- each: '<list>'` with `do: […]` does what is to be done for each element, and the branch goes on behind it";
        check.problem(&step.name.place, message, Some(help.to_owned()));
        return None;
    }
    elements(step, ("split", "split"), check)
}

/// `within`: where the steps for each element stand.
fn elements(
    step: &spec::Step,
    (name, within): (&'static str, &str),
    check: &mut Check<'_>,
) -> Option<Box<dyn Step>> {
    let list = expression(&step.body, &format!("`{name}`"), Purpose::Items, check);
    if let Some(outer) = check.flow.in_each {
        let message = format!("`{name}` within `{outer}` is not supported yet");
        let help = "one list of all: `each: 'flatten([.cves, .techniques])'`, or a second branch".to_owned();
        let problem = Problem::new(&step.name.place, message).help(Some(help));
        check.problems.push(Problem { code: Code::NotYetSupported, ..problem });
        return None;
    }
    let element = list.as_ref().and_then(Expression::element).unwrap_or(ScalarType::Text);
    let inner = check::Flow {
        scope: Scope { item: Some(element), ..check.flow.scope.clone() },
        in_each: Some(name),
        aside: Some(name),
        ..check.flow.clone()
    };
    let before = std::mem::replace(&mut check.flow, inner);
    let steps = check::aside((within, &step.each), before, true, check);
    Some(Box::new(Each { name, list: list?, steps }))
}

/// The JSON Schema of the whole item.
pub(super) fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "Steps that run for each element of a list, as `.item`, on a copy of the event",
        "additionalProperties": false,
        "required": ["each", "do"],
        "properties": {"each": {"$ref": "#/definitions/expression"}, "do": {"$ref": "#/definitions/steps"}},
    })
}

pub(super) fn split_schema() -> serde_json::Value {
    json!({
        "$ref": "#/definitions/expression",
        "description": "The event goes on once for each element of a list, as `.item`; the steps behind it run for each",
    })
}

impl Step for Each {
    fn name(&self) -> &'static str {
        self.name
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let items = match self.list.items(event.seen()) {
            Ok(items) => once(items),
            Err(error) => return Flow::Reject(error.code(), error.to_string()),
        };
        if items.len() > MAX_ITEMS {
            let message = format!("{} elements, at most {MAX_ITEMS} are", items.len());
            return Flow::Reject(Code::TooMany, message);
        }
        let outer = event.item.take();
        let done = self.run_all(items, event);
        event.item = outer;
        match done {
            Ok(failed) => {
                event.end.rejected.extend(failed);
                Flow::Next
            }
            Err(error) => Flow::Fail(error),
        }
    }
}

impl Each {
    /// What failed, a dead letter a reason: each holds the whole event.
    fn run_all(&self, items: Vec<Scalar>, event: &mut Event<'_>) -> Result<Vec<Reject>, StageError> {
        let mut failed: BTreeMap<Code, (usize, Reject)> = BTreeMap::new();
        let mut bytes = 0;
        for item in items {
            let first = event.end.outputs.len();
            let named = short(&item.to_string());
            event.item = Some(item);
            let ended = machine::aside(&self.steps, event)?;
            for mut reject in ended.rejected {
                reject.message = format!("{} (element `{named}`)", reject.message);
                failed.entry(reject.code).or_insert((0, reject)).0 += 1;
            }
            bytes += event.end.outputs.iter().skip(first).map(|d| d.payload.len()).sum::<usize>();
            if bytes > MAX_BYTES {
                event.end.outputs.truncate(first);
                let message = format!(
                    "the deliveries of all elements have more than {MAX_BYTES} bytes, from `{named}` on they are left out"
                );
                failed.insert(Code::TooLarge, (1, Reject::whole(Code::TooLarge, message)));
                break;
            }
        }
        let told = failed.into_values().map(|(count, mut reject)| {
            if count > 1 {
                reject.message = format!("{}, and {} more", reject.message, count - 1);
            }
            reject
        });
        Ok(told.collect())
    }
}

/// Each element once, where it stands first: its deliveries have keys of its value.
fn once(items: Vec<Scalar>) -> Vec<Scalar> {
    let mut seen = BTreeSet::new();
    items.into_iter().filter(|item| seen.insert(item.to_string())).collect()
}
