//! Every record type against its schema and its samples: shape, round trips, other versions of the schema, hostile bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail the test")]
use apache_avro::Schema;
use atio_schemas::codec::{Codec, CodecError, HEAD, Record, SUBJECTS, SchemaIds, StaticIds, schema_id};
use atio_schemas::{
    Code, Detection, audit, command, definition, delivery, detection, heard, incident, letter, raw,
    reference, routed, state,
};
use proptest::prelude::*;
use serde_json::Value;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Calls a generic check for every record type; a type that is missing here fails `every_subject_is_checked`.
macro_rules! for_every_type {
    ($check:ident $(, $arg:expr)*) => {{
        $check::<incident::Ack>($($arg),*);
        $check::<state::Applied>($($arg),*);
        $check::<audit::AuditEntry>($($arg),*);
        $check::<audit::AuditIntent>($($arg),*);
        $check::<definition::Change>($($arg),*);
        $check::<command::Command>($($arg),*);
        $check::<definition::Definition>($($arg),*);
        $check::<delivery::Delivery>($($arg),*);
        $check::<Detection>($($arg),*);
        $check::<state::Epoch>($($arg),*);
        $check::<heard::Heard>($($arg),*);
        $check::<incident::Incident>($($arg),*);
        $check::<incident::IncidentEvent>($($arg),*);
        $check::<letter::LetterMark>($($arg),*);
        $check::<raw::Position>($($arg),*);
        $check::<raw::RawEvent>($($arg),*);
        $check::<delivery::ReceiptRecord>($($arg),*);
        $check::<reference::ReferenceRow>($($arg),*);
        $check::<routed::Routed>($($arg),*);
        $check::<state::StateEntry>($($arg),*);
        $check::<incident::Wait>($($arg),*);
    }};
}

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn samples(subject: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(subject);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_subject_is_checked() {
    fn add<R: Record>(list: &mut Vec<(&str, &str)>) {
        list.push((R::SUBJECT, R::SCHEMA));
    }
    let mut list = vec![];
    for_every_type!(add, &mut list);
    assert_eq!(list, SUBJECTS);
    assert!(SUBJECTS.is_sorted());
    for dir in ["avro", "examples"] {
        let all = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap();
        let named = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with("atio.");
        let count = all.filter(|e| e.as_ref().is_ok_and(named)).count();
        assert_eq!(count, SUBJECTS.len(), "{dir}");
    }
}

#[test]
fn samples_survive_the_wire_unchanged() {
    fn check<R: Record + PartialEq + Debug>(codec: &Codec) {
        let files = samples(R::SUBJECT);
        assert!(
            files.iter().any(|f| f.ends_with("full.json"))
                && files.iter().any(|f| f.ends_with("minimal.json"))
        );
        for file in files {
            let text = json(&file);
            let value: R = serde_json::from_value(text.clone()).unwrap();
            let wire = codec.encode(&value).unwrap();
            assert_eq!(schema_id(&wire), StaticIds::new().id_of(R::SUBJECT));
            let back: R = codec.decode(&wire).unwrap();
            assert_eq!(back, value, "{}", file.display());
            let again = serde_json::to_value(&back).unwrap();
            assert_eq!(again, text, "{}", file.display());
            // What people see of it and change goes the same way back.
            let (subject, seen) = codec.editable(&wire).unwrap();
            assert!(codec.edited(subject, &seen).unwrap() == wire, "{}", file.display());
            // Key order too: what people read is in the schema's order.
            assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
    for_every_type!(check, &codec());
}

/// The JSON form has the schema's fields, in its order, down to the leaves.
fn matches(schema: &Value, text: &Value, named: &mut Vec<(String, Value)>, at: &str) {
    if let Some(name) = schema.get("name").and_then(Value::as_str) {
        named.push((name.to_owned(), schema.clone()));
    }
    match (schema, schema.get("type").and_then(Value::as_str)) {
        (Value::Array(union), _) => {
            assert_eq!(union[0], "null", "{at}");
            assert!(!text.is_null(), "{at} is null in full.json");
            matches(&union[1], text, named, at);
        }
        (Value::String(name), _) => {
            if let Some((_, schema)) = named.iter().find(|(n, _)| n == name).cloned() {
                matches(&schema, text, &mut vec![], at);
            }
        }
        (_, Some("record")) => {
            let fields = schema["fields"].as_array().unwrap();
            let names: Vec<_> = fields.iter().map(|f| f["name"].as_str().unwrap()).collect();
            let keys: Vec<_> = text.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, names, "{at}");
            for field in fields {
                let name = field["name"].as_str().unwrap();
                let at = format!("{at}.{name}");
                assert!(field["doc"].as_str().is_some_and(|d| d.ends_with('.')), "{at} has no doc");
                let default = match &field["type"] {
                    Value::Array(_) => Some(Value::Null),
                    t if t["type"] == "array" => Some(serde_json::json!([])),
                    t if t["type"] == "map" => Some(serde_json::json!({})),
                    _ => None,
                };
                assert_eq!(field.get("default"), default.as_ref(), "{at}");
                matches(&field["type"], &text[name], named, &at);
            }
        }
        (_, Some("array")) => {
            let items = text.as_array().unwrap();
            assert!(!items.is_empty(), "{at} is empty in full.json");
            items.iter().for_each(|item| matches(&schema["items"], item, &mut named.clone(), at));
            // What is defined in the items is known after them.
            matches(&schema["items"], &items[0], named, at);
        }
        (_, Some("long")) => {
            assert_eq!(schema["logicalType"] == "timestamp-micros", text.is_string(), "{at}")
        }
        _ => {}
    }
}

#[test]
fn types_and_schemas_have_the_same_fields() {
    fn check<R: Record>() {
        let schema: Value = serde_json::from_str(R::SCHEMA).unwrap();
        assert_eq!(schema["namespace"], "io.atio");
        let full = json(&samples(R::SUBJECT)[0]);
        let value: R = serde_json::from_value(full).unwrap();
        matches(&schema, &serde_json::to_value(&value).unwrap(), &mut vec![], R::SUBJECT);
    }
    for_every_type!(check);
}

#[test]
fn minimal_samples_have_nothing_optional() {
    fn check<R: Record>() {
        let schema: Value = serde_json::from_str(R::SCHEMA).unwrap();
        let minimal = json(&samples(R::SUBJECT)[1]);
        for field in schema["fields"].as_array().unwrap() {
            if let Some(default) = field.get("default") {
                assert_eq!(
                    &minimal[field["name"].as_str().unwrap()],
                    default,
                    "{} {}",
                    R::SUBJECT,
                    field["name"]
                );
            }
        }
    }
    for_every_type!(check);
}

#[test]
fn enums_have_the_schemas_symbols() {
    let ours: &[(&str, Vec<&str>)] = &[
        ("Kind", texts(detection::Kind::ALL, detection::Kind::as_str)),
        ("Zone", texts(detection::Zone::ALL, detection::Zone::as_str)),
        ("Disposition", texts(detection::Disposition::ALL, detection::Disposition::as_str)),
        ("Status", texts(detection::Status::ALL, detection::Status::as_str)),
        ("Decision", texts(detection::Decision::ALL, detection::Decision::as_str)),
        ("Tlp", texts(detection::Tlp::ALL, detection::Tlp::as_str)),
        ("Criticality", texts(detection::Criticality::ALL, detection::Criticality::as_str)),
        ("Exposure", texts(detection::Exposure::ALL, detection::Exposure::as_str)),
        ("AssetResolvedBy", texts(detection::AssetResolvedBy::ALL, detection::AssetResolvedBy::as_str)),
        ("Action", texts(command::Action::ALL, command::Action::as_str)),
        ("ObjectKind", texts(command::ObjectKind::ALL, command::ObjectKind::as_str)),
        ("AckAction", texts(incident::AckAction::ALL, incident::AckAction::as_str)),
        ("Answer", texts(incident::Answer::ALL, incident::Answer::as_str)),
        ("Answerer", texts(incident::Answerer::ALL, incident::Answerer::as_str)),
        ("LetterAction", texts(letter::LetterAction::ALL, letter::LetterAction::as_str)),
        ("Sound", texts(heard::Sound::ALL, heard::Sound::as_str)),
        ("Otherwise", texts(incident::Otherwise::ALL, incident::Otherwise::as_str)),
        ("Rejected", texts(incident::Rejected::ALL, incident::Rejected::as_str)),
        ("Severity", texts(incident::Severity::ALL, incident::Severity::as_str)),
        ("Verdict", texts(incident::Verdict::ALL, incident::Verdict::as_str)),
        ("Placement", texts(definition::Placement::ALL, definition::Placement::as_str)),
        ("ChangeType", texts(definition::ChangeType::ALL, definition::ChangeType::as_str)),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (subject, text) in SUBJECTS {
        for (name, symbols) in enums(&serde_json::from_str(text).unwrap()) {
            let (_, values) =
                ours.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{subject}: {name}"));
            assert_eq!(&symbols, values, "{subject}: {name}");
            seen.insert(name);
        }
    }
    assert_eq!(seen.len(), ours.len());
}

fn texts<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| text(*value)).collect()
}

fn enums(schema: &Value) -> Vec<(String, Vec<String>)> {
    match schema {
        Value::Object(map) if map.get("type").is_some_and(|t| t == "enum") => {
            let symbols =
                map["symbols"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect();
            vec![(map["name"].as_str().unwrap().to_owned(), symbols)]
        }
        Value::Object(map) => map.values().flat_map(enums).collect(),
        Value::Array(list) => list.iter().flat_map(enums).collect(),
        _ => vec![],
    }
}

/// The audit samples are a real chain.
#[test]
fn audit_samples_verify() {
    let entries: Vec<audit::AuditEntry> =
        samples("atio.audit-entry").iter().map(|f| serde_json::from_value(json(f)).unwrap()).collect();
    let head = audit::verify(audit::ChainHead::default(), &entries).unwrap();
    assert_eq!(head.sequence, 2);
}

/// Ids of the test's own: one schema for each id, from 1.
struct Ids(Vec<Arc<Schema>>);
impl Ids {
    fn of(texts: &[&str]) -> Codec {
        Codec::new(Arc::new(Self(texts.iter().map(|t| Arc::new(Schema::parse_str(t).unwrap())).collect())))
    }
}
impl SchemaIds for Ids {
    fn id_of(&self, _: &str) -> Option<i32> {
        Some(1)
    }
    fn schema_of(&self, id: i32) -> Option<Arc<Schema>> {
        self.0.get(usize::try_from(id).ok()? - 1).cloned()
    }
}

fn applied() -> state::Applied {
    serde_json::from_value(json(&samples("atio.applied")[0])).unwrap()
}

#[test]
fn other_versions_are_resolved() {
    // Another order, one field more, none less.
    let newer = r#"{"type":"record","name":"Applied","namespace":"io.atio","fields":[{"name":"at","type":{"type":"long",
        "logicalType":"timestamp-micros"}},{"name":"extra","type":["null","string"],"default":null},{"name":"offset","type":"int"},
        {"name":"service","type":"string"},{"name":"instance","type":"string"}]}"#;
    let mut wire = vec![0, 0, 0, 0, 1, 2, 2, 2, b'x', 34, 2, b's', 2, b'i'];
    let value: state::Applied = Ids::of(&[newer]).decode(&wire).unwrap();
    let expected = state::Applied {
        instance: "i".into(),
        service: "s".into(),
        offset: 17,
        at: atio_schemas::Timestamp(1),
    };
    assert_eq!(value, expected);
    wire.push(0);
    assert!(matches!(
        Ids::of(&[newer]).decode::<state::Applied>(&wire),
        Err(CodecError::DecodeFailed { .. })
    ));
    // Ours as another registry prints it: without docs and logical types, the same value.
    let ours = Schema::parse_str(<state::Applied as Record>::SCHEMA).unwrap().canonical_form();
    let written = codec().encode(&applied()).unwrap();
    let mut wire = vec![0, 0, 0, 0, 1];
    wire.extend_from_slice(&written[HEAD..]);
    assert_eq!(Ids::of(&[&ours]).decode::<state::Applied>(&wire).unwrap(), applied());
}

