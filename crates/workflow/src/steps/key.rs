//! `key: [asset, rule.id]`: the columns that `dedup`, `gather` and `rate` count by. Owns which columns a key may have, what its values come to, and what
//! follows from a count. Must not know: how windows are counted.
use super::Flow;
use crate::{
    check::Check,
    machine::Event,
    spec,
    state::{self, Count},
    suggest,
    yaml::{Key as Name, Node, Value, short},
};
use atio_schemas::{
    Code,
    column::{self, Cell, Column},
};
use atio_stix::ids;
use atio_topics::{Problem, units::Span};
use serde_json::json;
use std::borrow::Cow;

const COLUMNS_MAX: usize = 8;
/// A branch reads its events by this column: what has the same value comes to the same place.
const PLACE: &str = "asset";

#[derive(Debug)]
pub(super) struct Key {
    columns: Vec<&'static Column>,
    /// Tells apart the steps of a branch; the same in every version, wherever the step stands.
    step: String,
}

impl Key {
    /// Up to `limit` events of a key go on in a window of this length, what is above is dropped as `above`; what can't be counted goes on.
    pub(super) fn count(&self, event: &mut Event<'_>, window: Span, limit: u64, above: Code) -> Flow {
        let Some(key) = self.of(event) else { return Flow::Next };
        match state::count(event.memory, &key, event.at, window.millis(), limit) {
            Ok(Count::Within) => Flow::Next,
            Ok(Count::Above) => Flow::Drop(above),
            Ok(Count::NoRoom) => {
                let message =
                    format!("{} windows are open here, no more are a partition", state::WINDOWS_MAX);
                Flow::Reject(Code::TooMany, message)
            }
            Err(error) => Flow::Fail(error),
        }
    }

    /// The columns' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|column| column.name)
    }

    /// What the event is counted by; none where one of the columns is unknown.
    pub(super) fn of(&self, event: &Event<'_>) -> Option<String> {
        let mut parts = vec![part(&self.step), part(&event.original.tenant)];
        for column in &self.columns {
            parts.push(part(&text((column.get)(&event.detection))?));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Some(ids::joined(&parts).to_string())
    }
}

/// With its length before it, no text runs into the next one.
fn part(text: &str) -> String {
    format!("{}:{text}", text.len())
}

/// A list stands for the set of its elements.
fn text(cell: Cell<'_>) -> Option<Cow<'_, str>> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Text(text) => Cow::Borrowed(text),
        Cell::Int(n) => Cow::Owned(n.to_string()),
        Cell::Float(n) => Cow::Owned(n.to_string()),
        Cell::Bool(yes) => Cow::Borrowed(if yes { "true" } else { "false" }),
        Cell::Time(at) => Cow::Owned(at.0.to_string()),
        Cell::Texts(texts) => {
            let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            texts.sort_unstable();
            texts.dedup();
            Cow::Owned(texts.into_iter().map(part).collect())
        }
    })
}

/// Reads the `key` of a step that counts.
pub(super) fn read(step: &spec::Step, entries: &[(Name, Node)], check: &mut Check<'_>) -> Option<Key> {
    let kind = &step.name.text;
    let example = "key: [asset, rule.id]";
    let node = spec::needed(entries, &step.name.place, "key", example, &mut check.problems)?;
    let names = match &node.value {
        Value::List(items) => {
            items.iter().filter_map(|item| spec::text(item, "a column's name", &mut check.problems)).collect()
        }
        _ => vec![spec::text(node, "`key`", &mut check.problems)?],
    };
    if names.is_empty() || names.len() > COLUMNS_MAX {
        let message = format!("1 to {COLUMNS_MAX} columns, here are {}", names.len());
        check.problem(&node.place, message, Some("`key: [asset, rule.id]`".to_owned()));
        return None;
    }
    let mut columns: Vec<&'static Column> = vec![];
    for name in &names {
        match column::column(&name.text) {
            None => {
                let help = Some(suggest::column(&name.text));
                check.problem(&name.place, format!("unknown column `{}`", short(&name.text)), help);
            }
            Some(found) if columns.iter().any(|c| c.name == found.name) => {
                let message = format!("`{}` stands in this key already", found.name);
                check.problem(&name.place, message, Some("leave it out".to_owned()));
            }
            Some(found) => columns.push(found),
        }
    }
    if columns.len() < names.len() {
        return None;
    }
    placed(&columns, node, kind, check)?;
    // Their order does not matter.
    columns.sort_unstable_by_key(|c| c.name);
    let alike = columns.iter().map(|c| c.name).fold(kind.clone(), |all, name| format!("{all} {name}"));
    let before = check.flow.counting.iter().filter(|other| **other == alike).count();
    check.flow.counting.push(alike.clone());
    Some(Key { columns, step: format!("{alike} {before}") })
}

/// Events of one asset come to one place, and state lies where they come to: what is counted over several assets would be counted in pieces.
fn placed(columns: &[&'static Column], node: &Node, kind: &str, check: &mut Check<'_>) -> Option<()> {
    if !columns.iter().any(|c| c.name == PLACE) {
        let message = format!("`{kind}` over several assets is not supported yet");
        let names: Vec<&str> = [PLACE].into_iter().chain(columns.iter().map(|c| c.name)).collect();
        let help = format!("`key: [{}]` counts for each asset by itself", names.join(", "));
        let problem = Problem::new(&node.place, message).help(Some(help));
        check.problems.push(Problem { code: Code::NotYetSupported, ..problem });
        return None;
    }
    if check.flow.reach.is_changed(PLACE) {
        let message = format!("`{PLACE}` is not what the event came with any more");
        let help = format!("`{kind}` before the `set` or `sanitize` that changes it");
        check.problem(&node.place, message, Some(help));
        return None;
    }
    Some(())
}

/// Behind an `await` the branch goes on elsewhere, without its state.
pub(super) fn before_waits(step: &spec::Step, check: &mut Check<'_>) -> Option<()> {
    if !check.flow.awaits {
        return Some(());
    }
    let kind = &step.name.text;
    let message = format!("`{kind}` behind an `await` is not supported yet");
    let problem = Problem::new(&step.name.place, message).help(Some(format!("`{kind}` before the `await`")));
    check.problems.push(Problem { code: Code::NotYetSupported, ..problem });
    None
}

pub(super) fn schema() -> serde_json::Value {
    let name = json!({"enum": column::COLUMNS.iter().map(|c| c.name).collect::<Vec<_>>()});
    let list = json!({"type": "array", "minItems": 1, "maxItems": COLUMNS_MAX, "items": name, "contains": {"const": PLACE}});
    json!({"description": "What is counted by; `asset` is one of it", "anyOf": [{"const": PLACE}, list]})
}
