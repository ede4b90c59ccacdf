//! `filter: {type: […]}` keeps only STIX objects of these types (ids, labels, confidence, those that a pattern is about), `remove: {…}` takes them
//! out; references are repaired.
//! The event's columns stay as they are. Nothing left ends the branch with `filtered`.
use super::{Flow, Step};
use crate::{
    check::{Check, operators, patterns},
    index::Test,
    machine::Event,
    spec,
    yaml::{Node, short},
};
use atio_schemas::{
    Code,
    column::{self, Cell},
};
use atio_stix::{
    Id,
    bundle::{BundleError, Object},
    graph,
    pattern::{Observed, Pattern},
    scan::Objects,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

/// Types of STIX 2.1 that carry content; definitions of markings and extensions stay while something refers to them.
const TYPES: &[&str] = &[
    "artifact",
    "attack-pattern",
    "autonomous-system",
    "campaign",
    "course-of-action",
    "directory",
    "domain-name",
    "email-addr",
    "email-message",
    "file",
    "grouping",
    "identity",
    "incident",
    "indicator",
    "infrastructure",
    "intrusion-set",
    "ipv4-addr",
    "ipv6-addr",
    "language-content",
    "location",
    "mac-addr",
    "malware",
    "malware-analysis",
    "mutex",
    "network-traffic",
    "note",
    "observed-data",
    "opinion",
    "process",
    "relationship",
    "report",
    "sighting",
    "software",
    "threat-actor",
    "tool",
    "url",
    "user-account",
    "vulnerability",
    "windows-registry-key",
    "x509-certificate",
];

#[derive(Debug)]
struct Select {
    name: &'static str,
    selection: Selection,
    keep: bool,
}

/// Which objects: those that are so in every respect that is named.
#[derive(Debug, Default)]
struct Selection {
    types: Option<BTreeSet<String>>,
    ids: Option<BTreeSet<String>>,
    labels: Vec<Test>,
    confidence: Vec<Test>,
    /// What a pattern is about.
    pattern: Option<Arc<Pattern>>,
}

impl Selection {
    /// The ids of what the pattern is about in a bundle; none where none is asked for.
    fn about(&self, bundle: &[u8]) -> Option<HashSet<String>> {
        let pattern = self.pattern.as_ref()?;
        let observed = Observed::of(bundle);
        Some(pattern.about(&observed).into_iter().map(str::to_owned).collect())
    }
    fn holds(&self, object: &Object, about: Option<&HashSet<String>>) -> bool {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let among =
            |set: &Option<BTreeSet<String>>, name| set.as_ref().is_none_or(|set| set.contains(text(name)));
        among(&self.types, "type")
            && among(&self.ids, "id")
            && self.is_labelled(object)
            && self.is_sure(object)
            && about.is_none_or(|ids| ids.contains(text("id")))
    }
    fn is_labelled(&self, object: &Object) -> bool {
        if self.labels.is_empty() {
            return true;
        }
        let written = object.get("labels").and_then(Value::as_array).into_iter().flatten();
        let labels: Vec<String> = written.filter_map(|l| l.as_str().map(str::to_owned)).collect();
        self.labels.iter().all(|test| test.column(Cell::Texts(&labels)))
    }
    fn is_sure(&self, object: &Object) -> bool {
        let confidence = object.get("confidence").and_then(Value::as_i64).map_or(Cell::Null, Cell::Int);
        self.confidence.iter().all(|test| test.column(confidence))
    }
    /// It says nothing but the type.
    const fn is_of_types_only(&self) -> bool {
        self.ids.is_none() && self.labels.is_empty() && self.confidence.is_empty() && self.pattern.is_none()
    }
}

pub(super) fn read_filter(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let selection = selection(step, check)?;
    if let Some(types) = &selection.types {
        let left = match check.flow.types.take() {
            Some(left) => left.intersection(types).cloned().collect(),
            None => types.clone(),
        };
        leave(left, step, check);
    }
    Some(Box::new(Select { name: "filter", selection, keep: true }))
}

pub(super) fn read_remove(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let selection = selection(step, check)?;
    if let Some(types) = selection.types.as_ref().filter(|_| selection.is_of_types_only())
        && let Some(left) = check.flow.types.take()
    {
        leave(left.difference(types).cloned().collect(), step, check);
    }
    Some(Box::new(Select { name: "remove", selection, keep: false }))
}

/// Notes which types of object are left at most; none at all ends every event here.
fn leave(left: BTreeSet<String>, step: &spec::Step, check: &mut Check<'_>) {
    if left.is_empty() {
        let message = "nothing gets past here: no STIX object is left of what the steps before keep";
        let help = "keep another type, or leave the branch out".to_owned();
        check.problem(&step.body.place, message, Some(help));
    }
    check.flow.types = Some(left);
}

pub(super) fn schema() -> Value {
    let kind = json!({"anyOf": [{"enum": TYPES}, {"type": "string", "pattern": "^x-"}]});
    let id = json!({"type": "string", "pattern": "^[a-z0-9-]+--[0-9a-f-]{36}$"});
    json!({
        "type": "object",
        "description": "STIX objects that are so in every respect that is named",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "type": crate::schema::one_or_many(kind, 1),
            "id": crate::schema::one_or_many(id, 1),
            "labels": {"$ref": "#/definitions/match_texts"},
            "confidence": {"$ref": "#/definitions/match_whole_number"},
            "pattern": patterns::schema(),
        },
    })
}