/// Whoever may register schemas must not be able to bring a reader down with one.
#[test]
fn dangerous_writers_schemas_are_refused() {
    let with = |field: &str| {
        format!(
            r#"{{"type":"record","name":"Applied","namespace":"io.atio","fields":[{{"name":"x","type":{field}}}]}}"#
        )
    };
    let recursive =
        with(r#"["null",{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}]"#);
    let nulls = with(r#"{"type":"array","items":{"type":"array","items":"null"}}"#);
    let empty = with(
        r#"{"type":"array","items":{"type":"record","name":"E","fields":[{"name":"n","type":"null"}]}}"#,
    );
    for schema in [recursive, nulls, empty] {
        let mut wire = vec![0, 0, 0, 0, 1];
        wire.resize(1 << 20, 2);
        let error = Ids::of(&[&schema]).decode::<state::Applied>(&wire).unwrap_err();
        assert_eq!(error.code(), Code::WrongSchema, "{error}");
    }
}

#[test]
fn each_refusal_has_its_code() {
    let code = |bytes: &[u8]| codec().decode::<state::Applied>(bytes).unwrap_err().code();
    let wire = codec().encode(&applied()).unwrap();
    assert_eq!(code(b""), Code::NotAvro);
    assert_eq!(code(&wire[..4]), Code::NotAvro);
    assert_eq!(code(br#"{"instance":"x"}"#), Code::NotAvro);
    assert_eq!(code(&[0, 0, 0, 9, 9, 0]), Code::UnknownSchema);
    assert_eq!(code(&[0, 0xff, 0xff, 0xff, 0xff, 0]), Code::UnknownSchema);
    assert_eq!(code(&[0, 0, 0, 0, 1, 0]), Code::WrongSchema);
    assert_eq!(code(&wire[..wire.len() - 1]), Code::DecodeFailed);
    assert_eq!(code(&[&wire[..], &[0]].concat()), Code::DecodeFailed);
    let huge = state::StateEntry {
        store: "x".repeat(25 << 20),
        ..serde_json::from_value(json(&samples("atio.state-entry")[0])).unwrap()
    };
    assert_eq!(codec().encode(&huge).unwrap_err().code(), Code::TooLarge);
    assert_eq!(code(&vec![0; 25 << 20]), Code::TooLarge);
    struct NoIds;
    impl SchemaIds for NoIds {
        fn id_of(&self, _: &str) -> Option<i32> {
            None
        }
        fn schema_of(&self, _: i32) -> Option<Arc<Schema>> {
            None
        }
    }
    assert_eq!(Codec::new(Arc::new(NoIds)).encode(&applied()).unwrap_err().code(), Code::UnknownSchema);
}

fn decode_all(bytes: &[u8]) {
    fn decode<R: Record + PartialEq + Debug>(codec: &Codec, bytes: &[u8]) {
        let Some(id) = StaticIds::new().id_of(R::SUBJECT) else { return };
        let mut wire = vec![0];
        wire.extend_from_slice(&id.to_be_bytes());
        wire.extend_from_slice(bytes);
        // Either it reads and then writes, or it says why not.
        match codec.decode::<R>(&wire) {
            Ok(value) => drop(codec.encode(&value).unwrap()),
            Err(error) => assert_eq!(error.code(), Code::DecodeFailed),
        }
    }
    let codec = codec();
    for_every_type!(decode, &codec, bytes);
}

/// Lengths that promise more than there is end at once, whatever stands for the rest.
#[test]
fn length_bombs_are_refused() {
    let long = |n: i64| {
        let mut rest = (n << 1 ^ n >> 63).cast_unsigned();
        let mut bytes = vec![];
        while rest > 0x7f {
            bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
        bytes
    };
    let start = std::time::Instant::now();
    for n in [1 << 25, 1 << 40, 1 << 62, i64::MAX, i64::MIN, -1, -(1 << 40)] {
        // As the first field's length, and as a list's or a map's count.
        decode_all(&long(n));
        decode_all(&[long(n), vec![2; 100]].concat());
        let lists: &[(&str, &[u8])] =
            &[("atio.routed", &[]), ("atio.reference-row", &[0, 0]), ("atio.epoch", &[0, 0, 0, 0])];
        for (subject, before) in lists {
            let mut wire = vec![0];
            wire.extend_from_slice(&StaticIds::new().id_of(subject).unwrap().to_be_bytes());
            wire.extend_from_slice(before);
            wire.extend(long(n));
            let error = match *subject {
                "atio.routed" => codec().decode::<routed::Routed>(&wire).unwrap_err(),
                "atio.reference-row" => codec().decode::<reference::ReferenceRow>(&wire).unwrap_err(),
                _ => codec().decode::<state::Epoch>(&wire).unwrap_err(),
            };
            assert_eq!(error.code(), Code::DecodeFailed);
        }
    }
    assert!(start.elapsed().as_secs() < 20);
}

/// An empty text takes a byte on the wire and 24 in memory.
#[test]
fn lists_have_a_limit() {
    let mut routed: routed::Routed = serde_json::from_value(json(&samples("atio.routed")[0])).unwrap();
    routed.matches = vec![String::new(); 150_000];
    routed.detection.labels = vec!["x".repeat(10); 50_000 - 100];
    let wire = codec().encode(&routed).unwrap();
    assert_eq!(codec().decode::<routed::Routed>(&wire).unwrap(), routed);
    routed.detection.labels.extend(vec![String::new(); 200]);
    let wire = codec().encode(&routed).unwrap();
    assert_eq!(codec().decode::<routed::Routed>(&wire).unwrap_err().code(), Code::TooMany);
    // In an older version, in blocks with their length, in a map.
    let older = r#"{"type":"record","name":"Applied","namespace":"io.atio","fields":[{"name":"m","type":{"type":"map","values":
        {"type":"array","items":"boolean"}}},{"name":"instance","type":"string"},{"name":"service","type":"string"},
        {"name":"offset","type":"long"},{"name":"at","type":"long"}]}"#;
    let block = [&[9_u8, 10][..], &[1; 5], &[0]].concat();
    let mut wire = vec![0, 0, 0, 0, 1, 2, 2, b'k'];
    let end = [0, 0, 2, b'i', 2, b's', 2, 2];
    (0..30_000).for_each(|_| wire.extend_from_slice(&block[..7]));
    assert!(Ids::of(&[older]).decode::<state::Applied>(&[&wire[..], &end].concat()).is_ok());
    (0..20_000).for_each(|_| wire.extend_from_slice(&block[..7]));
    let error = Ids::of(&[older]).decode::<state::Applied>(&[&wire[..], &end].concat()).unwrap_err();
    assert_eq!(error.code(), Code::TooMany);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
        let error = codec().decode::<Detection>(&bytes).unwrap_err();
        prop_assert!(matches!(error.code(), Code::NotAvro | Code::UnknownSchema | Code::WrongSchema | Code::DecodeFailed));
    }

    #[test]
    fn damaged_records_never_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        fn check<R: Record>(codec: &Codec, place: &prop::sample::Index, byte: u8, cut: &prop::sample::Index) {
            let value: R = serde_json::from_value(json(&samples(R::SUBJECT)[0])).unwrap();
            let mut wire = codec.encode(&value).unwrap();
            let cut = codec.decode::<R>(&wire[..HEAD + cut.index(wire.len() - HEAD)]);
            let at = HEAD + place.index(wire.len() - HEAD);
            wire[at] = byte;
            drop(codec.decode::<R>(&wire));
            assert!(cut.is_err(), "{}: a cut record was read", R::SUBJECT);
        }
        for_every_type!(check, &codec(), &place, byte, &cut);
    }

    #[test]
    fn base64_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        use atio_schemas::codec::bytes::{decode, encode};
        prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
    }
}

#[test]
fn base64_as_the_standard_says() {
    use atio_schemas::codec::bytes::{decode, encode};
    // RFC 4648 §10.
    for (text, coded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
    ] {
        assert_eq!(encode(text.as_bytes()), coded);
        assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()));
    }
    for bad in ["Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm9v!A==", "Zm\u{e9}v"] {
        assert_eq!(decode(bad), None, "{bad}");
    }
}

/// The library itself ends in a panic here; found by the registry's property test.
#[test]
fn a_schema_with_a_number_out_of_range_is_refused() {
    let fixed = r#"{"type":"fixed","name":"F","size":18446744073709551615}"#;
    let text =
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{fixed},"default":5}}]}}"#);
    assert!(atio_schemas::codec::parse_schema(&text).is_err());
    assert!(atio_schemas::codec::parse_schema("\"string\"").is_ok());
}

#[path = "codec/position.rs"]
mod position;
