//! Sizes and habits of files.
use crate::support::root;
use libtest_mimic::Failed;
use std::{fs, path::PathBuf, process::Command};

const MAX_LINES: usize = 500;

/// What git tracks, or would: text files by their ending.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git");
    let names = String::from_utf8(listed.stdout).expect("names");
    let wanted = names.lines().filter(|n| endings.iter().any(|e| n.ends_with(e)));
    wanted.map(|n| root().join(n)).filter(|p| p.is_file()).collect()
}

fn report(wrong: Vec<String>) -> Result<(), Failed> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

pub fn small_files() -> Result<(), Failed> {
    let all = files(&[".rs"]);
    assert!(all.len() > 30, "sources are found");
    let lines = |p: &PathBuf| fs::read_to_string(p).expect("text").lines().count();
    report(
        all.iter()
            .map(|p| (p, lines(p)))
            .filter(|(_, n)| *n > MAX_LINES)
            .map(|(p, n)| format!("{}: {n} lines", p.display()))
            .collect(),
    )
}

pub fn heads() -> Result<(), Failed> {
    let all = files(&[".rs"]);
    let headed = |p: &PathBuf| fs::read_to_string(p).expect("text").starts_with("//!");
    report(all.iter().filter(|p| !headed(p)).map(|p| format!("{}: no head (`//!`)", p.display())).collect())
}

/// Paths of somebody's machine and hosts of package registries have no place in the project.
pub fn no_machine_paths() -> Result<(), Failed> {
    // Spelled in halves, so that this file does not find itself.
    let banned = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/home", "/user"],
        ["crates", ".io/api"],
        ["pypi", ".org"],
        ["registry.npmjs", ".org"],
        ["repo1.maven", ".org"],
    ];
    let mut wrong = vec![];
    for path in files(&[
        ".rs",
        ".md",
        ".toml",
        ".yaml",
        ".yml",
        ".sh",
        ".py",
        ".json",
        ".xml",
        ".txt",
        ".ci/run",
        "Dockerfile",
    ]) {
        let text = String::from_utf8_lossy(&fs::read(&path).expect("readable")).into_owned();
        for [a, b] in banned {
            if text.contains(&format!("{a}{b}")) {
                wrong.push(format!("{}: {a}{b}", path.display()));
            }
        }
    }
    report(wrong)
}
