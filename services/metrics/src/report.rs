//! The exact figures of a set of incidents, from their newest records. Owns the arithmetic; must not know where incidents come from nor how the figures
//! are printed. Pure.
use crate::times::{Times, Timing};
use atio_schemas::{Timestamp, detection::Kind, incident::Answerer};
use serde::Serialize;

/// One row: a timing, and for acknowledgements who gave them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub timing: &'static str,
    /// `human` or `policy`, for acknowledgements.
    pub by: Option<&'static str>,
    pub count: usize,
    /// Seconds; None without a measure.
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
    /// Begun and not ended (censored). Nobody has acknowledged these, so both rows of acknowledgements say the same.
    pub open: usize,
    /// Seconds since the oldest of those began.
    pub oldest_open: Option<f64>,
    /// Measures that are negative and count as 0.
    pub skewed: usize,
    /// False positives that are left out.
    pub false_positives: usize,
}

/// Everything that `atio metrics report` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub incidents: usize,
    pub open: usize,
    /// Seconds since the oldest open incident was detected.
    pub oldest_open: Option<f64>,
    pub closed: usize,
    pub false_positives: usize,
    pub waits_open: u64,
    pub timings: Vec<Row>,
}

/// Which incidents are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Detected (else occurred) at or after this.
    pub since: Option<Timestamp>,
    pub kind: Option<Kind>,
}

impl Filter {
    #[must_use]
    pub fn takes(&self, times: &Times) -> bool {
        let in_time = self.since.is_none_or(|since| times.since().is_some_and(|at| at >= since));
        in_time && self.kind.is_none_or(|kind| kind == times.kind)
    }
}

/// The report on those incidents, as of `now`.
#[must_use]
pub fn report(incidents: &[Times], now: Timestamp) -> Report {
    let open = || incidents.iter().filter(|t| t.is_open());
    let rows = [
        (Timing::Detect, None),
        (Timing::Respond, None),
        (Timing::Acknowledge, Some(Answerer::Human)),
        (Timing::Acknowledge, Some(Answerer::Policy)),
        (Timing::Handover, None),
        (Timing::Resolve, None),
    ];
    Report {
        incidents: incidents.len(),
        open: open().count(),
        oldest_open: age(open().filter_map(Times::since), now),
        closed: incidents.iter().filter(|t| !t.is_open()).count(),
        false_positives: incidents.iter().filter(|t| t.false_positive).count(),
        waits_open: incidents.iter().map(|t| u64::from(t.waits)).sum(),
        timings: rows.into_iter().map(|(timing, by)| row(incidents, timing, by, now)).collect(),
    }
}

fn row(incidents: &[Times], timing: Timing, by: Option<Answerer>, now: Timestamp) -> Row {
    let counted = incidents.iter().filter(|t| by.is_none_or(|by| t.acked_by == by));
    let measured: Vec<_> = counted.filter_map(|t| t.measured(timing)).collect();
    let mut seconds: Vec<f64> = measured.iter().map(|m| m.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let under_way = || incidents.iter().filter_map(|t| t.under_way(timing));
    let count = seconds.len();
    Row {
        timing: timing.as_str(),
        by: by.map(Answerer::as_str),
        count,
        mean: (count > 0).then(|| seconds.iter().sum::<f64>() / count as f64),
        p50: nearest_rank(&seconds, 50),
        p90: nearest_rank(&seconds, 90),
        p99: nearest_rank(&seconds, 99),
        max: seconds.last().copied(),
        open: under_way().count(),
        oldest_open: age(under_way(), now),
        skewed: measured.iter().filter(|m| m.skewed).count(),
        false_positives: incidents.iter().filter(|t| t.is_left_out(timing)).count(),
    }
}

/// The nearest-rank percentile of ascending values: the value at rank ⌈p/100 · n⌉, always one that was measured.
#[must_use]
pub fn nearest_rank(ascending: &[f64], percent: usize) -> Option<f64> {
    let rank = (ascending.len() * percent).div_ceil(100).max(1);
    ascending.get(rank - 1).copied()
}

fn age(since: impl Iterator<Item = Timestamp>, now: Timestamp) -> Option<f64> {
    since.min().map(|at| now.seconds_since(at).max(0.0))
}
