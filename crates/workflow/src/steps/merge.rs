//! `merge: {objects: […]}`: brings STIX objects that stand in the file into the event's bundle. They are judged when the file is read; what refers to
//! objects that an event does not have is repaired as `remove` repairs it. Must not know: how a bundle is written.
use super::{Flow, Step};
use crate::{
    check::Check,
    machine::Event,
    spec,
    yaml::{Node, Value as Yaml, short},
};
use atio_stix::{
    bundle::{BundleError, Object},
    canon, graph,
    validate::{Fault, Problem as Unsound, validate},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

const MAX_OBJECTS: usize = 100;
/// All objects of a step together, as JSON.
const MAX_BYTES: usize = 256 << 10;
const EXAMPLE: &str = "merge: {objects: [{type: ipv4-addr, id: ipv4-addr--…, value: 198.51.100.3}]}";

#[derive(Debug)]
struct Merge(Vec<Object>);

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let entries = spec::mapping(&step.body, "`merge`", &mut check.problems)?;
    spec::known(entries, &["objects"], &[], "field of `merge`", &mut check.problems);
    let example = "objects: [{type: ipv4-addr, …}]";
    let node = spec::needed(entries, &step.name.place, "objects", example, &mut check.problems)?;
    let Yaml::List(items) = &node.value else {
        let message = format!("`objects` is a list of STIX objects, not {}", node.noun());
        check.problem(&node.place, message, Some(format!("`{EXAMPLE}`")));
        return None;
    };
    if items.is_empty() || items.len() > MAX_OBJECTS {
        let message = format!("1 to {MAX_OBJECTS} objects, here are {}", items.len());
        check.problem(&node.place, message, Some("what is more goes into a second step".to_owned()));
        return None;
    }
    let before = check.problems.len();
    let objects: Vec<Object> = items.iter().filter_map(|item| object(item, check)).collect();
    twice(items, check);
    let bytes = serde_json::to_vec(&objects).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_BYTES {
        let message = format!("the objects are {bytes} bytes, at most {MAX_BYTES} are brought in by a step");
        check.problem(&node.place, message, Some("what is more goes into a second step".to_owned()));
    }
    if let Some(types) = &mut check.flow.types {
        types.extend(objects.iter().filter_map(|o| o.get("type")?.as_str().map(str::to_owned)));
    }
    (check.problems.len() == before).then(|| Box::new(Merge(objects)) as Box<dyn Step>)
}

/// One object of the file; its problems stand where its properties are.
fn object(node: &Node, check: &mut Check<'_>) -> Option<Object> {
    let entries = spec::mapping(node, "a STIX object", &mut check.problems)?;
    let Value::Object(mut object) = node.json() else { return None };
    // What every object has, and what YAML takes for a number.
    if object.get("spec_version").is_none_or(|v| v.as_f64() == Some(2.1)) {
        object.insert("spec_version".to_owned(), Value::from("2.1"));
    }
    if object.get("type").and_then(Value::as_str) == Some("bundle") {
        let help = "list the bundle's objects".to_owned();
        check.problem(&node.place, "a bundle is no object", Some(help));
        return None;
    }
    let unsound = validate(&object);
    for problem in &unsound {
        let name = problem.property.split('.').next().unwrap_or_default();
        let place = entries.iter().find(|(key, _)| key.text == name).map_or(&node.place, |(_, v)| &v.place);
        let message = format!("not STIX 2.1: {}: {}", short(&problem.property), problem.message);
        check.problem(place, message, Some(help(problem, &object)));
    }
    unsound.is_empty().then_some(object)
}

fn help(problem: &Unsound, object: &Object) -> String {
    if problem.property == "id" {
        if let Some(id) = canon::prescribed_id(object) {
            return format!("`id: {}`, as the standard prescribes it", id.to_text());
        }
        let kind = object.get("type").and_then(Value::as_str).unwrap_or("<type>");
        return format!("`id: {}--<uuid>`, always the same for the same object", short(kind));
    }
    match (problem.fault, problem.property.as_str()) {
        (Fault::Missing, "created" | "modified") => {
            "`2024-01-01T00:00:00Z`: when it was first, and last, changed in this file".to_owned()
        }
        (Fault::BadTime, _) => "`2024-01-01T00:00:00Z`".to_owned(),
        (Fault::WrongType, _) => "quote a text that looks like a number: `\"2\"`".to_owned(),
        _ => "see the object's table in the STIX 2.1 standard".to_owned(),
    }
}

/// An id stands for one object.
fn twice(items: &[Node], check: &mut Check<'_>) {
    let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
    for item in items {
        let Yaml::Map(entries) = &item.value else { continue };
        let Some(id) = spec::field(entries, "id") else { continue };
        let Some(text) = id.text() else { continue };
        if let Some(line) = lines.insert(text, id.place.line) {
            let message = format!("an object `{}` stands here already", short(text));
            check.problem(&id.place, message, Some(format!("the first is in line {line}")));
        }
    }
}

pub(super) fn schema() -> Value {
    let object = json!({
        "type": "object",
        "required": ["type", "id"],
        "properties": {
            "type": {"type": "string", "pattern": "^[a-z0-9-]{3,250}$"},
            "id": {"type": "string", "pattern": "^[a-z0-9-]+--[0-9a-f-]{36}$"},
        },
    });
    json!({
        "type": "object",
        "description": "Brings STIX 2.1 objects into the bundle",
        "additionalProperties": false,
        "required": ["objects"],
        "properties": {"objects": {"type": "array", "minItems": 1, "maxItems": MAX_OBJECTS, "items": object}},
    })
}

impl Step for Merge {
    fn name(&self) -> &'static str {
        "merge"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        match merge(event, &self.0) {
            Ok(()) => Flow::Next,
            Err(error) => Flow::Reject(error.code(), error.to_string()),
        }
    }
}

fn merge(event: &mut Event<'_>, objects: &[Object]) -> Result<(), BundleError> {
    let columns = event.unaligned.then_some(&*event.detection);
    let bundle = &event.detection.bundle;
    let made = graph::merge(bundle, &event.seed(columns), &event.original.event_id, objects)?;
    if made != **bundle {
        event.unaligned = false;
        event.change().bundle = Arc::from(made);
    }
    Ok(())
}
