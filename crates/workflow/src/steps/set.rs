//! `set: {policies: '["isolate-host"]'}`: new values for columns, each from an expression over the event as it was before the step.
//! Owns which columns may be set: never identity, origin, marking or times.
use super::{Flow, Step, when::expression};
use crate::{check::Check, machine::Event, spec, suggest, yaml::short};
use atio_schemas::{
    Code,
    column::{self, Column},
};
use atio_vrl::{Expression, Purpose};
use serde_json::json;

/// What the rest of the system relies on.
const FIXED: &[&str] = &[
    "event_id",
    "finding_uid",
    "kind",
    "tenant",
    "source",
    "tlp",
    "incident_id",
    "iris_id",
    "misp_id",
    "occurred_at",
    "reported_at",
    "received_at",
    "first_seen",
    "last_seen",
    "raw_ref",
    "raw_sha256",
    "asset_resolved_by",
    "suppressed_by",
];

#[derive(Debug)]
struct Set(Vec<(&'static Column, Expression)>);

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let entries = spec::mapping(&step.body, "`set`", &mut check.problems)?;
    let mut columns = vec![];
    for (key, node) in entries {
        let Some(found) = column::column(&key.text) else {
            let help = Some(suggest::column(&key.text));
            check.problem(&key.place, format!("unknown column `{}`", short(&key.text)), help);
            continue;
        };
        if FIXED.contains(&found.name) {
            let message = format!("`{}` is not for workflows to set", found.name);
            check.problem(
                &key.place,
                message,
                Some("say it in `labels`, `policies` or `recommended_actions`".to_owned()),
            );
            continue;
        }
        if let Some(expression) = expression(node, "an expression", Purpose::Set(found), check) {
            check.flow.reach.forget(found.name);
            columns.push((found, expression));
        }
    }
    if entries.is_empty() {
        check.problem(
            &step.body.place,
            "`set` sets nothing",
            Some("`set: {labels: '[\"seen\"]'}`".to_owned()),
        );
    }
    Some(Box::new(Set(columns)))
}

pub(super) fn schema() -> serde_json::Value {
    let mut columns = crate::schema::columns(|_| json!({"$ref": "#/definitions/expression"}));
    columns.retain(|name, _| !FIXED.contains(&name.as_str()));
    json!({
        "type": "object",
        "description": "Columns and the expressions (VRL) that give their new values",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": columns,
    })
}

impl Step for Set {
    fn name(&self) -> &'static str {
        "set"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let (mut cells, said) = (vec![], event.heard.said());
        for (column, expression) in &self.0 {
            match expression.value_beside(&event.detection, &said) {
                Ok(cell) => cells.push((column, cell)),
                Err(error) => return Flow::Reject(error.code(), format!("{}: {error}", column.name)),
            }
        }
        let detection = event.change();
        for (column, cell) in cells {
            if let Err(error) = column.put(detection, cell) {
                return Flow::Reject(Code::StepFailed, error.to_string());
            }
        }
        event.unaligned = true;
        Flow::Next
    }
}
