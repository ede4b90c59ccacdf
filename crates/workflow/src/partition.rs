//! `partition_by: rule.id`: the columns by whose values the events of a workflow come together, in the place of the asset. Owns which columns
//! these may be, and the record key that they come to. Must not know: topics, partitions, steps.
use crate::{
    spec, suggest,
    trigger::Trigger,
    yaml::{Node, Value, short},
};
use atio_schemas::{
    Detection,
    column::{self, Cell, Column},
};
use atio_topics::Problem;
use serde_json::{Value as Json, json};
use std::borrow::Cow;

/// Of one key.
pub(crate) const COLUMNS_MAX: usize = 8;
/// What events come together by where nothing else is said.
const PLACE: &str = "asset";

/// The columns, sorted by name; none = the asset, as the event came.
#[derive(Clone, Debug, Default)]
pub struct Partition(Vec<&'static Column>);

impl Partition {
    /// None where something is wrong with it.
    pub(crate) fn read(node: Option<&Node>, on: Trigger, problems: &mut Vec<Problem>) -> Option<Self> {
        let Some(node) = node else { return Some(Self::default()) };
        let mut columns = columns(node, "partition_by", "rule.id", problems)?;
        for column in columns.iter().filter(|column| !on.knows(column.name)) {
            let message =
                format!("`{}` is never known where a workflow is `on: {}`", column.name, on.as_str());
            problems.push(Problem::new(&node.place, message).help(None));
        }
        if columns.iter().all(|column| column.name == PLACE) {
            let message = format!("events come together by `{PLACE}` as it is");
            let help = Some("leave `partition_by` out".to_owned());
            problems.push(Problem::new(&node.place, message).help(help));
        }
        columns.sort_unstable_by_key(|column| column.name);
        Some(Self(columns))
    }

    /// The asset is it.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.0.is_empty()
    }

    /// What a key must have, so that all that it counts together comes to one place.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        if self.is_default() { vec![PLACE] } else { self.0.iter().map(|column| column.name).collect() }
    }

    /// The record key of an event; none where it stays as it is: by default, and where a column is unknown, so that nothing counts the event.
    #[must_use]
    pub fn key(&self, detection: &Detection) -> Option<Vec<u8>> {
        let texts: Vec<Cow<'_, str>> =
            self.0.iter().map(|column| text((column.get)(detection))).collect::<Option<_>>()?;
        match texts.as_slice() {
            [] => None,
            [one] => Some(one.as_bytes().to_vec()),
            many => Some(many.iter().map(|text| part(text)).collect::<String>().into_bytes()),
        }
    }
}

/// With its length before it, no text runs into the next one.
pub(crate) fn part(text: &str) -> String {
    format!("{}:{text}", text.len())
}

/// What a column's value counts as; a list stands for the set of its elements. None where it is unknown.
pub(crate) fn text(cell: Cell<'_>) -> Option<Cow<'_, str>> {
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

/// One column, or a list of them, each once; none where something is wrong with it. `example`: what would do.
pub(crate) fn columns(
    node: &Node,
    what: &str,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Option<Vec<&'static Column>> {
    let names = match &node.value {
        Value::List(items) => {
            items.iter().filter_map(|item| spec::text(item, "a column's name", problems)).collect()
        }
        _ => vec![spec::text(node, &format!("`{what}`"), problems)?],
    };
    if names.is_empty() || names.len() > COLUMNS_MAX {
        let message = format!("1 to {COLUMNS_MAX} columns, here are {}", names.len());
        problems.push(Problem::new(&node.place, message).help(Some(format!("`{what}: {example}`"))));
        return None;
    }
    let mut columns: Vec<&'static Column> = vec![];
    for name in &names {
        match column::column(&name.text) {
            None => {
                let help = Some(suggest::column(&name.text));
                let message = format!("unknown column `{}`", short(&name.text));
                problems.push(Problem::new(&name.place, message).help(help));
            }
            Some(found) if columns.iter().any(|c| c.name == found.name) => {
                let message = format!("`{}` stands here already", found.name);
                problems.push(Problem::new(&name.place, message).help(Some("leave it out".to_owned())));
            }
            Some(found) => columns.push(found),
        }
    }
    (columns.len() == names.len()).then_some(columns)
}

/// A column, or a list of them.
pub(crate) fn schema(description: &str) -> Json {
    let name = json!({"enum": column::COLUMNS.iter().map(|c| c.name).collect::<Vec<_>>()});
    let list = json!({"type": "array", "minItems": 1, "maxItems": COLUMNS_MAX, "items": name});
    json!({"description": description, "anyOf": [name, list]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Known, SinkFacts, compile};
    use atio_schemas::detection::{Kind, Tlp};
    use atio_topics::Audience;
    use std::collections::BTreeMap;

    fn partition(by: &str) -> Partition {
        let sink = SinkFacts { format: "ecs".into(), audience: Audience::Internal, clearance: Tlp::Red };
        let known = Known { sinks: BTreeMap::from([("siem".to_owned(), sink)]), ..Known::default() };
        let text = format!(
            "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w}}\non: detection\npartition_by: {by}\nmatch: {{}}\nbranches: {{b: [{{dedup: {{key: [rule.id, users, src.ip], within: 1h}}}}, {{deliver: siem}}]}}\n"
        );
        compile("w.yaml", &text, &known).expect("it compiles").partition
    }

    #[test]
    fn a_key_is_of_the_columns_alone() {
        let mut d = Detection::new("e".into(), Kind::Threat, "default", "s");
        d.asset = Some("host:web-1".into());
        d.rule.id = Some("1:7".into());
        assert_eq!(partition("rule.id").key(&d).as_deref(), Some(&b"1:7"[..]), "one is told as it is");
        assert_eq!(
            partition("[users, rule.id]").key(&d).as_deref(),
            Some(&b"3:1:70:"[..]),
            "a list is a set, and never unknown"
        );
        assert_eq!(partition("[src.ip, rule.id]").key(&d), None, "unknown: it stays where it is");
        d.users = vec!["b".into(), "a".into(), "b".into()];
        let key = partition("[users, rule.id]").key(&d);
        d.users = vec!["a".into(), "b".into()];
        assert_eq!(partition("[rule.id, users]").key(&d), key, "order is nothing");
        assert_eq!(Partition::default().key(&d), None);
    }
}
