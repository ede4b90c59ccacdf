//! What the standard refuses, object by object.
use super::*;
use serde_json::json;

fn faults(value: Value) -> Vec<(String, Fault)> {
    validate(value.as_object().unwrap()).into_iter().map(|p| (p.property, p.fault)).collect()
}

fn one(value: Value, property: &str, fault: Fault) {
    assert_eq!(faults(value), [(property.to_owned(), fault)]);
}

const UUID: &str = "f83f634c-1111-4222-8333-a25dfb83f634";

fn identity() -> Value {
    json!({"type": "identity", "spec_version": "2.1", "id": format!("identity--{UUID}"), "created": "2024-01-01T00:00:00Z",
        "modified": "2024-01-01T00:00:00.000Z", "name": "n", "identity_class": "whatever", "x_custom": 1})
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

fn without(mut object: Value, key: &str) -> Value {
    object.as_object_mut().unwrap().shift_remove(key);
    object
}

#[test]
fn sound_objects_pass() {
    assert_eq!(faults(identity()), []);
    assert_eq!(faults(json!({"type": "x-acme-thing", "id": format!("x-acme-thing--{UUID}")})), []);
    let samples: Vec<Object> = serde_json::from_str(include_str!("../../samples/sco_ids.json")).unwrap();
    for sample in samples {
        assert_eq!(validate(sample["object"].as_object().unwrap()), [], "{}", sample["name"]);
    }
    for (id, json) in crate::constants::ALL {
        assert_eq!(validate(&serde_json::from_str(json).unwrap()), [], "{id}");
    }
}

#[test]
fn common_properties() {
    one(without(identity(), "created"), "created", Fault::Missing);
    one(without(identity(), "name"), "name", Fault::Missing);
    one(without(identity(), "spec_version"), "spec_version", Fault::Missing);
    one(with(identity(), "spec_version", json!("2.0")), "spec_version", Fault::BadValue);
    one(with(identity(), "created", json!("2024-01-01T00:00:00+00:00")), "created", Fault::BadTime);
    one(with(identity(), "created", json!("2025-01-01T00:00:00Z")), "modified", Fault::Contradiction);
    one(with(identity(), "confidence", json!(101)), "confidence", Fault::BadValue);
    one(with(identity(), "confidence", json!("50")), "confidence", Fault::WrongType);
    one(with(identity(), "labels", json!([])), "labels", Fault::Empty);
    one(with(identity(), "x_custom", json!({"a": null})), "x_custom.a", Fault::Empty);
    one(
        with(identity(), "created_by_ref", json!(format!("url--{UUID}"))),
        "created_by_ref",
        Fault::BadReference,
    );
    one(
        with(identity(), "external_references", json!([{"source_name": "x"}])),
        "external_references",
        Fault::BadValue,
    );
    one(
        with(identity(), "granular_markings", json!([{"selectors": ["name"]}])),
        "granular_markings",
        Fault::BadValue,
    );
    one(
        with(identity(), "extensions", json!({"extension-definition--1": {}})),
        "extensions.extension-definition--1",
        Fault::BadId,
    );
}

#[test]
fn ids() {
    for odd in ["identity--12345678-90ab-cdef-1234-567890abcdef", "identity--1", "identity", "x"] {
        one(with(identity(), "id", json!(odd)), "id", Fault::BadId);
    }
    one(with(identity(), "id", json!(format!("url--{UUID}"))), "id", Fault::BadId);
    one(without(identity(), "id"), "id", Fault::Missing);
    assert_eq!(faults(json!({}))[0].1, Fault::Missing);
}

fn sco(kind: &str, mut own: Value) -> Value {
    own["type"] = json!(kind);
    own["id"] = json!(format!("{kind}--{UUID}"));
    own
}

#[test]
fn observables() {
    one(sco("ipv4-addr", json!({"value": "1.2.3"})), "value", Fault::BadValue);
    assert_eq!(faults(sco("ipv4-addr", json!({"value": "10.0.0.0/8"}))), []);
    one(sco("ipv6-addr", json!({"value": "::1/200"})), "value", Fault::BadValue);
    one(sco("mac-addr", json!({"value": "D2-FB-49-24-37-18"})), "value", Fault::BadValue);
    one(sco("file", json!({"size": 1})), "hashes", Fault::Missing);
    one(sco("file", json!({"hashes": {"MD5": "00"}})), "hashes", Fault::BadValue);
    one(sco("network-traffic", json!({"protocols": ["tcp"]})), "src_ref", Fault::Missing);
    one(sco("artifact", json!({"payload_bin": "not base64!"})), "payload_bin", Fault::BadValue);
    one(sco("artifact", json!({"url": "https://x.example"})), "hashes", Fault::Missing);
    one(sco("windows-registry-key", json!({"key": "HKLM\\Software"})), "key", Fault::BadValue);
    one(sco("software", json!({"name": "x", "languages": ["Python"]})), "languages", Fault::BadValue);
    one(sco("user-account", json!({})), "type", Fault::Missing);
    one(sco("email-message", json!({"is_multipart": true, "body": "x"})), "body", Fault::Contradiction);
}

fn sdo(kind: &str, mut own: Value) -> Value {
    for (key, value) in identity().as_object().unwrap() {
        if matches!(key.as_str(), "spec_version" | "created" | "modified") {
            own[key] = value.clone();
        }
    }
    sco(kind, own)
}

#[test]
fn relations_and_times() {
    let (a, b) = (format!("malware--{UUID}"), format!("bundle--{UUID}"));
    let link = |kind: &str, to: &str| {
        sdo("relationship", json!({"relationship_type": kind, "source_ref": a, "target_ref": to}))
    };
    assert_eq!(faults(link("uses", &a)), []);
    one(link("Uses It", &a), "relationship_type", Fault::BadValue);
    one(link("uses", &b), "target_ref", Fault::BadReference);
    let seen = json!({"first_observed": "2024-01-02T00:00:00Z", "last_observed": "2024-01-01T00:00:00Z", "number_observed": 1, "object_refs": [a]});
    one(sdo("observed-data", seen.clone()), "last_observed", Fault::Contradiction);
    one(
        sdo("sighting", json!({"sighting_of_ref": a, "where_sighted_refs": [a]})),
        "where_sighted_refs",
        Fault::BadReference,
    );
    one(
        sdo(
            "indicator",
            json!({"pattern": "nothing", "pattern_type": "stix", "valid_from": "2024-01-01T00:00:00Z"}),
        ),
        "pattern",
        Fault::BadValue,
    );
    one(sdo("opinion", json!({"opinion": "perhaps", "object_refs": [a]})), "opinion", Fault::BadValue);
    one(sdo("malware", json!({"is_family": true})), "name", Fault::Missing);
    let tlp = json!({"definition_type": "tlp", "definition": {"tlp": "red"}});
    one(without(sdo("marking-definition", tlp), "modified"), "id", Fault::BadValue);
}

#[test]
fn a_bundle_keeps_its_sound_objects() {
    let bundle = json!({"type": "bundle", "id": format!("bundle--{UUID}"), "objects": [identity(), identity(), with(identity(), "name", json!("m")), without(identity(), "name"), with(identity(), "modified", json!("2025-01-01T00:00:00Z"))]});
    let reading = read(bundle.to_string().as_bytes()).unwrap();
    assert_eq!(reading.objects.len(), 2, "another version of an id is another object");
    let faults: Vec<Fault> = reading.problems.iter().map(|p| p.fault).collect();
    assert_eq!(faults, [Fault::Missing]);
    assert_eq!(reading.repeats.len(), 1, "equal repeats are one object, others are handed out");
    assert_eq!(read(identity().to_string().as_bytes()).unwrap().objects.len(), 1);
    let empty = json!({"type": "bundle", "id": "bundle--1", "objects": []});
    assert_eq!(read(empty.to_string().as_bytes()).unwrap().problems.len(), 2);
    assert!(read(b"{").is_err());
}
