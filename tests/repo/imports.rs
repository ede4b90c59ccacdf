//! Who may import whom (`[dependencies]` only), as a table.
use crate::support::root;
use libtest_mimic::Failed;
use std::{collections::BTreeMap, fs, path::Path};

/// Each crate of ours with the crates of ours that it may name. `*` = every crate that is no service.
const ALLOWED: &[(&str, &[&str])] = &[
    ("atio", &["*", "services", "broker"]),
    ("atio-broker", &[]),
    ("atio-formats", &["schemas", "stix"]),
    ("atio-metric", &[]),
    ("atio-runtime", &["metric", "schemas", "stage", "stream", "topics"]),
    ("atio-schemas", &[]),
    ("atio-stage", &["schemas"]),
    ("atio-stix", &["schemas"]),
    ("atio-stream", &["metric", "schemas", "stage", "topics"]),
    ("atio-topics", &["schemas"]),
    ("atio-vrl", &["schemas"]),
    ("atio-workflow", &["formats", "schemas", "stage", "stix", "topics", "vrl"]),
];

/// Libraries that one crate alone names: changing one stays a change of one crate.
const OWNED: &[(&str, &[&str])] = &[
    ("axum", &["crates/runtime"]),
    ("kafka-protocol", &["crates/broker"]),
    ("prometheus", &["crates/metric"]),
    ("rdkafka", &["crates/stream"]),
    ("reqwest", &["crates/runtime"]),
    ("rustls", &["crates/runtime"]),
    ("schema_registry_converter", &["crates/runtime"]),
    ("vrl", &["crates/vrl"]),
];

/// Folder → (package name, names under `[dependencies]`).
fn manifests() -> BTreeMap<String, (String, Vec<String>)> {
    let mut found = BTreeMap::new();
    for group in ["", "crates", "services"] {
        for entry in fs::read_dir(root().join(group)).expect("a folder").flatten() {
            let Ok(text) = fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
            if let Some(read) = manifest(&text) {
                let folder = Path::new(group).join(entry.file_name());
                found.insert(folder.to_string_lossy().into_owned(), read);
            }
        }
    }
    found
}

fn manifest(text: &str) -> Option<(String, Vec<String>)> {
    let mut section = "";
    let (mut name, mut dependencies) = (None, vec![]);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if section == "[package]" && key == "name" {
            name = line.split('"').nth(1).map(str::to_owned);
        } else if section == "[dependencies]" && !key.is_empty() && !key.starts_with('#') {
            dependencies.push(key.to_owned());
        }
    }
    name.map(|n| (n, dependencies))
}

pub fn one_way() -> Result<(), Failed> {
    let all = manifests();
    assert!(all.len() > 10, "manifests are found: {all:?}");
    let mut wrong = vec![];
    for (folder, (package, dependencies)) in &all {
        let service = folder.starts_with("services/");
        let row = ALLOWED.iter().find(|(name, _)| name == package).map(|(_, allowed)| *allowed);
        let allowed = match row {
            Some(row) => row,
            None if service => &["*"][..],
            None => return Err(format!("{package} has no row in the table of imports").into()),
        };
        for dependency in dependencies.iter().filter_map(|d| d.strip_prefix("atio-")) {
            let is_service = all.contains_key(&format!("services/{dependency}"));
            let is_broker = dependency == "broker";
            let named = allowed.contains(&dependency) || (is_service && allowed.contains(&"services"));
            let any = allowed.contains(&"*") && !is_service && !is_broker;
            if !named && !any {
                wrong.push(format!("{package} imports {dependency}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

pub fn named_by_one() -> Result<(), Failed> {
    let mut wrong = vec![];
    for (folder, (package, dependencies)) in manifests() {
        for (library, owners) in OWNED {
            if dependencies.iter().any(|d| d == library) && !owners.contains(&folder.as_str()) {
                wrong.push(format!("{package} names {library}, which belongs to {owners:?}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
