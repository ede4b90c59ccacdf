//! STIX 2.0 lifted to 2.1: renamed properties, types out of labels, cyber observable containers into SCOs.
//!
//! Owns the differences between both versions (STIX 2.1 §1.8 and the 2.0 object tables). Ids and versions stay; SCOs get the
//! prescribed ids. What has no place in 2.1 stays as a custom property. Must not know: what is valid.
use crate::bundle::Object;
use crate::canon;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::collections::HashMap;

/// Objects of a container that are lifted; a larger one stays a container, which 2.1 still knows (§4.14, deprecated).
pub const MAX_CONTAINED: usize = 1000;

/// Whether an object is in the 2.0 form: no spec_version, and not an SCO, which needs none in 2.1 either.
#[must_use]
pub fn is_2_0(object: &Object) -> bool {
    let kind = text(object, "type");
    match object.get("spec_version").and_then(Value::as_str) {
        Some(version) => version == "2.0",
        None => object.contains_key("created") && !canon::is_sco(kind),
    }
}

/// The object in 2.1, and the SCOs that it contained before it.
#[must_use]
pub fn lift(mut object: Object) -> Vec<Object> {
    object.insert("spec_version".to_owned(), json!("2.1"));
    types_from_labels(&mut object);
    match text(&object, "type") {
        "malware" if !object.contains_key("is_family") => {
            object.insert("is_family".to_owned(), json!(false));
        }
        "indicator" if !object.contains_key("pattern_type") => {
            object.insert("pattern_type".to_owned(), json!("stix"));
        }
        "observed-data" => return unpack(object),
        _ => {}
    }
    vec![object]
}

fn text<'o>(object: &'o Object, key: &str) -> &'o str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// 2.0 kept these vocabularies in `labels`.
fn types_from_labels(object: &mut Object) {
    let property = match text(object, "type") {
        "indicator" => "indicator_types",
        "malware" => "malware_types",
        "report" => "report_types",
        "threat-actor" => "threat_actor_types",
        "tool" => "tool_types",
        _ => return,
    };
    if let Some(labels) = object.get("labels").cloned().filter(|_| !object.contains_key(property)) {
        object.shift_remove("labels");
        object.insert(property.to_owned(), labels);
    }
}

/// Names that changed between the versions, by SCO type.
const RENAMED: &[(&str, &str, &str)] = &[
    ("directory", "created", "ctime"),
    ("directory", "modified", "mtime"),
    ("directory", "accessed", "atime"),
    ("file", "created", "ctime"),
    ("file", "modified", "mtime"),
    ("file", "accessed", "atime"),
    ("process", "created", "created_time"),
    ("process", "binary_ref", "image_ref"),
    ("process", "name", "x_name"),
    ("process", "arguments", "x_arguments"),
    ("user-account", "password_last_changed", "credential_last_changed"),
    ("windows-registry-key", "modified", "modified_time"),
];

/// The container's objects as SCOs, then the observed-data with `object_refs` to them.
fn unpack(mut observed: Object) -> Vec<Object> {
    let Some(Value::Object(container)) = observed.get("objects") else { return vec![observed] };
    if container.len() > MAX_CONTAINED {
        return vec![observed];
    }
    let mut pending: Vec<(String, Object)> = container
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), renamed(value.as_object()?))))
        .collect();
    let mut ids: HashMap<String, String> = HashMap::new();
    let mut scos: HashMap<String, Object> = HashMap::new();
    let order: Vec<String> = pending.iter().map(|(key, _)| key.clone()).collect();
    // Ids may hash references, so what is referred to comes first; what refers in a circle gets its id from its place.
    while !pending.is_empty() {
        let settled = |object: &Object| local_references(object).all(|key| ids.contains_key(key));
        let next = pending.iter().position(|(_, object)| settled(object));
        let (key, mut object) = pending.remove(next.unwrap_or(0));
        point(&mut object, &ids);
        let prescribed = next.and_then(|_| canon::prescribed_id(&object)).map(|id| id.to_text());
        let id = prescribed.unwrap_or_else(|| placed_id(&object, text(&observed, "id"), &key));
        ids.insert(key.clone(), id);
        scos.insert(key, object);
    }
    let mut lifted = vec![];
    let mut refs: Vec<Value> = vec![];
    for key in &order {
        let (Some(id), Some(mut object)) = (ids.get(key), scos.remove(key)) else { continue };
        point(&mut object, &ids);
        object.insert("id".to_owned(), json!(id));
        object.insert("spec_version".to_owned(), json!("2.1"));
        if !refs.contains(&json!(id)) {
            refs.push(json!(id));
            lifted.push(object);
        }
    }
    observed.shift_remove("objects");
    observed.insert("object_refs".to_owned(), Value::Array(refs));
    lifted.push(observed);
    lifted
}

fn renamed(object: &Object) -> Object {
    let kind = text(object, "type").to_owned();
    let rename = |key: &String| {
        let rule = RENAMED.iter().find(|(of, from, _)| *of == kind && from == key);
        rule.map_or_else(|| key.clone(), |(_, _, to)| (*to).to_owned())
    };
    object.iter().map(|(key, value)| (rename(key), value.clone())).collect()
}

