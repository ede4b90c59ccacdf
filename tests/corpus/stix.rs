//! Every bundle that leaves, judged by others: OASIS's validator, and the stix2 library for the ids of observables.
use super::{
    batch::{self, Outcome},
    openvas,
    samples::{self, Sample},
    suricata,
};
use crate::support::{Need, oracle, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::OnceLock,
};

type Outcomes = fn() -> Result<&'static BTreeMap<String, Outcome>, Failed>;
static SURICATA: OnceLock<Result<Vec<String>, String>> = OnceLock::new();
static OPENVAS: OnceLock<Result<Vec<String>, String>> = OnceLock::new();

pub fn trials() -> Vec<Trial> {
    let needs = &[Need::Data, Need::Oracles];
    let judged = |corpus: &'static str, script: &'static str| {
        trial(&format!("corpus::stix::{corpus}::{script}"), needs, move || {
            let bundles = match corpus {
                "suricata" => bundles(&SURICATA, &samples::suricata(), suricata::outcomes)?,
                _ => bundles(&OPENVAS, &samples::openvas(), openvas::outcomes)?,
            };
            judge(script, &bundles.concat())
        })
    };
    let corpora = ["suricata", "openvas"];
    let pairs = corpora.into_iter().flat_map(|c| ["validate", "sco_ids"].map(|script| judged(c, script)));
    pairs.chain([trial("corpus::stix::oracles_complain", &[Need::Oracles], oracles_complain)]).collect()
}

/// The oracles themselves: what is wrong must not pass.
fn oracles_complain() -> Result<(), Failed> {
    let address = "ipv4-addr--1f4a8b1e-4f4f-5bd5-8d6f-0b2f3a3a7a10";
    let traffic = "network-traffic--1f4a8b1e-4f4f-5bd5-8d6f-0b2f3a3a7a11";
    let bundle = json!({
        "type": "bundle", "id": "bundle--6f2bf8b4-5b62-5c41-9f59-2f1f8b1f3f00",
        "objects": [
            {"type": "ipv4-addr", "spec_version": "2.1", "id": address, "value": "192.0.2.1"},
            {"type": "network-traffic", "spec_version": "2.1", "id": traffic, "src_ref": address, "protocols": ["tcp"],
             "dst_ref": "ipv4-addr--00000000-0000-5000-8000-000000000000"},
        ],
    });
    let line = format!("{}\n", json!({"file": "made up", "bundle": bundle}));
    let complaints = |script: &str| {
        let told = judge(script, &line).err().and_then(|e| e.message().map(str::to_owned));
        told.unwrap_or_else(|| panic!("{script} has nothing against it"))
    };
    let ids = complaints("sco_ids");
    assert!(ids.contains("stix2 computes ipv4-addr--"), "{ids}");
    assert!(ids.contains("src_port is missing"), "{ids}");
    let invalid = complaints("validate");
    assert!(invalid.contains("points out of the bundle"), "{invalid}");
    let broken = line.replace("192.0.2.1", "192.0.2.999").replace("\"src_ref\"", "\"src_reff\"");
    assert!(judge("validate", &broken).is_err(), "the validator has nothing against it");
    Ok(())
}

/// Runs an oracle over `{"file","bundle"}` lines; its complaints are the failure.
pub fn judge(script: &str, lines: &str) -> Result<(), Failed> {
    let mut input = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut input, lines.as_bytes())?;
    let ended = oracle(script, &[input.path().to_str().ok_or("a path")?], 600);
    let tally = ended.stdout.last().cloned().unwrap_or_default();
    println!("{tally}");
    let count: Value = serde_json::from_str(&tally).map_err(|e| format!("{e}: {}", ended.told()))?;
    let all = u64::try_from(lines.lines().count())?;
    if !ended.status.success() || count["bundles"] != all || all == 0 {
        return Err(
            format!("{script} on {all} bundles: {}\n{}", ended.stdout.join("\n"), ended.stderr).into()
        );
    }
    Ok(())
}

/// `--to stix` of a corpus as the oracles read it. A bundle belongs to the file whose detection has the bundle of that id.
fn bundles(
    once: &'static OnceLock<Result<Vec<String>, String>>,
    samples: &[Sample],
    outcomes: Outcomes,
) -> Result<&'static Vec<String>, Failed> {
    let made =
        once.get_or_init(|| make(samples, outcomes).map_err(|e| e.message().unwrap_or("failed").to_owned()));
    made.as_ref().map_err(|e| e.as_str().into())
}

fn make(samples: &[Sample], outcomes: Outcomes) -> Result<Vec<String>, Failed> {
    let outcomes = outcomes()?;
    let mut files = HashMap::new();
    for sample in samples {
        for (_, detection) in &outcomes[sample.sha256].detections {
            files.insert(detection["bundle"]["id"].as_str().ok_or("a bundle")?, sample.path);
        }
    }
    let (lines, _dead) = batch::normalize("stix", samples)?;
    if lines.len() != files.len() {
        return Err(format!("{} bundles of {} detections", lines.len(), files.len()).into());
    }
    let mut all = vec![];
    for line in lines {
        let bundle: Value = serde_json::from_str(&line)?;
        let file = files.remove(bundle["id"].as_str().ok_or("an id")?).ok_or("a detection's bundle, once")?;
        let mut text = String::new();
        writeln!(text, "{}", json!({"file": file, "bundle": bundle}))?;
        all.push(text);
    }
    Ok(all)
}
