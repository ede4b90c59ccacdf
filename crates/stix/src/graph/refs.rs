//! Dropping STIX objects so that the bundle stays valid: references repaired, what can't stand without them dropped too.
//!
//! Owns which references an object can't do without, and who may alter what. An altered SDO or SRO gets the branch's own id
//! (two sinks would otherwise hold two contents under one version, §3.6); a foreign one becomes a new object of ours,
//! `derived-from` the original. Markings and creators are never unsaid: `object_marking_refs`, `granular_markings` and
//! `created_by_ref` stay, and definitions stay while something refers to them. Must not know: why something is dropped.
use super::report;
use crate::bundle::{self, Bundle, BundleError, Object};
use crate::constants::{EXTENSION_ID, IDENTITY_ID};
use crate::extension::AtioReport;
use crate::ids::{self, Id};
use crate::object::{Relationship, StixObject as _};
use crate::{canon, constants, scan};
use atio_schemas::Detection;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Who drops: the seed of what the branch alters.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    pub tenant: &'a str,
    pub workflow: &'a str,
    pub branch: &'a str,
    /// The columns as the branch left them: ATIO's report in the bundle is brought in line with them.
    pub columns: Option<&'a Detection>,
}

pub(super) struct Entry {
    pub(super) object: Object,
    /// Its id as it came.
    pub(super) original: String,
    pub(super) altered: bool,
    /// Its id was the prescribed one, so it follows the contributing properties.
    prescribed: bool,
}

/// The bundle without the objects for which `drop` says so, and without what can't stand without them. Nothing to do
/// returns the bytes as they are.
///
/// # Errors
/// As [`bundle::parse`]; [`BundleError::Shape`] for anything but a bundle.
pub fn remove(
    bytes: &[u8],
    branch: &Branch<'_>,
    mut drop: impl FnMut(&Object) -> bool,
) -> Result<Vec<u8>, BundleError> {
    let (bundle_id, all) = entries(bytes)?;
    let mut gone = HashSet::new();
    let mut left = vec![];
    for entry in all {
        if !is_definition(&entry.object) && drop(&entry.object) {
            gone.insert(entry.original);
        } else {
            left.push(entry);
        }
    }
    let dropped = !gone.is_empty();
    repair_all(&mut left, &mut gone)?;
    if let Some(columns) = branch.columns {
        align_reports(&mut left, columns)?;
    }
    if !dropped && !left.iter().any(|entry| entry.altered) {
        return Ok(bytes.to_vec());
    }
    write_all(&bundle_id, left, branch)
}

/// A bundle's id and its objects.
pub(super) fn entries(bytes: &[u8]) -> Result<(String, Vec<Entry>), BundleError> {
    let root = bundle::parse_root(bytes)?;
    if root.get("type").and_then(Value::as_str) != Some("bundle") {
        return Err(BundleError::Shape("not a bundle"));
    }
    let bundle_id = text(&root, "id").to_owned();
    Ok((bundle_id, bundle::objects_of(root)?.into_iter().map(entry).collect()))
}

/// The branch's bundle of these, in line with its columns.
pub(super) fn finish(
    bundle_id: &str,
    mut entries: Vec<Entry>,
    branch: &Branch<'_>,
) -> Result<Vec<u8>, BundleError> {
    if let Some(columns) = branch.columns {
        align_reports(&mut entries, columns)?;
    }
    write_all(bundle_id, entries, branch)
}

fn write_all(bundle_id: &str, mut entries: Vec<Entry>, branch: &Branch<'_>) -> Result<Vec<u8>, BundleError> {
    rename_all(&mut entries, branch);
    let bundle_id = ids::branch_object("bundle", branch.tenant, bundle_id, branch.workflow, branch.branch);
    write(&bundle_id, entries, branch)
}

pub(super) fn text<'o>(object: &'o Object, key: &str) -> &'o str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn is_definition(object: &Object) -> bool {
    matches!(text(object, "type"), "marking-definition" | "extension-definition")
}

