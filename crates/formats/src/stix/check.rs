//! Whether one object is STIX 2.1: what its type must carry, ids, references, times. Owns the rules whose breach makes an object useless to
//! every consumer; values of open vocabularies and hints are not judged.
use super::Rejection;
use crate::time;
use atio_schemas::Code;
use serde_json::{Map, Value};

/// Types of STIX 2.1 and the properties that each requires beyond the common ones (section of the standard: 4, 5, 6).
const SDO: &[(&str, &[&str])] = &[
    ("attack-pattern", &["name"]),
    ("campaign", &["name"]),
    ("course-of-action", &["name"]),
    ("grouping", &["context", "object_refs"]),
    ("identity", &["name"]),
    ("incident", &["name"]),
    ("indicator", &["pattern", "pattern_type", "valid_from"]),
    ("infrastructure", &["name"]),
    ("intrusion-set", &["name"]),
    ("location", &[]),
    ("malware", &["is_family"]),
    ("malware-analysis", &["product"]),
    ("note", &["content", "object_refs"]),
    ("observed-data", &["first_observed", "last_observed", "number_observed"]),
    ("opinion", &["opinion", "object_refs"]),
    ("report", &["name", "published", "object_refs"]),
    ("threat-actor", &["name"]),
    ("tool", &["name"]),
    ("vulnerability", &["name"]),
    ("relationship", &["relationship_type", "source_ref", "target_ref"]),
    ("sighting", &["sighting_of_ref"]),
    ("language-content", &["object_ref", "contents"]),
    ("extension-definition", &["name", "schema", "version", "extension_types", "created_by_ref"]),
];
const SCO: &[(&str, &[&str])] = &[
    ("artifact", &[]),
    ("autonomous-system", &["number"]),
    ("directory", &["path"]),
    ("domain-name", &["value"]),
    ("email-addr", &["value"]),
    ("email-message", &["is_multipart"]),
    ("file", &[]),
    ("ipv4-addr", &["value"]),
    ("ipv6-addr", &["value"]),
    ("mac-addr", &["value"]),
    ("mutex", &["name"]),
    ("network-traffic", &["protocols"]),
    ("process", &[]),
    ("software", &["name"]),
    ("url", &["value"]),
    ("user-account", &[]),
    ("windows-registry-key", &[]),
    ("x509-certificate", &[]),
];
const TIMES: &[&str] = &[
    "created",
    "modified",
    "valid_from",
    "valid_until",
    "first_observed",
    "last_observed",
    "first_seen",
    "last_seen",
    "published",
];

/// # Errors
/// What is wrong, with `invalid_stix`, or `not_yet_supported` for an object of STIX 2.0.
pub(super) fn object(text: &str) -> Result<(), Rejection> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| invalid("not an object".to_owned()))?;
    let kind = text_of(&object, "type").ok_or_else(|| invalid("no type".to_owned()))?;
    if !(3..=250).contains(&kind.len())
        || !kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err(invalid(format!("`{}` is no type", short(kind))));
    }
    if kind == "bundle" {
        return Err(invalid("a bundle inside a bundle".to_owned()));
    }
    let id = text_of(&object, "id").ok_or_else(|| invalid(format!("a {kind} without an id")))?;
    if !is_id_of(id, kind) {
        return Err(invalid(format!("`{}` is no id of a {kind}", short(id))));
    }
    let required = if let Some((_, required)) = SCO.iter().find(|(name, _)| *name == kind) {
        required
    } else {
        let known = SDO.iter().find(|(name, _)| *name == kind);
        common(&object, kind, id)?;
        known.map_or(&[][..], |(_, required)| required)
    };
    if let Some(name) = required.iter().find(|name| object.get(**name).is_none_or(Value::is_null)) {
        return Err(invalid(format!("{id}: no {name}")));
    }
    times(&object, id)?;
    values(&object, kind, id)?;
    references(&object, id)
}

