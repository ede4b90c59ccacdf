//! `delay: 30s`: the event is held, and the rest of the branch runs when it is due. Owns how a delay is declared. Must not know: who holds.
use super::{Flow, Step, key, span, span_schema};
use crate::{check::Check, machine::Event, spec};
use atio_topics::units::Span;

#[derive(Debug)]
struct Delay(Span);

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    check.flow.keeps = true;
    check.flow.delays = true;
    let allowed = key::before_waits(step, check);
    key::before_acts(step, "delayed", check)?;
    let span = span(&step.body, "delay", "delay: 30s", check)?;
    allowed?;
    Some(Box::new(Delay(span)))
}

pub(super) fn schema() -> serde_json::Value {
    span_schema("The rest of the branch runs so much later, 1s to 30d")
}

impl Step for Delay {
    fn name(&self) -> &'static str {
        "delay"
    }
    fn run(&self, _: &mut Event<'_>) -> Flow {
        Flow::Delay(self.0.millis())
    }
}
