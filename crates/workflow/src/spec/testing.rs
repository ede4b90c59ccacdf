//! The shape of a definition's `tests:`. Must not know: how a test is run.
use super::{
    Answers, Given, TableRows, Test, Totals, answers, field, known, mapping, missing, text, unknown,
};
use crate::{
    suggest,
    yaml::{Key, Node, Value, short},
};
use atio_schemas::Code;
use atio_topics::{
    Problem,
    units::{Span, parse_span},
};
use std::{collections::BTreeMap, time::Duration};

pub(crate) const MAX_TESTS: usize = 256;
/// Items of a test's `given`.
pub(crate) const MAX_GIVEN: usize = 256;
const TEST: &str = "`- {given: {kind: threat}, then: {branches: [siem]}}`";
/// Between two events of a test.
const LONGEST: Span = Span(Duration::from_hours(365 * 24));

/// The tests, in the file's order.
pub(super) fn read(node: &Node, problems: &mut Vec<Problem>) -> Vec<Test> {
    let Value::List(items) = &node.value else {
        let message = format!("`tests` is a list, not {}", node.noun());
        problems.push(Problem::new(&node.place, message).help(Some(TEST.to_owned())));
        return vec![];
    };
    if items.len() > MAX_TESTS {
        let message = format!("at most {MAX_TESTS} tests, here are {}", items.len());
        let help = "what many events do is better told by a fixture: `given: events.ndjson`".to_owned();
        problems.push(Problem::new(&node.place, message).help(Some(help)));
    }
    let tests: Vec<Test> = items.iter().filter_map(|item| test(item, problems)).collect();
    let mut snapshots = BTreeMap::new();
    for file in tests.iter().filter_map(|t| t.snapshot.as_ref()) {
        if let Some(line) = snapshots.insert(file.text.as_str(), file.place.line) {
            let message = format!("`{}` is the snapshot of another test", short(&file.text));
            let help = format!("of that in line {line}: a file of its own for each");
            problems.push(Problem::new(&file.place, message).help(Some(help)));
        }
    }
    let mut names = BTreeMap::new();
    for name in tests.iter().filter_map(|t| t.name.as_ref()) {
        if let Some(line) = names.insert(name.text.as_str(), name.place.line) {
            let help = format!("the first is in line {line}: say what differs");
            let message = format!("a test `{}` stands here already", short(&name.text));
            problems.push(Problem::new(&name.place, message).help(Some(help)));
        }
    }
    tests
}

fn test(node: &Node, problems: &mut Vec<Problem>) -> Option<Test> {
    let entries = mapping(node, "a test", problems)?;
    known(entries, &["name", "tables", "given", "then"], &[], "field", problems);
    let name = field(entries, "name").and_then(|n| text(n, "`name`", problems));
    let tables = field(entries, "tables").map(|node| tables(node, problems)).unwrap_or_default();
    let Some(node_given) = field(entries, "given") else {
        missing(&node.place, "given", "given: {kind: threat}", problems);
        return None;
    };
    let given = given(node_given, problems);
    let Some(then) = field(entries, "then") else {
        missing(&node.place, "then", "then: {branches: [siem]}", problems);
        return None;
    };
    let expected = mapping(then, "`then`", problems)?;
    let (mut awaiting, mut replies, mut totals) = (vec![], vec![], vec![]);
    let mut snapshot = None;
    for (branch, node) in expected.iter().filter(|(key, _)| key.text != "branches") {
        // A branch of this name has expectations, and no single value.
        if branch.text == "snapshot" && node.text().is_some() {
            snapshot = file(node, problems);
        } else {
            of_branch(branch, node, (&mut awaiting, &mut replies, &mut totals), problems);
        }
    }
    let Some(list) = field(expected, "branches") else {
        missing(&then.place, "branches", "then: {branches: [siem]}", problems);
        return None;
    };
    let Value::List(names) = &list.value else {
        let message = format!("`branches` is a list of names, not {}", list.noun());
        problems.push(Problem::new(&list.place, message).help(Some("`branches: [siem]`".to_owned())));
        return None;
    };
    let branches = names.iter().filter_map(|n| text(n, "a branch's name", problems)).collect();
    Some(Test {
        place: node.place.clone(),
        name,
        tables,
        given,
        branches,
        awaiting,
        answers: replies,
        totals,
        snapshot,
    })
}

/// A file that `atio test --update` may write: beside the definition, or below.
fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Key> {
    let file = text(node, "`snapshot`", problems)?;
    let parts: Vec<&str> = file.text.split('/').collect();
    let plain = |part: &&str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    let is_json = parts.last().is_some_and(|last| last.len() > 5 && last.ends_with(".json"));
    if is_json && file.text.len() <= 200 && parts.iter().all(plain) {
        return Some(file);
    }
    let message = format!("`{}` is no file for a snapshot", short(&file.text));
    let help =
        "beside the definition or below, of a-z, 0-9, `.`, `-`, `_`: `snapshots/urgent.json`".to_owned();
    problems.push(Problem::new(&file.place, message).help(Some(help)));
    None
}

