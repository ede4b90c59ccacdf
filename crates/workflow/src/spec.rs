//! The shape of a definition file: fields, names, places. Owns which fields exist, and which will exist later.
//! Must not know: columns, sinks, what a step means (`check` and `steps` do).
mod answers;
mod fragments;
mod steps;
mod testing;

use crate::{
    placement::Placement,
    secrets, suggest,
    trigger::Trigger,
    yaml::{self, Key, Node, Value},
};
use atio_schemas::{Code, detection::Criticality, incident::Answer};
use atio_topics::{
    Place, Problem,
    units::{Span, is_name},
};
use std::collections::BTreeMap;

const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "on",
    "partition_by",
    "schedule",
    "silence",
    "variables",
    "fragments",
    "match",
    "branches",
    "tests",
];
const LATER_FIELDS: &[&str] = &["secrets", "every", "timers"];
/// A workflow has at most so many branches.
pub const MAX_BRANCHES: usize = 64;
pub(crate) use answers::ENDS;
use fragments::Fragments;
pub use steps::{MAX_STEPS, SPLIT};
pub(crate) use testing::{MAX_GIVEN, MAX_TESTS};

/// A definition as it is written.
#[derive(Clone, Debug)]
pub struct Workflow {
    pub name: Key,
    pub owner: Option<String>,
    pub criticality: Option<Criticality>,
    /// Where that is said, and what.
    pub placement: Option<(Place, Placement)>,
    pub on: Trigger,
    /// What events come together by, in the place of the asset.
    pub partition_by: Option<Node>,
    /// When it is due: what is written behind `schedule`.
    pub schedule: Option<Node>,
    /// For how long nothing came, and from whom: what is written behind `silence`.
    pub silence: Option<Node>,
    /// Names and values.
    pub variables: Vec<(Key, Node)>,
    /// Column and what it must be, in the file's order.
    pub matches: Vec<(Key, Node)>,
    pub branches: Vec<Branch>,
    pub tests: Vec<Test>,
}

#[derive(Clone, Debug)]
pub struct Branch {
    pub name: Key,
    pub steps: Vec<Step>,
}

/// One step: its name and what is written behind it.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: Key,
    pub body: Node,
    /// Of an `if`: the steps of its two ways.
    pub then: Vec<Step>,
    pub otherwise: Vec<Step>,
    /// Of an `each`: the steps of one element.
    pub each: Vec<Step>,
    /// What is done where it fails.
    pub on_error: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Test {
    pub place: Place,
    pub name: Option<Key>,
    /// Rows that the tables have meanwhile.
    pub tables: Vec<TableRows>,
    /// One after the other.
    pub given: Vec<Given>,
    /// The branches that must deliver, and no others.
    pub branches: Vec<Key>,
    /// The branches that must come to wait for an answer, and no others.
    pub awaiting: Vec<Key>,
    /// How waits of a branch end, one after the other.
    pub answers: Vec<Answers>,
    /// How many events must end how, of branches of which it is said.
    pub totals: Vec<Totals>,
    /// A file beside the definition that holds what they come to.
    pub snapshot: Option<Key>,
}

/// A table's rows in a test: by their key.
#[derive(Clone, Debug)]
pub struct TableRows {
    pub table: Key,
    pub rows: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Debug)]
pub enum Given {
    /// A file beside the definition: a detection as JSON.
    File(Key),
    /// Columns, over a detection that knows nothing.
    Columns(Vec<(Key, Node)>),
    /// So much time passes.
    After(Span),
}

/// How the waits of a branch end in a test, in the order in which an event comes to them.
#[derive(Clone, Debug)]
pub struct Answers {
    pub branch: Key,
    pub replies: Vec<Reply>,
}

/// How one wait ends.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Acknowledged, rejected or unanswered.
    pub answer: Answer,
    /// Whose answer it is; whoever may give it, where it is not said.
    pub by: Option<Key>,
    /// How long it takes.
    pub after: Option<Span>,
    pub choice: Option<Key>,
}

/// What is expected of a branch; of what is not said nothing is.
#[derive(Clone, Debug)]
pub struct Totals {
    pub branch: Key,
    pub delivered: Option<u64>,
    /// Events for which the incident is told something.
    pub incident: Option<u64>,
    /// By reason; no others.
    pub dropped: Option<BTreeMap<Code, u64>>,
    pub rejected: Option<BTreeMap<Code, u64>>,
}

