//! Real requests of every key and version, mutated, through the fuzzers' way in. `ATIO_FUZZ_CORPUS=DIR` also writes the
//! unmutated ones there, for a fuzzer to start from.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::api::APIS;
use crate::api::shape::tests::filled;

/// One frame, without its length.
fn sample(index: usize, version: i16) -> Vec<u8> {
    let api = &APIS[index];
    let mut out = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(api.key as i16)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("fuzz")));
    header.encode(&mut out, api.key.request_header_version(version)).unwrap();
    out.put_slice(&filled(api.key, version));
    out.to_vec()
}

fn samples() -> Vec<Vec<u8>> {
    let versions = APIS.iter().enumerate().flat_map(|(n, api)| (api.min..=api.max).map(move |v| (n, v)));
    versions.map(|(n, version)| sample(n, version)).collect()
}

#[test]
fn real_requests_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = Target::new(dir.path()).unwrap();
    let corpus = std::env::var_os("ATIO_FUZZ_CORPUS").map(std::path::PathBuf::from);
    for (n, frame) in samples().iter().enumerate() {
        if let Some(corpus) = &corpus {
            std::fs::create_dir_all(corpus).unwrap();
            std::fs::write(corpus.join(format!("sample-{n}")), frame).unwrap();
        }
        let handled = target.frame(frame);
        assert!(matches!(handled, Handled::Answered(_) | Handled::Nothing), "{n}: {handled:?}");
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Set(usize, u8),
    Flip(usize, u8),
    /// A length or count that lies.
    Number(usize, i32),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Double(usize, usize),
    Version(i16),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0usize..600;
    let odd = prop_oneof![Just(-1), Just(i32::MAX), Just(i32::MIN), Just(0), 1i32..70_000];
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(a, b)| Edit::Set(a, b)),
        (at.clone(), 0u8..8).prop_map(|(a, b)| Edit::Flip(a, b)),
        (at.clone(), odd).prop_map(|(a, n)| Edit::Number(a, n)),
        at.clone().prop_map(Edit::Cut),
        (at.clone(), proptest::collection::vec(any::<u8>(), 1..20)).prop_map(|(a, b)| Edit::Insert(a, b)),
        (at.clone(), at).prop_map(|(a, b)| Edit::Double(a, b)),
        (-2i16..20).prop_map(Edit::Version),
    ]
}

fn apply(frame: &mut Vec<u8>, edit: &Edit) {
    let size = frame.len().max(1);
    match edit {
        Edit::Set(at, to) => {
            if let Some(byte) = frame.get_mut(at % size) {
                *byte = *to;
            }
        }
        Edit::Flip(at, bit) => {
            if let Some(byte) = frame.get_mut(at % size) {
                *byte ^= 1 << bit;
            }
        }
        Edit::Number(at, to) => {
            let at = at % size;
            if let Some(four) = frame.get_mut(at..at + 4) {
                four.copy_from_slice(&to.to_be_bytes());
            }
        }
        Edit::Cut(at) => frame.truncate(at % size),
        Edit::Insert(at, bytes) => {
            let at = at % size;
            frame.splice(at.min(frame.len())..at.min(frame.len()), bytes.iter().copied());
        }
        Edit::Double(from, to) => {
            let (from, to) = ((from % size).min(to % size), (from % size).max(to % size));
            let part = frame.get(from..to).unwrap_or_default().to_vec();
            frame.splice(from.min(frame.len())..from.min(frame.len()), part);
        }
        Edit::Version(version) => {
            if let Some(two) = frame.get_mut(2..4) {
                two.copy_from_slice(&version.to_be_bytes());
            }
        }
    }
}

/// Refused or answered, whatever comes; no panic, no broken answer. One broker meets all of it.
#[test]
fn mutated_requests_are_refused_or_answered() {
    let dir = tempfile::tempdir().unwrap();
    let target = std::sync::Mutex::new(Target::new(dir.path()).unwrap());
    let all = samples();
    let cases = ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() };
    let (mut taken, mut refused) = (0u32, 0u32);
    let counts = std::sync::Mutex::new((&mut taken, &mut refused));
    proptest!(cases, |(which in any::<prop::sample::Index>(), edits in proptest::collection::vec(edit(), 1..5))| {
        let mut frame = which.get(&all).clone();
        edits.iter().for_each(|e| apply(&mut frame, e));
        let handled = target.lock().unwrap_or_else(|e| e.into_inner()).frame(&frame);
        let mut counts = counts.lock().unwrap();
        match handled {
            Handled::Wrong(what) => prop_assert!(false, "{what}"),
            Handled::Refused(_) => *counts.1 += 1,
            Handled::Answered(_) | Handled::Nothing => *counts.0 += 1,
        }
    });
    assert!(
        taken > 300 && refused > 300,
        "mutations are too mild or too wild: {taken} taken, {refused} refused"
    );
}
