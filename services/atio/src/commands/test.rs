//! `atio test`: the `tests:` of workflows, run through the real trigger and steps. Owns where fixtures are read from; what a test compares is
//! the workflow crate's.
use crate::{
    commands::validate,
    endpoints::Target,
    exit::Exit,
    render::{self, Format},
    system::declared,
};
use anyhow::Context;
use atio_normalization::offline::{FileRef, Options, normalize};
use atio_runtime::Config;
use atio_schemas::{Detection, Timestamp};
use atio_topics::Declarations;
use atio_workflow::{Definition, Site, snapshot, testing};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// When events of files are received, in a test: 2024-01-01.
const RECEIVED: Timestamp = Timestamp(1_704_067_200_000_000);

/// Run the tests that workflows declare; no broker
///
/// Exit code 5 where one fails. A fixture is a file beside the workflow: detections as `atio normalize --to detection` prints them, or what a tool wrote.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio test ./topics --workflow phishing")]
pub struct Args {
    /// Files or directories of declarations; without any, those of the configuration (DATA/topics) and the shipped ones
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Only workflows whose name contains this
    #[arg(long, value_name = "TEXT")]
    workflow: Option<String>,
    /// Write the snapshots that tests name (`then: {snapshot: FILE}`) as they are now, of tests that pass otherwise
    #[arg(long)]
    update: bool,
    /// Text, or one JSON object a test
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(json!({}))?;
    let validate::Files { files, unread } = validate::files(target, &args.paths)?;
    let (definitions, mut problems) = match declared::check(&files) {
        Ok(declared) => validate::workflows(&declared),
        Err(problems) => (vec![], problems),
    };
    problems.extend(unread);
    if !problems.is_empty() {
        problems.iter().try_for_each(|p| validate::show(p, args.format))?;
        return Ok(Exit::Refused);
    }
    let (mut passed, mut failed, mut untested) = (0_usize, 0_usize, vec![]);
    for definition in &definitions {
        if args.workflow.as_ref().is_some_and(|w| !definition.name.contains(w.as_str())) {
            continue;
        }
        let verdicts = verdicts(definition, &config, args.update)?;
        if verdicts.is_empty() {
            untested.push(definition.name.as_str());
        }
        for verdict in verdicts {
            if verdict.failure.is_some() {
                failed += 1
            } else {
                passed += 1
            }
            show(&definition.name, &verdict, args.format)?;
        }
    }
    if args.format == Format::Human {
        let without = if untested.is_empty() {
            String::new()
        } else {
            format!("; without tests: {}", untested.join(", "))
        };
        render::notice(&format!("{passed} passed, {failed} failed{without}"));
    }
    Ok(if failed > 0 { Exit::Refused } else { Exit::Done })
}

/// What tests fail, by workflow, of those that compile: none of these is applied before it is mended.
pub(super) fn failing(
    declared: &Declarations,
    config: &Config,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut failing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for definition in validate::workflows(declared).0 {
        for testing::Verdict { place, name, failure, .. } in verdicts(&definition, config, false)? {
            let Some(failure) = failure else { continue };
            let test = name.as_deref().unwrap_or("(no name)");
            let told = failing.entry(definition.name.clone()).or_default();
            told.push(format!("workflow {}: test {test} fails: {place}: {failure}", definition.name));
        }
    }
    Ok(failing)
}

fn verdicts(definition: &Definition, config: &Config, update: bool) -> anyhow::Result<Vec<testing::Verdict>> {
    let site = Site { version: 1, home_networks: &config.home_networks };
    // Each test knows its file: fixtures lie beside it.
    let beside =
        definition.tests.first().and_then(|t| Path::new(&*t.place.file).parent()).unwrap_or(Path::new(""));
    let mut verdicts = testing::run(definition, site, &|name| fixture(&beside.join(name), config));
    for verdict in &mut verdicts {
        if let Some(made) = verdict.snapshot.take() {
            verdict.failure = compared(&made, beside, update)?;
        }
    }
    Ok(verdicts)
}

