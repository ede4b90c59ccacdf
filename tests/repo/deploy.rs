//! What the Compose file and the Dockerfile refer to exists, and Compose's own schema takes the file.
use crate::support::{Child, Deadline, need::python, root};
use libtest_mimic::Failed;
use std::{fs, process::Command};

const COMPOSE: &str = "docker-compose.kafka.yml";

/// The schema is the one that comes with check-jsonschema: nothing is fetched.
pub fn compose_schema() -> Result<(), Failed> {
    let mut check = Command::new(python());
    check
        .args(["-B", "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"])
        .arg(root().join(COMPOSE));
    let ended = Child::start(&mut check).finish(Deadline::after(60));
    if ended.status.success() { Ok(()) } else { Err(ended.told().into()) }
}

pub fn what_it_builds_from_exists() -> Result<(), Failed> {
    let compose = fs::read_to_string(root().join(COMPOSE))?;
    let docker = fs::read_to_string(root().join("Dockerfile"))?;
    assert!(compose.contains("build: ."), "built from this folder's Dockerfile");
    assert!(
        docker.contains("--profile dist")
            && fs::read_to_string(root().join("Cargo.toml"))?.contains("[profile.dist]")
    );
    let toolchain = docker.lines().find(|l| l.starts_with("FROM ")).unwrap_or_default();
    let wanted = fs::read_to_string(root().join("Cargo.toml"))?;
    let version = wanted
        .lines()
        .find_map(|l| l.strip_prefix("rust-version = "))
        .map(|v| v.trim_matches('"').to_owned());
    let version = version.ok_or("rust-version in Cargo.toml")?;
    assert!(toolchain.contains(&format!("rust:{version}-")), "{toolchain} has the toolchain {version}");
    let kafka = fs::read_to_string(root().join("tests/kafka/pom.xml"))?;
    let tested =
        kafka.split("<kafka.version>").nth(1).and_then(|r| r.split('<').next()).ok_or("kafka.version")?;
    assert!(compose.contains(&format!("apache/kafka:{tested}")), "the Kafka that tests run on");
    // Every command line of the file is one that the program takes.
    for line in compose.lines().filter(|l| l.trim_start().starts_with("command: [\"")) {
        let words: Vec<String> = serde_json::from_str(line.trim_start().trim_start_matches("command: "))?;
        let first = words.first().ok_or("a command")?;
        let mut help = crate::support::atio();
        help.args([first, "--help"]);
        let ended = Child::start(&mut help).finish(Deadline::after(30));
        assert!(ended.status.success(), "{line}");
        let text = ended.stdout.join("\n");
        for flag in words.iter().filter(|w| w.starts_with("--")) {
            assert!(text.contains(flag.as_str()), "{flag} of {line} in:\n{text}");
        }
    }
    Ok(())
}
