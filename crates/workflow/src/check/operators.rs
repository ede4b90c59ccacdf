//! The operators of `match`: what may be asked of a column, by its type. Owns their names, how they go together, and their JSON Schema.
//! Must not know: what the tests do, branches.
use super::{
    matches::{MAX_MEMBERS, cell, members, misfit, set},
    patterns::PATTERN,
};
use crate::{
    index::{Pattern, Test},
    schema,
    spec::{text, unknown},
    yaml::{Key, Node, Value, short},
};
use atio_schemas::column::{Column, NewCell, Type};
use atio_topics::Problem;
use regex::RegexBuilder;
use serde_json::{Value as Json, json};

/// Of one value of any type; of a number or a time; of a text.
const BASIC: &[&str] = &["eq", "ne", "in", "not"];
const BOUNDS: &[&str] = &[BETWEEN, "gt", "gte", "lt", "lte"];
/// Both bounds at once, both included.
const BETWEEN: &str = "between";
const OF_TEXTS: &[&str] = &["prefix", "suffix", "contains", "regex"];
/// Of a list as a whole.
const OF_LISTS: &[&str] = &["any", "all", "none"];
const EXISTS: &str = "exists";
/// A regular expression has at most so many bytes, and so many when it is compiled.
const MAX_REGEX: usize = 1024;
const MAX_COMPILED: usize = 256 * 1024;

