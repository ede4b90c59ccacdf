//! `match:` and the columns of a test's `given`: texts of the file become values of the column's type.
//! Owns the operators of `match`. Must not know: branches.
use crate::{
    index::{Predicate, Test},
    schema,
    spec::{text, unknown},
    suggest,
    yaml::{Key, Node, Value, short},
};
use atio_schemas::{
    Timestamp,
    column::{self, COLUMNS, Column, NewCell, Type},
};
use atio_topics::Problem;
use ipnet::IpNet;
use serde_json::json;
use std::{collections::BTreeSet, net::IpAddr};

const OPERATORS: &[&str] = &["in", "gt", "gte", "lt", "lte"];
const LATER: &[&str] = &[
    "prefix", "suffix", "contains", "regex", "exists", "any", "all", "none", "not", "pattern", "eq", "ne",
    "between",
];
/// A set in `match` has at most so many members.
const MAX_MEMBERS: usize = 10_000;

/// Every condition of `match`.
pub(crate) fn trigger(written: &[(Key, Node)], problems: &mut Vec<Problem>) -> Vec<Predicate> {
    written.iter().filter_map(|(key, node)| predicate(key, node, problems)).collect()
}

/// What may stand behind a column.
pub(crate) fn schema(column: &Column) -> serde_json::Value {
    let value = schema::value(column);
    let list = json!({"type": "array", "minItems": 1, "maxItems": MAX_MEMBERS, "items": value});
    let operators = if matches!(column.ty, Type::Int | Type::Float | Type::Time) {
        json!({"in": list, "gt": value, "gte": value, "lt": value, "lte": value})
    } else {
        json!({"in": list})
    };
    let operators =
        json!({"type": "object", "additionalProperties": false, "minProperties": 1, "properties": operators});
    json!({"anyOf": [value, list, operators]})
}