pub(super) fn entry(object: Object) -> Entry {
    let original = text(&object, "id").to_owned();
    let prescribed = canon::prescribed_id(&object).is_some_and(|id| id == Id::from(&original));
    Entry { object, original, altered: false, prescribed }
}

/// Until nothing more falls: each round drops what lost a reference that it can't do without.
pub(super) fn repair_all(entries: &mut Vec<Entry>, gone: &mut HashSet<String>) -> Result<(), BundleError> {
    loop {
        let before = gone.len();
        let mut kept = Vec::with_capacity(entries.len());
        for mut entry in entries.drain(..) {
            entry.altered |= drop_references(&mut entry.object, gone);
            if entry.altered && !stands(&entry.object) {
                gone.insert(entry.original);
            } else {
                kept.push(entry);
            }
        }
        *entries = kept;
        if gone.len() == before {
            return Ok(());
        }
    }
}

/// Properties that keep pointing where they pointed.
pub(super) fn is_fixed(key: &str) -> bool {
    matches!(key, "created_by_ref" | "object_marking_refs" | "granular_markings")
}

/// Takes references to what is gone out of an object, at every depth. True when there was one.
fn drop_references(object: &mut Object, gone: &HashSet<String>) -> bool {
    let is_gone = |value: &Value| value.as_str().is_some_and(|id| gone.contains(id));
    let mut changed = false;
    object.retain(|key, value| match value {
        _ if is_fixed(key) => true,
        Value::String(_) if key.ends_with("_ref") && is_gone(value) => {
            changed = true;
            false
        }
        Value::Array(list) => {
            let before = list.len();
            if key.ends_with("_refs") {
                list.retain(|member| !is_gone(member));
            } else {
                for member in list.iter_mut().filter_map(Value::as_object_mut) {
                    changed |= drop_references(member, gone);
                }
            }
            changed |= list.len() < before;
            before == 0 || !list.is_empty()
        }
        Value::Object(inner) => {
            let was_empty = inner.is_empty();
            changed |= drop_references(inner, gone);
            was_empty || !inner.is_empty()
        }
        _ => true,
    });
    changed
}

/// Whether an object still has what it can't do without.
fn stands(object: &Object) -> bool {
    let has = |key: &str| object.contains_key(key);
    match text(object, "type") {
        "relationship" => has("source_ref") && has("target_ref"),
        "sighting" => has("sighting_of_ref"),
        "observed-data" => has("object_refs") || has("objects"),
        "report" | "grouping" | "note" | "opinion" => has("object_refs"),
        "language-content" => has("object_ref"),
        "malware-analysis" => has("result") || has("analysis_sco_refs"),
        "network-traffic" => has("src_ref") || has("dst_ref"),
        "email-message" => has("is_multipart"),
        "process" => object.keys().any(|key| !matches!(key.as_str(), "type" | "id" | "spec_version")),
        _ => true,
    }
}

/// ATIO's report says what the columns say now.
fn align_reports(entries: &mut [Entry], columns: &Detection) -> Result<(), BundleError> {
    for entry in entries.iter_mut().filter(|entry| text(&entry.object, "type") == "report") {
        let mut next = entry.object.clone();
        let Some(extension) = next.get_mut("extensions").and_then(|all| all.get_mut(EXTENSION_ID)) else {
            continue;
        };
        *extension = serde_json::to_value(AtioReport(columns))?;
        next.insert("name".to_owned(), Value::from(report::name(columns).as_ref()));
        if columns.labels.is_empty() {
            next.shift_remove("labels");
        } else {
            next.insert("labels".to_owned(), Value::from(columns.labels.clone()));
        }
        entry.altered |= next != entry.object;
        entry.object = next;
    }
    Ok(())
}

