//! OpenVAS and Greenbone reports, offline. CVEs are those of the report's CVE fields, found here by a plain scan; counts are those that
//! DefectDojo's own tests expect (`EXPECTED_findings.tsv`), log-level results counting as the inventory that summaries tell of.
use super::{
    batch::{self, Outcome},
    samples::{self, Sample},
};
use crate::support::{Need, brief, shared_data, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

static BATCH: OnceLock<Result<BTreeMap<String, Outcome>, String>> = OnceLock::new();

pub fn trials() -> Vec<Trial> {
    let one = |sample: Sample| {
        let name = format!("corpus::{}", sample.path.replace('/', "::"));
        trial(&name, &[Need::Data], move || {
            let outcome = outcomes()?.get(sample.sha256).ok_or("an outcome")?;
            assert!(outcome.dead.is_empty(), "no dead letters: {:?}", outcome.dead);
            let detections: Vec<&Value> = outcome.detections.iter().map(|(_, d)| d).collect();
            let said = judge(sample, &detections)?;
            println!("{}: {said}", sample.path);
            Ok(())
        })
    };
    samples::openvas().into_iter().map(one).collect()
}

pub fn outcomes() -> Result<&'static BTreeMap<String, Outcome>, Failed> {
    batch::outcomes(&BATCH, &samples::openvas())
}

/// The numbers in one line, or what is wrong.
pub fn judge(sample: Sample, detections: &[&Value]) -> Result<String, Failed> {
    let bytes = sample.read()?;
    let text = String::from_utf8_lossy(&bytes);
    let fields = Fields::scan(sample, &text);
    let of = |category: &str| detections.iter().filter(|d| d["category"] == category).collect::<Vec<_>>();
    let (results, summaries) = (of("result"), of("host_summary"));
    let logged: usize = summaries.iter().map(|d| log_results(d)).sum();
    let cves: BTreeSet<String> = detections
        .iter()
        .flat_map(|d| d["cves"].as_array().into_iter().flatten())
        .map(|c| c.as_str().expect("a CVE").to_owned())
        .collect();
    let mut wrong = vec![];
    if cves != fields.cves {
        let missing: Vec<_> = fields.cves.difference(&cves).collect();
        let more: Vec<_> = cves.difference(&fields.cves).collect();
        wrong.push(format!("CVEs missing {missing:?}, made up {more:?}"));
    }
    if results.len() + summaries.len() != detections.len()
        || detections.iter().any(|d| d["kind"] != "vulnerability")
    {
        wrong.push("detections are results and summaries of kind vulnerability".to_owned());
    }
    // A result that stands in the report twice, under one id, is one.
    if results.len() + logged != fields.results {
        wrong.push(format!(
            "{} results and {logged} of log level, {} in the report",
            results.len(),
            fields.results
        ));
    }
    if let Some(expected) = expected(sample)
        && results.len() + logged != expected
    {
        wrong.push(format!("{} results and {logged} of log level, {expected} expected", results.len()));
    }
    if summaries.len() != fields.hosts {
        wrong.push(format!("{} summaries of {} hosts", summaries.len(), fields.hosts));
    }
    if !wrong.is_empty() {
        return Err(brief(&wrong).into());
    }
    Ok(format!("{} results, {logged} of log level, {} CVEs", results.len(), cves.len()))
}

/// The count that DefectDojo's tests have for the file.
fn expected(sample: Sample) -> Option<usize> {
    let name = sample.path.strip_prefix("openvas/defectdojo/")?;
    let table =
        std::fs::read_to_string(shared_data().join("openvas/EXPECTED_findings.tsv")).expect("the table");
    let row = table.lines().map(|line| line.split('\t').collect::<Vec<_>>()).find(|cells| cells[1] == name);
    row.map(|cells| cells[2].parse().expect("a count"))
}

/// How many log-level results a host's summary tells of.
fn log_results(summary: &Value) -> usize {
    let objects = summary["bundle"]["objects"].as_array().into_iter().flatten();
    let observed = objects.filter(|o| o["type"] == "observed-data");
    let extensions = observed.filter_map(|o| o["extensions"].as_object()).flat_map(serde_json::Map::values);
    let logged = extensions.filter_map(|e| e["log"].as_u64()).sum::<u64>();
    usize::try_from(logged).expect("small")
}

/// What a plain scan finds in a report.
struct Fields {
    cves: BTreeSet<String>,
    /// By distinct id.
    results: usize,
    hosts: usize,
}

impl Fields {
    fn scan(sample: Sample, text: &str) -> Self {
        if sample.path.ends_with(".csv") { Self::csv(text) } else { Self::xml(text) }
    }

    fn xml(text: &str) -> Self {
        let mut cves = BTreeSet::new();
        for field in text.split("<cve>").skip(1).filter_map(|rest| rest.split("</cve>").next()) {
            add_cves(field, &mut cves);
        }
        let tags = |name: &str| {
            let opening = format!("<{name} ");
            let of = |rest: &str| rest.split('>').next().unwrap_or_default().to_owned();
            text.split(opening.as_str()).skip(1).map(of).collect::<Vec<_>>()
        };
        for reference in tags("ref").iter().filter(|tag| attribute(tag, "type").as_deref() == Some("cve")) {
            add_cves(&attribute(reference, "id").unwrap_or_default(), &mut cves);
        }
        let results = tags("result");
        let ids: BTreeSet<String> = results.iter().filter_map(|tag| attribute(tag, "id")).collect();
        // A result's host is the text that its element starts with.
        let hosts: BTreeSet<&str> = text
            .split("<result ")
            .skip(1)
            .filter_map(|rest| rest.split("<host>").nth(1)?.split('<').next())
            .map(str::trim)
            .collect();
        Self { cves, results: ids.len(), hosts: hosts.len() }
    }

    fn csv(text: &str) -> Self {
        let (mut cves, mut ids, mut hosts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut columns = vec![];
        for row in rows(text) {
            if row.iter().any(|cell| cell == "NVT OID") {
                columns = row;
                continue;
            }
            let cell = |name: &str| {
                columns.iter().position(|c| c == name).and_then(|at| row.get(at)).cloned().unwrap_or_default()
            };
            add_cves(&cell("CVEs"), &mut cves);
            ids.insert(cell("Result ID"));
            hosts.insert(cell("IP"));
        }
        Self { cves, results: ids.len(), hosts: hosts.len() }
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let after = tag.split(&format!("{name}=")).nth(1)?;
    let quote = after.chars().next()?;
    after[1..].split(quote).next().map(str::to_owned)
}

fn add_cves(field: &str, found: &mut BTreeSet<String>) {
    let words = field.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    found.extend(words.filter(|w| w.starts_with("CVE-")).map(str::to_owned));
}

/// Rows of comma-separated values (RFC 4180), blank ones left out.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (vec![], vec![], String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell).trim_end_matches('\r').to_owned());
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    row.push(cell);
    rows.push(row);
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    rows
}
