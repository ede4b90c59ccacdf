//! `gather: {key: [asset], within: 10m, count: 5, collect: {users: .users}}`: several events of a key become one. With `count` the event that makes so many
//! of them goes on at once; without it the first goes on when the window ends. Owns what is declared, which gathers could never be complete, and what
//! the event that goes on says. Must not know: how windows are kept, who holds.
use super::{
    Flow, Step, enrich,
    key::{self, Key},
    set, span, span_schema,
    when::compiled,
};
use crate::{
    check::{Check, Limited},
    machine::Event,
    spec,
    state::{
        HELD_MAX, WINDOWS_MAX,
        gathered::{self, Gather as Found, Gathered, Lists},
    },
    yaml::{Node, short},
};
use atio_schemas::{
    Code,
    column::{self, Column, NewCell, Type},
};
use atio_topics::{Place, units::Span};
use atio_vrl::{Expression, Purpose, RunError};
use serde_json::json;

const COUNT: std::ops::RangeInclusive<u64> = 2..=10_000;
/// Lists that are gathered.
const LISTS_MAX: usize = 16;
/// How many came: the event that goes on says it here.
const HOW_MANY: &str = "count";
/// A list was longer than is kept.
const CUT: &str = "gather_truncated";

#[derive(Debug)]
struct Gather {
    key: Key,
    within: Span,
    count: Option<u64>,
    collect: Vec<(&'static Column, Expression)>,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    check.flow.keeps = true;
    let entries = spec::mapping(&step.body, "`gather`", &mut check.problems)?;
    let fields = &["key", "within", "count", "collect"];
    spec::known(entries, fields, &[], "field of `gather`", &mut check.problems);
    let allowed = key::before_waits(step, check);
    key::before_acts(step, "gathered", check)?;
    let key = key::read(step, entries, check);
    let example = "within: 10m";
    let within = spec::needed(entries, &step.name.place, "within", example, &mut check.problems)
        .and_then(|node| span(node, "within", example, check));
    let count = spec::field(entries, "count");
    let number = count.map(|node| number(node, check));
    let collect = spec::field(entries, "collect").map(|node| collected(node, check));
    check.flow.delays |= count.is_none();
    allowed?;
    let (key, within) = (key?, within?);
    let count = match number {
        Some(number) => Some(number?),
        None => None,
    };
    completes(&step.name.place, &key, count, within, check)?;
    let collect = collect.unwrap_or_else(|| Some(vec![]))?;
    check.flow.reach.forget(HOW_MANY);
    collect.iter().for_each(|(column, _)| check.flow.reach.forget(column.name));
    check.flow.limited.clear();
    Some(Box::new(Gather { key, within, count, collect }))
}

fn number(node: &Node, check: &mut Check<'_>) -> Option<u64> {
    let text = spec::text(node, "`count`", &mut check.problems)?;
    let found = text.text.parse().ok().filter(|n| COUNT.contains(n));
    if found.is_none() {
        let message = format!("`count` is {} to {}, not `{}`", COUNT.start(), COUNT.end(), short(&text.text));
        check.problem(&text.place, message, Some("`count: 5`".to_owned()));
    }
    found
}

/// Lists and what each event adds to them.
fn collected(node: &Node, check: &mut Check<'_>) -> Option<Vec<(&'static Column, Expression)>> {
    let entries = spec::mapping(node, "`collect`", &mut check.problems)?;
    let before = check.problems.len();
    if entries.is_empty() || entries.len() > LISTS_MAX {
        let message = format!("1 to {LISTS_MAX} lists, here are {}", entries.len());
        check.problem(&node.place, message, Some("`collect: {users: .users}`".to_owned()));
    }
    let scope = check.flow.scope.clone();
    let mut columns = vec![];
    for (name, node) in entries {
        let Some(found) = set::settable(name, check) else { continue };
        if found.ty != Type::Texts {
            let message = format!("`{}` is no list: what several events say has no room in it", found.name);
            let help = format!("`collect: {{labels: '[.{}]'}}`", found.name);
            check.problem(&name.place, message, Some(help));
            continue;
        }
        let Some(text) = spec::text(node, "an expression", &mut check.problems) else { continue };
        if let Some(expression) = compiled(&text.text, node, Purpose::Set(found), &scope, check) {
            columns.push((found, expression));
        }
    }
    (check.problems.len() == before).then_some(columns)
}

/// A gather that could never be complete is none.
fn completes(
    place: &Place,
    key: &Key,
    count: Option<u64>,
    within: Span,
    check: &mut Check<'_>,
) -> Option<()> {
    if let Some(name) = key.names().find(|name| check.flow.reach.is_never_known(name)) {
        let message = format!("nothing is ever gathered: `{name}` is never known here");
        check.problem(place, message, Some("a `key` of columns that this trigger fills".to_owned()));
        return None;
    }
    let most = count.and_then(|_| {
        let bounds = check.flow.limited.iter().filter(|limited| is_bound(limited, key, check));
        bounds.map(|limited| most_within(limited, within)).min()
    });
    if let Some((count, most)) = count.zip(most).filter(|(count, most)| most < count) {
        let message = format!(
            "{count} events never come together: of one key at most {most} get past the steps before within {within}"
        );
        let help = "the `gather` before the `dedup` or `rate`, or a smaller `count`".to_owned();
        check.problem(place, message, Some(help));
        return None;
    }
    Some(())
}

/// Events that are equal in the gather's key are so in the limit's, too.
fn is_bound(limited: &Limited, key: &Key, check: &Check<'_>) -> bool {
    limited.key.iter().all(|name| key.names().any(|own| own == *name) && !check.flow.reach.is_changed(name))
}

/// How many of them can come within a time: its windows lie across it at both ends.
fn most_within(limited: &Limited, within: Span) -> u64 {
    let windows = within.millis() / limited.span.millis().max(1);
    let windows = u64::try_from(windows).unwrap_or(u64::MAX).saturating_add(2);
    limited.limit.saturating_mul(windows)
}

pub(super) fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "Several events of a key become one; those that are gathered end as `gathered`",
        "additionalProperties": false,
        "required": ["key", "within"],
        "properties": {
            "key": key::schema(),
            "within": span_schema("From the first event on, 1s to 30d"),
            "count": {
                "type": "integer",
                "minimum": COUNT.start(),
                "maximum": COUNT.end(),
                "description": "The event that makes so many goes on at once, and fewer never; without it the first goes on when the time is over",
            },
            "collect": lists_schema(),
        },
    })
}