/// Holds a snapshot against what is kept, or keeps it. What differs is told.
fn compared(made: &testing::Made, beside: &Path, update: bool) -> anyhow::Result<Option<String>> {
    let file = beside.join(&made.file);
    let path = file.display();
    let kept = match std::fs::read(&file) {
        Ok(kept) => Some(String::from_utf8_lossy(&kept).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Ok(Some(format!("snapshot {path}: {error}"))),
    };
    let told = match &kept {
        None => Some("is not there yet".to_owned()),
        Some(kept) => snapshot::difference(kept, &made.text),
    };
    if !update || told.is_none() {
        return Ok(told.map(|t| format!("snapshot {path} {t}; `atio test --update` keeps what is now")));
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(&file, &made.text).with_context(|| path.to_string())?;
    render::notice(&format!("snapshot {path} is written"));
    Ok(None)
}

/// The detections of a file.
pub(super) fn fixture(path: &Path, config: &Config) -> Result<Vec<Detection>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let stream = serde_json::Deserializer::from_slice(&bytes).into_iter::<Detection>();
    if let Ok(detections) = stream.collect::<Result<Vec<_>, _>>()
        && !detections.is_empty()
    {
        return Ok(detections);
    }
    let sha256 = atio_stix::ids::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    let name = path.display().to_string();
    // The same whenever it is run: a test's snapshot tells the times.
    let options = Options { home_networks: config.home_networks.clone(), ..Options::new(RECEIVED) };
    let results = normalize(&bytes, &FileRef { name: &name, sha256: &sha256 }, &options);
    results.into_iter().map(|r| r.map_err(|e| format!("{name}: {}: {}", e.code, e.message))).collect()
}

fn show(workflow: &str, verdict: &testing::Verdict, format: Format) -> anyhow::Result<()> {
    let testing::Verdict { place, name, failure, .. } = verdict;
    if format == Format::Json {
        return render::json(&json!({
            "workflow": workflow, "test": name, "file": &*place.file, "line": place.line, "passed": failure.is_none(), "failure": failure
        }));
    }
    let what = format!("{workflow}: {}", name.as_deref().unwrap_or("(no name)"));
    match failure {
        None => render::line(&format!("ok      {what}")),
        Some(failure) => render::line(&format!("FAILED  {what}\n        {place}: {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::detection::Kind;

    /// Kept where it is not there yet or is to be; else what differs is told.
    #[test]
    fn snapshots_are_kept_and_compared() {
        let dir = tempfile::tempdir().unwrap();
        let made = |text: &str| testing::Made { file: "s/a.json".into(), text: text.into() };
        let compared = |text: &str, update| compared(&made(text), dir.path(), update).unwrap();
        assert!(compared("1\n", false).unwrap().contains("is not there yet; `atio test --update`"));
        assert_eq!(compared("1\n", true), None);
        assert_eq!(compared("1\n", false), None);
        assert!(compared("2\n", false).unwrap().contains("line 1 is `2`, was `1`"));
        assert_eq!(compared("2\n", true), None);
        assert_eq!(std::fs::read_to_string(dir.path().join("s/a.json")).unwrap(), "2\n");
    }

    #[test]
    fn a_fixture_is_detections_or_what_a_tool_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::default();
        let mut d = Detection::new("e".into(), Kind::Threat, "default", "s");
        d.bundle = b"{}".to_vec().into();
        let (own, tool, bad) = (dir.path().join("own"), dir.path().join("tool"), dir.path().join("bad"));
        std::fs::write(&own, serde_json::to_vec(&d).unwrap()).unwrap();
        assert_eq!(fixture(&own, &config).unwrap(), [d]);
        let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../crates/formats/samples/suricata/alert-cve.ndjson");
        std::fs::copy(sample, &tool).unwrap();
        assert_eq!(fixture(&tool, &config).unwrap().len(), 2);
        std::fs::write(&bad, "hello").unwrap();
        assert!(fixture(&bad, &config).unwrap_err().contains("unknown_format"));
        assert!(fixture(&dir.path().join("none"), &config).is_err());
    }
}
