//! `dedup: {key: [asset, rule.id], within: 10m}`: the first event of a key goes on, what comes within that time ends as `duplicate`.
use super::{
    Flow, Step,
    key::{self, Key},
    span, span_schema,
};
use crate::{
    check::{Check, Limited},
    machine::Event,
    spec,
};
use atio_schemas::Code;
use atio_topics::units::Span;
use serde_json::json;

#[derive(Debug)]
struct Dedup {
    key: Key,
    within: Span,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    check.flow.keeps = true;
    let entries = spec::mapping(&step.body, "`dedup`", &mut check.problems)?;
    spec::known(entries, &["key", "within"], &[], "field of `dedup`", &mut check.problems);
    let allowed = key::before_waits(step, check);
    let key = key::read(step, entries, check);
    let example = "within: 10m";
    let within = spec::needed(entries, &step.name.place, "within", example, &mut check.problems)
        .and_then(|node| span(node, "within", example, check));
    allowed?;
    let (key, within) = (key?, within?);
    check.flow.limited.push(Limited { key: key.names().collect(), limit: 1, span: within });
    Some(Box::new(Dedup { key, within }))
}

pub(super) fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "The first event of a key goes on, those that follow within this time end as `duplicate`",
        "additionalProperties": false,
        "required": ["key", "within"],
        "properties": {"key": key::schema(), "within": span_schema("From the first event on, 1s to 30d")},
    })
}

impl Step for Dedup {
    fn name(&self) -> &'static str {
        "dedup"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        self.key.count(event, self.within, 1, Code::Duplicate)
    }
}