fn lists_schema() -> serde_json::Value {
    let mut schema = set::columns_schema("Lists, and the expressions (VRL) for what each event adds to them");
    if let Some(properties) = schema["properties"].as_object_mut() {
        let is_list = |name: &str| column::column(name).is_some_and(|c| c.ty == Type::Texts);
        properties.retain(|name, _| is_list(name));
    }
    schema["maxProperties"] = json!(LISTS_MAX);
    schema
}

impl Step for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let Some(key) = self.key.of(event) else { return Flow::Next };
        let lists = match self.lists(event) {
            Ok(lists) => lists,
            Err((name, error)) => return Flow::Reject(error.code(), format!("{name}: {error}")),
        };
        let (at, span) = (event.at, self.within.millis());
        let found = match self.count {
            Some(count) => gathered::toward(event.memory, &key, at, (span, count), lists),
            None => gathered::into_one(event.memory, &key, at, span, lists),
        };
        match found {
            Ok(Found::Joined) => Flow::Drop(Code::Gathered),
            Ok(Found::Complete(gathered)) => {
                self.bring(&gathered, event);
                Flow::Next
            }
            Ok(Found::Begun { until, name }) => Flow::Gather { until, name },
            Ok(Found::NoRoom) => {
                let message = format!(
                    "at most {WINDOWS_MAX} windows are open, and {HELD_MAX} events held, a partition"
                );
                Flow::Reject(Code::TooMany, message)
            }
            Err(error) => Flow::Fail(error),
        }
    }
    fn bring(&self, gathered: &Gathered, event: &mut Event<'_>) {
        let detection = event.change();
        detection.count = Some(i64::try_from(gathered.events).unwrap_or(i64::MAX));
        let mut cut = gathered.cut;
        for (column, _) in &self.collect {
            let list = gathered.lists.get(column.name).cloned().unwrap_or_default();
            cut |= column.put(detection, NewCell::Texts(list)).is_err();
        }
        event.unaligned = true;
        if cut {
            enrich::mark(event, CUT.to_owned());
        }
    }
}

impl Gather {
    /// What this event adds.
    fn lists(&self, event: &Event<'_>) -> Result<Lists, (&'static str, RunError)> {
        let mut lists = Lists::new();
        for (column, expression) in &self.collect {
            let cell = expression.value(event.seen()).map_err(|error| (column.name, error))?;
            lists.insert(column.name, if let NewCell::Texts(texts) = cell { texts } else { vec![] });
        }
        Ok(lists)
    }
}
