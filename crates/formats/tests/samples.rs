//! Each of our own samples, read by the reader of its folder, against the snapshot beside it; and the same files through detection.
#![allow(clippy::expect_used)]
use atio_formats::{ReadCx, detect, format, read};
use atio_schemas::Timestamp;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn samples() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut out = Vec::new();
    for format in atio_formats::FORMATS {
        for entry in std::fs::read_dir(root.join(format.name)).expect("each format has samples") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension != "snap" && extension != "new") {
                out.push((format.name.to_owned(), path));
            }
        }
    }
    out.sort();
    out
}

fn cx() -> ReadCx {
    ReadCx::new(Timestamp::parse("2026-04-01T00:00:00Z").expect("a time"))
}

/// Without what is absent, so that a snapshot shows what was read.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept =
                map.into_iter().map(|(key, value)| (key, pruned(value))).filter(|(_, value)| !blank(value));
            Value::Object(kept.collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(pruned).collect()),
        other => other,
    }
}

fn blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[test]
fn snapshots() {
    let samples = samples();
    assert!(samples.len() >= 15, "{} samples", samples.len());
    for (name, path) in samples {
        let raw = std::fs::read(&path).expect("readable");
        let findings = read(&raw, format(&name).expect("a format"), &cx());
        let value = pruned(serde_json::to_value(&findings).expect("serializable"));
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().expect("a folder"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        settings.bind(|| insta::assert_json_snapshot!(file, value));
    }
}

#[test]
fn detection_finds_the_folders_format() {
    for (name, path) in samples() {
        let raw = std::fs::read(&path).expect("readable");
        assert_eq!(detect(&raw, None).map(|format| format.name), Ok(name.as_str()), "{}", path.display());
    }
}
