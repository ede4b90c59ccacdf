//! The embedded broker under kafka-check, a client that asks hard questions and that Apache Kafka passes.
use crate::support::{Broker, Child, Deadline, Need, On, root, trial};
use libtest_mimic::{Failed, Trial};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The questions of `all`; group848 (KIP-848) is the one that the broker does not claim.
const ALL: usize = 15;
const NOT_CLAIMED: &str = "group848";

pub fn trials() -> Vec<Trial> {
    vec![trial("conformance::broker_check", &[Need::KafkaCheck], broker_check)]
}

fn broker_check() -> Result<(), Failed> {
    let check = built()?;
    let mut broker = Broker::start(On::Embedded);
    let kafka = broker.bootstrap.clone();
    let passed = ask(&check, &kafka, &["all"])?;
    if passed < ALL - 1 {
        return Err(format!("{passed} of {ALL} questions passed").into());
    }
    assert_eq!(ask(&check, &kafka, &["eos", "20000"])?, 1, "eos");
    assert_eq!(ask(&check, &kafka, &["persist-write"])?, 1, "persist-write");
    broker.kill();
    broker.up();
    assert_eq!(ask(&check, &kafka, &["persist-read"])?, 1, "persist-read");
    broker.stop();
    Ok(())
}

/// How many questions passed; any that failed is the error.
fn ask(check: &Path, kafka: &str, args: &[&str]) -> Result<usize, Failed> {
    let ended = Child::start(Command::new(check).arg(kafka).args(args)).finish(Deadline::after(420));
    let said = |word: &str| ended.stdout.iter().filter(|l| l.starts_with(word)).cloned().collect::<Vec<_>>();
    let (passed, failed) = (said("PASS "), said("FAIL "));
    println!("{}", [passed.clone(), failed.clone()].concat().join("\n"));
    let claimed = failed.iter().any(|line| !line.starts_with(&format!("FAIL {NOT_CLAIMED} ")));
    if claimed || !ended.status.success() {
        return Err(format!("kafka-check {args:?}: {}", ended.told()).into());
    }
    Ok(passed.len())
}

/// Builds it apart from the workspace, with the workspace's own versions of what it depends on; once a target directory.
fn built() -> Result<PathBuf, Failed> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-check");
    let from = root().join("../shared/tools/kafka-check");
    fs::create_dir_all(home.join("src"))?;
    // Outside of any workspace, wherever the target directory lies.
    let manifest = fs::read_to_string(from.join("Cargo.toml"))? + "\n[workspace]\n";
    replace(&home.join("Cargo.toml"), manifest.as_bytes())?;
    for entry in fs::read_dir(from.join("src"))? {
        let entry = entry?;
        replace(&home.join("src").join(entry.file_name()), &fs::read(entry.path())?)?;
    }
    if !home.join("Cargo.lock").is_file() {
        fs::copy(root().join("Cargo.lock"), home.join("Cargo.lock"))?;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("build").arg("--manifest-path").arg(home.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(home.join("target"));
    let ended = Child::start(&mut cargo).finish(Deadline::after(900));
    if ended.status.success() { Ok(home.join("target/debug/ktest")) } else { Err(ended.told().into()) }
}

/// Writes a file only where it differs: what is unchanged is not built again.
fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    if fs::read(file).is_ok_and(|there| there == content) { Ok(()) } else { fs::write(file, content) }
}
