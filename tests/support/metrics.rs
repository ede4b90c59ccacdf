//! What a process says of itself at `/metrics`: samples, and the ledger of its stages.
use super::http;
use std::collections::BTreeMap;

/// A stage's records, by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub read: u64,
    pub emitted: u64,
    pub dropped: u64,
    pub dead_lettered: u64,
    pub held: u64,
    /// Lanes that run.
    pub up: u64,
}

impl Ledger {
    pub fn balanced(&self) -> bool {
        self.read == self.emitted + self.dropped + self.dead_lettered + self.held
    }
}

/// Every sample, by its name and labels.
pub fn samples(http: &str) -> BTreeMap<String, f64> {
    let text = http::get(&format!("{http}/metrics")).text();
    let of = |l: &str| l.rsplit_once(' ').and_then(|(n, v)| Some((n.to_owned(), v.parse().ok()?)));
    text.lines().filter(|l| !l.starts_with('#')).filter_map(of).collect()
}

/// The ledgers of a process, by stage.
pub fn ledgers(http: &str) -> BTreeMap<String, Ledger> {
    let mut all = BTreeMap::<String, Ledger>::new();
    for line in http::get(&format!("{http}/metrics")).text().lines() {
        let Some((name, stage, value)) = sample(line) else { continue };
        let ledger = all.entry(stage).or_default();
        let field = match name.as_str() {
            "atio_stage_records_read_total" => &mut ledger.read,
            "atio_stage_records_emitted_total" => &mut ledger.emitted,
            "atio_stage_records_dropped_total" => &mut ledger.dropped,
            "atio_stage_records_dead_lettered_total" => &mut ledger.dead_lettered,
            "atio_stage_held" => &mut ledger.held,
            "atio_stage_lane_up" => &mut ledger.up,
            _ => continue,
        };
        *field += value;
    }
    all
}

/// Name, the label `stage`, and the value of one line.
fn sample(line: &str) -> Option<(String, String, u64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let stage = labels.split("stage=\"").nth(1)?.split('"').next()?;
    Some((name.to_owned(), stage.to_owned(), value.trim().parse().ok()?))
}
