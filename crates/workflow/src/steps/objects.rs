//! `filter: {type: […]}` keeps only STIX objects of these types, `remove: {type: […]}` takes them out; references are repaired.
//! The event's columns stay as they are. Nothing left ends the branch with `filtered`.
use super::{Flow, Step};
use crate::{check::Check, machine::Event, spec, yaml::Value};
use atio_schemas::Code;
use atio_stix::{bundle::BundleError, graph, scan::Objects};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

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
    types: BTreeSet<String>,
    keep: bool,
}

pub(super) fn read_filter(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let types = types(step, check)?;
    let left = match check.flow.types.take() {
        Some(left) => left.intersection(&types).cloned().collect(),
        None => types.clone(),
    };
    leave(left, step, check);
    Some(Box::new(Select { name: "filter", types, keep: true }))
}

pub(super) fn read_remove(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let types = types(step, check)?;
    if let Some(left) = check.flow.types.take() {
        leave(left.difference(&types).cloned().collect(), step, check);
    }
    Some(Box::new(Select { name: "remove", types, keep: false }))
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

pub(super) fn schema() -> serde_json::Value {
    let kind = json!({"anyOf": [{"enum": TYPES}, {"type": "string", "pattern": "^x-"}]});
    json!({
        "type": "object",
        "description": "STIX objects by their type",
        "additionalProperties": false,
        "required": ["type"],
        "properties": {"type": crate::schema::one_or_many(kind, 1)},
    })
}

fn types(step: &spec::Step, check: &mut Check<'_>) -> Option<BTreeSet<String>> {
    let name = &step.name.text;
    let entries = spec::mapping(&step.body, &format!("`{name}`"), &mut check.problems)?;
    spec::known(
        entries,
        &["type"],
        &["id", "pattern", "label", "where", "confidence"],
        "field",
        &mut check.problems,
    );
    let Some(node) = spec::field(entries, "type") else {
        if entries.is_empty() {
            let help = Some(format!("`{name}: {{type: [process]}}`"));
            check.problem(&step.body.place, "field `type` is missing", help);
        }
        return None;
    };
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
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
        check.problem(&node.place, "no type is named", Some(format!("`{name}: {{type: [process]}}`")));
    }
    Some(found)
}

impl Step for Select {
    fn name(&self) -> &'static str {
        self.name
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        if event.detection.bundle.is_empty() {
            return Flow::Next;
        }
        let goes = |kind: &str| self.types.contains(kind) != self.keep;
        match drop_objects(event, |object| object.get("type").and_then(|t| t.as_str()).is_none_or(goes)) {
            Ok(()) if is_empty(&event.detection.bundle) => Flow::Drop(Code::Filtered),
            Ok(()) => Flow::Next,
            Err(error) => Flow::Reject(error.code(), error.to_string()),
        }
    }
}

/// Takes objects out of the event's bundle; a detection without a bundle has none.
pub(super) fn drop_objects(
    event: &mut Event<'_>,
    goes: impl FnMut(&atio_stix::bundle::Object) -> bool,
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
