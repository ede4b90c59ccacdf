//! Records are written and read by position: against the general encoder of the library.
use super::*;

/// Written and read by position, a record is what the general encoder of the library makes of it; each column also by itself empty.
#[test]
fn the_bytes_are_the_general_encoders() {
    fn check<R: Record + PartialEq + Debug>() {
        let schema = Schema::parse_str(R::SCHEMA).unwrap();
        let general = apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
            .human_readable(false)
            .build()
            .unwrap();
        let mut compared = 0;
        for sample in samples(R::SUBJECT) {
            let Value::Object(full) = json(&sample) else { panic!("an object") };
            let emptied = full.keys().map(|name| {
                let mut without = full.clone();
                let empty = match &full[name] {
                    Value::Array(_) => serde_json::json!([]),
                    Value::Object(_) => serde_json::json!({}),
                    _ => Value::Null,
                };
                without.insert(name.clone(), empty);
                without
            });
            for object in std::iter::once(full.clone()).chain(emptied) {
                let Ok(record) = serde_json::from_value::<R>(Value::Object(object)) else { continue };
                let mut expected = vec![];
                general.write_ser(&mut expected, &record).unwrap();
                let wire = codec().encode(&record).unwrap();
                assert_eq!(wire[HEAD..], expected, "{}", R::SUBJECT);
                assert_eq!(codec().decode::<R>(&wire).unwrap(), record, "{}", R::SUBJECT);
                compared += 1;
            }
        }
        assert!(compared >= 2, "{}", R::SUBJECT);
    }
    for_every_type!(check);
}

#[test]
fn every_value_of_the_enums_and_long_numbers() {
    use detection::{AssetResolvedBy, Criticality, Decision, Disposition, Exposure, Kind, Status, Tlp, Zone};
    let schema = Schema::parse_str(Detection::SCHEMA).unwrap();
    let general = apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
        .human_readable(false)
        .build()
        .unwrap();
    for index in 0..8 {
        let mut d = Detection::new("e".to_owned(), Kind::ALL[index % Kind::ALL.len()], "t", "s");
        d.tlp = Tlp::ALL[index % Tlp::ALL.len()];
        d.zone = Zone::ALL[index % Zone::ALL.len()];
        d.status = Status::ALL.get(index).copied();
        d.decision = Decision::ALL.get(index).copied();
        d.disposition = Disposition::ALL.get(index).copied();
        d.criticality = Criticality::ALL.get(index).copied();
        d.exposure = Exposure::ALL.get(index).copied();
        d.asset_resolved_by = AssetResolvedBy::ALL.get(index).copied();
        d.count = Some([0, -1, 63, 64, -65, i64::MAX, i64::MIN, 1 << 40][index]);
        d.severity_id = Some([0, -1, 63, 64, -65, i32::MAX, i32::MIN, 1 << 20][index]);
        let mut expected = vec![];
        general.write_ser(&mut expected, &d).unwrap();
        let wire = codec().encode(&d).unwrap();
        assert_eq!(wire[HEAD..], expected);
        assert_eq!(codec().decode::<Detection>(&wire).unwrap(), d);
    }
}

/// A list may come in several blocks, and a block may tell its length in bytes (Avro 1.12, "Arrays").
#[test]
fn lists_in_blocks_are_read() {
    let receipt = |lists: &[u8]| {
        let mut wire = codec().encode(&routed_of(vec![])).unwrap();
        wire.splice(HEAD..=HEAD, lists.iter().copied());
        codec().decode::<routed::Routed>(&wire)
    };
    // ["a", "b"] + ["c"]: two items, then one with its length (2 bytes), then the end.
    let blocks = [4, 2, b'a', 2, b'b', 1, 4, 2, b'c', 0];
    assert_eq!(receipt(&blocks).unwrap().matches, ["a", "b", "c"]);
    assert!(receipt(&blocks[..6]).is_err());
    assert_eq!(receipt(&[0]).unwrap().matches, Vec::<String>::new());
}

fn routed_of(matches: Vec<String>) -> routed::Routed {
    let detection = Detection::new("e".to_owned(), detection::Kind::Threat, "t", "s");
    routed::Routed { matches, detection }
}
