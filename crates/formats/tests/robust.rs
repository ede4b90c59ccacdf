//! No bytes make a reader panic, and nothing that was sent vanishes: values and rejects account for it.
#![allow(clippy::expect_used)]
use atio_formats::finding::{Body, Findings};
use atio_formats::{FORMATS, ReadCx, detect, format, read};
use atio_schemas::Timestamp;
use proptest::prelude::*;
use std::path::Path;

fn cx() -> ReadCx {
    ReadCx::new(Timestamp(0))
}

fn samples() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut out = Vec::new();
    for format in FORMATS {
        for entry in std::fs::read_dir(root.join(format.name)).expect("samples") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension != "snap") {
                out.push(std::fs::read(path).expect("readable"));
            }
        }
    }
    out
}

/// Every part lies within the input, at the place that it says.
fn check_places(raw: &[u8], findings: &Findings<'_>) {
    let parts = findings
        .found
        .iter()
        .map(|f| (f.raw, f.offset))
        .chain(findings.rejected.iter().map(|r| (r.raw, r.offset)));
    for (part, offset) in parts {
        let at = usize::try_from(offset).expect("a place");
        assert_eq!(raw.get(at..at + part.len()), Some(part));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        for format in FORMATS {
            check_places(&raw, &read(&raw, format, &cx()));
        }
        prop_assert!(detect(&raw, None).map_or_else(|error| !error.to_string().is_empty(), |format| FORMATS.iter().any(|f| f.name == format.name)));
    }

    #[test]
    fn mutated_samples(seed in any::<prop::sample::Index>(), cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..12)) {
        let samples = samples();
        let mut raw = seed.get(&samples).clone();
        for (place, byte, kind) in cuts {
            if raw.is_empty() {
                break;
            }
            let at = place.index(raw.len());
            match kind {
                0 => raw[at] = byte,
                1 => raw.truncate(at),
                2 => raw.insert(at, byte),
                _ => { raw.remove(at); }
            }
        }
        for format in FORMATS {
            let findings = read(&raw, format, &cx());
            check_places(&raw, &findings);
        }
    }

    /// One value or one reject a line, whatever stands beside it.
    #[test]
    fn every_line_is_accounted_for(lines in proptest::collection::vec(prop_oneof![
        Just(r#"{"event_type":"dns","timestamp":"2026-03-02T09:00:00.000000+0000"}"#),
        Just(r#"{"event_type":"alert","alert":{"signature_id":1,"signature":"a \"{[\" b"}}"#),
        Just(r#"{"no":"type"}"#),
        Just(r#"{"event_type":"cut","#),
        Just(r#"{"event_type":"cut in a string"#),
        Just(r#"{"event_type":"cut","a":{"b":[1,"#),
        Just("garbage"),
        Just("<xml/>"),
        Just(""),
        Just("   "),
    ], 1..40), crlf in any::<bool>()) {
        let raw = lines.join(if crlf { "\r\n" } else { "\n" });
        let expected = lines.iter().filter(|line| !line.trim().is_empty()).count();
        let findings = read(raw.as_bytes(), format("suricata").expect("a format"), &cx());
        // A wholly blank input is one reject of its own.
        prop_assert_eq!(findings.found.len() + findings.rejected.len(), expected.max(1));
        let good = lines.iter().filter(|line| line.starts_with(r#"{"event_type":"dns""#) || line.starts_with(r#"{"event_type":"alert""#)).count();
        prop_assert_eq!(findings.found.len(), good);
    }

    /// Each row of a CSV is a result or a reject.
    #[test]
    fn every_row_is_accounted_for(rows in proptest::collection::vec(prop_oneof![
        Just("192.0.2.1,1.2,name,High"),
        Just("192.0.2.1,1.2,\"a, \"\"b\"\"\nc\",Log"),
        Just("192.0.2.1,1.2"),
        Just("192.0.2.1,,,"),
    ], 0..30)) {
        let raw = format!("IP,NVT OID,NVT Name,Severity\n{}\n", rows.join("\n"));
        let findings = read(raw.as_bytes(), format("openvas-csv").expect("a format"), &cx());
        let results = findings.found.iter().filter(|f| matches!(f.body, Body::Result(_))).count();
        prop_assert_eq!(results + findings.rejected.len(), rows.len());
    }
}
