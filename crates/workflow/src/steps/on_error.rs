//! `on_error: […]` beside a step: the path that is taken where the step fails, in the place of its dead letter. Owns which steps may have one, and
//! what follows it. Must not know: why a step fails.
use super::{Flow, Step, goes_on};
use crate::{
    check::{self, Check},
    machine::{self, Event, Failed},
    spec,
};
use atio_schemas::Code;
use atio_topics::Problem;
use atio_vrl::Scope;

/// Steps that may have one: a failure of these is one of this event.
pub(super) const STEPS: &[&str] =
    &["convert", "deliver", "enrich", "filter", "merge", "remove", "sanitize", "set", "when"];

#[derive(Debug)]
struct Guarded {
    step: Box<dyn Step>,
    path: Vec<Box<dyn Step>>,
}

/// Reads the path of a step that is read already; `before`: what was known before the step.
pub(super) fn read(
    step: &spec::Step,
    found: Option<Box<dyn Step>>,
    before: check::Flow,
    check: &mut Check<'_>,
) -> Option<Box<dyn Step>> {
    let name = step.name.text.as_str();
    if !STEPS.contains(&name) {
        let message = format!("`on_error` beside `{name}` is not supported yet");
        let help = format!("it stands beside {}", STEPS.join(", "));
        let problem = Problem::new(&step.name.place, message).help(Some(help));
        check.problems.push(Problem { code: Code::NotYetSupported, ..problem });
        return None;
    }
    let scope = Scope { error: true, ..before.scope.clone() };
    let path = check::Flow { scope, aside: Some("on_error"), ..before };
    let behind = std::mem::replace(&mut check.flow, path);
    // What is above the clearance of one sink goes on to the others, behind the path.
    let path = check::aside(("on_error", &step.on_error), behind, name == "deliver", check);
    Some(Box::new(Guarded { step: found?, path }))
}

impl Step for Guarded {
    fn name(&self) -> &'static str {
        self.step.name()
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let before = event.copy();
        let (code, message) = match self.step.run(event) {
            Flow::Reject(code, message) => (code, message),
            other => return other,
        };
        event.restore(before);
        let outer = event.error.replace(Failed { code, message: message.clone() });
        let ended = machine::aside(&self.path, event);
        event.error = outer;
        match ended {
            Err(error) => Flow::Fail(error),
            // Nothing took its place: it is a dead letter after all, one for both.
            Ok(ended) if ended.acts == 0 => {
                let and = ended.rejected.first().map(|r| format!("; on_error: {}", r.message));
                Flow::Reject(code, message + &and.unwrap_or_default())
            }
            Ok(ended) => {
                event.end.rejected.extend(ended.rejected);
                if goes_on(code) { Flow::Next } else { Flow::Stop }
            }
        }
    }
}