/// Gives altered objects their ids, and whatever points to them, until all point where they should.
fn rename_all(entries: &mut [Entry], branch: &Branch<'_>) {
    let mut renamed: HashMap<String, String> = HashMap::new();
    loop {
        let before = renamed.len();
        for entry in entries.iter_mut() {
            let moved = rename_references(&mut entry.object, &renamed);
            entry.altered |= moved;
            let new = entry.altered && !renamed.contains_key(&entry.original);
            if let Some(id) = new.then(|| new_id(entry, branch)).flatten() {
                renamed.insert(entry.original.clone(), id);
            }
        }
        if renamed.len() == before {
            break;
        }
    }
    for entry in entries.iter_mut() {
        if let Some(id) = renamed.get(&entry.original) {
            entry.object.insert("id".to_owned(), Value::from(id.as_str()));
        }
    }
}

fn rename_references(object: &mut Object, renamed: &HashMap<String, String>) -> bool {
    let mut changed = false;
    let mut rename = |value: &mut Value| {
        if let Some(id) = value.as_str().and_then(|id| renamed.get(id)) {
            *value = Value::from(id.as_str());
            changed = true;
        }
    };
    for (key, value) in object.iter_mut().filter(|(key, _)| !is_fixed(key)) {
        match value {
            Value::String(_) if key.ends_with("_ref") => rename(value),
            Value::Array(list) if key.ends_with("_refs") => list.iter_mut().for_each(&mut rename),
            _ => {}
        }
    }
    for value in object.values_mut() {
        match value {
            Value::Object(inner) => changed |= rename_references(inner, renamed),
            Value::Array(list) => {
                for member in list.iter_mut().filter_map(Value::as_object_mut) {
                    changed |= rename_references(member, renamed);
                }
            }
            _ => {}
        }
    }
    changed
}

/// SCOs follow their contributing properties, the rest the branch. None = the id stays.
fn new_id(entry: &Entry, branch: &Branch<'_>) -> Option<String> {
    let kind = text(&entry.object, "type");
    let id = if !entry.object.contains_key("modified") {
        canon::prescribed_id(&entry.object).filter(|_| entry.prescribed)?.to_text()
    } else {
        ids::branch_object(kind, branch.tenant, &entry.original, branch.workflow, branch.branch)
    };
    if id == entry.original { None } else { Some(id) }
}

/// Foreign objects that were altered are ours now, with a `derived-from`; definitions that nobody needs are left out.
fn write(bundle_id: &str, mut entries: Vec<Entry>, branch: &Branch<'_>) -> Result<Vec<u8>, BundleError> {
    let mut derived = vec![];
    for entry in &mut entries {
        let versioned = entry.object.contains_key("modified");
        if entry.altered && versioned && text(&entry.object, "created_by_ref") != IDENTITY_ID {
            entry.object.insert("created_by_ref".to_owned(), Value::from(IDENTITY_ID));
            let id = text(&entry.object, "id");
            let mut link =
                Relationship::between(branch.tenant, "derived-from", Id::Text(id), Id::from(&entry.original));
            link.common.created_by_ref = Some(constants::atio_identity_id());
            let marks = entry.object.get("object_marking_refs").and_then(Value::as_array);
            link.common.object_marking_refs =
                marks.into_iter().flatten().filter_map(Value::as_str).map(Id::Text).collect();
            derived.push(link.json().map(|json| (link.common.id.to_text(), json))?);
        }
    }
    let mut others = vec![];
    for entry in entries.iter().filter(|entry| !is_definition(&entry.object)) {
        others.push(serde_json::to_vec(&entry.object)?);
    }
    let needed = |id: &str| {
        others.iter().chain(derived.iter().map(|(_, json)| json)).any(|json| scan::mentions(json, id))
    };
    let mut out = Bundle::new(&Id::Text(bundle_id));
    for entry in &entries {
        if !is_definition(&entry.object) || needed(&entry.original) {
            out.push_raw(&Id::Text(text(&entry.object, "id")), &serde_json::to_vec(&entry.object)?);
        }
    }
    for (id, json) in &derived {
        out.push_raw(&Id::from(id), json);
    }
    Ok(out.finish())
}
