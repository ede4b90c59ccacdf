//! `if: '<expression>'` with `then` and `else` beside it: one of two ways, after which the branch goes on. Owns how the ways are laid out: one row
//! of steps with skips, so that a wait within a way is one place in the row. Must not know: what the steps do.
use super::{Flow, Step, when::expression};
use crate::{
    check::{self, Check},
    machine::Event,
    spec,
};
use atio_vrl::{Expression, Purpose};
use serde_json::json;

/// Goes on behind the first way where the condition does not hold.
#[derive(Debug)]
struct If {
    condition: Expression,
    skip: usize,
}

/// Stands behind the first way: goes on behind the second.
#[derive(Debug)]
struct Else {
    skip: usize,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Vec<Box<dyn Step>>> {
    let condition = expression(&step.body, "`if`", Purpose::When, check);
    let text = step.body.text().unwrap_or_default();
    let before = check.flow.clone();
    check.flow.step += 1;
    if let Err(why) = check.flow.reach.narrow(text) {
        never(step, "then", &why, check);
    }
    let then = check::steps(&step.then, check);
    let behind_then = check.flow.clone();

    let counting = behind_then.counting.clone();
    check.flow = check::Flow { step: behind_then.step, counting, ..before.clone() };
    let mut otherwise = vec![];
    if !step.otherwise.is_empty() {
        check.flow.step += 1;
        if let Err(why) = check.flow.reach.narrow(&format!("!({text})")) {
            never(step, "else", &why, check);
        }
        otherwise = check::steps(&step.otherwise, check);
    }
    let behind_else = std::mem::take(&mut check.flow);
    check.flow = check::Flow::joined(before, behind_then, behind_else);

    let mut steps: Vec<Box<dyn Step>> = vec![];
    let leap = usize::from(!otherwise.is_empty());
    steps.push(Box::new(If { condition: condition?, skip: then.len() + leap }));
    steps.extend(then);
    if leap > 0 {
        steps.push(Box::new(Else { skip: otherwise.len() }));
        steps.extend(otherwise);
    }
    Some(steps)
}

fn never(step: &spec::Step, way: &str, why: &str, check: &mut Check<'_>) {
    let message = format!("nothing goes the way of `{way}`: {why}");
    let help = "another `match`, another expression, or leave the way out".to_owned();
    check.problem(&step.body.place, message, Some(help));
}

/// The JSON Schema of the whole item.
pub(super) fn schema() -> serde_json::Value {
    let steps = json!({"$ref": "#/definitions/steps"});
    json!({
        "type": "object",
        "description": "One of two ways, after which the branch goes on",
        "additionalProperties": false,
        "required": ["if", "then"],
        "properties": {"if": {"$ref": "#/definitions/expression"}, "then": steps, "else": steps},
    })
}

impl Step for If {
    fn name(&self) -> &'static str {
        "if"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        match self.condition.test_beside(&event.detection, &event.heard.said()) {
            Ok(true) => Flow::Next,
            Ok(false) => Flow::Skip(self.skip),
            Err(error) => Flow::Reject(error.code(), error.to_string()),
        }
    }
}

impl Step for Else {
    fn name(&self) -> &'static str {
        "else"
    }
    fn run(&self, _: &mut Event<'_>) -> Flow {
        Flow::Skip(self.skip)
    }
}
