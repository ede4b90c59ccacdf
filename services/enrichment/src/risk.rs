//! `atio-risk/1` (docs/enrichment.md, "Risk"): importance of an event and risk of an asset. Pure; every factor is a reason, from which
//! [`recompute`] gives the same score.
use atio_schemas::{
    Detection,
    detection::{Criticality, Decision, Disposition, Exposure, Kind, Reason},
};

pub const VERSION: &str = "atio-risk/1";
/// Items kept for an asset: the largest.
pub(crate) const MAX_ITEMS: usize = 64;
const DAY_US: f64 = 86_400e6;

/// What the asset's history says about this event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The asset has the CVE that the alert exploits.
    pub has_cve: bool,
    /// A complete scan within 30 days says that it has not.
    pub scanned_without: bool,
}

fn reason(code: &str, value: f64, text: impl Into<String>) -> Reason {
    Reason { code: code.to_owned(), value, text: text.into() }
}

/// The factors of an event's importance, as reasons. None where the event has no severity: nothing is made up.
#[must_use]
pub fn reasons(d: &Detection, history: History) -> Option<Vec<Reason>> {
    let severity = d.severity_score?;
    let confidence = d.confidence.map_or(0.5, |c| f64::from(c) / 100.0);
    let said = |what: Option<&str>| what.map_or_else(|| "unknown".to_owned(), str::to_owned);
    let mut all = vec![
        reason("severity", severity, said(d.severity_raw.as_deref())),
        reason("confidence", confidence, said(d.confidence.map(|c| format!("{c} of 100")).as_deref())),
    ];
    if d.kind == Kind::Vulnerability {
        let (value, text) = match (d.kev, d.epss) {
            (Some(true), _) => (1.0, "in CISA's catalogue of exploited vulnerabilities".to_owned()),
            (_, Some(epss)) => (0.35 + 0.65 * epss, format!("EPSS {epss}")),
            (_, None) => (0.35, "EPSS unknown".to_owned()),
        };
        all.push(reason("exploitation", value, text));
    }
    let criticality = match d.criticality {
        Some(Criticality::Low) => 0.8,
        Some(Criticality::High) => 1.2,
        Some(Criticality::Extreme) => 1.4,
        Some(Criticality::Medium) | None => 1.0,
    };
    all.push(reason("criticality", criticality, said(d.criticality.map(Criticality::as_str))));
    let exposure = match d.exposure {
        Some(Exposure::Isolated) => 0.8,
        Some(Exposure::Internet) => 1.1,
        Some(Exposure::Internal) | None => 1.0,
    };
    all.push(reason("exposure", exposure, said(d.exposure.map(Exposure::as_str))));
    if history.has_cve {
        all.push(reason("asset_has_cve", 15.0, "the asset has the vulnerability that this exploits"));
    } else if history.scanned_without {
        all.push(reason(
            "asset_lacks_cve",
            -20.0,
            "a complete scan within 30 days did not find this vulnerability",
        ));
    }
    if d.disposition == Some(Disposition::Blocked) {
        all.push(reason("blocked", 0.5, "the tool blocked it"));
    }
    Some(all)
}

/// The score that a list of reasons stands for, 0-100, whole.
#[must_use]
pub fn recompute(reasons: &[Reason]) -> f64 {
    let value = |code: &str| reasons.iter().find(|r| r.code == code).map(|r| r.value);
    let severity = value("severity").unwrap_or(0.0);
    let evidence =
        severity * (0.4 + 0.6 * value("confidence").unwrap_or(0.5)) * value("exploitation").unwrap_or(1.0);
    let placed = evidence * value("criticality").unwrap_or(1.0) * value("exposure").unwrap_or(1.0);
    let added = value("asset_has_cve").unwrap_or(0.0) + value("asset_lacks_cve").unwrap_or(0.0);
    ((placed + added) * value("blocked").unwrap_or(1.0)).clamp(0.0, 100.0).round()
}

/// One open item of an asset: its importance, when it was (microseconds), its tactics.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    pub importance: f64,
    pub at: i64,
    pub tactics: &'a [String],
}

