//! What must hold between properties of one object. Must not know: single values ([`super::values`]).
use super::{Fault, Report, values};
use crate::bundle::Object;
use crate::markings;
use atio_schemas::Timestamp;
use serde_json::Value;

fn time(object: &Object, key: &str) -> Option<Timestamp> {
    Timestamp::parse(object.get(key)?.as_str()?).ok()
}

fn ordered(object: &Object, earlier: &str, later: &str, report: &mut Report<'_>) {
    let (from, to) = (time(object, earlier), time(object, later));
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        report.add(later, Fault::Contradiction, format!("lies before {earlier}"));
    }
}

fn one_of(object: &Object, keys: &[&str], report: &mut Report<'_>) {
    if !keys.iter().any(|key| object.contains_key(*key)) {
        report.add(
            keys.first().unwrap_or(&"type"),
            Fault::Missing,
            format!("one of {} is required", keys.join(", ")),
        );
    }
}

fn not_with(object: &Object, key: &str, other: &str, report: &mut Report<'_>) {
    if object.contains_key(key) && object.contains_key(other) {
        report.add(key, Fault::Contradiction, format!("must not stand beside {other}"));
    }
}

fn flag(object: &Object, key: &str) -> Option<bool> {
    object.get(key).and_then(Value::as_bool)
}

fn text<'o>(object: &'o Object, key: &str) -> Option<&'o str> {
    object.get(key).and_then(Value::as_str)
}

/// For every object.
pub(super) fn common(object: &Object, report: &mut Report<'_>) {
    ordered(object, "created", "modified", report);
    for (key, content) in object.get("extensions").and_then(Value::as_object).into_iter().flatten() {
        let at = || format!("extensions.{key}");
        let Some(content) = content.as_object() else {
            report.add(&at(), Fault::WrongType, "an extension is an object");
            continue;
        };
        if key.starts_with("extension-definition--") {
            if !values::is_id(key) {
                report.add(&at(), Fault::BadId, "not extension-definition--<UUID>");
            }
            let known =
                ["new-sdo", "new-sco", "new-sro", "property-extension", "toplevel-property-extension"];
            if text(content, "extension_type").is_some_and(|kind| !known.contains(&kind)) {
                report.add(
                    &at(),
                    Fault::BadValue,
                    format!("extension_type must be one of {}", known.join(", ")),
                );
            }
        }
    }
}

/// For an object of a type that the standard knows.
pub(super) fn across(object: &Object, kind: &str, report: &mut Report<'_>) {
    match kind {
        "campaign" | "infrastructure" | "intrusion-set" | "malware" | "threat-actor" => {
            ordered(object, "first_seen", "last_seen", report);
            if kind == "malware" && flag(object, "is_family") == Some(true) {
                one_of(object, &["name"], report);
            }
        }
        "sighting" => ordered(object, "first_seen", "last_seen", report),
        "indicator" => indicator(object, report),
        "location" => {
            let place = ["region", "country", "latitude", "extensions"];
            one_of(object, &place, report);
            if object.contains_key("latitude") != object.contains_key("longitude") {
                report.add("latitude", Fault::Contradiction, "latitude and longitude come together");
            }
        }
        "malware-analysis" => one_of(object, &["result", "analysis_sco_refs"], report),
        "observed-data" => {
            ordered(object, "first_observed", "last_observed", report);
            one_of(object, &["object_refs", "objects"], report);
            not_with(object, "objects", "object_refs", report);
        }
        "relationship" => relationship(object, report),
        "marking-definition" => marking(object, report),
        _ => observable(object, kind, report),
    }
}

fn indicator(object: &Object, report: &mut Report<'_>) {
    ordered(object, "valid_from", "valid_until", report);
    let pattern = text(object, "pattern").unwrap_or_default();
    let stix = text(object, "pattern_type") == Some("stix");
    if stix && !(pattern.trim_start().starts_with(['[', '(']) && pattern.contains(']')) {
        report.add("pattern", Fault::BadValue, "not a STIX pattern");
    }
}

fn relationship(object: &Object, report: &mut Report<'_>) {
    ordered(object, "start_time", "stop_time", report);
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if text(object, "relationship_type").is_some_and(|name| name.is_empty() || !plain(name)) {
        report.add("relationship_type", Fault::BadValue, "must be of a-z, 0-9 and -");
    }
    for key in ["source_ref", "target_ref"] {
        let kind = text(object, key).and_then(|id| id.split_once("--")).map_or("", |(kind, _)| kind);
        if matches!(kind, "bundle" | "relationship" | "sighting" | "language-content" | "marking-definition")
        {
            report.add(key, Fault::BadReference, format!("must not be a {kind}"));
        }
    }
}

fn marking(object: &Object, report: &mut Report<'_>) {
    one_of(object, &["definition", "extensions"], report);
    if object.contains_key("definition") {
        one_of(object, &["definition_type"], report);
    }
    // §7.2.1.4: the four TLP markings are the only ones.
    if text(object, "definition_type") == Some("tlp") {
        let level = markings::of_definition(object);
        if text(object, "id").and_then(markings::of_id) != level {
            report.add("id", Fault::BadValue, "not the standard's marking for this TLP level");
        }
    }
}

fn observable(object: &Object, kind: &str, report: &mut Report<'_>) {
    match kind {
        "artifact" => {
            one_of(object, &["payload_bin", "url"], report);
            not_with(object, "payload_bin", "url", report);
            if object.contains_key("url") {
                one_of(object, &["hashes"], report);
            }
        }
        "email-message" => {
            let unwanted = if flag(object, "is_multipart") == Some(true) { "body" } else { "body_multipart" };
            if object.contains_key(unwanted) {
                report.add(unwanted, Fault::Contradiction, "does not go with is_multipart");
            }
        }
        "file" => one_of(object, &["hashes", "name"], report),
        "network-traffic" => {
            one_of(object, &["src_ref", "dst_ref"], report);
            ordered(object, "start", "end", report);
            if object.contains_key("end") && flag(object, "is_active") == Some(true) {
                report.add("is_active", Fault::Contradiction, "traffic that has ended is not active");
            }
        }
        "process" | "user-account" | "windows-registry-key" | "x509-certificate" => {
            let own = |key: &String| !matches!(key.as_str(), "type" | "id" | "spec_version");
            if !object.keys().any(own) {
                report.add("type", Fault::Missing, "at least one property of its own is required");
            }
            // §6.17.1: the hive's full name.
            let key = text(object, "key").filter(|_| kind == "windows-registry-key").unwrap_or_default();
            let hive = key.split('\\').next().unwrap_or_default().to_ascii_uppercase();
            if matches!(hive.as_str(), "HKLM" | "HKCC" | "HKCR" | "HKCU" | "HKU") {
                report.add("key", Fault::BadValue, "the hive must be given by its full name");
            }
        }
        _ => {}
    }
}