fn selection(step: &spec::Step, check: &mut Check<'_>) -> Option<Selection> {
    let name = &step.name.text;
    let entries = spec::mapping(&step.body, &format!("`{name}`"), &mut check.problems)?;
    let before = check.problems.len();
    spec::known(
        entries,
        &["type", "id", "labels", "confidence", patterns::PATTERN],
        &["where"],
        "field",
        &mut check.problems,
    );
    if entries.is_empty() {
        let help = Some(format!("`{name}: {{type: [process]}}`"));
        check.problem(&step.body.place, format!("`{name}` names nothing"), help);
    }
    let mut selection = Selection::default();
    for (key, node) in entries {
        match key.text.as_str() {
            "type" => selection.types = Some(types(name, node, check)),
            "id" => selection.ids = Some(ids(name, node, check)),
            patterns::PATTERN => selection.pattern = patterns::read(node, &mut check.problems),
            // What detections have columns of is asked for in the same way.
            "labels" | "confidence" => {
                let Some(column) = column::column(&key.text) else { continue };
                let tests = operators::read(column, key, node, &mut check.problems).unwrap_or_default();
                let side =
                    if key.text == "labels" { &mut selection.labels } else { &mut selection.confidence };
                *side = tests;
            }
            _ => {}
        }
    }
    (check.problems.len() == before).then_some(selection)
}

fn ids(step: &str, node: &Node, check: &mut Check<'_>) -> BTreeSet<String> {
    let items = node.items();
    let mut found = BTreeSet::new();
    for item in items {
        let Some(key) = spec::text(item, "an id", &mut check.problems) else { continue };
        if Id::Text(&key.text).uuid().is_some() {
            found.insert(key.text);
        } else {
            let message = format!("`{}` is no id of a STIX object", short(&key.text));
            let help = "`<type>--<uuid>`, as in `identity--f431f809-377b-45e0-aa1c-6a4751cae5ff`".to_owned();
            check.problem(&key.place, message, Some(help));
        }
    }
    if items.is_empty() {
        check.problem(&node.place, "no id is named", Some(format!("`{step}: {{id: [<type>--<uuid>]}}`")));
    }
    found
}

fn types(step: &str, node: &Node, check: &mut Check<'_>) -> BTreeSet<String> {
    let items = node.items();
    let mut found = BTreeSet::new();
    for item in items {
        let Some(key) = spec::text(item, "a type of STIX object", &mut check.problems) else { continue };
        if TYPES.contains(&key.text.as_str()) || key.text.starts_with("x-") {
            found.insert(key.text);
        } else {
            check.problems.push(spec::unknown(&key, TYPES, &[], "type of STIX object"));
        }
    }
    if items.is_empty() {
        check.problem(&node.place, "no type is named", Some(format!("`{step}: {{type: [process]}}`")));
    }
    found
}

impl Step for Select {
    fn name(&self) -> &'static str {
        self.name
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        if event.detection.bundle.is_empty() {
            return Flow::Next;
        }
        let about = self.selection.about(&event.detection.bundle);
        match drop_objects(event, |object| self.selection.holds(object, about.as_ref()) != self.keep) {
            Ok(()) if is_empty(&event.detection.bundle) => Flow::Drop(Code::Filtered),
            Ok(()) => Flow::Next,
            Err(error) => Flow::Reject(error.code(), error.to_string()),
        }
    }
}

/// Takes objects out of the event's bundle; a detection without a bundle has none.
pub(super) fn drop_objects(
    event: &mut Event<'_>,
    goes: impl FnMut(&Object) -> bool,
) -> Result<(), BundleError> {
    if event.detection.bundle.is_empty() {
        return Ok(());
    }
    let columns = event.unaligned.then_some(&*event.detection);
    let left = graph::remove(&event.detection.bundle, &event.seed(columns), goes)?;
    event.unaligned = false;
    if left != *event.detection.bundle {
        event.change().bundle = Arc::from(left);
    }
    Ok(())
}

fn is_empty(bundle: &[u8]) -> bool {
    let content = |kind: Option<&str>| !matches!(kind, Some("marking-definition" | "extension-definition"));
    Objects::of(bundle).is_none_or(|all| !all.iter().any(|o| content(o.kind)))
}