/// The columns of a test's `given`.
pub(crate) fn columns_of(
    written: &[(Key, Node)],
    problems: &mut Vec<Problem>,
) -> Vec<(&'static Column, NewCell)> {
    let mut cells = vec![];
    for (key, node) in written {
        let Some((_, column)) = column_of(key, problems) else { continue };
        let cell = match (&node.value, column.ty) {
            (Value::Null, _) if column.nullable => Some(NewCell::Null),
            (Value::List(items), Type::Texts) => items
                .iter()
                .map(|n| n.text().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map(NewCell::Texts),
            _ => node.text().and_then(|text| cell(column, text)),
        };
        match cell {
            Some(cell) => cells.push((column, cell)),
            None => problems.push(misfit(column, node)),
        }
    }
    cells
}

fn column_of(key: &Key, problems: &mut Vec<Problem>) -> Option<(usize, &'static Column)> {
    if let Some(position) = column::position(&key.text) {
        return Some((position, COLUMNS.get(position)?));
    }
    let inside = |c: &&Column| c.name.split_once('.').is_some_and(|(head, _)| head == key.text);
    let help = match COLUMNS.iter().find(inside) {
        Some(nested) => format!("write `{}: …`", nested.name),
        None => suggest::column(&key.text),
    };
    problems
        .push(Problem::new(&key.place, format!("unknown column `{}`", short(&key.text))).help(Some(help)));
    None
}

fn predicate(key: &Key, node: &Node, problems: &mut Vec<Problem>) -> Option<Predicate> {
    let (position, column) = column_of(key, problems)?;
    let test = match &node.value {
        Value::Scalar(_) => members(column, std::slice::from_ref(node), problems),
        Value::List(items) => set(column, node, items, problems),
        Value::Map(entries) => operators(column, node, entries, problems),
        Value::Null => {
            let message = format!(
                "`{}` is compared with nothing; a test for absence is not supported yet",
                column.name
            );
            let help = format!("a step: `when: 'is_null(.{})'`", column.name);
            problems.push(Problem::later(&key.place, message).help(Some(help)));
            None
        }
    }?;
    Some(Predicate { column: position, test })
}

fn set(column: &'static Column, node: &Node, items: &[Node], problems: &mut Vec<Problem>) -> Option<Test> {
    if items.is_empty() || items.len() > MAX_MEMBERS {
        let message = format!("a set has 1 to {MAX_MEMBERS} members, here are {}", items.len());
        problems.push(Problem::new(&node.place, message).help(Some("`[a, b]`".to_owned())));
        return None;
    }
    members(column, items, problems)
}

fn operators(
    column: &'static Column,
    node: &Node,
    entries: &[(Key, Node)],
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    let before = problems.len();
    let later: Vec<&str> = LATER.to_vec();
    for (key, _) in entries.iter().filter(|(key, _)| !OPERATORS.contains(&key.text.as_str())) {
        problems.push(unknown(key, OPERATORS, &later, "operator"));
    }
    if problems.len() > before {
        return None;
    }
    match entries {
        [] => {
            problems.push(
                Problem::new(&node.place, "an operator is missing").help(Some("`{gte: 60}`".to_owned())),
            );
            None
        }
        [(key, list)] if key.text == "in" => match &list.value {
            Value::List(items) => set(column, list, items, problems),
            _ => {
                let message = format!("`in` takes a list, not {}", list.noun());
                problems.push(Problem::new(&list.place, message).help(Some("`{in: [a, b]}`".to_owned())));
                None
            }
        },
        _ if entries.iter().any(|(key, _)| key.text == "in") => {
            let help = "the set alone, and the rest as a step: `when: '.confidence > 1'`".to_owned();
            problems
                .push(Problem::new(&node.place, "`in` stands alone: no range beside it").help(Some(help)));
            None
        }
        _ => range(column, node, entries, problems),
    }
}

fn range(
    column: &'static Column,
    node: &Node,
    entries: &[(Key, Node)],
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    if !matches!(column.ty, Type::Int | Type::Float | Type::Time) {
        let message = format!("`{}` has no order: ranges are for numbers and times", column.name);
        problems.push(Problem::new(&node.place, message).help(Some("`{in: [a, b]}`".to_owned())));
        return None;
    }
    let (mut low, mut high) = (None, None);
    for (key, bound) in entries {
        let cell = text(bound, "a bound", problems).and_then(|k| cell(column, &k.text));
        let Some(cell) = cell else {
            problems.push(misfit(column, bound));
            return None;
        };
        let side = if key.text.starts_with('g') { &mut low } else { &mut high };
        if side.is_some() {
            let help = format!("leave `{}` or the one before it out", key.text);
            problems.push(Problem::new(&key.place, "two bounds on the same side").help(Some(help)));
            return None;
        }
        *side = Some((cell, key.text.ends_with('e')));
    }
    let test = if column.ty == Type::Float {
        Test::FloatRange { low: low.and_then(float), high: high.and_then(float) }
    } else {
        Test::IntRange { low: low.and_then(int), high: high.and_then(int) }
    };
    let empty = match test {
        Test::FloatRange { low: Some((l, with_l)), high: Some((h, with_h)) } => {
            l > h || (l == h && !(with_l && with_h))
        }
        Test::IntRange { low: Some((l, with_l)), high: Some((h, with_h)) } => {
            l.saturating_add(i64::from(!with_l)) > h.saturating_sub(i64::from(!with_h))
        }
        _ => false,
    };
    if empty {
        let help = "the lower bound first: `{gte: <low>, lte: <high>}`".to_owned();
        problems.push(Problem::new(&node.place, "nothing lies in this range").help(Some(help)));
        return None;
    }
    Some(test)
}

fn float((cell, inclusive): (NewCell, bool)) -> Option<(f64, bool)> {
    if let NewCell::Float(number) = cell { Some((number, inclusive)) } else { None }
}

fn int((cell, inclusive): (NewCell, bool)) -> Option<(i64, bool)> {
    match cell {
        NewCell::Int(number) => Some((number, inclusive)),
        NewCell::Time(at) => Some((at.0, inclusive)),
        _ => None,
    }
}

/// Equality with one of these.
fn members(column: &'static Column, items: &[Node], problems: &mut Vec<Problem>) -> Option<Test> {
    let before = problems.len();
    let texts: Vec<(&Node, &str)> = items.iter().filter_map(|n| Some((n, n.text()?))).collect();
    for item in items.iter().filter(|n| n.text().is_none()) {
        problems.push(misfit(column, item));
    }
    if column.ty == Type::Ip {
        let networks: Vec<IpNet> =
            texts.iter().filter_map(|(node, text)| network(node, text, problems)).collect();
        return (problems.len() == before).then_some(Test::Networks(networks));
    }
    let cells: Vec<NewCell> = texts
        .iter()
        .filter_map(|(node, text)| {
            let cell = cell(column, text);
            if cell.is_none() {
                problems.push(misfit(column, node));
            }
            cell
        })
        .collect();
    (problems.len() == before).then(|| equality(cells))
}

fn equality(cells: Vec<NewCell>) -> Test {
    let mut texts = BTreeSet::new();
    let mut ints = BTreeSet::new();
    let mut floats = vec![];
    let mut bools = vec![];
    for cell in cells {
        match cell {
            NewCell::Text(text) => drop(texts.insert(text.into_boxed_str())),
            NewCell::Texts(many) => texts.extend(many.into_iter().map(String::into_boxed_str)),
            NewCell::Int(n) => drop(ints.insert(n)),
            NewCell::Time(t) => drop(ints.insert(t.0)),
            NewCell::Float(n) => floats.push(n),
            NewCell::Bool(b) => bools.push(b),
            NewCell::Null => {}
        }
    }
    match bools.first() {
        Some(b) => Test::Bool(*b),
        None if !ints.is_empty() => Test::Ints(ints),
        None if !floats.is_empty() => Test::Floats(floats),
        None => Test::Texts(texts),
    }
}

fn network(node: &Node, text: &str, problems: &mut Vec<Problem>) -> Option<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.addr() == network.network() => Some(network),
        Ok(network) => {
            let message = format!("`{text}` has bits set behind its prefix");
            problems.push(Problem::new(&node.place, message).help(Some(format!("`{}`", network.trunc()))));
            None
        }
        Err(_) => {
            let message = format!("`{text}` is neither an address nor a network");
            problems.push(Problem::new(&node.place, message).help(Some("`10.0.0.0/8`".to_owned())));
            None
        }
    }
}

