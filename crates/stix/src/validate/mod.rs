//! Whether foreign STIX 2.1 is sound: required properties, types, ids, times, references, limits of values.
//!
//! Owns what the standard says with MUST; what it says with SHOULD (vocabularies, UUID versions, custom names) refuses
//! nothing. Must not know: what is done with a refused object. Custom types and properties are accepted.
mod rules;
pub(crate) mod tables;
mod values;

use crate::bundle::{self, BundleError, Object};
use crate::{canon, lift};
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tables::Property;

/// Problems reported for one document; more are not looked for.
pub const MAX_PROBLEMS: usize = 50;

/// What is wrong, bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    Missing,
    WrongType,
    BadId,
    BadTime,
    BadReference,
    BadValue,
    Contradiction,
    Empty,
}

impl Fault {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::BadId => "bad_id",
            Self::BadTime => "bad_time",
            Self::BadReference => "bad_reference",
            Self::BadValue => "bad_value",
            Self::Contradiction => "contradiction",
            Self::Empty => "empty",
        }
    }
}

/// One problem of one object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {property}: {message}")]
pub struct Problem {
    /// The object's id, as far as it has one; at most 300 characters.
    pub object: String,
    pub property: String,
    pub fault: Fault,
    pub message: String,
}

/// Collects problems of one object.
pub(crate) struct Report<'o> {
    id: &'o str,
    problems: Vec<Problem>,
}

impl Report<'_> {
    pub(crate) fn add(&mut self, property: &str, fault: Fault, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            let object = self.id.chars().take(300).collect();
            self.problems.push(Problem {
                object,
                property: property.to_owned(),
                fault,
                message: message.into(),
            });
        }
    }
}

/// What reading foreign STIX gave.
#[derive(Debug, Default)]
pub struct Reading {
    /// The sound objects, each version once, in their order; sound ones come back even beside unsound ones.
    pub objects: Vec<Object>,
    /// Why others were left out, and what is wrong with the bundle itself.
    pub problems: Vec<Problem>,
    /// Objects left out because the same id and modified came before with another content. Some producers do this, and the
    /// OASIS validator lets it pass; §3.6 leaves room for one of them only. Equal repeats are not mentioned.
    pub repeats: Vec<Object>,
}

/// Reads and validates a bundle or a single object; what is STIX 2.0 is lifted first.
///
/// # Errors
/// As [`bundle::parse`].
pub fn read(bytes: &[u8]) -> Result<Reading, BundleError> {
    let root = bundle::parse_root(bytes)?;
    let mut reading = Reading::default();
    if root.get("type").and_then(Value::as_str) == Some("bundle") {
        reading.problems.extend(shell(&root));
    }
    let mut seen: HashMap<_, usize> = HashMap::new();
    let lifted = |object| if lift::is_2_0(&object) { lift::lift(object) } else { vec![object] };
    let objects: Vec<Object> = bundle::objects_of(root)?.into_iter().flat_map(lifted).collect();
    if objects.len() > bundle::MAX_OBJECTS {
        return Err(BundleError::TooMany(objects.len()));
    }
    for object in objects {
        let problems = validate(&object);
        if !problems.is_empty() {
            let room = MAX_PROBLEMS.saturating_sub(reading.problems.len());
            reading.problems.extend(problems.into_iter().take(room));
            continue;
        }
        match seen.entry(version(&object)) {
            Entry::Vacant(place) => {
                place.insert(reading.objects.len());
                reading.objects.push(object);
            }
            Entry::Occupied(first) if reading.objects.get(*first.get()) != Some(&object) => {
                reading.repeats.push(object)
            }
            Entry::Occupied(_) => {}
        }
    }
    Ok(reading)
}

fn id(object: &Object) -> &str {
    object.get("id").and_then(Value::as_str).unwrap_or_default()
}

fn version(object: &Object) -> (String, Option<String>) {
    let modified = object.get("modified").and_then(Value::as_str);
    (id(object).to_owned(), modified.map(str::to_owned))
}

/// The bundle's own properties (§8).
fn shell(root: &Object) -> Vec<Problem> {
    let mut report = Report { id: id(root), problems: vec![] };
    match root.get("id").and_then(Value::as_str) {
        None => report.add("id", Fault::Missing, "a bundle needs an id"),
        Some(id) if !values::is_id(id) || !id.starts_with("bundle--") => {
            report.add("id", Fault::BadId, "not bundle--<UUID>");
        }
        Some(_) => {}
    }
    if let Some(objects) = root.get("objects").and_then(Value::as_array).filter(|objects| objects.is_empty())
    {
        report.add("objects", Fault::Empty, format!("{} objects: leave the list out", objects.len()));
    }
    report.problems
}

/// The problems of one object; none for a sound one.
#[must_use]
pub fn validate(object: &Object) -> Vec<Problem> {
    let mut report = Report { id: id(object), problems: vec![] };
    let Some(kind) = object.get("type").and_then(Value::as_str) else {
        report.add("type", Fault::Missing, "an object needs a type");
        return report.problems;
    };
    if !values::is_type_name(kind) {
        report.add("type", Fault::BadValue, "a type is 3 to 250 of a-z, 0-9 and -");
    }
    identifier(object, kind, &mut report);
    no_null_nor_empty(object, "", &mut report);
    if let Some(properties) = tables::of(kind) {
        let class = class(kind);
        check(object, class, &mut report);
        check(object, properties, &mut report);
        rules::across(object, kind, &mut report);
    } else {
        check(object, tables::ANY, &mut report);
    }
    rules::common(object, &mut report);
    report.problems
}

/// The common properties of a type that the standard knows.
fn class(kind: &str) -> &'static [Property] {
    match kind {
        "marking-definition" => tables::MARKING,
        kind if canon::is_sco(kind) => tables::SCO,
        _ => tables::SDO,
    }
}

fn identifier(object: &Object, kind: &str, report: &mut Report<'_>) {
    match object.get("id") {
        None => report.add("id", Fault::Missing, "an object needs an id"),
        Some(Value::String(id)) => {
            if !values::is_id(id) {
                report.add("id", Fault::BadId, "not <type>--<UUID of RFC 4122>");
            } else if !id.strip_prefix(kind).is_some_and(|rest| rest.starts_with("--")) {
                report.add("id", Fault::BadId, format!("its type is not {kind}"));
            }
        }
        Some(_) => report.add("id", Fault::WrongType, "an id is text"),
    }
}

fn check(object: &Object, properties: &[Property], report: &mut Report<'_>) {
    for property in properties {
        match object.get(property.name) {
            None if property.required => report.add(property.name, Fault::Missing, "required"),
            None => {}
            Some(value) => {
                if let Err((fault, message)) = values::check(&property.kind, value) {
                    report.add(property.name, fault, message);
                }
            }
        }
    }
}

/// §2.8 and §2.4: lists are never empty, and nothing is null.
fn no_null_nor_empty(object: &Object, path: &str, report: &mut Report<'_>) {
    fn look(value: &Value, path: &str, report: &mut Report<'_>) {
        match value {
            Value::Null => report.add(path, Fault::Empty, "null"),
            Value::Array(list) if list.is_empty() => report.add(path, Fault::Empty, "an empty list"),
            Value::Array(list) => list.iter().for_each(|member| look(member, path, report)),
            Value::Object(inner) => no_null_nor_empty(inner, path, report),
            _ => {}
        }
    }
    for (key, value) in object {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        look(value, &at, report);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
