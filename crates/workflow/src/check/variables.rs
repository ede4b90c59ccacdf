//! `variables:`: values that a file names once and uses in several places. Owns what a variable may hold, and `{var: name}` in `match`, where its
//! value is put in place before columns look at it. Must not know: columns, steps.
use crate::{
    spec,
    yaml::{Key, Node, Value, short},
};
use atio_topics::Problem;
use atio_vrl::{Constant, Scalar};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const MAX_VARIABLES: usize = 64;
/// Members of a list.
const MAX_MEMBERS: usize = 10_000;
/// `{var: name}`.
const REFERENCE: &str = "var";

/// The variables of a file, and which of them are used.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    written: Vec<(Key, Node)>,
    /// As expressions see them.
    pub(crate) constants: Arc<BTreeMap<String, Constant>>,
    used: BTreeSet<String>,
}

impl Variables {
    pub(crate) fn read(written: &[(Key, Node)], problems: &mut Vec<Problem>) -> Self {
        if let Some((key, _)) = written.get(MAX_VARIABLES) {
            let message = format!("at most {MAX_VARIABLES} variables, here are {}", written.len());
            let help = "long lists belong into a table: `enrich` looks into one".to_owned();
            problems.push(Problem::new(&key.place, message).help(Some(help)));
        }
        let mut constants = BTreeMap::new();
        for (key, node) in written {
            if !is_name(&key.text) {
                let message = format!("`{}` is no variable's name: a-z, 0-9 and `_`", short(&key.text));
                problems
                    .push(Problem::new(&key.place, message).help(Some("like `least_importance`".to_owned())));
            }
            if let Some(constant) = constant(node, problems) {
                constants.insert(key.text.clone(), constant);
            }
        }
        Self { written: written.to_vec(), constants: Arc::new(constants), used: BTreeSet::new() }
    }

    /// An expression names these.
    pub(crate) fn used(&mut self, names: &[String]) {
        self.used.extend(names.iter().cloned());
    }

    /// The same with values in the place of `{var: name}`.
    pub(crate) fn put(&mut self, written: &[(Key, Node)], problems: &mut Vec<Problem>) -> Vec<(Key, Node)> {
        let mut all = written.to_vec();
        all.iter_mut().for_each(|(_, node)| self.put_in(node, problems));
        all
    }

    fn put_in(&mut self, node: &mut Node, problems: &mut Vec<Problem>) {
        match &mut node.value {
            Value::Map(entries) => match entries.as_slice() {
                [(key, name)] if key.text == REFERENCE => {
                    if let Some(value) = self.value(name, problems) {
                        node.value = value;
                    }
                }
                _ => entries.iter_mut().for_each(|(_, node)| self.put_in(node, problems)),
            },
            Value::List(items) => items.iter_mut().for_each(|item| self.put_in(item, problems)),
            Value::Null | Value::Scalar(_) => {}
        }
    }

    fn value(&mut self, name: &Node, problems: &mut Vec<Problem>) -> Option<Value> {
        let name = spec::text(name, "a variable's name", problems)?;
        let found = self.written.iter().find(|(key, _)| key.text == name.text);
        if found.is_none() {
            let names: Vec<&str> = self.written.iter().map(|(key, _)| key.text.as_str()).collect();
            problems.push(spec::unknown(&name, &names, &[], "variable"));
        }
        let (_, node) = found?;
        self.used.insert(name.text);
        Some(node.value.clone())
    }

    /// What nothing uses was meant for something.
    pub(crate) fn unused(&self, problems: &mut Vec<Problem>) {
        for (key, _) in self.written.iter().filter(|(key, _)| !self.used.contains(&key.text)) {
            let name = &key.text;
            let help = format!(
                "`.vars.{name}` in an expression, `{{{REFERENCE}: {name}}}` in `match`, or leave it out"
            );
            problems.push(
                Problem::new(&key.place, format!("variable `{name}` is used nowhere")).help(Some(help)),
            );
        }
    }
}

fn is_name(text: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.len() <= 63
        && text.chars().all(rest)
}

fn constant(node: &Node, problems: &mut Vec<Problem>) -> Option<Constant> {
    let Value::List(items) = &node.value else { return scalar(node, problems).map(Constant::One) };
    if items.is_empty() || items.len() > MAX_MEMBERS {
        let message = format!("a list has 1 to {MAX_MEMBERS} members, here are {}", items.len());
        problems.push(Problem::new(&node.place, message).help(Some("`[a, b]`".to_owned())));
        return None;
    }
    let mut all: Vec<Scalar> = vec![];
    for item in items {
        let scalar = scalar(item, problems)?;
        if all.first().is_some_and(|first| first.ty() != scalar.ty()) {
            let message =
                "the members of a list are of one type: texts, whole numbers, numbers, or yes and no";
            let help = "quote what is meant as a text: `[\"22\", ssh]`".to_owned();
            problems.push(Problem::new(&item.place, message).help(Some(help)));
            return None;
        }
        all.push(scalar);
    }
    Some(Constant::List(all))
}

fn scalar(node: &Node, problems: &mut Vec<Problem>) -> Option<Scalar> {
    let found = match node.json() {
        serde_json::Value::String(text) => Some(Scalar::Text(text)),
        serde_json::Value::Bool(yes) => Some(Scalar::Bool(yes)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(Scalar::Int(whole)),
            None if number.is_u64() => None,
            None => number.as_f64().filter(|n| n.is_finite()).map(Scalar::Float),
        },
        _ => None,
    };
    if found.is_none() {
        let secret = matches!(&node.value, Value::Map(entries) if entries.iter().any(|(key, _)| matches!(key.text.as_str(), "env" | "file")));
        let (what, help) = if secret {
            (
                "a reference to a secret",
                "a workflow does the same everywhere; secrets are referred to in sinks",
            )
        } else {
            (
                node.text().map_or_else(|| node.noun(), |_| "a number that large"),
                "a text, a number, `true` or `false`, or a list of these",
            )
        };
        let message = format!("a variable is a value that stands here, not {what}");
        problems.push(Problem::new(&node.place, message).help(Some(help.to_owned())));
    }
    found
}