/// A text as the column's type has it; None where it is no such value.
fn cell(column: &Column, text: &str) -> Option<NewCell> {
    Some(match column.ty {
        Type::Text | Type::Ip => NewCell::Text(text.to_owned()),
        Type::Symbol(names) => NewCell::Text((*names.iter().find(|n| **n == text)?).to_owned()),
        Type::Int => NewCell::Int(text.parse().ok()?),
        Type::Float => NewCell::Float(text.parse().ok().filter(|n: &f64| n.is_finite())?),
        Type::Bool => NewCell::Bool(text.parse().ok()?),
        Type::Time => NewCell::Time(Timestamp::parse(text).ok()?),
        Type::Texts => NewCell::Texts(vec![text.to_owned()]),
    })
}

fn misfit(column: &Column, node: &Node) -> Problem {
    let short = |text: &str| format!("`{}`", short(text));
    let what = node.text().map_or_else(|| node.noun().to_owned(), short);
    let noun = match column.ty {
        Type::Text => "a text",
        Type::Ip => "an address",
        Type::Symbol(names) => {
            let help = suggest::help(node.text().unwrap_or_default(), names.iter().copied());
            return Problem::new(&node.place, format!("`{}` is never {what}", column.name)).help(help);
        }
        Type::Int => "a whole number",
        Type::Float => "a number",
        Type::Bool => "`true` or `false`",
        Type::Time => "a time",
        Type::Texts => "a text or a list of texts",
    };
    let help = match column.ty {
        Type::Ip => Some("`10.0.0.1`, or a network: `10.0.0.0/8`".to_owned()),
        Type::Time => Some("`2026-01-02T03:04:05Z`".to_owned()),
        Type::Int => Some("like `60`".to_owned()),
        Type::Float => Some("like `7.5`".to_owned()),
        Type::Bool => Some("`true`, or `false`".to_owned()),
        Type::Text => Some("one text; quote it where it looks like something else".to_owned()),
        Type::Texts => Some("`[a, b]`".to_owned()),
        Type::Symbol(_) => None,
    };
    Problem::new(&node.place, format!("`{}` is {noun}, not {what}", column.name)).help(help)
}
