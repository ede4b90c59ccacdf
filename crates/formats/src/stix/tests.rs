//! STIX in: what is kept, what is refused and why.
use super::*;
use atio_schemas::Timestamp;

fn read(text: &str) -> Findings<'_> {
    let mut out = Findings::default();
    Stix.read(text.as_bytes(), &ReadCx::new(Timestamp(0)), &mut out);
    out
}

const IP: &str =
    r#"{"type":"ipv4-addr","id":"ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd","value":"198.51.100.3"}"#;

#[test]
fn a_bundle_keeps_its_objects_bytes() {
    let text = format!(
        r#"{{"type":"bundle","id":"bundle--8b2f0a3c-2f0c-4d3a-9f3e-6a1f4f0b7c11","objects":[{IP}, {{"type":"malware"}} ]}}"#
    );
    let found = read(&text);
    assert_eq!(found.rejected.len(), 1);
    assert_eq!(found.rejected[0].code, Code::InvalidStix);
    let at = usize::try_from(found.rejected[0].offset).unwrap();
    assert!(text[at..].starts_with(r#"{"type":"malware"}"#));
    let Body::Stix(input) = &found.found[0].body else { panic!("not STIX") };
    assert_eq!(input.objects, [IP.as_bytes()]);
    assert!(input.bundle_id.as_deref().is_some_and(|id| id.starts_with("bundle--8b2f")));
}

#[test]
fn single_objects_and_envelopes() {
    assert_eq!(read(IP).found.len(), 1);
    assert_eq!(read(&format!(r#"{{"more":false,"objects":[{IP}]}}"#)).found.len(), 1);
    let empty = read(r#"{"type":"bundle","id":"bundle--8b2f0a3c-2f0c-4d3a-9f3e-6a1f4f0b7c11"}"#);
    assert!(empty.found.is_empty() && empty.rejected.is_empty() && empty.notices.len() == 1);
}

#[test]
fn refuses_with_a_reason() {
    for (text, code) in [
        (
            r#"{"type":"identity","id":"identity--12345678-90ab-cdef-1234-567890abcdef","spec_version":"2.1","name":"x"}"#,
            Code::InvalidStix,
        ),
        (r#"{"type":"indicator","id":"ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd"}"#, Code::InvalidStix),
        (
            r#"{"type":"identity","id":"identity--ff26c055-6336-4bc5-b98d-13d6226742dd","created":"2020-01-01T00:00:00Z","modified":"2020-01-01T00:00:00Z","name":"x"}"#,
            Code::NotYetSupported,
        ),
        (
            r#"{"type":"identity","id":"identity--ff26c055-6336-4bc5-b98d-13d6226742dd","spec_version":"2.1","created":"2020-01-02T00:00:00Z","modified":"2020-01-01T00:00:00Z","name":"x"}"#,
            Code::InvalidStix,
        ),
        (
            r#"{"type":"identity","id":"identity--ff26c055-6336-4bc5-b98d-13d6226742dd","spec_version":"2.1","created":"yesterday","modified":"2020-01-01T00:00:00Z","name":"x"}"#,
            Code::InvalidStix,
        ),
        (r#"{"type":"ipv4-addr","id":"ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd"}"#, Code::InvalidStix),
        (
            r#"{"type":"ipv4-addr","id":"ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd","value":"198.51.100.3","belongs_to_refs":["x"]}"#,
            Code::InvalidStix,
        ),
        (
            r#"{"type":"artifact","id":"artifact--ff26c055-6336-5bc5-b98d-13d6226742dd","payload_bin":"not base64"}"#,
            Code::InvalidStix,
        ),
        (
            r#"{"type":"file","id":"file--ff26c055-6336-5bc5-b98d-13d6226742dd","name":"a","hashes":{"MD5":"12"}}"#,
            Code::InvalidStix,
        ),
        (
            r#"{"type":"software","id":"software--ff26c055-6336-5bc5-b98d-13d6226742dd","name":"a","languages":["en","Python"]}"#,
            Code::InvalidStix,
        ),
        (
            r#"{"type":"windows-registry-key","id":"windows-registry-key--ff26c055-6336-5bc5-b98d-13d6226742dd","key":"HKLM\\a"}"#,
            Code::InvalidStix,
        ),
        (r#"{"type":"bundle","spec_version":"2.0","objects":[]}"#, Code::NotYetSupported),
        (r#"{"objects":3}"#, Code::InvalidStix),
        (r#"{"a":1}"#, Code::InvalidStix),
        (r#"{"type":"bundle","objects":[{"type":"#, Code::Truncated),
    ] {
        let found = read(text);
        assert!(found.found.is_empty(), "{text}");
        assert_eq!(found.rejected[0].code, code, "{text}");
    }
}