/// Reads the shape; every problem that can be told without the rest.
///
/// # Errors
/// All problems found, in the file's order.
pub fn read(file: &str, text: &str) -> Result<Workflow, Vec<Problem>> {
    let root = yaml::read(file, text).map_err(|p| vec![p])?;
    // Before anything else: other messages quote what they are about.
    let mut problems = secrets::in_clear(&root);
    if !problems.is_empty() {
        return Err(problems);
    }
    let Some(entries) = mapping(&root, "a definition", &mut problems) else { return Err(problems) };
    known(entries, FIELDS, LATER_FIELDS, "field", &mut problems);
    fixed(entries, &root.place, "apiVersion", "atio/v1", &mut problems);
    fixed(entries, &root.place, "kind", "Workflow", &mut problems);
    let on = trigger(entries, &root.place, &mut problems);
    let schedule = of_trigger(entries, on, Trigger::Schedule, "schedule: {every: 15m}", &mut problems);
    let silence =
        of_trigger(entries, on, Trigger::Silence, "silence: {after: 1h, key: source}", &mut problems);
    let head = metadata(entries, &root.place, &mut problems);
    let matches = match field(entries, "match") {
        Some(node) => mapping(node, "`match`", &mut problems).map(<[_]>::to_vec).unwrap_or_default(),
        None => {
            missing(&root.place, "match", "match: {kind: threat}", &mut problems);
            vec![]
        }
    };
    let variables = field(entries, "variables").and_then(|node| mapping(node, "`variables`", &mut problems));
    let variables = variables.map(<[_]>::to_vec).unwrap_or_default();
    let written = field(entries, "fragments").and_then(|node| mapping(node, "`fragments`", &mut problems));
    let mut fragments = Fragments::read(written.unwrap_or_default(), &mut problems);
    let branches = branches(entries, &root.place, &mut fragments, &mut problems);
    // Where something is refused, not all calls are known.
    if problems.is_empty() {
        fragments.unused(&mut problems);
    }
    let tests = field(entries, "tests").map(|node| testing::read(node, &mut problems)).unwrap_or_default();
    match head.zip(on) {
        Some(((name, owner, criticality, placement), on)) if problems.is_empty() => Ok(Workflow {
            name,
            owner,
            criticality,
            placement,
            on,
            partition_by: field(entries, "partition_by").cloned(),
            schedule,
            silence,
            variables,
            matches,
            branches,
            tests,
        }),
        _ => Err(problems),
    }
}

/// A field's value.
pub(crate) fn field<'n>(entries: &'n [(Key, Node)], name: &str) -> Option<&'n Node> {
    entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
}

/// The entries of a mapping, or a problem that says what is there instead.
pub(crate) fn mapping<'n>(
    node: &'n Node,
    what: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'n [(Key, Node)]> {
    if let Value::Map(entries) = &node.value {
        return Some(entries);
    }
    let help = Some("`name: value`, or `{name: value}`".to_owned());
    problems
        .push(Problem::new(&node.place, format!("{what} must be a mapping, not {}", node.noun())).help(help));
    None
}

/// A text, or a problem.
pub(crate) fn text(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Key> {
    if let Some(text) = node.text() {
        return Some(Key { text: text.to_owned(), place: node.place.clone() });
    }
    let help = Some("one value, without brackets or a list under it".to_owned());
    let message = format!("{what} must be a single value, not {}", node.noun());
    problems.push(Problem::new(&node.place, message).help(help));
    None
}

/// Refuses keys that are not known, and tells those that will be.
pub(crate) fn known(
    entries: &[(Key, Node)],
    names: &[&str],
    later: &[&str],
    noun: &str,
    problems: &mut Vec<Problem>,
) {
    for (key, _) in entries.iter().filter(|(key, _)| !names.contains(&key.text.as_str())) {
        problems.push(unknown(key, names, later, noun));
    }
}

/// The problem of a name that is none of `names`.
pub(crate) fn unknown(key: &Key, names: &[&str], later: &[&str], noun: &str) -> Problem {
    if later.contains(&key.text.as_str()) {
        return Problem::later(&key.place, &format!("{noun} `{}`", key.text), names);
    }
    let help = suggest::help(&key.text, names);
    let help = help.or_else(|| Some(format!("this {noun} has no meaning here: leave it out")));
    Problem::new(&key.place, format!("unknown {noun} `{}`", yaml::short(&key.text))).help(help)
}

/// A field that must be there; a problem where it is not.
pub(crate) fn needed<'n>(
    entries: &'n [(Key, Node)],
    place: &Place,
    name: &str,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'n Node> {
    let found = field(entries, name);
    if found.is_none() {
        missing(place, name, example, problems);
    }
    found
}

pub(crate) fn missing(place: &Place, name: &str, example: &str, problems: &mut Vec<Problem>) {
    problems
        .push(Problem::new(place, format!("field `{name}` is missing")).help(Some(format!("`{example}`"))));
}

fn fixed(entries: &[(Key, Node)], place: &Place, name: &str, value: &str, problems: &mut Vec<Problem>) {
    match field(entries, name) {
        None => missing(place, name, &format!("{name}: {value}"), problems),
        Some(node) if node.text() == Some(value) => {}
        Some(node) => problems.push(
            Problem::new(&node.place, format!("`{name}` must be `{value}`"))
                .help(Some(format!("`{name}: {value}`"))),
        ),
    }
}

