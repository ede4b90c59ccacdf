//! Which TLP level an object or a bundle carries. Owns TLP 1.0 and 2.0 ids and names; must not know what a sink may see.
//!
//! Granular markings count for the whole object, the highest level wins, and a TLP marking of unknown colour counts as
//! RED: what is in doubt does not leave. None = unmarked: the source's default decides.
use crate::bundle::{self, BundleError, Object};
use crate::constants;
use crate::scan::{self, Objects};
use atio_schemas::detection::Tlp;
use serde_json::Value;

/// TLP 1.0 marking-definitions (STIX 2.1 §7.2.1.4).
const TLP_1: &[(&str, Tlp)] = &[
    ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", Tlp::Clear),
    ("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", Tlp::Green),
    ("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", Tlp::Amber),
    ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", Tlp::Red),
];

/// The level of an official marking-definition, TLP 1.0 or 2.0.
#[must_use]
pub fn of_id(id: &str) -> Option<Tlp> {
    let second = || Tlp::ALL.iter().copied().find(|tlp| constants::tlp_marking(*tlp) == crate::Id::Text(id));
    TLP_1.iter().find(|(known, _)| *known == id).map(|(_, tlp)| *tlp).or_else(second)
}

/// The level that a name or tag says: `TLP:AMBER+STRICT`, `tlp:white`, `amber`.
#[must_use]
pub fn of_name(name: &str) -> Option<Tlp> {
    let lower = name.trim().to_ascii_lowercase();
    let level = lower.strip_prefix("tlp:").unwrap_or(&lower).trim();
    match level.trim_matches('"') {
        "clear" | "white" => Some(Tlp::Clear),
        "green" => Some(Tlp::Green),
        "amber" => Some(Tlp::Amber),
        "amber+strict" | "amber_strict" | "amber-strict" => Some(Tlp::AmberStrict),
        "red" => Some(Tlp::Red),
        _ => None,
    }
}

/// What a marking-definition says, of whatever id: TLP 2.0 extension, TLP 1.0 definition, else its name.
#[must_use]
pub fn of_definition(object: &Object) -> Option<Tlp> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let extensions = object.get("extensions").and_then(Value::as_object);
    let second = extensions.and_then(|all| text(all.values().find_map(|content| content.get("tlp_2_0"))));
    let first = object.get("definition").and_then(|definition| text(definition.get("tlp")));
    if let Some(colour) = second.or(first) {
        return Some(of_name(&colour).unwrap_or(Tlp::Red));
    }
    let name = text(object.get("name"))?;
    if name.to_ascii_lowercase().starts_with("tlp:") {
        Some(of_name(&name).unwrap_or(Tlp::Red))
    } else {
        None
    }
}

/// The highest level among an object's own markings; `definitions` are what came with it.
#[must_use]
pub fn of_object(object: &Object, definitions: &[&Object]) -> Option<Tlp> {
    let level = |reference: &str| {
        of_id(reference).or_else(|| {
            let defined = definitions.iter().find(|d| d.get("id").and_then(Value::as_str) == Some(reference));
            defined.and_then(|definition| of_definition(definition))
        })
    };
    let whole = object.get("object_marking_refs").and_then(Value::as_array).into_iter().flatten();
    let granular = object.get("granular_markings").and_then(Value::as_array).into_iter().flatten();
    let parts = granular.filter_map(|marking| marking.get("marking_ref"));
    whole.chain(parts).filter_map(Value::as_str).filter_map(level).max()
}

/// The highest level in a list of objects.
#[must_use]
pub fn of_objects(objects: &[Object]) -> Option<Tlp> {
    let is_definition =
        |object: &&Object| object.get("type").and_then(Value::as_str) == Some("marking-definition");
    let definitions: Vec<&Object> = objects.iter().filter(is_definition).collect();
    objects.iter().filter_map(|object| of_object(object, &definitions)).max()
}

/// The highest level in a bundle. Objects that can't hold a marking are not parsed.
///
/// # Errors
/// As [`bundle::parse`].
pub fn of_bundle(bytes: &[u8]) -> Result<Option<Tlp>, BundleError> {
    let Some(objects) = Objects::of(bytes) else { return Ok(of_objects(&bundle::parse(bytes)?)) };
    // An escape may hide a name from the scan, so objects with one are parsed as well.
    let marked = |json: &[u8]| scan::contains(json, b"marking") || scan::contains(json, b"\\u");
    let suspects = objects.iter().filter(|found| marked(found.json));
    let parsed: Result<Vec<Vec<Object>>, BundleError> =
        suspects.map(|found| bundle::parse(found.json)).collect();
    Ok(of_objects(&parsed?.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn names_and_ids_of_both_versions() {
        assert_eq!(of_name("tlp:white"), Some(Tlp::Clear));
        assert_eq!(of_name("TLP:AMBER+STRICT"), Some(Tlp::AmberStrict));
        assert_eq!(of_name("purple"), None);
        for tlp in Tlp::ALL {
            assert_eq!(of_id(&constants::tlp_marking(*tlp).to_text()), Some(*tlp));
        }
        assert_eq!(of_id("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"), Some(Tlp::Red));
        assert_eq!(of_id("marking-definition--00000000-0000-4000-8000-000000000000"), None);
    }

    #[test]
    fn constants_say_what_their_ids_say() {
        for (id, json) in constants::ALL.iter().filter(|(id, _)| id.starts_with("marking")) {
            assert_eq!(of_definition(&serde_json::from_str(json).unwrap()), of_id(id));
        }
    }

    #[test]
    fn the_highest_wins_and_granular_markings_count() {
        let green = constants::tlp_marking(Tlp::Green).to_text();
        let red = constants::tlp_marking(Tlp::Red).to_text();
        let bundle = json!({"type": "bundle", "id": "bundle--x", "objects": [
            {"type": "url", "id": "url--1", "value": "x", "object_marking_refs": [green]},
            {"type": "url", "id": "url--2", "value": "y", "granular_markings": [{"marking_ref": red, "selectors": ["value"]}]},
        ]});
        assert_eq!(of_bundle(bundle.to_string().as_bytes()).unwrap(), Some(Tlp::Red));
        let hidden = bundle
            .to_string()
            .replace("granular_markings", "granular_m\\u0061rkings")
            .replace("marking_ref", "m\\u0061rking_ref");
        assert_eq!(of_bundle(hidden.as_bytes()).unwrap(), Some(Tlp::Red));
    }

    #[test]
    fn unmarked_is_none_even_when_a_definition_lies_beside() {
        let bundle = format!(r#"{{"type":"bundle","id":"bundle--x","objects":[{}]}}"#, constants::ALL[6].1);
        assert_eq!(of_bundle(bundle.as_bytes()).unwrap(), None);
        assert!(of_bundle(b"nonsense").is_err());
    }

    #[test]
    fn own_definitions_are_read_and_unknown_colours_are_red() {
        let definition = object(
            json!({"type": "marking-definition", "id": "marking-definition--1", "definition_type": "tlp", "definition": {"tlp": "amber"}}),
        );
        let odd = object(
            json!({"type": "marking-definition", "id": "marking-definition--1", "definition_type": "tlp", "definition": {"tlp": "purple"}}),
        );
        let marked =
            object(json!({"type": "url", "id": "url--1", "object_marking_refs": ["marking-definition--1"]}));
        assert_eq!(of_objects(&[definition, marked.clone()]), Some(Tlp::Amber));
        assert_eq!(of_objects(&[odd, marked.clone()]), Some(Tlp::Red));
        assert_eq!(of_objects(&[marked]), None);
    }
}
