//! The REST API over a log in memory: answers and error codes as Confluent's clients expect them, and what happens when the log fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail the test")]
mod support;

use atio_registry::{Registry, Request};
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use support::{LOSES_ACK, Memory, REFUSES, WORKS};

struct Server {
    log: Memory,
    registry: Registry<Memory>,
}

impl Server {
    fn new() -> Self {
        Self::on(Memory::default())
    }

    fn on(log: Memory) -> Self {
        let registry = block_on(Registry::open(log.clone())).unwrap();
        Self { log, registry }
    }

    fn call(&self, line: &str, body: &Value) -> (u16, Value) {
        let (method, uri) = line.split_once(' ').unwrap();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let body = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        let response = block_on(self.registry.handle(Request { method, path, query, body: &body }));
        (response.status, serde_json::from_slice(&response.body).unwrap())
    }

    /// A call that must succeed.
    fn ok(&self, line: &str, body: Value) -> Value {
        let (status, answer) = self.call(line, &body);
        assert_eq!(status, 200, "{line}: {answer}");
        answer
    }

    /// The error code of a call that must fail; the status is its first three digits.
    fn code(&self, line: &str, body: Value) -> u64 {
        let (status, answer) = self.call(line, &body);
        let code = answer["error_code"].as_u64().unwrap_or_else(|| panic!("{line}: {answer}"));
        assert!(answer["message"].as_str().is_some_and(|m| !m.is_empty()), "{line}");
        assert_eq!(u64::from(status), if code >= 1000 { code / 100 } else { code }, "{line}");
        code
    }
}

fn record(fields: &str) -> Value {
    json!({"schema": format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}]}}"#)})
}

