//! A JSON Schema (draft 7) of definitions, for editors: made from the tables that the checks use. It holds what a schema can say; names of
//! sinks, expressions and what only shows across steps are for `check`. Must not know: files.
use crate::{
    Trigger,
    check::{operators, patterns, timing},
    placement::Placement,
    spec, steps,
};
use atio_schemas::{
    Code,
    column::{COLUMNS, Column, Type},
    detection::Criticality,
    incident::Answer,
};
use serde_json::{Map, Value, json};

/// The schema of a workflow's file.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ATIO workflow, atio/v1",
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "on", "match", "branches"],
        "properties": {
            "apiVersion": {"const": "atio/v1"},
            "kind": {"const": "Workflow"},
            "metadata": {
                "type": "object",
                "additionalProperties": false,
                "required": ["name"],
                "properties": {
                    "name": name("Part of the workflow's topic and groups"),
                    "owner": {"type": "string", "description": "Who answers for it"},
                    "criticality": {"enum": Criticality::NAMES},
                    "placement": {"enum": Placement::NAMES, "description": "Groups of its own, or the pool's"},
                },
            },
            "on": {"enum": Trigger::NAMES, "description": "What triggers it"},
            "partition_by": crate::partition::schema("What its events come together by, in the place of the asset: one column, or several"),
            "schedule": timing::schema(),
            "silence": timing::silence_schema(),
            "variables": variables(),
            "fragments": {
                "type": "object",
                "description": "Steps that several branches `call`",
                "propertyNames": name("The fragment's name"),
                "additionalProperties": {"$ref": "#/definitions/steps"},
            },
            "match": {
                "type": "object",
                "description": "Column and what it must be; all of them must hold. {} is every detection",
                "additionalProperties": false,
                "properties": matches(),
            },
            "branches": {
                "type": "object",
                "description": "Parallel paths, each with a pace of its own",
                "minProperties": 1,
                "maxProperties": spec::MAX_BRANCHES,
                "propertyNames": name("The branch's name"),
                "additionalProperties": {"$ref": "#/definitions/steps"},
            },
            "tests": {"type": "array", "maxItems": spec::MAX_TESTS, "items": test()},
        },
        "definitions": definitions(),
    })
}

/// What `match` holds.
fn matches() -> Map<String, Value> {
    let pattern = json!({"anyOf": [patterns::schema(), {"$ref": "#/definitions/variable"}]});
    columns(condition).into_iter().chain([(patterns::PATTERN.to_owned(), pattern)]).collect()
}

/// What many columns share, and the steps.
fn definitions() -> Map<String, Value> {
    let mut definitions = Map::new();
    for column in COLUMNS {
        if let Some(name) = shared(column.ty) {
            definitions.insert(name.to_owned(), plain(column));
            definitions.insert(format!("match_{name}"), operators::schema(column));
        }
    }
    let expression = json!({"type": ["string", "number", "boolean"], "description": "An expression (VRL)"});
    definitions.insert("expression".to_owned(), expression);
    definitions.insert("given".to_owned(), given());
    definitions.insert("variable".to_owned(), reference_to_variable());
    definitions.insert("step".to_owned(), steps::schema());
    let step = json!({"$ref": "#/definitions/step"});
    let steps = json!({"type": "array", "minItems": 1, "maxItems": spec::MAX_STEPS, "items": step});
    definitions.insert("steps".to_owned(), steps);
    definitions
}

/// The name of what columns of this type share; lists of fixed values are each column's own.
const fn shared(ty: Type) -> Option<&'static str> {
    match ty {
        Type::Text => Some("text"),
        Type::Texts => Some("texts"),
        Type::Ip => Some("address"),
        Type::Time => Some("time"),
        Type::Symbol(_) => None,
        Type::Int => Some("whole_number"),
        Type::Float => Some("number"),
        Type::Bool => Some("yes_or_no"),
    }
}

/// Refers to what the columns of this type share, values or (`match_`) conditions.
fn reference(prefix: &str, column: &Column) -> Option<Value> {
    shared(column.ty).map(|name| json!({"$ref": format!("#/definitions/{prefix}{name}")}))
}

/// What may stand within `not`, `any`, `all` and `none`.
pub(crate) fn inner_condition(column: &Column) -> Value {
    reference("match_", column).unwrap_or_else(|| one_or_many(value(column), 1))
}

fn condition(column: &Column) -> Value {
    reference("match_", column).unwrap_or_else(|| operators::schema(column))
}

/// A text that may be part of a topic's name.
pub(crate) fn name(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9-]{1,63}$", "description": description})
}

/// An object's properties: every column.
pub(crate) fn columns(of: impl Fn(&Column) -> Value) -> Map<String, Value> {
    COLUMNS.iter().map(|column| (column.name.to_owned(), of(column))).collect()
}