/// `tables: {assets: {"host:web-1": {owner: web}}}`: table, key, column.
fn tables(node: &Node, problems: &mut Vec<Problem>) -> Vec<TableRows> {
    let mut tables = vec![];
    for (table, node) in mapping(node, "`tables`", problems).unwrap_or_default() {
        let mut rows = BTreeMap::new();
        for (key, node) in mapping(node, "a table", problems).unwrap_or_default() {
            let cells = mapping(node, "a row", problems).unwrap_or_default();
            let cell =
                |(name, node): &(Key, Node)| Some((name.text.clone(), text(node, "a cell", problems)?.text));
            rows.insert(key.text.clone(), cells.iter().filter_map(cell).collect());
        }
        tables.push(TableRows { table: table.clone(), rows });
    }
    tables
}

/// One event, or several one after the other.
fn given(node: &Node, problems: &mut Vec<Problem>) -> Vec<Given> {
    let Value::List(items) = &node.value else { return one(node, problems).into_iter().collect() };
    if items.is_empty() || items.len() > MAX_GIVEN {
        let message = format!("1 to {MAX_GIVEN} events, here are {}", items.len());
        let help = "`given: [{asset: a}, {after: 5m}, {asset: a}]`; many events are better told by a fixture";
        problems.push(Problem::new(&node.place, message).help(Some(help.to_owned())));
    }
    items.iter().filter_map(|item| one(item, problems)).collect()
}

fn one(node: &Node, problems: &mut Vec<Problem>) -> Option<Given> {
    match &node.value {
        Value::Map(entries) if field(entries, "after").is_some() => {
            known(entries, &["after"], &[], "field beside `after`", problems);
            after(field(entries, "after")?, problems).map(Given::After)
        }
        Value::Map(columns) => Some(Given::Columns(columns.clone())),
        _ => text(node, "`given`", problems).map(Given::File),
    }
}

/// How much time passes.
pub(super) fn after(node: &Node, problems: &mut Vec<Problem>) -> Option<Span> {
    let text = text(node, "`after`", problems)?;
    let span = parse_span(&text.text).filter(|span| *span <= LONGEST);
    if span.is_none() {
        let message = format!("`{}` is no time up to {LONGEST}", short(&text.text));
        let help = "a whole number with ms, s, m, h or d: `after: 5m`".to_owned();
        problems.push(Problem::new(&text.place, message).help(Some(help)));
    }
    span
}

const EXPECTATIONS: &[&str] = &["answer", "awaiting", "delivered", "dropped", "incident", "rejected"];

/// `then.<branch>: {awaiting: ack, answer: acknowledged, delivered: 2, dropped: {duplicate: 1}}`.
fn of_branch(
    branch: &Key,
    node: &Node,
    (awaiting, replies, totals): (&mut Vec<Key>, &mut Vec<Answers>, &mut Vec<Totals>),
    problems: &mut Vec<Problem>,
) {
    let Some(entries) = mapping(node, &format!("`then.{}`", branch.text), problems) else { return };
    known(entries, EXPECTATIONS, &[], "expectation", problems);
    if entries.is_empty() {
        missing(&node.place, "awaiting", "awaiting: ack", problems);
    }
    if let Some(what) = field(entries, "awaiting").and_then(|n| text(n, "`awaiting`", problems)) {
        if what.text == "ack" {
            awaiting.push(branch.clone());
        } else {
            problems.push(unknown(&what, &["ack"], &[], "answer"));
        }
    }
    if let Some(node) = field(entries, "answer") {
        replies.push(Answers { branch: branch.clone(), replies: answers::read(node, problems) });
    }
    let delivered = field(entries, "delivered").and_then(|n| number(n, "`delivered`", problems));
    let incident = field(entries, "incident").and_then(|n| number(n, "`incident`", problems));
    let [dropped, rejected] =
        ["dropped", "rejected"].map(|name| Some(reasons(field(entries, name)?, name, problems)));
    if delivered.is_some() || incident.is_some() || dropped.is_some() || rejected.is_some() {
        totals.push(Totals { branch: branch.clone(), delivered, incident, dropped, rejected });
    }
}

/// `{duplicate: 1}`: how many events for each reason.
fn reasons(node: &Node, what: &str, problems: &mut Vec<Problem>) -> BTreeMap<Code, u64> {
    let mut found = BTreeMap::new();
    for (reason, node) in mapping(node, &format!("`{what}`"), problems).unwrap_or_default() {
        let code = Code::parse(&reason.text);
        if code.is_none() {
            let help = suggest::help(&reason.text, Code::NAMES);
            let message = format!("unknown reason `{}`", short(&reason.text));
            problems.push(Problem::new(&reason.place, message).help(help));
        }
        if let (Some(code), Some(count)) = (code, number(node, "how many", problems)) {
            found.insert(code, count);
        }
    }
    found
}

fn number(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<u64> {
    let text = text(node, what, problems)?;
    let found = text.text.parse().ok();
    if found.is_none() {
        let message = format!("{what} is a whole number, not `{}`", short(&text.text));
        problems.push(Problem::new(&text.place, message).help(Some("like `2`".to_owned())));
    }
    found
}