/// Everything that is asked of a column: all of it must hold.
pub(crate) fn read(
    column: &'static Column,
    key: &Key,
    node: &Node,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Test>> {
    let entries = match &node.value {
        Value::Null => {
            let message = format!("`{}` is compared with nothing", column.name);
            let help = format!("`{}: {{exists: false}}` where it must be unknown", column.name);
            problems.push(Problem::new(&key.place, message).help(Some(help)));
            return None;
        }
        Value::Map(entries) => entries,
        _ => return values(column, node, problems),
    };
    if let Some((key, exists)) = entries.iter().find(|(key, _)| key.text == EXISTS) {
        return known(column, key, exists, entries.len(), problems).map(|test| vec![test]);
    }
    let (of_list, of_value): (Vec<_>, Vec<_>) =
        entries.iter().partition(|(key, _)| OF_LISTS.contains(&key.text.as_str()));
    let before = problems.len();
    let mut tests: Vec<Test> =
        of_list.iter().filter_map(|(key, node)| of_a_list(column, key, node, problems)).collect();
    if !of_value.is_empty() || of_list.is_empty() {
        if let Some((key, _)) = of_value.iter().find(|(key, _)| matches!(key.text.as_str(), "not" | "ne"))
            && column.ty == Type::Texts
        {
            let message =
                format!("`{}` is a list: is it that no element, or that some element differs?", column.name);
            let help = "`{none: [a, b]}`, or `{any: {not: [a, b]}}`".to_owned();
            problems.push(Problem::new(&key.place, message).help(Some(help)));
        }
        let found = operators(column, node, &of_value, problems).unwrap_or_default();
        // Of a list, one element must fulfil all of them.
        match column.ty {
            Type::Texts => tests.extend(both(found)),
            _ => tests.extend(found),
        }
    }
    (problems.len() == before).then_some(tests)
}

fn known(
    column: &Column,
    key: &Key,
    node: &Node,
    entries: usize,
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    let yes = node.text().and_then(|t| t.parse::<bool>().ok());
    let always = !column.nullable && column.ty != Type::Texts;
    let (message, help) = match yes {
        None => {
            let found = node.text().map_or_else(|| node.noun().to_owned(), |t| format!("`{}`", short(t)));
            (format!("`exists` is `true` or `false`, not {found}"), "`{exists: false}`")
        }
        Some(_) if always => (format!("every event has a `{}`", column.name), "leave the condition out"),
        Some(_) if entries > 1 => {
            ("`exists` stands alone: every other operator asks for a value".to_owned(), "leave `exists` out")
        }
        Some(yes) => return Some(Test::Exists(yes)),
    };
    let place = if yes.is_none() { &node.place } else { &key.place };
    problems.push(Problem::new(place, message).help(Some(help.to_owned())));
    None
}

fn of_a_list(column: &'static Column, key: &Key, node: &Node, problems: &mut Vec<Problem>) -> Option<Test> {
    if column.ty != Type::Texts {
        let message = format!("`{}` is no list: `{}` has nothing to look through", column.name, key.text);
        let help = if key.text == "none" { "`not`" } else { "the condition without it" };
        problems.push(Problem::new(&key.place, message).help(Some(help.to_owned())));
        return None;
    }
    let test = Box::new(both(values(column, node, problems)?)?);
    Some(match key.text.as_str() {
        "all" => Test::Every(test),
        "none" => Test::NoElement(test),
        _ => *test,
    })
}

/// What is asked of one value, or of one element: a value, a list of values, operators.
fn values(column: &'static Column, node: &Node, problems: &mut Vec<Problem>) -> Option<Vec<Test>> {
    match &node.value {
        Value::Scalar(_) => members(column, std::slice::from_ref(node), problems).map(|test| vec![test]),
        Value::List(items) => set(column, node, items, problems).map(|test| vec![test]),
        Value::Map(entries) => operators(column, node, &entries.iter().collect::<Vec<_>>(), problems),
        Value::Null => {
            problems.push(misfit(column, node));
            None
        }
    }
}

/// One test that says what all of these say.
fn both(mut tests: Vec<Test>) -> Option<Test> {
    match tests.len() {
        0 | 1 => tests.pop(),
        _ => Some(Test::Both(tests)),
    }
}

fn operators(
    column: &'static Column,
    node: &Node,
    entries: &[&(Key, Node)],
    problems: &mut Vec<Problem>,
) -> Option<Vec<Test>> {
    let before = problems.len();
    let is_of_values =
        |key: &Key| [BASIC, BOUNDS, OF_TEXTS].iter().any(|list| list.contains(&key.text.as_str()));
    for (key, _) in entries.iter().filter(|(key, _)| !is_of_values(key)) {
        problems.push(misplaced(column, key));
    }
    if problems.len() > before {
        return None;
    }
    if entries.is_empty() {
        let help = format!("`{{{}: …}}`", names(column).join(": …}`, `{"));
        problems.push(Problem::new(&node.place, "an operator is missing").help(Some(help)));
        return None;
    }
    let is_set = |key: &Key| matches!(key.text.as_str(), "in" | "eq");
    let (bounds, others): (Vec<_>, Vec<_>) =
        entries.iter().copied().partition(|(key, _)| BOUNDS.contains(&key.text.as_str()));
    let sets: Vec<&Key> = others.iter().map(|(key, _)| key).filter(|key| is_set(key)).collect();
    if let Some(set) = sets.first()
        && (sets.len() > 1 || !bounds.is_empty())
    {
        let message = format!("`{}` stands alone: no other value and no range beside it", set.text);
        let help = "the set alone, and the rest as a step: `when: '.confidence > 1'`".to_owned();
        problems.push(Problem::new(&node.place, message).help(Some(help)));
        return None;
    }
    let mut tests: Vec<Test> =
        others.iter().filter_map(|(key, operand)| operator(column, key, operand, problems)).collect();
    if !bounds.is_empty() {
        tests.extend(range(column, node, &bounds, problems));
    }
    (problems.len() == before).then_some(tests)
}

/// The problem of a name that is no operator here.
fn misplaced(column: &Column, key: &Key) -> Problem {
    if key.text == EXISTS || OF_LISTS.contains(&key.text.as_str()) {
        let help = format!("`{}: {{{}: …}}`, directly behind the column", column.name, key.text);
        return Problem::new(&key.place, format!("`{}` does not stand within another operator", key.text))
            .help(Some(help));
    }
    if key.text == PATTERN {
        let help =
            "`match: {pattern: \"[ipv4-addr:value = '198.51.100.3']\"}`; `regex` for a text".to_owned();
        let message = "`pattern` stands beside the columns: it is about the whole bundle";
        return Problem::new(&key.place, message).help(Some(help));
    }
    unknown(key, &names(column), &[], "operator")
}

/// The operators that a column of this type takes.
fn names(column: &Column) -> Vec<&'static str> {
    match column.ty {
        Type::Texts => [OF_LISTS, &["eq", "in"], OF_TEXTS, &[EXISTS]].concat(),
        Type::Text => [BASIC, OF_TEXTS, &[EXISTS]].concat(),
        Type::Int | Type::Float | Type::Time => [BASIC, BOUNDS, &[EXISTS]].concat(),
        Type::Ip | Type::Symbol(_) | Type::Bool => [BASIC, &[EXISTS]].concat(),
    }
}