/// One value of a column, or one element where it is a list.
pub(crate) fn value(column: &Column) -> Value {
    reference("", column).unwrap_or_else(|| plain(column))
}

fn plain(column: &Column) -> Value {
    match column.ty {
        // What looks like a number is a text where a text belongs.
        Type::Text | Type::Texts => json!({"type": ["string", "number", "boolean"]}),
        Type::Ip | Type::Time => json!({"type": "string"}),
        Type::Symbol(names) => json!({"enum": names}),
        Type::Int => json!({"type": "integer"}),
        Type::Float => json!({"type": "number"}),
        Type::Bool => json!({"type": "boolean"}),
    }
}

/// Names and their values.
fn variables() -> Value {
    let scalar = json!({"type": ["string", "number", "boolean"]});
    json!({
        "type": "object",
        "description": "Values that are named: `.vars.<name>` in expressions, `{var: <name>}` in `match`",
        "propertyNames": {"pattern": VARIABLE},
        "additionalProperties": one_or_many(scalar, 1),
    })
}

const VARIABLE: &str = "^[a-z_][a-z0-9_]{0,62}$";

fn reference_to_variable() -> Value {
    json!({
        "type": "object",
        "description": "The value of a variable",
        "additionalProperties": false,
        "required": ["var"],
        "properties": {"var": {"type": "string", "pattern": VARIABLE}},
    })
}

/// An event of a test.
fn given() -> Value {
    let given = |column: &Column| match column.ty {
        Type::Texts => one_or_many(value(column), 0),
        _ if column.nullable => json!({"anyOf": [value(column), {"type": "null"}]}),
        _ => value(column),
    };
    let columns = json!({"type": "object", "additionalProperties": false, "properties": columns(given)});
    json!({"anyOf": [{"type": "string"}, columns]})
}

fn test() -> Value {
    let pause = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["after"],
        "properties": {"after": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": "So much time passes"}},
    });
    let one = json!({"$ref": "#/definitions/given"});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["given", "then"],
        "properties": {
            "name": {"type": "string"},
            "tables": tables(),
            "given": {
                "description": "Columns of a detection, or the name of a file beside this one; or several of them, one after the other",
                "anyOf": [
                    one,
                    {"type": "array", "minItems": 1, "maxItems": spec::MAX_GIVEN, "items": {"anyOf": [one, pause]}},
                ],
            },
            "then": {
                "type": "object",
                "required": ["branches"],
                "properties": {
                    "branches": {"type": "array", "items": name("A branch that must deliver"), "description": "Exactly the branches that must deliver"},
                    "snapshot": {
                        "description": "A file beside this one or below that holds what is delivered; `atio test --update` writes it",
                        "anyOf": [{"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._/-]*\\.json$"}, expectation()],
                    },
                },
                "additionalProperties": expectation(),
            },
        },
    })
}

/// Rows of tables, by table, key and column.
fn tables() -> Value {
    let cell = json!({"type": ["string", "number", "boolean"]});
    let row = json!({"type": "object", "additionalProperties": cell});
    let table = json!({"type": "object", "additionalProperties": row});
    json!({"type": "object", "description": "Rows that tables have meanwhile: table, key, column", "additionalProperties": table})
}

/// What a test says of a branch.
fn expectation() -> Value {
    let counts = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "propertyNames": {"enum": Code::NAMES},
            "additionalProperties": {"type": "integer", "minimum": 0},
        })
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "awaiting": {"enum": ["ack"], "description": "This branch must come to wait, and nobody answers in this test"},
            "answer": one_or_many(answer(), 1),
            "delivered": {"type": "integer", "minimum": 0, "description": "Events of which something must be delivered"},
            "incident": {"type": "integer", "minimum": 0, "description": "Events for which the incident must be told something"},
            "dropped": counts("Events that must end so, by reason"),
            "rejected": counts("Dead letters that there must be, by reason"),
        },
    })
}

/// How a wait ends in a test.
fn answer() -> Value {
    let ends = spec::ENDS.map(Answer::as_str);
    json!({
        "description": "How the wait of this branch ends; a list where an event comes to several",
        "anyOf": [
            {"enum": ends},
            {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "as": {"enum": ends, "default": "acknowledged"},
                    "by": {"enum": steps::await_::ROLES, "description": "Whose answer it is"},
                    "after": steps::span_schema("How long the answer takes"),
                    "choice": {"type": "string", "description": "What is chosen"},
                },
            },
        ],
    })
}

/// One of these, or a list of them.
pub(crate) fn one_or_many(one: Value, at_least: usize) -> Value {
    json!({"anyOf": [one.clone(), {"type": "array", "minItems": at_least, "items": one}]})
}