fn trigger(entries: &[(Key, Node)], place: &Place, problems: &mut Vec<Problem>) -> Option<Trigger> {
    let node = needed(entries, place, "on", "on: detection", problems)?;
    let on = text(node, "`on`", problems)?;
    let found = Trigger::parse(&on.text);
    if found.is_none() {
        problems.push(unknown(&on, Trigger::NAMES, &[], "trigger"));
    }
    found
}

/// A field of one trigger, which it has the name of: it must be there, and beside no other.
fn of_trigger(
    entries: &[(Key, Node)],
    on: Option<Trigger>,
    owner: Trigger,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    let name = owner.as_str();
    let on = on?;
    let written = entries.iter().find(|(key, _)| key.text == name);
    match written {
        None if on == owner => {
            if let Some(node) = field(entries, "on") {
                missing(&node.place, name, example, problems);
            }
        }
        Some((key, _)) if on != owner => {
            let message = format!("`{name}` has no meaning where a workflow is `on: {}`", on.as_str());
            problems
                .push(Problem::new(&key.place, message).help(Some(format!("`on: {name}`, or leave it out"))));
        }
        _ => {}
    }
    written.map(|(_, node)| node.clone())
}

type Head = (Key, Option<String>, Option<Criticality>, Option<(Place, Placement)>);

fn metadata(entries: &[(Key, Node)], place: &Place, problems: &mut Vec<Problem>) -> Option<Head> {
    let Some(node) = field(entries, "metadata") else {
        missing(place, "metadata", "metadata: {name: my-workflow, owner: soc}", problems);
        return None;
    };
    let fields = mapping(node, "`metadata`", problems)?;
    known(
        fields,
        &["name", "owner", "criticality", "placement"],
        &["labels", "tenant", "class"],
        "field",
        problems,
    );
    let owner = field(fields, "owner").and_then(|n| text(n, "`owner`", problems)).map(|k| k.text);
    let criticality =
        field(fields, "criticality").and_then(|n| text(n, "`criticality`", problems)).and_then(|key| {
            let found = Criticality::parse(&key.text);
            if found.is_none() {
                problems.push(unknown(&key, Criticality::NAMES, &[], "criticality"));
            }
            found
        });
    let placement =
        field(fields, "placement").and_then(|n| text(n, "`placement`", problems)).and_then(|key| {
            let found = Placement::parse(&key.text);
            if found.is_none() {
                problems.push(unknown(&key, Placement::NAMES, &[], "placement"));
            }
            Some((key.place, found?))
        });
    let Some(node) = field(fields, "name") else {
        missing(&node.place, "name", "name: my-workflow", problems);
        return None;
    };
    let name = name(text(node, "`name`", problems)?, problems);
    Some((name, owner, criticality, placement))
}

/// A name that becomes a part of topics and groups.
fn name(key: Key, problems: &mut Vec<Problem>) -> Key {
    if !is_name(&key.text) {
        let message = format!("`{}` is no name: 1 to 63 of a-z, 0-9 and `-`", yaml::short(&key.text));
        problems.push(Problem::new(&key.place, message).help(Some(like(&key.text))));
    }
    key
}

/// The nearest text that is a name.
fn like(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|w| !w.is_empty()).collect();
    match words.join("-").chars().take(63).collect::<String>() {
        name if name.is_empty() => "like `phishing` or `web-attacks`".to_owned(),
        name => format!("`{name}`"),
    }
}

fn branches(
    entries: &[(Key, Node)],
    place: &Place,
    fragments: &mut Fragments,
    problems: &mut Vec<Problem>,
) -> Vec<Branch> {
    let Some(node) = field(entries, "branches") else {
        missing(place, "branches", "branches: {siem: [{deliver: siem}]}", problems);
        return vec![];
    };
    let Some(found) = mapping(node, "`branches`", problems) else { return vec![] };
    if found.is_empty() || found.len() > MAX_BRANCHES {
        let message = format!("1 to {MAX_BRANCHES} branches, here are {}", found.len());
        let help = "`branches: {siem: [{deliver: siem}]}`; more go into a second workflow".to_owned();
        problems.push(Problem::new(&node.place, message).help(Some(help)));
    }
    let mut branches = vec![];
    for (key, node) in found {
        let name = name(key.clone(), problems);
        let written = steps::steps(node, problems);
        let steps = fragments.put(written, problems);
        let count: usize = steps.iter().map(Step::count).sum();
        if count > MAX_STEPS && node.items().len() <= MAX_STEPS {
            let message =
                format!("at most {MAX_STEPS} steps, with those within others and of fragments here are more");
            let help = "write a second branch".to_owned();
            problems.push(Problem::new(&node.place, message).help(Some(help)));
        }
        branches.push(Branch { name, steps });
    }
    branches
}
