//! `atio validate` and `atio workflow schema` as people, editors and CI run them: places, exit codes, forms, bounds. No broker.
use crate::support::{atio, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{path::Path, time::Instant};

const HEAD: &str =
    "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\nmatch: {kind: threat}\n";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("pipeline::validate::places_and_codes", &[], places_and_codes),
        trial("pipeline::validate::hostile_files_are_bounded", &[], hostile_files_are_bounded),
        trial("pipeline::validate::schema", &[], schema),
    ]
}

/// Runs the program where the files lie: exit code and stdout.
fn run(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let output = atio().args(arguments).current_dir(dir).output().expect("the program runs");
    (output.status.code().expect("no signal"), String::from_utf8(output.stdout).expect("UTF-8"))
}

fn places_and_codes() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let bad = HEAD.replace("kind: threat", "kynd: threat") + "branches:\n  a:\n    - deliver: nowhere\n";
    std::fs::write(dir.path().join("bad.yaml"), bad)?;
    std::fs::write(dir.path().join("good.yaml"), format!("{HEAD}branches: {{a: [{{deliver: siem}}]}}\n"))?;
    let (code, text) = run(dir.path(), &["validate", "bad.yaml"]);
    assert_eq!(code, 5, "{text}");
    for line in [
        "bad.yaml:5:9: unknown column `kynd`",
        "  help: did you mean `kind`?",
        "bad.yaml:8:16: unknown sink `nowhere`",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    let (code, text) = run(dir.path(), &["validate", "--format", "json", "bad.yaml"]);
    let first: Value = serde_json::from_str(text.lines().next().expect("a line"))?;
    assert_eq!((code, &first["line"], &first["column"]), (5, &5.into(), &9.into()), "{first}");
    let (code, text) = run(dir.path(), &["validate", "--format", "sarif", "bad.yaml"]);
    let log: Value = serde_json::from_str(&text)?;
    let place = &log["runs"][0]["results"][1]["locations"][0]["physicalLocation"];
    assert_eq!(
        (code, &place["artifactLocation"]["uri"], &place["region"]["startLine"]),
        (5, &"bad.yaml".into(), &8.into())
    );
    let (code, text) = run(dir.path(), &["validate", "--format", "sarif", "good.yaml"]);
    let log: Value = serde_json::from_str(&text)?;
    assert_eq!((code, log["runs"][0]["results"].as_array().map(Vec::len)), (0, Some(0)), "{log}");
    assert_eq!(run(dir.path(), &["validate", "good.yaml"]), (0, String::new()));
    assert_eq!(run(dir.path(), &["validate", "none.yaml"]).0, 1);
    Ok(())
}

/// Aliases that blow up, brackets without end, 10 MB: each is refused with its place, soon.
fn hostile_files_are_bounded() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut bomb = format!("{HEAD}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    let started = Instant::now();
    for (name, text, told) in [
        ("bomb.yaml", bomb, "more than 50000 values"),
        ("deep.yaml", format!("{HEAD}branches: {}", "[".repeat(100_000)), "deep.yaml:6:"),
        ("long.yaml", format!("{HEAD}# {}", "x".repeat(10 << 20)), "long.yaml:1:1: "),
        ("twice.yaml", format!("{HEAD}on: detection\n"), "twice.yaml:6:1: `on` stands here twice"),
        ("two.yaml", format!("{HEAD}---\na: b\n"), "two.yaml:6:1: a second document"),
    ] {
        std::fs::write(dir.path().join(name), text)?;
        let (code, text) = run(dir.path(), &["validate", name]);
        assert!(code == 5 && text.contains(told) && text.contains("\n  help: "), "{name}: {code} {text}");
    }
    // Far above what it takes on a busy machine; without bounds the first alone would not end.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    Ok(())
}

fn schema() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let (code, text) = run(dir.path(), &["workflow", "schema"]);
    let schema: Value = serde_json::from_str(&text)?;
    assert_eq!((code, &schema["properties"]["kind"]["const"]), (0, &"Workflow".into()));
    assert_eq!(text, include_str!("../../schemas/workflow.schema.json"), "the committed one");
    Ok(())
}
