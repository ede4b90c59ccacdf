//! `enrich: {table: owners, key: .asset, set: {labels: 'push(.labels, .row.team)'}}`: the row of a table that has this key, brought into columns.
//! Owns what becomes of an event that has no row: it is marked and goes on. Must not know: where a table's rows come from.
use super::{Flow, Step, key, set, when::compiled};
use crate::{check::Check, machine::Event, spec};
use atio_schemas::{
    Detection,
    column::{Column, NewCell},
};
use atio_vrl::{Expression, Purpose, Row, Scope};
use serde_json::json;
use std::sync::Arc;

const EXAMPLE: &str = "enrich: {table: assets, key: .asset, set: {labels: 'push(.labels, .row.owner)'}}";

#[derive(Debug)]
struct Enrich {
    table: Arc<str>,
    key: Expression,
    set: Vec<(&'static Column, Expression)>,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let entries = spec::mapping(&step.body, "`enrich`", &mut check.problems)?;
    spec::known(entries, &["table", "key", "set"], &[], "field of `enrich`", &mut check.problems);
    let allowed = key::before_waits(step, check);
    let mut needed = |name: &str, example: &str| {
        spec::needed(entries, &step.name.place, name, example, &mut check.problems)
    };
    let (table, key) = (needed("table", "table: assets"), needed("key", "key: .asset"));
    let set = needed("set", "set: {labels: 'push(.labels, .row.owner)'}");
    let table = table.and_then(|node| spec::text(node, "`table`", &mut check.problems));
    let table = table.filter(|table| {
        let names: Vec<&str> = check.known.tables.iter().map(String::as_str).collect();
        let is_known = names.contains(&table.text.as_str());
        if !is_known {
            check.problems.push(spec::unknown(table, &names, &[], "table"));
        }
        is_known
    });
    let key = key.and_then(|node| {
        let text = spec::text(node, "`key`", &mut check.problems)?;
        let scope = check.flow.scope.clone();
        // A name alone is that of a column.
        let is_name = text.text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        let is_column = is_name && text.text.starts_with(|c: char| c.is_ascii_alphabetic());
        let source = if is_column { format!(".{}", text.text) } else { text.text };
        compiled(&source, node, Purpose::Key, &scope, check)
    });
    let columns = set.and_then(|node| columns(node, check));
    allowed?;
    let table: Arc<str> = Arc::from(table?.text);
    check.flow.tables.insert(table.to_string());
    // What a table says is about us: what was taken out before may be back.
    check.flow.sanitized = false;
    Some(Box::new(Enrich { table, key: key?, set: columns? }))
}

fn columns(node: &crate::yaml::Node, check: &mut Check<'_>) -> Option<Vec<(&'static Column, Expression)>> {
    let entries = spec::mapping(node, "`set`", &mut check.problems)?;
    if entries.is_empty() {
        check.problem(&node.place, "`set` sets nothing", Some(format!("`{EXAMPLE}`")));
    }
    let scope = Scope { row: true, ..check.flow.scope.clone() };
    let mut columns = vec![];
    for (name, node) in entries {
        let Some(found) = set::settable(name, check) else { continue };
        let Some(text) = spec::text(node, "an expression", &mut check.problems) else { continue };
        if let Some(expression) = compiled(&text.text, node, Purpose::Set(found), &scope, check) {
            check.flow.reach.forget(found.name);
            columns.push((found, expression));
        }
    }
    check.flow.reach.forget("quality");
    Some(columns)
}

pub(super) fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "Brings the row of a table into columns",
        "additionalProperties": false,
        "required": ["table", "key", "set"],
        "properties": {
            "table": crate::schema::name("A declared table"),
            "key": {"description": "What the row is found by: a column, or an expression that yields a text or a whole number", "allOf": [{"$ref": "#/definitions/expression"}]},
            "set": set::columns_schema("Columns and the expressions (VRL) over the event and `.row.<column>` that give their new values"),
        },
    })
}

impl Step for Enrich {
    fn name(&self) -> &'static str {
        "enrich"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let key = match self.key.key(event.seen()) {
            Ok(key) => key,
            Err(error) => return Flow::Reject(error.code(), format!("key: {error}")),
        };
        let row = match key.map(|key| event.memory.row(&self.table, &key)).transpose() {
            Ok(row) => row.flatten(),
            Err(error) => return Flow::Fail(error),
        };
        match row {
            Some(row) => self.bring(&row, event),
            None => {
                mark(event, format!("enrichment_missing:{}", self.table));
                Flow::Next
            }
        }
    }
}

impl Enrich {
    /// What a cell does not say, or says so that its column can't hold it, leaves the column as it was.
    fn bring(&self, row: &Row, event: &mut Event<'_>) -> Flow {
        let mut cells = vec![];
        for (column, expression) in &self.set {
            let seen = atio_vrl::Seen { row: Some(row), ..event.seen() };
            match expression.value(seen) {
                Ok(NewCell::Null) => {}
                Ok(cell) => cells.push((column, cell)),
                Err(error) => return Flow::Reject(error.code(), format!("{}: {error}", column.name)),
            }
        }
        let mut unfit = vec![];
        for (column, cell) in cells {
            if column.put(event.change(), cell).is_err() {
                unfit.push(column.name);
            }
            event.unaligned = true;
        }
        for name in unfit {
            mark(event, format!("enrichment_invalid:{}.{name}", self.table));
        }
        Flow::Next
    }
}

pub(super) fn mark(event: &mut Event<'_>, mark: String) {
    if event.detection.quality.contains(&mark) {
        return;
    }
    let detection: &mut Detection = event.change();
    detection.quality.push(mark);
    event.unaligned = true;
}

#[cfg(test)]
#[path = "enrich_tests.rs"]
mod tests;