/// What an object refers to by keys of the container.
fn local_references(object: &Object) -> impl Iterator<Item = &str> {
    object.iter().flat_map(|(key, value)| {
        let one = value.as_str().filter(|_| key.ends_with("_ref"));
        let many = value.as_array().filter(|_| key.ends_with("_refs")).into_iter().flatten();
        one.into_iter().chain(many.filter_map(Value::as_str)).filter(|id| !id.contains("--"))
    })
}

/// Keys of the container become ids, at every depth.
fn point(object: &mut Object, ids: &HashMap<String, String>) {
    let replace = |value: &mut Value| {
        if let Some(id) = value.as_str().and_then(|key| ids.get(key)) {
            *value = json!(id);
        }
    };
    for (key, value) in object.iter_mut() {
        match value {
            Value::String(_) if key.ends_with("_ref") => replace(value),
            Value::Array(list) if key.ends_with("_refs") => list.iter_mut().for_each(replace),
            Value::Array(list) => {
                list.iter_mut().filter_map(Value::as_object_mut).for_each(|inner| point(inner, ids))
            }
            Value::Object(inner) => point(inner, ids),
            _ => {}
        }
    }
}

/// For what has no prescribed id: v4-shaped bits of SHA-256(observed-data id|key).
fn placed_id(object: &Object, observed: &str, key: &str) -> String {
    let digest = sha2::Sha256::digest(format!("{observed}|{key}").as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    format!("{}--{}", text(object, "type"), uuid.hyphenated())
}

#[cfg(test)]
mod tests {
    use crate::validate;
    use serde_json::{Value, json};

    fn read(objects: Value) -> validate::Reading {
        let bundle = json!({"type": "bundle", "spec_version": "2.0", "id": "bundle--5d0092c5-5f74-4287-9642-33f4c354e56d", "objects": objects});
        validate::read(bundle.to_string().as_bytes()).unwrap()
    }

    fn observed(container: Value) -> Value {
        json!([{"type": "observed-data", "id": "observed-data--b67d30ff-02ac-498a-92f9-32f845f448cf", "created": "2016-04-06T19:58:16.000Z",
            "modified": "2016-04-06T19:58:16.000Z", "first_observed": "2015-12-21T19:00:00Z", "last_observed": "2015-12-21T19:00:00Z",
            "number_observed": 50, "objects": container}])
    }

    #[test]
    fn containers_become_scos_with_prescribed_ids() {
        let reading = read(observed(json!({
            "0": {"type": "network-traffic", "src_ref": "1", "dst_ref": "2", "protocols": ["ipv4", "tcp"], "src_port": 51234, "dst_port": 80},
            "1": {"type": "ipv4-addr", "value": "10.1.2.3"},
            "2": {"type": "ipv4-addr", "value": "198.51.100.7"},
            "3": {"type": "file", "name": "a", "created": "2015-12-21T19:00:00Z", "parent_directory_ref": "4"},
            "4": {"type": "directory", "path": "C:\\x", "contains_refs": ["3"]},
        })));
        assert_eq!(reading.problems, []);
        assert_eq!(reading.objects.len(), 6);
        // As the stix2 library gives it for the same address.
        assert_eq!(reading.objects[0]["src_ref"], "ipv4-addr--3bd0640e-45ad-5019-a7eb-d3a6da393f89");
        assert_eq!(
            reading.objects[0]["id"],
            crate::canon::prescribed_id(&reading.objects[0]).unwrap().to_text()
        );
        assert_eq!(reading.objects[3]["ctime"], "2015-12-21T19:00:00Z");
        assert_eq!(reading.objects[4]["contains_refs"][0], reading.objects[3]["id"]);
        assert_eq!(reading.objects[5]["object_refs"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn labels_become_types_and_new_required_properties_are_filled() {
        let reading = read(json!([
            {"type": "malware", "id": "malware--b67d30ff-02ac-498a-92f9-32f845f448cf", "created": "2016-04-06T19:58:16.000Z", "modified": "2016-04-06T19:58:16.000Z", "name": "x", "labels": ["trojan"]},
            {"type": "indicator", "id": "indicator--b67d30ff-02ac-498a-92f9-32f845f448cf", "created": "2016-04-06T19:58:16.000Z", "modified": "2016-04-06T19:58:16.000Z", "labels": ["malicious-activity"], "pattern": "[url:value = 'x']", "valid_from": "2016-04-06T19:58:16.000Z"},
        ]));
        assert_eq!(reading.problems, []);
        assert_eq!(reading.objects[0]["malware_types"], json!(["trojan"]));
        assert_eq!(reading.objects[1]["indicator_types"], json!(["malicious-activity"]));
        assert!(!reading.objects[1].contains_key("labels"));
    }

    #[test]
    fn a_process_and_odd_containers_do_no_harm() {
        let reading = read(observed(
            json!({"0": {"type": "process", "pid": 1, "name": "cmd", "child_refs": ["0"]}, "1": 5}),
        ));
        assert_eq!(reading.objects.len(), 2, "{:?}", reading.problems);
        assert_eq!(reading.objects[0]["child_refs"][0], reading.objects[0]["id"]);
        assert_eq!(read(observed(json!({}))).objects.len(), 0);
        assert_eq!(read(observed(json!({"0": {}}))).objects.len(), 0, "no type, no observable");
        let many: serde_json::Map<String, Value> = (0..=super::MAX_CONTAINED)
            .map(|n| (n.to_string(), json!({"type": "mutex", "name": n.to_string()})))
            .collect();
        assert!(read(observed(Value::Object(many))).objects[0].contains_key("objects"));
    }
}