fn v1() -> Value {
    record(r#"{"name":"a","type":"int"}"#)
}

fn v2() -> Value {
    record(r#"{"name":"a","type":"int"},{"name":"b","type":["null","string"],"default":null}"#)
}

fn bad() -> Value {
    record(r#"{"name":"a","type":"int"},{"name":"c","type":"string"}"#)
}

#[test]
fn register_and_look_up() {
    let s = Server::new();
    assert_eq!(s.ok("GET /", Value::Null), json!({}));
    assert_eq!(s.ok("GET /subjects", Value::Null), json!([]));
    assert_eq!(s.ok("POST /subjects/x/versions", v1()), json!({"id": 1}));
    assert_eq!(s.ok("POST /subjects/x/versions", v2()), json!({"id": 2}));
    // The same again, with other blanks and another order of keys: the same id, no new version, nothing written.
    let written = s.log.records.lock().unwrap().len();
    let again = json!({"schemaType": "AVRO", "references": [], "schema":
        r#" {"name":"R", "namespace":"n", "type":"record", "fields":[ {"type":{"type":"int"}, "name":"a"} ]} "#});
    assert_eq!(s.ok("POST /subjects/x/versions", again.clone()), json!({"id": 1}));
    assert_eq!(s.log.records.lock().unwrap().len(), written);
    // The same in another subject: the same id.
    assert_eq!(s.ok("POST /subjects/a%2Fb%20c/versions", v2()), json!({"id": 2}));
    assert_eq!(s.ok("GET /subjects", Value::Null), json!(["a/b c", "x"]));
    assert_eq!(s.ok("GET /subjects?subjectPrefix=x", Value::Null), json!(["x"]));
    assert_eq!(s.ok("GET /subjects/x/versions", Value::Null), json!([1, 2]));
    let expected = json!({"subject": "x", "version": 1, "id": 1, "schema": v1()["schema"]});
    assert_eq!(s.ok("GET /subjects/x/versions/1", Value::Null), expected);
    assert_eq!(s.ok("POST /subjects/x", again), expected);
    assert_eq!(s.ok("GET /subjects/x/versions/latest", Value::Null)["version"], 2);
    assert_eq!(s.ok("GET /subjects/x/versions/latest/schema", Value::Null)["fields"][1]["name"], "b");
    assert_eq!(s.ok("GET /schemas/ids/2", Value::Null), json!({"schema": v2()["schema"]}));
    assert_eq!(s.ok("GET /schemas/ids/1/schema", Value::Null)["name"], "R");
    let places = json!([{"subject": "a/b c", "version": 1}, {"subject": "x", "version": 2}]);
    assert_eq!(s.ok("GET /schemas/ids/2/versions", Value::Null), places);
    assert_eq!(s.ok("GET /schemas/ids/2/subjects", Value::Null), json!(["a/b c", "x"]));
    assert_eq!(s.ok("GET /schemas/types", Value::Null), json!(["AVRO"]));
    // A default is a part of the schema: not the same.
    let other = record(r#"{"name":"a","type":"int","default":1}"#);
    assert_eq!(s.ok("POST /subjects/x/versions", other), json!({"id": 3}));
}

#[test]
fn every_error_has_its_code() {
    let s = Server::new();
    s.ok("POST /subjects/x/versions", v1());
    let none = Value::Null;
    let cases = [
        ("GET /subjects/y/versions", none.clone(), 40401),
        ("GET /subjects/y/versions/1", none.clone(), 40401),
        ("GET /subjects/x/versions/9", none.clone(), 40402),
        ("GET /subjects/x/versions/0", none.clone(), 42202),
        ("GET /subjects/x/versions/first", none.clone(), 42202),
        ("GET /schemas/ids/9", none.clone(), 40403),
        ("POST /subjects/y", v1(), 40401),
        ("POST /subjects/x", v2(), 40403),
        ("POST /subjects/x", json!({"schema": "{"}), 42201),
        ("POST /subjects/x/versions", json!({"schema": "{\"type\":\"wrong\"}"}), 42201),
        ("POST /subjects/x/versions", json!({"schema": "[".repeat(100_000)}), 42201),
        ("POST /subjects/x/versions", json!({"schema": " ".repeat(1_100_000)}), 42201),
        (
            "POST /subjects/x/versions",
            json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}),
            42201,
        ),
        ("POST /subjects/x/versions", json!({"schema": "\"int\"", "references": [{"name": "a"}]}), 42201),
        ("POST /subjects/x/versions", json!({}), 42201),
        ("POST /subjects/x/versions", json!([1, 2]), 400),
        ("POST /subjects/x/versions", none.clone(), 400),
        ("POST /subjects/x/versions", bad(), 409),
        ("POST /subjects/%00/versions", v1(), 42208),
        ("DELETE /subjects/y", none.clone(), 40401),
        ("DELETE /subjects/x?permanent=true", none.clone(), 40405),
        ("DELETE /subjects/x/versions/1?permanent=true", none.clone(), 40407),
        ("DELETE /subjects/x/versions/7", none.clone(), 40402),
        ("DELETE /subjects/y/versions/1", none.clone(), 40401),
        ("GET /config/x", none.clone(), 40408),
        ("DELETE /config/x", none.clone(), 40408),
        ("PUT /config", json!({"compatibility": "SOME"}), 42203),
        ("PUT /mode", json!({"mode": "IMPORT"}), 42204),
        ("POST /compatibility/subjects/x/versions/7", v1(), 40402),
        ("GET /other", none.clone(), 404),
        ("GET /subjects/%zz/versions", none.clone(), 404),
        ("GET /schemas/ids/x", none.clone(), 404),
        ("PATCH /subjects", none.clone(), 405),
        ("PUT /subjects", none.clone(), 405),
        ("POST /subjects/x/versions", json!({"schema": "x".repeat(5_000_000)}), 413),
    ];
    for (line, body, code) in cases {
        assert_eq!(s.code(line, body), code, "{line}");
    }
    assert_eq!(s.log.records.lock().unwrap().len(), 1);
}

#[test]
fn compatibility_and_its_configuration() {
    let s = Server::new();
    assert_eq!(s.ok("GET /config", Value::Null), json!({"compatibilityLevel": "BACKWARD"}));
    s.ok("POST /subjects/x/versions", v1());
    let check = "POST /compatibility/subjects/x/versions/latest";
    assert_eq!(s.ok(check, v2()), json!({"is_compatible": true}));
    let verbose = s.ok("POST /compatibility/subjects/x/versions?verbose=true", bad());
    assert_eq!(verbose["is_compatible"], false);
    assert!(verbose["messages"][0].as_str().unwrap().contains("version 1"), "{verbose}");
    assert_eq!(s.ok("POST /compatibility/subjects/new/versions/latest", bad())["is_compatible"], true);
    assert_eq!(s.ok("PUT /config/x", json!({"compatibility": "NONE"})), json!({"compatibility": "NONE"}));
    assert_eq!(s.ok("GET /config/x", Value::Null), json!({"compatibilityLevel": "NONE"}));
    assert_eq!(s.ok(check, bad()), json!({"is_compatible": true}));
    assert_eq!(s.ok("DELETE /config/x", Value::Null), json!({"compatibilityLevel": "NONE"}));
    assert_eq!(s.ok("PUT /config", json!({"compatibility": "forward"})), json!({"compatibility": "FORWARD"}));
    assert_eq!(
        s.ok("GET /config/x?defaultToGlobal=true", Value::Null),
        json!({"compatibilityLevel": "FORWARD"})
    );
    assert_eq!(s.ok(check, bad()), json!({"is_compatible": true}));
    assert_eq!(s.ok("PUT /mode", json!({"mode": "READWRITE"})), s.ok("GET /mode", Value::Null));
}

#[test]
fn deletion_is_soft_first() {
    let s = Server::new();
    s.ok("POST /subjects/x/versions", v1());
    s.ok("POST /subjects/x/versions", v2());
    s.ok("PUT /config/x", json!({"compatibility": "FULL"}));
    assert_eq!(s.ok("DELETE /subjects/x/versions/latest", Value::Null), json!(2));
    assert_eq!(s.code("DELETE /subjects/x/versions/2", Value::Null), 40406);
    assert_eq!(s.ok("GET /subjects/x/versions", Value::Null), json!([1]));
    assert_eq!(s.ok("GET /subjects/x/versions?deleted=true", Value::Null), json!([1, 2]));
    assert_eq!(
        s.ok("GET /schemas/ids/2", Value::Null)["schema"],
        v2()["schema"],
        "records with it may still be read"
    );
    // It comes back as a new version with its old id.
    assert_eq!(s.ok("POST /subjects/x/versions", v2()), json!({"id": 2}));
    assert_eq!(s.ok("GET /subjects/x/versions", Value::Null), json!([1, 3]));
    assert_eq!(s.ok("DELETE /subjects/x/versions/2?permanent=true", Value::Null), json!(2));
    assert_eq!(s.ok("DELETE /subjects/x", Value::Null), json!([1, 3]));
    assert_eq!(s.code("GET /subjects/x/versions", Value::Null), 40401);
    assert_eq!(s.code("GET /config/x", Value::Null), 40408);
    assert_eq!(s.code("DELETE /subjects/x", Value::Null), 40404);
    assert_eq!(s.ok("GET /subjects?deleted=true", Value::Null), json!(["x"]));
    // What a fresh start reads from the log is the same.
    let again = Server::on(s.log.clone());
    assert_eq!(again.ok("GET /subjects?deleted=true", Value::Null), json!(["x"]));
    assert_eq!(again.ok("GET /subjects", Value::Null), json!([]));
    assert_eq!(again.ok("DELETE /subjects/x?permanent=true", Value::Null), json!([1, 3]));
    assert_eq!(again.code("GET /schemas/ids/1", Value::Null), 40403);
    // An id is never given twice.
    assert_eq!(again.ok("POST /subjects/x/versions", bad()), json!({"id": 3}));
    assert_eq!(again.ok("GET /subjects/x/versions", Value::Null), json!([1]));
}

#[test]
fn a_change_is_there_only_when_the_log_has_it() {
    let s = Server::new();
    s.log.fault.store(REFUSES, SeqCst);
    assert_eq!(s.code("POST /subjects/x/versions", v1()), 50001);
    assert_eq!(s.ok("GET /subjects", Value::Null), json!([]));
    // Written, but nobody knows: the next change reads the log first, and gives nothing twice.
    s.log.fault.store(LOSES_ACK, SeqCst);
    assert_eq!(s.code("POST /subjects/x/versions", v1()), 50001);
    s.log.fault.store(WORKS, SeqCst);
    assert_eq!(s.ok("POST /subjects/y/versions", v2()), json!({"id": 2}));
    assert_eq!(s.ok("POST /subjects/x/versions", v1()), json!({"id": 1}));
    assert_eq!(s.log.records.lock().unwrap().len(), 2);
}

#[test]
fn a_topic_of_confluents_is_understood() {
    let lines: &[(&str, Option<&str>)] = &[
        (r#"{"keytype":"NOOP","magic":0}"#, None),
        (
            r#"{"keytype":"SCHEMA","subject":"p","version":1,"magic":1}"#,
            Some(
                r#"{"subject":"p","version":1,"id":7,"schemaType":"PROTOBUF","schema":"syntax = \"proto3\";","deleted":false}"#,
            ),
        ),
        ("not json", Some("{}")),
        (
            r#"{"keytype":"SCHEMA","subject":"a","version":3,"magic":1}"#,
            Some(r#"{"subject":"a","version":3,"id":9,"md5":"x","schema":"\"string\"","deleted":false}"#),
        ),
        // Another schema under an id that is taken: what came first stays.
        (
            r#"{"keytype":"SCHEMA","subject":"b","version":1,"magic":1}"#,
            Some(r#"{"subject":"b","version":1,"id":9,"schema":"\"int\"","deleted":false}"#),
        ),
        (
            r#"{"keytype":"CONFIG","subject":null,"magic":0}"#,
            Some(r#"{"compatibilityLevel":"FULL_TRANSITIVE"}"#),
        ),
    ];
    let log = Memory::default();
    let entry = |(k, v): &(&str, Option<&str>)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec()));
    *log.records.lock().unwrap() = lines.iter().map(entry).collect();
    let s = Server::on(log);
    assert_eq!(s.ok("GET /subjects", Value::Null), json!(["a", "p"]));
    assert_eq!(s.ok("GET /schemas/ids/7", Value::Null)["schemaType"], "PROTOBUF");
    assert_eq!(s.ok("GET /config", Value::Null), json!({"compatibilityLevel": "FULL_TRANSITIVE"}));
    assert_eq!(s.ok("GET /subjects/a/versions/latest/schema", Value::Null), json!("string"));
    assert_eq!(s.ok("POST /subjects/x/versions", v1()), json!({"id": 10}));
    assert_eq!(s.code("POST /subjects/p/versions", v1()), 409);
}

#[test]
fn all_our_schemas_fit() {
    let s = Server::new();
    s.ok("PUT /config", json!({"compatibility": "BACKWARD_TRANSITIVE"}));
    for (index, (subject, schema)) in atio_schemas::SUBJECTS.iter().enumerate() {
        let body = json!({"schema": schema});
        assert_eq!(
            s.ok(&format!("POST /subjects/{subject}/versions"), body.clone()),
            json!({"id": index + 1})
        );
        assert_eq!(
            s.ok(&format!("POST /compatibility/subjects/{subject}/versions"), body)["is_compatible"],
            true
        );
    }
    assert_eq!(s.ok("GET /subjects", Value::Null).as_array().unwrap().len(), atio_schemas::SUBJECTS.len());
}

fn line() -> impl Strategy<Value = (String, Value)> {
    let subject = prop::sample::select(vec!["x", "y"]);
    let version = prop::sample::select(vec!["1", "2", "3", "latest"]);
    let schema =
        prop::sample::select(vec![v1(), v2(), bad(), json!({"schema": "\"int\""}), json!({"schema": "{"})]);
    let level = prop::sample::select(vec!["NONE", "FULL", "BACKWARD_TRANSITIVE"]);
    let permanent = prop::sample::select(vec!["", "?permanent=true"]);
    prop_oneof![
        4 => (subject.clone(), schema).prop_map(|(s, body)| (format!("POST /subjects/{s}/versions"), body)),
        1 => (subject.clone(), permanent.clone()).prop_map(|(s, p)| (format!("DELETE /subjects/{s}{p}"), Value::Null)),
        1 => (subject.clone(), version, permanent)
            .prop_map(|(s, v, p)| (format!("DELETE /subjects/{s}/versions/{v}{p}"), Value::Null)),
        1 => (subject, level).prop_map(|(s, l)| (format!("PUT /config/{s}"), json!({"compatibility": l}))),
    ]
}

/// All that can be read.
fn picture(server: &Server) -> Vec<(u16, Value)> {
    let mut lines =
        vec!["GET /subjects?deleted=true".to_owned(), "GET /subjects".into(), "GET /config".into()];
    for s in ["x", "y"] {
        lines.push(format!("GET /config/{s}"));
        lines.extend((1..12).map(|v| format!("GET /subjects/{s}/versions/{v}?deleted=true")));
        lines.extend((1..12).map(|v| format!("GET /subjects/{s}/versions/{v}")));
    }
    lines.extend((1..12).map(|id| format!("GET /schemas/ids/{id}/versions?deleted=true")));
    lines.iter().map(|line| server.call(line, &Value::Null)).collect()
}

/// The log after compaction: of each key the last record, in order; tombstones go too.
fn compacted(log: &Memory) -> Memory {
    let records = log.records.lock().unwrap();
    let last = |at: usize, key: &[u8]| !records[at + 1..].iter().any(|(k, _)| k == key);
    let kept = records.iter().enumerate().filter(|(at, (key, value))| last(*at, key) && value.is_some());
    Memory {
        records: Arc::new(Mutex::new(kept.map(|(_, entry)| entry.clone()).collect())),
        ..Memory::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was asked and whenever the log failed: memory, log and compacted log say the same, and an id never changes its schema.
    #[test]
    fn memory_is_what_the_log_says(lines in prop::collection::vec((line(), prop::sample::select(vec![WORKS, WORKS, WORKS, REFUSES, LOSES_ACK])), 1..25)) {
        let server = Server::new();
        let mut ids = std::collections::HashMap::new();
        for ((line, body), fault) in lines {
            server.log.fault.store(fault, SeqCst);
            let (status, answer) = server.call(&line, &body);
            prop_assert!(status != 500 || fault != WORKS, "{} {}", line, answer);
            if let (200, Some(id)) = (status, answer["id"].as_i64()) {
                let schema = body["schema"].clone();
                prop_assert_eq!(ids.entry(id).or_insert_with(|| schema.clone()), &schema);
            }
        }
        // A change that changes nothing brings memory up to the log.
        server.log.fault.store(WORKS, SeqCst);
        server.call("PUT /config", &json!({"compatibility": "NONE"}));
        prop_assert_eq!(picture(&server), picture(&Server::on(server.log.clone())));
        prop_assert_eq!(picture(&server), picture(&Server::on(compacted(&server.log))));
    }

    #[test]
    fn hostile_requests_are_answered(path in "/[a-z0-9/%]{0,30}", query in "[a-z=&%]{0,20}", body in prop::collection::vec(any::<u8>(), 0..100)) {
        let registry = block_on(Registry::open(Memory::default())).unwrap();
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let response = block_on(registry.handle(Request { method, path: &path, query: &query, body: &body }));
            prop_assert!(serde_json::from_slice::<Value>(&response.body).is_ok());
            prop_assert!(response.status < 500);
        }
    }

    /// Schemas with a part exchanged for something odd are taken or refused, and never end the program.
    #[test]
    fn odd_schemas_are_answered(at in any::<prop::sample::Index>(), odd in prop::sample::select(vec![
        "null", "{}", "[]", "0", "-1", "18446744073709551615", "1e999", "\"\"", "\"R\"", "\"io.atio.Kind\"", "[\"null\",\"null\"]", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":18446744073709551615}",
        "{\"type\":\"array\",\"items\":5}", "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":-5}",
    ])) {
        fn places(value: &mut Value, left: &mut usize, odd: &Value) {
            if *left == 0 {
                *value = odd.clone();
            }
            *left = left.wrapping_sub(1);
            match value {
                _ if *left > usize::MAX / 2 => {}
                Value::Array(list) => list.iter_mut().for_each(|v| places(v, left, odd)),
                Value::Object(map) => map.values_mut().for_each(|v| places(v, left, odd)),
                _ => {}
            }
        }
        let server = Server::new();
        let text = atio_schemas::SUBJECTS.iter().find(|(s, _)| *s == "atio.epoch").unwrap().1;
        server.ok("POST /subjects/x/versions", json!({"schema": text}));
        let mut schema: Value = serde_json::from_str(text).unwrap();
        let odd: Value = serde_json::from_str(odd).unwrap_or(Value::Null);
        places(&mut schema, &mut at.index(90), &odd);
        let (status, _) = server.call("POST /subjects/x/versions", &json!({"schema": schema.to_string()}));
        prop_assert!(status < 500);
    }
}
