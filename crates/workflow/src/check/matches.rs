//! `match:` and the columns of a test's `given`: texts of the file become values of the column's type.
//! Owns values and sets; the operators of `match` are in `operators`. Must not know: branches.
use super::{operators, patterns::PATTERN, reach};
use crate::{
    index::{Predicate, Test},
    suggest,
    trigger::Trigger,
    yaml::{Key, Node, Value, short},
};
use atio_schemas::{
    Timestamp,
    column::{self, COLUMNS, Column, NewCell, Type},
};
use atio_topics::Problem;
use ipnet::{IpNet, Ipv4Net};
use std::{collections::BTreeSet, net::IpAddr};

/// A set in `match` has at most so many members.
pub(super) const MAX_MEMBERS: usize = 10_000;

/// Every condition of `match` on a column.
pub(crate) fn trigger(written: &[(Key, Node)], on: Trigger, problems: &mut Vec<Problem>) -> Vec<Predicate> {
    let of_columns = written.iter().filter(|(key, _)| key.text != PATTERN);
    of_columns.flat_map(|(key, node)| predicates(key, node, on, problems)).collect()
}

/// The columns of a test's `given`.
pub(crate) fn columns_of(
    written: &[(Key, Node)],
    on: Trigger,
    problems: &mut Vec<Problem>,
) -> Vec<(&'static Column, NewCell)> {
    let mut cells = vec![];
    for (key, node) in written {
        let Some((_, column)) = column_of(key, on, problems) else { continue };
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

fn column_of(key: &Key, on: Trigger, problems: &mut Vec<Problem>) -> Option<(usize, &'static Column)> {
    if let Some(position) = column::position(&key.text) {
        let column = COLUMNS.get(position)?;
        if let Some(known) = on.known().filter(|_| !on.knows(column.name)) {
            let message =
                format!("`{}` is never known where a workflow is `on: {}`", column.name, on.as_str());
            let help = format!("known are {}", known.join(", "));
            problems.push(Problem::new(&key.place, message).help(Some(help)));
            return None;
        }
        return Some((position, column));
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

fn predicates(key: &Key, node: &Node, on: Trigger, problems: &mut Vec<Problem>) -> Vec<Predicate> {
    let Some((position, column)) = column_of(key, on, problems) else { return vec![] };
    let tests = operators::read(column, key, node, problems).unwrap_or_default();
    let predicates: Vec<Predicate> =
        tests.into_iter().map(|test| Predicate { column: position, test }).collect();
    if reach::nothing_fulfils(column, on, &predicates) {
        let message = format!("no `{}` fulfils this", column.name);
        let help = match on.values(column).as_deref() {
            Some(values @ [NewCell::Text(_), ..]) => {
                let texts =
                    values.iter().map(|v| if let NewCell::Text(text) = v { text.as_str() } else { "" });
                let texts: Vec<&str> = texts.collect();
                format!("where a workflow is `on: {}` it is {}", on.as_str(), texts.join(", "))
            }
            _ => "what is allowed and what is excluded are the same: leave one out".to_owned(),
        };
        problems.push(Problem::new(&node.place, message).help(Some(help)));
    }
    predicates
}

/// A list of values of which one must be equal.
pub(super) fn set(
    column: &'static Column,
    node: &Node,
    items: &[Node],
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    if items.is_empty() || items.len() > MAX_MEMBERS {
        let message = format!("a set has 1 to {MAX_MEMBERS} members, here are {}", items.len());
        problems.push(Problem::new(&node.place, message).help(Some("`[a, b]`".to_owned())));
        return None;
    }
    members(column, items, problems)
}

/// Equality with one of these.
pub(super) fn members(column: &'static Column, items: &[Node], problems: &mut Vec<Problem>) -> Option<Test> {
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
    match network.map(unmapped) {
        Ok(network) if network.addr() == network.network() => Some(network),
        Ok(network) => {
            let message = format!("`{text}` has bits set behind its prefix");
            problems.push(Problem::new(&node.place, message).help(Some(format!("`{}`", network.trunc()))));
            None
        }
        Err(_) => {
            let message = format!("`{}` is neither an address nor a network", short(text));
            problems.push(Problem::new(&node.place, message).help(Some("`10.0.0.0/8`".to_owned())));
            None
        }
    }
}

/// Addresses of IPv4 that are written as such of IPv6 are those of IPv4, as in events.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(network, IpNet::V4)
}

/// A text as the column's type has it; None where it is no such value.
pub(super) fn cell(column: &Column, text: &str) -> Option<NewCell> {
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

pub(super) fn misfit(column: &Column, node: &Node) -> Problem {
    let short = |text: &str| format!("`{}`", short(text));
    let what = node.text().map_or_else(|| node.noun().to_owned(), short);
    let noun = match column.ty {
        Type::Text => "a text",
        Type::Ip => "an address",
        Type::Symbol(names) => {
            let help = suggest::help(node.text().unwrap_or_default(), names);
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
