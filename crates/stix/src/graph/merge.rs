//! Bringing STIX objects into a bundle: references that lead nowhere are repaired as where objects are dropped, and ATIO's report lists what came.
//!
//! Owns which of two objects of one id stays, and who lists what. Must not know: why something is brought in.
use super::refs::{self, Branch, Entry};
use crate::bundle::{BundleError, Object};
use crate::constants::EXTENSION_ID;
use crate::ids;
use serde_json::Value;
use std::collections::HashSet;

/// The bundle with these objects. What is there already under an id stays: the event knows better. A reference of a new object to what is neither
/// there nor new is taken out, and with it what can't stand without it. Foreign containers are not altered; ATIO's report lists the new
/// objects, under an id of the branch. Nothing new returns the bytes as they are. No bytes are a bundle without objects, named after `event`.
///
/// # Errors
/// As [`super::remove`].
pub fn merge(
    bytes: &[u8],
    branch: &Branch<'_>,
    event: &str,
    objects: &[Object],
) -> Result<Vec<u8>, BundleError> {
    let (bundle_id, mut entries) = if bytes.is_empty() {
        (ids::bundle(branch.tenant, &[event]).to_text(), vec![])
    } else {
        refs::entries(bytes)?
    };
    let there: HashSet<&str> = entries.iter().map(|entry: &Entry| entry.original.as_str()).collect();
    let is_new = |object: &&Object| !there.contains(refs::text(object, "id"));
    let mut new: Vec<Entry> = objects.iter().filter(is_new).cloned().map(refs::entry).collect();
    let known = |id: &str| there.contains(id) || new.iter().any(|entry| entry.original == id);
    let mut gone = HashSet::new();
    for entry in &new {
        references(&entry.object, &mut |id| {
            if !known(id) {
                gone.insert(id.to_owned());
            }
        });
    }
    refs::repair_all(&mut new, &mut gone)?;
    if new.is_empty() {
        return Ok(bytes.to_vec());
    }
    let listed: Vec<String> =
        new.iter().filter(|e| !refs::is_definition(&e.object)).map(|e| e.original.clone()).collect();
    entries.iter_mut().filter(|entry| is_own_report(&entry.object)).for_each(|entry| list(entry, &listed));
    entries.append(&mut new);
    refs::finish(&bundle_id, entries, branch)
}

/// ATIO's report on the detection.
fn is_own_report(object: &Object) -> bool {
    refs::text(object, "type") == "report"
        && object.get("extensions").is_some_and(|all| all.get(EXTENSION_ID).is_some())
}

fn list(report: &mut Entry, ids: &[String]) {
    let refs = report.object.entry("object_refs").or_insert_with(|| Value::Array(vec![]));
    let Value::Array(refs) = refs else { return };
    let before = refs.len();
    for id in ids {
        if !refs.iter().any(|known| known == id.as_str()) {
            refs.push(Value::from(id.as_str()));
        }
    }
    report.altered |= refs.len() > before;
}

/// Every reference of an object, at every depth, that may be taken out.
fn references(object: &Object, each: &mut impl FnMut(&str)) {
    for (key, value) in object.iter().filter(|(key, _)| !refs::is_fixed(key)) {
        match value {
            Value::String(id) if key.ends_with("_ref") => each(id),
            Value::Array(list) if key.ends_with("_refs") => {
                list.iter().filter_map(Value::as_str).for_each(&mut *each);
            }
            Value::Array(list) => {
                list.iter().filter_map(Value::as_object).for_each(|member| references(member, each));
            }
            Value::Object(inner) => references(inner, each),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
