//! `when: '.importance >= 70'`: keeps the event where the expression holds, else the branch ends with `when_false`.
use super::{Flow, Step};
use crate::{
    check::Check,
    machine::{Event, Heard},
    spec,
};
use atio_schemas::{Code, column::Type};
use atio_vrl::{CompileError, Expression, Purpose};
use serde_json::json;

#[derive(Debug)]
struct When(Expression);

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let expression = expression(&step.body, "`when`", Purpose::When, check)?;
    let text = step.body.text().unwrap_or_default();
    if let Err(why) = check.flow.reach.narrow(text) {
        check.problem(
            &step.body.place,
            format!("nothing gets past here: {why}"),
            Some("another `match`, another expression, or leave the branch out".to_owned()),
        );
    }
    Some(Box::new(When(expression)))
}

/// Compiles an expression, which is to be run beside what was heard at the waits so far; its problem stands where it is in the file.
pub(super) fn expression(
    node: &crate::yaml::Node,
    what: &str,
    purpose: Purpose,
    check: &mut Check<'_>,
) -> Option<Expression> {
    let text = spec::text(node, what, &mut check.problems)?;
    match Expression::compile_beside(&text.text, purpose, &check.flow.heard) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let place = node.place_at(error.offset());
            let help = error.suggestion().map_or_else(|| like(purpose), str::to_owned);
            let help = unheard(&error).map_or(help, str::to_owned);
            check.problem(&place, error.to_string(), Some(help));
            None
        }
    }
}

/// Where the name that an expression wants can be named.
fn unheard(error: &CompileError) -> Option<&'static str> {
    let CompileError::UnknownColumn { name, .. } = error else { return None };
    match name.as_str() {
        Heard::ANSWER => Some("how a wait ended is known behind an `await`"),
        Heard::CHOICE => Some("what was chosen is known behind an `await` with `choices`"),
        _ => None,
    }
}

/// An expression that would do.
fn like(purpose: Purpose) -> String {
    let example = match purpose {
        Purpose::When => ".importance >= 70 && .kev",
        Purpose::Set(column) => match column.ty {
            Type::Text | Type::Ip | Type::Symbol(_) => "\"a text\"",
            Type::Int => "60",
            Type::Float => "7.5",
            Type::Bool => "true",
            Type::Time => ".received_at",
            Type::Texts => "[\"a text\"]",
        },
    };
    format!("an expression like `{example}`")
}

pub(super) fn schema() -> serde_json::Value {
    json!({"description": "The event goes on where it holds", "allOf": [{"$ref": "#/definitions/expression"}]})
}

impl Step for When {
    fn name(&self) -> &'static str {
        "when"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        match self.0.test_beside(&event.detection, &event.heard.said()) {
            Ok(true) => Flow::Next,
            Ok(false) => Flow::Drop(Code::When),
            Err(error) => Flow::Reject(error.code(), error.to_string()),
        }
    }
}