fn operator(column: &'static Column, key: &Key, node: &Node, problems: &mut Vec<Problem>) -> Option<Test> {
    match key.text.as_str() {
        "eq" => members(column, std::slice::from_ref(node), problems),
        "ne" => members(column, std::slice::from_ref(node), problems).map(|test| Test::Not(Box::new(test))),
        "in" => match &node.value {
            Value::List(items) => set(column, node, items, problems),
            _ => {
                let message = format!("`in` takes a list, not {}", node.noun());
                problems.push(Problem::new(&node.place, message).help(Some("`{in: [a, b]}`".to_owned())));
                None
            }
        },
        "not" => both(values(column, node, problems)?).map(|test| Test::Not(Box::new(test))),
        _ if !matches!(column.ty, Type::Text | Type::Texts) => {
            problems.push(no_text(column, key));
            None
        }
        "regex" => regex(node, problems).map(Test::Regex),
        name => {
            let parts = parts(name, node, problems)?;
            Some(match name {
                "prefix" => Test::Prefixes(parts.into_iter().collect()),
                "suffix" => Test::Suffixes(parts),
                _ => Test::Parts(parts),
            })
        }
    }
}

fn no_text(column: &Column, key: &Key) -> Problem {
    let message = format!("`{}` is no free text: `{}` has no meaning here", column.name, key.text);
    let help = match column.ty {
        Type::Ip => "a network: `{in: [10.0.0.0/8]}`".to_owned(),
        Type::Symbol(names) => format!("name them: `{{in: [{}]}}`", names.join(", ")),
        Type::Bool => "`true`, or `false`".to_owned(),
        _ => "a range: `{gte: <low>, lte: <high>}`".to_owned(),
    };
    Problem::new(&key.place, message).help(Some(help))
}

/// One text, or a list of them.
fn parts(name: &str, node: &Node, problems: &mut Vec<Problem>) -> Option<Vec<Box<str>>> {
    let items = node.items();
    if items.is_empty() || items.len() > MAX_MEMBERS {
        let message = format!("`{name}` takes 1 to {MAX_MEMBERS} texts, here are {}", items.len());
        problems.push(Problem::new(&node.place, message).help(Some(format!("`{{{name}: [a, b]}}`"))));
        return None;
    }
    let before = problems.len();
    let mut found = vec![];
    for item in items {
        let Some(key) = text(item, &format!("what `{name}` looks for"), problems) else { continue };
        if key.text.is_empty() {
            problems.push(empty(&item.place));
        }
        found.push(key.text.into_boxed_str());
    }
    (problems.len() == before).then_some(found)
}

fn empty(place: &atio_topics::Place) -> Problem {
    let help = "`{exists: true}` where it must be known".to_owned();
    Problem::new(place, "an empty text stands in every text").help(Some(help))
}

fn regex(node: &Node, problems: &mut Vec<Problem>) -> Option<Pattern> {
    let written = text(node, "`regex`", problems)?;
    if written.text.is_empty() {
        problems.push(empty(&node.place));
        return None;
    }
    if written.text.len() > MAX_REGEX {
        let message =
            format!("the expression has {} bytes, at most {MAX_REGEX} are allowed", written.text.len());
        problems.push(
            Problem::new(&node.place, message)
                .help(Some("`in`, `prefix` or `contains` with a list".to_owned())),
        );
        return None;
    }
    match RegexBuilder::new(&written.text).size_limit(MAX_COMPILED).build() {
        Ok(regex) => Some(Pattern::new(regex)),
        Err(regex::Error::CompiledTooBig(_)) => {
            let help = "fewer or shorter repetitions; `[0-9]` instead of `\\d`".to_owned();
            problems.push(
                Problem::new(&node.place, "the expression is too large when it is compiled").help(Some(help)),
            );
            None
        }
        Err(error) => {
            // The library draws the expression and says what is wrong in the last line.
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let help =
                "syntax of Rust's `regex`: no look-around, no back-references; `\\.` for a dot".to_owned();
            problems
                .push(Problem::new(&node.place, format!("no regular expression: {why}")).help(Some(help)));
            None
        }
    }
}

