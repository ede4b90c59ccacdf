//! `rate: {limit: 10, per: 1m, key: asset}`: so many events of a key go on in a window, what is above ends as `rate_limited`.
use super::{
    Flow, Step,
    key::{self, Key},
    span, span_schema,
};
use crate::{
    check::{Check, Limited},
    machine::Event,
    spec,
    yaml::{Node, short},
};
use atio_schemas::Code;
use atio_topics::units::Span;
use serde_json::json;

const LIMIT_MAX: u64 = 1_000_000;

#[derive(Debug)]
struct Rate {
    key: Key,
    limit: u64,
    per: Span,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    check.flow.keeps = true;
    let entries = spec::mapping(&step.body, "`rate`", &mut check.problems)?;
    spec::known(entries, &["limit", "per", "key"], &["otherwise"], "field of `rate`", &mut check.problems);
    let allowed = key::before_waits(step, check);
    let mut needed = |name: &str, example: &str| {
        spec::needed(entries, &step.name.place, name, example, &mut check.problems)
    };
    let (limit, per) = (needed("limit", "limit: 10"), needed("per", "per: 1m"));
    let limit = limit.and_then(|node| number(node, check));
    let per = per.and_then(|node| span(node, "per", "per: 1m", check));
    let key = key::read(step, entries, check);
    allowed?;
    let (key, limit, per) = (key?, limit?, per?);
    check.flow.limited.push(Limited { key: key.names().collect(), limit, span: per });
    Some(Box::new(Rate { key, limit, per }))
}

fn number(node: &Node, check: &mut Check<'_>) -> Option<u64> {
    let text = spec::text(node, "`limit`", &mut check.problems)?;
    let found = text.text.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
    if found.is_none() {
        let message = format!("`limit` is 1 to {LIMIT_MAX}, not `{}`", short(&text.text));
        check.problem(&text.place, message, Some("`limit: 10`".to_owned()));
    }
    found
}

pub(super) fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "So many events of a key go on in a window, those above end as `rate_limited`",
        "additionalProperties": false,
        "required": ["limit", "per", "key"],
        "properties": {
            "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "description": "Events of a key that go on in a window"},
            "per": span_schema("The window, from its first event on, 1s to 30d"),
            "key": key::schema(),
        },
    })
}

impl Step for Rate {
    fn name(&self) -> &'static str {
        "rate"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        self.key.count(event, self.per, self.limit, Code::RateLimited)
    }
}
