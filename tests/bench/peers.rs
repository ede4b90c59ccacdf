//! Other people's engines, doing the same on the same topic: Kafka Streams by a program of ours (`peers/streams`), Tenzir from its Python
//! package. Owns how they are fetched into the cache directory and started; must not know how they are measured.
use crate::{support::root, worker::Job};
use std::{path::PathBuf, process::Command};

const TENZIR: &str = include_str!("peers/tenzir/pipeline.tql");

fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("atio-tests")
}

fn run(command: &mut Command) -> Result<(), String> {
    let ended = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(format!("{command:?}: {}: {}", ended.status, said.lines().take(5).collect::<Vec<_>>().join(" ")))
}

/// Builds the program, with its libraries beside it.
pub fn build_streams() -> Result<(), String> {
    let target = cache().join("streams");
    let pom = root().join("tests/bench/peers/streams/pom.xml");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(pom).arg(format!("-Dbench.target={}", target.display()));
    run(maven
        .args([
            "compile",
            "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies",
            "-DincludeScope=runtime",
        ])
        .arg(format!("-DoutputDirectory={}", target.join("lib").display())))
}

pub fn streams(job: &Job, records: u64) -> Command {
    let target = cache().join("streams");
    let path = format!("{}/classes:{}/lib/*", target.display(), target.display());
    let mut java = Command::new("java");
    java.args([
        "-Xms256m",
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        &path,
    ]);
    java.arg("io.atio.bench.Normalize").args([&job.bootstrap, &job.input, &job.output()]);
    java.args([job.prefix.trim_end_matches('.'), &format!("{}warm", job.prefix), &records.to_string()]);
    java
}

fn tenzir_home() -> PathBuf {
    cache().join("tenzir")
}

pub fn install_tenzir() -> Result<(), String> {
    let home = tenzir_home();
    if !home.join("bin/tenzir").is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        run(Command::new(home.join("bin/pip")).args(["install", "-q", "tenzir"]))?;
    }
    let mut works = Command::new(home.join("bin/tenzir"));
    run(works.args(["--bare-mode", "from {x: 1}"]))
}

pub fn tenzir(job: &Job) -> Command {
    let text = TENZIR
        .replace("BOOTSTRAP", &job.bootstrap)
        .replace("INPUT", &job.input)
        .replace("OUTPUT", &job.output())
        .replace("GROUP", &job.group());
    let mut command = Command::new(tenzir_home().join("bin/tenzir"));
    command.arg(text);
    command
}