/// The asset's risk at `now` (microseconds), 0-100 with one decimal.
#[must_use]
pub fn of_asset(items: &[Item<'_>], now: i64) -> f64 {
    let age_days = |at: i64| (now.saturating_sub(at) as f64 / DAY_US).max(0.0);
    let mut aged: Vec<f64> = items.iter().map(|i| i.importance * 2f64.powf(-age_days(i.at) / 7.0)).collect();
    aged.sort_by(|a, b| b.total_cmp(a));
    let sum: f64 = aged.iter().zip(1u32..).map(|(s, i)| s / f64::from(i).powf(1.5)).sum();
    let recent = items.iter().filter(|i| age_days(i.at) <= 7.0).flat_map(|i| i.tactics);
    let tactics: std::collections::BTreeSet<&String> = recent.collect();
    let least = if tactics.len() >= 3 { 70.0 } else { 0.0 };
    (sum.max(least).min(100.0) * 10.0).round() / 10.0
}

/// CISA's SSVC decision for a vulnerability. Exploitation: active = in KEV, poc = EPSS of 0.1 and more, else none. Automatable: reached from the
/// internet and EPSS of 0.1 and more, or in KEV. Technical impact: total from CVSS 9. Mission and well-being: the asset's criticality.
#[must_use]
pub fn decision(d: &Detection) -> Option<Decision> {
    use Decision::{Act, Attend, Track, TrackStar};
    let cvss = d.cvss?;
    let likely = d.epss.is_some_and(|e| e >= 0.1);
    let active = d.kev == Some(true);
    let automatable = active || (likely && d.exposure == Some(Exposure::Internet));
    let total = cvss >= 9.0;
    let mission = match d.criticality {
        Some(Criticality::High | Criticality::Extreme) => 2,
        Some(Criticality::Medium) | None => 1,
        Some(Criticality::Low) => 0,
    };
    let row = match (active, likely, automatable, total) {
        (true, _, false, false) => [Track, Track, Attend],
        (true, _, false, true) => [Track, Attend, Act],
        (true, _, true, false) => [Attend, Attend, Act],
        (true, _, true, true) => [Attend, Act, Act],
        (false, true, false, false) => [Track, Track, TrackStar],
        (false, true, true, false) => [Track, Track, Attend],
        (false, true, _, true) => [Track, TrackStar, Attend],
        (false, false, false, true) => [Track, Track, TrackStar],
        (false, false, true, _) => [Track, Track, Attend],
        (false, false, false, false) => [Track, Track, Track],
    };
    row.get(mission).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: Kind, severity: f64, confidence: i32) -> Detection {
        let mut d = Detection::new("e".into(), kind, "default", "s");
        (d.severity_score, d.confidence) = (Some(severity), Some(confidence));
        d
    }

    fn importance(d: &Detection) -> f64 {
        recompute(&reasons(d, History::default()).unwrap())
    }

    #[test]
    fn the_examples_of_the_specification() {
        let mut major = event(Kind::Threat, 75.0, 85);
        (major.criticality, major.exposure) = (Some(Criticality::High), Some(Exposure::Internet));
        assert_eq!(importance(&major), 90.0);
        let mut cvss = event(Kind::Vulnerability, 98.0, 97);
        (cvss.epss, cvss.exposure, cvss.cvss) = (Some(0.02), Some(Exposure::Internal), Some(9.8));
        assert_eq!(importance(&cvss), 35.0);
        (cvss.kev, cvss.criticality, cvss.exposure) =
            (Some(true), Some(Criticality::High), Some(Exposure::Internet));
        assert_eq!(importance(&cvss), 100.0);
        assert_eq!(decision(&cvss), Some(Decision::Act));
        assert_eq!(importance(&event(Kind::Threat, 10.0, 85)), 9.0);
    }

    #[test]
    fn blocked_halves_and_the_asset_s_own_scan_counts() {
        let mut d = event(Kind::Threat, 75.0, 85);
        let with = |d: &Detection, has_cve, scanned_without| {
            recompute(&reasons(d, History { has_cve, scanned_without }).unwrap())
        };
        assert_eq!(
            (with(&d, false, false), with(&d, true, false), with(&d, false, true)),
            (68.0, 83.0, 48.0)
        );
        d.disposition = Some(Disposition::Blocked);
        assert_eq!(with(&d, false, false), 34.0);
    }

    #[test]
    fn an_asset_s_risk_ages_and_three_tactics_raise_it() {
        let tactics: Vec<String> = ["TA0001", "TA0002", "TA0003"].map(str::to_owned).to_vec();
        let item = |importance, at, tactics| Item { importance, at, tactics };
        assert_eq!(of_asset(&[item(80.0, 0, &[])], 0), 80.0);
        assert_eq!(of_asset(&[item(80.0, 0, &[])], 7 * DAY_US as i64), 40.0);
        assert_eq!(of_asset(&[item(40.0, 0, &[]), item(40.0, 0, &[])], 0), 54.1);
        assert_eq!(of_asset(&[item(10.0, 0, &tactics)], 0), 70.0);
        assert_eq!(of_asset(&[item(10.0, 0, &tactics)], 8 * DAY_US as i64), 4.5);
        assert_eq!(of_asset(&[], 0), 0.0);
    }

    proptest! {
        #[test]
        fn scores_stay_in_bounds_and_grow_with_severity(s in 0f64..=100.0, more in 0f64..=100.0, c in 0i32..=100, epss in 0f64..=1.0) {
            let mut low = event(Kind::Vulnerability, s.min(more), c);
            low.epss = Some(epss);
            let mut high = low.clone();
            high.severity_score = Some(s.max(more));
            let (a, b) = (importance(&low), importance(&high));
            prop_assert!((0.0..=100.0).contains(&a) && a <= b);
        }
    }
}