/// Values that the standard states a form for and that consumers choke on.
fn values(object: &Map<String, Value>, kind: &str, id: &str) -> Result<(), Rejection> {
    let wrong = |name: &str| Err(invalid(format!("{id}: {name} has not the form that the standard states")));
    if kind == "artifact" && object.get("payload_bin").is_some_and(|bin| !bin.as_str().is_some_and(is_base64))
    {
        return wrong("payload_bin");
    }
    // §6.17: the hive is spelled out.
    let abbreviated =
        |key: &str| ["HKLM", "HKCC", "HKCR", "HKCU", "HKU\\"].iter().any(|hive| key.starts_with(hive));
    if kind == "windows-registry-key" && text_of(object, "key").is_some_and(abbreviated) {
        return wrong("key");
    }
    if kind == "software" {
        let languages = object.get("languages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if !languages.iter().all(|language| language.as_str().is_some_and(is_language)) {
            return wrong("languages");
        }
    }
    match object.get("hashes") {
        None => Ok(()),
        Some(Value::Object(hashes))
            if !hashes.is_empty() && hashes.iter().all(|(name, value)| is_hash(name, value)) =>
        {
            Ok(())
        }
        Some(_) => wrong("hashes"),
    }
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// ISO 639-1 with what RFC 5646 may add.
fn is_language(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_lowercase());
    text.len() - rest.len() == 2 && (rest.is_empty() || rest.starts_with('-'))
}

/// Of the algorithms with a fixed length, hexadecimal digits of that length; of others any text.
fn is_hash(name: &str, value: &Value) -> bool {
    let length = match name {
        "MD5" => 32,
        "SHA-1" => 40,
        "SHA-256" | "SHA3-256" => 64,
        "SHA-512" | "SHA3-512" => 128,
        _ => return value.is_string(),
    };
    value
        .as_str()
        .is_some_and(|hash| hash.len() == length && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What every SDO, SRO and meta object carries (3.2); objects of a custom type that are observables have an extension instead.
fn common(object: &Map<String, Value>, kind: &str, id: &str) -> Result<(), Rejection> {
    let standard = kind == "marking-definition" || SDO.iter().any(|(name, _)| *name == kind);
    match text_of(object, "spec_version") {
        Some("2.1") => {}
        None if !standard && !object.contains_key("created") => return Ok(()),
        None => {
            return Err(Rejection {
                code: Code::NotYetSupported,
                message: format!("{id}: no spec_version: STIX 2.0 is not read; send 2.1"),
            });
        }
        Some(other) => {
            return Err(Rejection {
                code: Code::NotYetSupported,
                message: format!("{id}: STIX {} is not read; send 2.1", short(other)),
            });
        }
    }
    if standard && text_of(object, "created").is_none() {
        return Err(invalid(format!("{id}: no created")));
    }
    if kind != "marking-definition" && standard && text_of(object, "modified").is_none() {
        return Err(invalid(format!("{id}: no modified")));
    }
    Ok(())
}

fn times(object: &Map<String, Value>, id: &str) -> Result<(), Rejection> {
    for name in TIMES {
        match object.get(*name) {
            None => {}
            Some(Value::String(text)) if text.ends_with('Z') && time::iso(text.as_bytes()).is_some() => {}
            Some(_) => return Err(invalid(format!("{id}: {name} is no timestamp"))),
        }
    }
    for (first, second) in [
        ("created", "modified"),
        ("first_observed", "last_observed"),
        ("valid_from", "valid_until"),
        ("first_seen", "last_seen"),
    ] {
        let at = |name| text_of(object, name).and_then(|text: &str| time::iso(text.as_bytes()));
        if at(first).zip(at(second)).is_some_and(|(earlier, later)| later < earlier) {
            return Err(invalid(format!("{id}: {second} lies before {first}")));
        }
    }
    Ok(())
}

/// Members named `…_ref` and `…_refs` hold ids.
fn references(object: &Map<String, Value>, id: &str) -> Result<(), Rejection> {
    for (name, value) in object {
        let good = if name.ends_with("_ref") {
            value.as_str().is_some_and(is_id)
        } else if name.ends_with("_refs") {
            value.as_array().is_some_and(|list| list.iter().all(|item| item.as_str().is_some_and(is_id)))
        } else {
            true
        };
        if !good {
            return Err(invalid(format!("{id}: {} holds what is no id", short(name))));
        }
    }
    Ok(())
}

fn text_of<'o>(object: &'o Map<String, Value>, name: &str) -> Option<&'o str> {
    object.get(name)?.as_str()
}

fn invalid(message: String) -> Rejection {
    Rejection { code: Code::InvalidStix, message }
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

fn is_id(id: &str) -> bool {
    id.split_once("--").is_some_and(|(kind, uuid)| !kind.is_empty() && is_uuid(uuid.as_bytes()))
}

pub(super) fn is_id_of(id: &str, kind: &str) -> bool {
    id.strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix("--"))
        .is_some_and(|uuid| is_uuid(uuid.as_bytes()))
}

/// RFC 4122 in lower case: version 1 to 8, the variant of the RFC.
pub(super) fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => (b'1'..=b'8').contains(byte),
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
}
