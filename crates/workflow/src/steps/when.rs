//! `when: '.importance >= 70'`: keeps the event where the expression holds, else the branch ends with `when_false`.
use super::{Flow, Step};
use crate::{check::Check, machine::Event, spec};
use atio_schemas::Code;
use atio_vrl::{Expression, Purpose};

#[derive(Debug)]
struct When(Expression);

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let expression = expression(&step.body, "`when`", Purpose::When, check)?;
    Some(Box::new(When(expression)))
}

/// Compiles an expression; its problem stands where it is in the file.
pub(super) fn expression(
    node: &crate::yaml::Node,
    what: &str,
    purpose: Purpose,
    check: &mut Check<'_>,
) -> Option<Expression> {
    let text = spec::text(node, what, &mut check.problems)?;
    match Expression::compile(&text.text, purpose) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let place = node.place_at(error.offset());
            check.problem(&place, error.to_string(), error.suggestion().map(str::to_owned));
            None
        }
    }
}

impl Step for When {
    fn name(&self) -> &'static str {
        "when"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        match self.0.test(&event.detection) {
            Ok(true) => Flow::Next,
            Ok(false) => Flow::Drop(Code::When),
            Err(error) => Flow::Reject(error.code(), error.to_string()),
        }
    }
}
