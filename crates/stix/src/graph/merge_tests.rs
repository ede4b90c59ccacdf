//! What comes into a bundle, what stays out, and who says so.
use super::*;
use crate::bundle::{self, parse};
use crate::constants::IDENTITY_ID;
use crate::validate;
use atio_schemas::Detection;
use atio_schemas::detection::Kind;
use serde_json::json;

const IP: &str = "ipv4-addr--28bb3599-77cd-5a82-a950-b5bc3350caf2";
const MALWARE: &str = "malware--31b940d4-6f7f-459a-80ea-9c1f17b5891b";
const CAMPAIGN: &str = "campaign--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f";
const OTHER: &str = "tool--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd3f";

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("an object") };
    assert_eq!(validate::validate(&object), [], "{object:?}");
    object
}

fn malware(name: &str) -> Object {
    object(json!({
        "type": "malware", "spec_version": "2.1", "id": MALWARE, "created": "2024-01-01T00:00:00.000Z",
        "modified": "2024-01-01T00:00:00.000Z", "name": name, "is_family": true,
    }))
}

fn related(number: u8, from: &str, to: &str) -> Object {
    object(json!({
        "type": "relationship", "spec_version": "2.1", "id": format!("relationship--8e2e2d2b-17d4-4cbf-938f-98ee46b3cd{number:02}"),
        "created": "2024-01-01T00:00:00.000Z", "modified": "2024-01-01T00:00:00.000Z", "relationship_type": "uses",
        "source_ref": from, "target_ref": to,
    }))
}

/// ATIO's report on an address, beside somebody else's on the same.
fn bundle() -> Vec<u8> {
    let mut d = Detection::new("e1".into(), Kind::Threat, "default", "s");
    let foreign = json!({
        "type": "report", "spec_version": "2.1", "id": "report--84e4d88f-44ea-4bcd-bbf3-b2c1c320bcb3", "created": "2024-01-01T00:00:00.000Z",
        "modified": "2024-01-01T00:00:00.000Z", "name": "theirs", "published": "2024-01-01T00:00:00.000Z", "object_refs": [IP, MALWARE],
    });
    let address = json!({"type": "ipv4-addr", "spec_version": "2.1", "id": IP, "value": "198.51.100.3"});
    let id = ids::bundle("default", &["e1"]).to_text();
    let bytes = json!({"type": "bundle", "id": id, "objects": [address, foreign]}).to_string();
    d.bundle = bundle::compact(bytes.as_bytes()).unwrap().into();
    super::super::normalized(&d).unwrap()
}

const BRANCH: Branch<'static> = Branch { tenant: "default", workflow: "w", branch: "b", columns: None };

fn merged(objects: &[Object]) -> Vec<Object> {
    parse(&merge(&bundle(), &BRANCH, "e1", objects).unwrap()).unwrap()
}

fn reports(objects: &[Object]) -> (&Object, &Object) {
    let of = |own: bool| {
        objects.iter().find(|o| o["type"] == "report" && is_own_report(o) == own).expect("a report")
    };
    (of(true), of(false))
}

#[test]
fn what_comes_is_listed_by_our_report_alone() {
    let before = parse(&bundle()).unwrap();
    let after = merged(&[malware("x"), related(1, MALWARE, IP)]);
    assert_eq!(after.len(), before.len() + 2);
    let (own, foreign) = reports(&after);
    let (own_before, foreign_before) = reports(&before);
    assert_eq!(foreign, foreign_before, "a foreign container is never altered");
    assert_ne!(own["id"], own_before["id"], "another content is another version, of the branch");
    assert_eq!(own["created_by_ref"], IDENTITY_ID);
    let refs = own["object_refs"].as_array().unwrap();
    assert!(
        refs.contains(&json!(MALWARE))
            && refs.iter().any(|r| r.as_str().unwrap().starts_with("relationship"))
    );
    assert!(after.contains(&malware("x")), "what comes is not altered");
    for object in &after {
        assert_eq!(validate::validate(object), [], "{object:?}");
    }
    let again = merge(&serialized(&after), &BRANCH, "e1", &[malware("x")]).unwrap();
    assert_eq!(again, serialized(&after), "it is there already");
}

fn serialized(objects: &[Object]) -> Vec<u8> {
    let id = ids::bundle("default", &["e1"]).to_text();
    serde_json::to_vec(&json!({"type": "bundle", "id": id, "objects": objects})).unwrap()
}

#[test]
fn what_is_there_stays() {
    let both = merge(&bundle(), &BRANCH, "e1", &[malware("x")]).unwrap();
    assert_eq!(merge(&both, &BRANCH, "e1", &[malware("y")]).unwrap(), both);
}

/// A relationship falls with an end that is nowhere; a foreign list loses what is nowhere and is ours then.
#[test]
fn references_that_lead_nowhere_are_repaired() {
    let grouping = object(json!({
        "type": "grouping", "spec_version": "2.1", "id": "grouping--84e4d88f-44ea-4bcd-bbf3-b2c1c320bcb3", "created": "2024-01-01T00:00:00.000Z",
        "modified": "2024-01-01T00:00:00.000Z", "context": "unspecified", "object_refs": [MALWARE, CAMPAIGN],
    }));
    let after =
        merged(&[malware("x"), related(1, CAMPAIGN, MALWARE), related(2, MALWARE, OTHER), grouping.clone()]);
    let text = String::from_utf8(serialized(&after)).unwrap();
    assert!(!text.contains(CAMPAIGN) && !text.contains(OTHER), "{text}");
    let cut = after.iter().find(|o| o["type"] == "grouping").unwrap();
    assert_eq!(cut["object_refs"], json!([MALWARE]));
    assert_ne!(cut["id"], grouping["id"]);
    assert!(after.iter().any(|o| o["type"] == "relationship" && o["relationship_type"] == "derived-from"));
    assert_eq!(
        merge(&bundle(), &BRANCH, "e1", &[related(1, CAMPAIGN, OTHER)]).unwrap(),
        bundle(),
        "all of it falls"
    );
}

#[test]
fn an_event_without_a_bundle_gets_one() {
    let made = merge(b"", &BRANCH, "e1", &[malware("x")]).unwrap();
    assert_eq!(parse(&made).unwrap(), [malware("x")]);
    assert_eq!(merge(b"", &BRANCH, "e1", &[related(1, CAMPAIGN, OTHER)]).unwrap(), b"");
    assert!(merge(b"{}", &BRANCH, "e1", &[malware("x")]).is_err());
}