fn range(
    column: &'static Column,
    node: &Node,
    entries: &[&(Key, Node)],
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    if !matches!(column.ty, Type::Int | Type::Float | Type::Time) {
        let message = format!("`{}` has no order: ranges are for numbers and times", column.name);
        problems.push(Problem::new(&node.place, message).help(Some("`{in: [a, b]}`".to_owned())));
        return None;
    }
    let (mut low, mut high) = (None, None);
    for (key, operand) in entries {
        for (bound, is_low, inclusive) in bounds(key, operand, problems)? {
            let Some(cell) = bound.text().and_then(|text| cell(column, text)) else {
                problems.push(misfit(column, bound));
                return None;
            };
            let side = if is_low { &mut low } else { &mut high };
            if side.is_some() {
                let help = format!("leave `{}` or the one before it out", key.text);
                problems.push(Problem::new(&key.place, "two bounds on the same side").help(Some(help)));
                return None;
            }
            *side = Some((cell, inclusive));
        }
    }
    let test = if column.ty == Type::Float {
        Test::FloatRange { low: low.and_then(float), high: high.and_then(float) }
    } else {
        Test::IntRange { low: low.and_then(int), high: high.and_then(int) }
    };
    if is_empty(&test) {
        let help = "the lower bound first: `{gte: <low>, lte: <high>}`".to_owned();
        problems.push(Problem::new(&node.place, "nothing lies in this range").help(Some(help)));
        return None;
    }
    Some(test)
}

/// What an operator says of a range: the bounds, whether each is the lower one, and whether it belongs to the range.
fn bounds<'n>(
    key: &Key,
    operand: &'n Node,
    problems: &mut Vec<Problem>,
) -> Option<Vec<(&'n Node, bool, bool)>> {
    if key.text != BETWEEN {
        return Some(vec![(operand, key.text.starts_with('g'), key.text.ends_with('e'))]);
    }
    match &operand.value {
        Value::List(items) if let [low, high] = items.as_slice() => {
            Some(vec![(low, true, true), (high, false, true)])
        }
        _ => {
            let message = "`between` takes two bounds, both of which belong to the range";
            let help = "`{between: [<low>, <high>]}`".to_owned();
            problems.push(Problem::new(&operand.place, message).help(Some(help)));
            None
        }
    }
}

/// Whether nothing lies in a range.
pub(super) fn is_empty(range: &Test) -> bool {
    match *range {
        Test::FloatRange { low: Some((l, with_l)), high: Some((h, with_h)) } => {
            l > h || (l == h && !(with_l && with_h))
        }
        Test::IntRange { low: Some((l, with_l)), high: Some((h, with_h)) } => {
            l.saturating_add(i64::from(!with_l)) > h.saturating_sub(i64::from(!with_h))
        }
        _ => false,
    }
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

/// The JSON Schema of what may stand behind a column.
pub(crate) fn schema(column: &Column) -> Json {
    let variable = json!({"$ref": "#/definitions/variable"});
    let or_variable = |what: Json| json!({"anyOf": [what, variable]});
    let value = or_variable(schema::value(column));
    let list = json!({"type": "array", "minItems": 1, "maxItems": MAX_MEMBERS, "items": value});
    let text = or_variable(json!({"type": ["string", "number", "boolean"], "minLength": 1}));
    let texts = schema::one_or_many(text, 1);
    let inner = schema::inner_condition(column);
    let operator = |name: &'static str| {
        let operand = match name {
            "eq" | "ne" | "gt" | "gte" | "lt" | "lte" => value.clone(),
            "in" => or_variable(list.clone()),
            BETWEEN => or_variable(json!({"type": "array", "minItems": 2, "maxItems": 2, "items": value})),
            "not" | "any" | "all" | "none" => inner.clone(),
            "regex" => or_variable(json!({"type": "string", "minLength": 1, "maxLength": MAX_REGEX})),
            EXISTS => or_variable(json!({"type": "boolean"})),
            _ => texts.clone(),
        };
        (name.to_owned(), operand)
    };
    let operators: serde_json::Map<String, Json> = names(column).into_iter().map(operator).collect();
    let operators =
        json!({"type": "object", "additionalProperties": false, "minProperties": 1, "properties": operators});
    json!({"anyOf": [value, list, operators]})
}
