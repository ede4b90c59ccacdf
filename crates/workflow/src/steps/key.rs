//! `key: [asset, rule.id]`: the columns that `dedup`, `gather` and `rate` count by. Owns which columns a key must have, what its values come to, and what
//! follows from a count. Must not know: how windows are counted.
use super::Flow;
use crate::{
    check::Check,
    machine::Event,
    partition::{self, part, text},
    spec,
    state::{self, Count},
    yaml::{Key as Name, Node},
};
use atio_schemas::{Code, column::Column};
use atio_stix::ids;
use atio_topics::{Problem, units::Span};

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

/// Reads the `key` of a step that counts.
pub(super) fn read(step: &spec::Step, entries: &[(Name, Node)], check: &mut Check<'_>) -> Option<Key> {
    let kind = &step.name.text;
    let example = "key: [asset, rule.id]";
    let node = spec::needed(entries, &step.name.place, "key", example, &mut check.problems)?;
    let mut columns = partition::columns(node, "key", "[asset, rule.id]", &mut check.problems)?;
    placed(&columns, node, kind, check)?;
    // Their order does not matter.
    columns.sort_unstable_by_key(|c| c.name);
    let alike = columns.iter().map(|c| c.name).fold(kind.clone(), |all, name| format!("{all} {name}"));
    let before = check.flow.counting.iter().filter(|other| **other == alike).count();
    check.flow.counting.push(alike.clone());
    Some(Key { columns, step: format!("{alike} {before}") })
}

/// State lies where events come to: what is counted over events that come to several places would be counted in pieces.
fn placed(columns: &[&'static Column], node: &Node, kind: &str, check: &mut Check<'_>) -> Option<()> {
    // Where it is not known, that has been told.
    let Some(partition) = &check.partition else { return Some(()) };
    let (is_default, places) = (partition.is_default(), partition.names());
    let missing: Vec<&str> =
        places.iter().copied().filter(|place| !columns.iter().any(|c| c.name == *place)).collect();
    if !missing.is_empty() {
        let message =
            format!("events come together by `{}`, and so does what `{kind}` counts", places.join(", "));
        let names: Vec<&str> = missing.into_iter().chain(columns.iter().map(|c| c.name)).collect();
        let by: Vec<&str> = columns.iter().map(|c| c.name).collect();
        let by = if let [one] = by.as_slice() { (*one).to_owned() } else { format!("[{}]", by.join(", ")) };
        let help = if is_default {
            format!(
                "`key: [{}]`, or `partition_by: {by}` at the top of the file for a count over all assets",
                names.join(", ")
            )
        } else {
            format!("`key: [{}]`, or a workflow of its own for it", names.join(", "))
        };
        check.problem(&node.place, message, Some(help));
        return None;
    }
    if let Some(place) = places.iter().find(|place| check.flow.reach.is_changed(place)) {
        let message = format!("`{place}` is not what the event came with any more");
        let help = format!("`{kind}` before the `set` or `sanitize` that changes it");
        check.problem(&node.place, message, Some(help));
        return None;
    }
    Some(())
}

/// One event ends once: what is held has done nothing yet.
pub(super) fn before_acts(step: &spec::Step, how: &str, check: &mut Check<'_>) -> Option<()> {
    let flow = &check.flow;
    if flow.sinks.is_empty() && flow.calls.is_empty() && !flow.commands {
        return Some(());
    }
    let message = format!("what is delivered at once and what is {how} are two branches");
    let help = format!("a second branch for what stands before the `{}`", step.name.text);
    check.problem(&step.name.place, message, Some(help));
    None
}

/// Behind an `await` the branch goes on elsewhere, without its state.
pub(super) fn before_waits(step: &spec::Step, check: &mut Check<'_>) -> Option<()> {
    if !check.flow.awaits {
        return Some(());
    }
    let kind = &step.name.text;
    let message = format!("`{kind}` behind an `await` is not supported yet");
    let help = format!(
        "`{kind}` before the `await`, or in a workflow that is called there: `- call: {{workflow: <name>}}`"
    );
    let problem = Problem::new(&step.name.place, message).help(Some(help));
    check.problems.push(Problem { code: Code::NotYetSupported, ..problem });
    None
}

pub(super) fn schema() -> serde_json::Value {
    partition::schema("What is counted by; it has what events come together by: `asset`, or `partition_by`")
}
