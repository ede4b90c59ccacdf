//! STIX patterns: every pattern of `crates/stix/samples/patterns.json` on every bundle of it, judged by ATIO and by OASIS's matcher alike.
use crate::support::{Need, oracle, root, trial};
use atio_stix::pattern::{Observed, Pattern};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::io::Write as _;

pub fn trials() -> Vec<Trial> {
    vec![trial("corpus::patterns", &[Need::Oracles], judged_alike)]
}

fn judged_alike() -> Result<(), Failed> {
    let table: Value =
        serde_json::from_str(&std::fs::read_to_string(root().join("crates/stix/samples/patterns.json"))?)?;
    let bundles = table["bundles"].as_object().ok_or("bundles")?;
    let mut input = tempfile::NamedTempFile::new()?;
    let mut asked = 0;
    // Where the matcher falls short of the standard, the table says in what.
    let cases = table["cases"].as_array().ok_or("cases")?.iter().filter(|case| case["oracle"].is_null());
    for case in cases {
        let text = case["pattern"].as_str().ok_or("a pattern")?;
        let pattern = Pattern::parse(text).map_err(|e| format!("{text}: {e}"))?;
        for (name, objects) in bundles {
            let id = "bundle--6f2bf8b4-5b62-5c41-9f59-2f1f8b1f3f00";
            let bundle = json!({"type": "bundle", "id": id, "objects": objects});
            let holds = pattern.holds(&Observed::of(bundle.to_string().as_bytes()));
            writeln!(input, "{}", json!({"name": name, "pattern": text, "bundle": bundle, "holds": holds}))?;
            asked += 1;
        }
    }
    let ended = oracle("patterns", &[input.path().to_str().ok_or("a path")?], 300);
    let tally = ended.stdout.last().cloned().unwrap_or_default();
    println!("{tally}");
    let count: Value = serde_json::from_str(&tally).map_err(|e| format!("{e}: {}", ended.told()))?;
    if !ended.status.success() || count["asked"] != asked || asked < 500 {
        return Err(format!("{asked} asked: {}\n{}", ended.stdout.join("\n"), ended.stderr).into());
    }
    Ok(())
}
