//! `atio normalize` over many samples in one process; what came out is told apart by the hash in `raw_ref`. Once a run and corpus.
use super::samples::Sample;
use crate::support::{self, Child, Deadline};
use libtest_mimic::Failed;
use serde_json::Value;
use std::{collections::BTreeMap, sync::OnceLock};

/// What became of one sample.
#[derive(Debug, Default)]
pub struct Outcome {
    /// `--to detection`, by the byte offset of what they were made from.
    pub detections: Vec<(u64, Value)>,
    /// Dead letters, as printed.
    pub dead: Vec<Value>,
}

/// By the sample's hash.
type Batch = BTreeMap<String, Outcome>;

/// The outcomes of a corpus; `once` keeps them.
pub fn outcomes(
    once: &'static OnceLock<Result<Batch, String>>,
    samples: &[Sample],
) -> Result<&'static Batch, Failed> {
    once.get_or_init(|| run(samples).map_err(|e| e.message().unwrap_or("failed").to_owned()))
        .as_ref()
        .map_err(|e| e.as_str().into())
}

fn run(samples: &[Sample]) -> Result<Batch, Failed> {
    let (lines, dead) = normalize("detection", samples)?;
    let mut batch: Batch = samples.iter().map(|s| (s.sha256.to_owned(), Outcome::default())).collect();
    for line in lines {
        let detection: Value = serde_json::from_str(&line)?;
        let (sha256, offset) =
            detection["raw_ref"].as_str().and_then(|r| r.split_once('/')).ok_or("raw_ref")?;
        let outcome = batch.get_mut(sha256).ok_or_else(|| format!("raw_ref names no sample: {sha256}"))?;
        outcome.detections.push((offset.parse()?, detection.clone()));
    }
    for letter in dead {
        let file = letter["file"].as_str().ok_or("a dead letter names its file")?;
        let sample = samples.iter().find(|s| s.file().to_str() == Some(file)).ok_or("no such sample")?;
        batch.entry(sample.sha256.to_owned()).or_default().dead.push(letter);
    }
    Ok(batch)
}

/// stdout's lines, and the dead letters from stderr.
pub fn normalize(to: &str, samples: &[Sample]) -> Result<(Vec<String>, Vec<Value>), Failed> {
    let mut command = support::atio();
    command.args(["normalize", "--to", to]).args(samples.iter().map(Sample::file));
    let ended = Child::start(&mut command).finish(Deadline::after(120));
    let notes: Vec<Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|e| format!("stderr is JSON lines: {e}: {line}")))
        .collect::<Result<_, _>>()?;
    let dead: Vec<Value> =
        notes.into_iter().filter(|n| n.get("code").is_some_and(Value::is_string)).collect();
    let expected = if dead.is_empty() { 0 } else { 3 };
    if ended.status.code() != Some(expected) {
        return Err(format!("expected to end with {expected}: {}", ended.told()).into());
    }
    Ok((ended.stdout, dead))
}
