//! Each sample of the formats → detections, beside a snapshot; and what holds for the bundles of all of them.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod support;

use atio_normalization::offline::{FileRef, Options, closed_bundle, normalize};
use atio_schemas::{Detection, Timestamp};
use atio_stage::Reject;
use atio_stix::canon::{is_sco, prescribed_id};
use serde_json::{Map, Value, json};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const NOW: Timestamp = Timestamp(1_767_323_045_000_000);

/// Every sample, as format and path.
fn samples() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/formats/samples");
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).expect("a directory of samples");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    };
    let mut found = vec![];
    for dir in list(&root).into_iter().filter(|path| path.is_dir()) {
        let format = dir.file_name().expect("a name").to_string_lossy().into_owned();
        let files = list(&dir).into_iter().filter(|path| path.extension().is_none_or(|ext| ext != "snap"));
        found.extend(files.map(|path| (format.clone(), path)));
    }
    assert!(found.len() >= 10, "samples of several formats, found {}", found.len());
    found
}

fn read(format: &str, bytes: &[u8]) -> Vec<Result<Detection, Reject>> {
    let sha256 = atio_stix::ids::hex(&sha2::Sha256::digest(bytes));
    let options = Options { format: Some(format.to_owned()), ..Options::new(NOW) };
    normalize(bytes, &FileRef { name: "sample", sha256: &sha256 }, &options)
}

#[test]
fn samples_become_the_detections_of_their_snapshots() {
    for (format, path) in samples() {
        let bytes = std::fs::read(&path).expect("a sample");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let results = read(&format, &bytes);
        let shown: Vec<Value> = results.iter().map(show).collect();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_json_snapshot!(format!("{format}__{name}"), shown));
    }
}

/// A detection without its unknown columns; a reject by what is said of it.
fn show(result: &Result<Detection, Reject>) -> Value {
    match result {
        Ok(detection) => {
            let mut value = serde_json::to_value(detection).expect("a detection is JSON");
            let columns = value.as_object_mut().expect("an object");
            columns.retain(|_, v| !v.is_null() && *v != json!([]));
            value
        }
        Err(reject) => {
            let place = reject
                .part
                .as_ref()
                .map(|part| json!({"bytes": part.bytes.len(), "offset": part.offset, "line": part.line}));
            json!({"rejected": reject.code, "message": reject.message, "part": place})
        }
    }
}

fn detections() -> Vec<Detection> {
    detections_of(|_| true)
}

fn detections_of(wanted: impl Fn(&str) -> bool) -> Vec<Detection> {
    let chosen = samples()
        .into_iter()
        .filter(|(_, path)| path.file_name().is_some_and(|n| wanted(&n.to_string_lossy())));
    let read = |(format, path): (String, PathBuf)| read(&format, &std::fs::read(path).expect("a sample"));
    chosen.flat_map(read).filter_map(Result::ok).collect()
}

fn objects(bundle: &[u8]) -> Vec<Map<String, Value>> {
    atio_stix::bundle::parse(bundle).expect("a bundle")
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for (format, path) in samples() {
        let bytes = std::fs::read(&path).expect("a sample");
        let (first, second) = (read(&format, &bytes), read(&format, &bytes));
        assert_eq!(first, second, "{}", path.display());
        let ids: Vec<_> = first.iter().flatten().map(|d| &d.event_id).collect();
        let distinct: BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "event ids of {} are its events' own", path.display());
    }
}

#[test]
fn closed_bundles_are_self_contained_lines_with_prescribed_sco_ids() {
    let mut scos = 0;
    for d in detections() {
        let closed = closed_bundle(&d).expect("a bundle");
        assert!(!closed.contains(&b'\n'), "one line");
        let objects = objects(&closed);
        let ids: BTreeSet<&str> = objects.iter().filter_map(|o| o["id"].as_str()).collect();
        let foreign = d.kind == atio_schemas::detection::Kind::Intelligence;
        for object in &objects {
            if !foreign && is_sco(object["type"].as_str().expect("a type")) {
                scos += 1;
                let expected = prescribed_id(object).map(|id| id.to_text());
                assert_eq!(object["id"].as_str(), expected.as_deref());
            }
            for reference in references(object).filter(|_| !foreign) {
                assert!(ids.contains(reference), "{} → {reference}", object["id"]);
            }
        }
    }
    assert!(scos > 50, "{scos} SCOs");
}

fn references(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let one = object.iter().filter(|(key, _)| key.ends_with("_ref")).filter_map(|(_, v)| v.as_str());
    let many = object.iter().filter(|(key, _)| key.ends_with("_refs")).filter_map(|(_, v)| v.as_array());
    one.chain(many.flatten().filter_map(Value::as_str))
}

/// STIX 2.1 §3.6: the same id and modified is the same content, whichever event it came with. Samples that are broken parts of others
/// aside: the same finding at the same time, from another file, has another raw_ref.
#[test]
fn one_version_has_one_content() {
    let mut versions: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
    for d in detections_of(|name| !name.starts_with("broken") && !name.starts_with("truncated")) {
        for object in objects(&d.bundle) {
            let Some(modified) = object.get("modified").and_then(Value::as_str) else { continue };
            let id = object["id"].as_str().expect("an id").to_owned();
            let content = serde_json::to_string(&object).expect("JSON");
            let known = versions
                .entry((id.clone(), modified.to_owned()))
                .or_insert((content.clone(), d.event_id.clone()));
            assert_eq!(known.0, content, "{id} of {} and {}", known.1, d.event_id);
        }
    }
    assert!(versions.len() > 20);
}

#[test]
fn lean_bundles_hold_no_constants() {
    for d in detections().iter().filter(|d| d.kind != atio_schemas::detection::Kind::Intelligence) {
        for object in objects(&d.bundle) {
            let constant =
                matches!(object["type"].as_str(), Some("marking-definition" | "extension-definition"));
            assert!(!constant && object["id"] != atio_stix::constants::IDENTITY_ID);
        }
    }
}
