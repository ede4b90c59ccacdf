//! Histograms and report over the same incidents: once each, compacted or not, read twice, and against a naive computation.
use crate::{
    cluster::Cluster,
    incidents::{Incidents, TENANTS_MAX},
    metrics::{ClusterMetrics, IncidentMetrics},
    report::{Filter, nearest_rank, report},
    times::{State, Times, Timing},
};
use atio_metric::Metrics;
use atio_schemas::{
    Code, Timestamp,
    detection::Kind,
    incident::{Answerer, Incident, OpenWait, Verdict},
};
use atio_stream::{
    Counts,
    survey::{Seen, Standing},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(2_000_000_000_000_000);

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp(1_700_000_000_000_000 + seconds * 1_000_000))
}

fn incident(id: &str) -> Incident {
    Incident {
        events: 1,
        occurred_at: at(0),
        detected_at: at(10),
        ..Incident::new(id, "default", Kind::Threat)
    }
}

fn wait(id: &str) -> OpenWait {
    OpenWait::new(id, "w@1", "b", "analyst", Timestamp(0))
}

/// The text of `/metrics` after these records, caught up at the end.
fn text(records: &[Incident]) -> String {
    let metrics = Metrics::default();
    let mut incidents = Incidents::new(IncidentMetrics::new(&metrics.service("metrics")).unwrap());
    records.iter().for_each(|i| incidents.apply(i.incident_id.as_bytes(), Some(i)));
    incidents.caught_up();
    incidents.show(NOW);
    metrics.text().unwrap()
}

fn sample<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find(|l| l.starts_with(start))?.rsplit(' ').next()
}

#[test]
fn each_timing_counts_once_however_often_its_incident_changes() {
    let metrics = Metrics::default();
    let mut incidents = Incidents::new(IncidentMetrics::new(&metrics.service("metrics")).unwrap());
    incidents.caught_up();
    let mut one = incident("a");
    incidents.apply(b"a", Some(&one));
    one.notified_at = at(20);
    one.waits = vec![wait("1"), wait("2")];
    incidents.apply(b"a", Some(&one));
    incidents.show(NOW);
    let text = metrics.text().unwrap();
    assert!(
        text.contains(r#"atio_incidents_open{kind="threat",service="metrics",state="notified"} 1"#),
        "{text}"
    );
    assert_eq!(sample(&text, "atio_incident_waits_open"), Some("2"));
    assert_eq!(sample(&text, "atio_incidents_oldest_open_seconds"), Some("299999990"));
    one.escalations = Some(2);
    (one.acked_at, one.acked_as, one.closed_at) = (at(50), Some(Answerer::Policy), at(60));
    one.waits.clear();
    for _ in 0..3 {
        incidents.apply(b"a", Some(&one));
    }
    incidents.show(NOW);
    let text = metrics.text().unwrap();
    assert_eq!(sample(&text, "atio_incident_escalations_total"), Some("2"));
    for (name, labels, sum) in
        [("detect", "", "10"), ("acknowledge", r#"by="policy","#, "30"), ("resolve", "", "50")]
    {
        let labels = format!(r#"{{{labels}kind="threat",service="metrics",tenant="default"}}"#);
        assert_eq!(sample(&text, &format!("atio_incident_{name}_seconds_sum{labels}")), Some(sum), "{text}");
        assert_eq!(sample(&text, &format!("atio_incident_{name}_seconds_count{labels}")), Some("1"));
    }
    assert!(text.contains(r#"atio_incidents_open{kind="threat",service="metrics",state="notified"} 0"#));
    assert_eq!(sample(&text, "atio_incidents_oldest_open_seconds"), Some("0"));
    assert_eq!(sample(&text, "atio_incident_waits_open"), Some("0"));
}

#[test]
fn a_negative_time_is_zero_and_counts_as_skew() {
    let mut skewed = incident("a");
    skewed.occurred_at = at(11);
    let text = text(&[skewed.clone()]);
    assert_eq!(
        sample(&text, r#"atio_incident_clock_skew_total{service="metrics",timing="detect"}"#),
        Some("1")
    );
    assert_eq!(sample(&text, "atio_incident_detect_seconds_sum"), Some("0"));
    let row = &report(&[Times::of(&skewed)], NOW).timings[0];
    assert_eq!((row.count, row.max, row.skewed), (1, Some(0.0), 1));
}

#[test]
fn false_positives_leave_detection_and_response_and_nothing_else() {
    let mut wrong = incident("a");
    (wrong.notified_at, wrong.acked_at, wrong.contained_at) = (at(11), at(12), at(20));
    (wrong.closed_at, wrong.verdict) = (at(30), Some(Verdict::FalsePositive));
    let text = text(&[wrong.clone()]);
    for absent in ["detect", "respond"] {
        assert!(!text.contains(&format!("atio_incident_{absent}_seconds_count")), "{text}");
    }
    assert_eq!(sample(&text, "atio_incident_acknowledge_seconds_sum"), Some("1"));
    assert_eq!(sample(&text, "atio_incidents_false_positive"), Some("1"));
    let report = report(&[Times::of(&wrong), Times::of(&incident("b"))], NOW);
    assert_eq!((report.false_positives, report.open, report.closed), (1, 1, 1));
    let counts: Vec<(usize, usize)> = report.timings.iter().map(|r| (r.count, r.false_positives)).collect();
    assert_eq!(counts, [(1, 1), (0, 1), (1, 0), (0, 0), (0, 0), (1, 0)]);
}

#[test]
fn open_ones_are_censored_until_their_time_ends_or_they_are_closed() {
    let mut open = incident("a");
    open.notified_at = at(20);
    let times = Times::of(&open);
    assert_eq!(times.state(), State::Notified);
    assert_eq!(times.under_way(Timing::Acknowledge), at(20));
    assert_eq!(times.under_way(Timing::Respond), at(10));
    assert_eq!(times.under_way(Timing::Detect), None, "it is detected");
    let report = report(&[times], NOW);
    let respond = &report.timings[1];
    assert_eq!((respond.count, respond.open, respond.oldest_open), (0, 1, Some(299_999_990.0)));
    open.closed_at = at(30);
    assert_eq!(Times::of(&open).under_way(Timing::Respond), None, "nobody will contain it");
    open.escalated_at = at(25);
    open.closed_at = None;
    assert_eq!(Times::of(&open).state(), State::Escalated);
}

#[test]
fn tenants_and_incidents_are_bounded_and_what_is_gone_is_not_open() {
    let metrics = Metrics::default();
    let limit = TENANTS_MAX + 5;
    let made = IncidentMetrics::new(&metrics.service("metrics")).unwrap();
    let mut incidents = Incidents::with_limit(made, limit);
    for n in 0..limit + 3 {
        let one = Incident { tenant: format!("t{n:03}"), ..incident(&format!("i{n}")) };
        incidents.apply(one.incident_id.as_bytes(), Some(&one));
    }
    incidents.caught_up();
    incidents.apply(b"i0", None);
    incidents.show(NOW);
    let text = metrics.text().unwrap();
    assert_eq!(text.matches("atio_incident_detect_seconds_count").count(), TENANTS_MAX + 1);
    let other = r#"atio_incident_detect_seconds_count{kind="threat",service="metrics",tenant="other"}"#;
    assert_eq!(sample(&text, other), Some("5"));
    assert_eq!(sample(&text, "atio_incident_records_untracked_total"), Some("3"));
    let open = (limit - 1).to_string();
    assert_eq!(sample(&text, "atio_incidents_open"), Some(open.as_str()));
}

#[test]
fn ranks_are_of_values_that_were_measured() {
    let values: Vec<f64> = (1..=10).map(f64::from).collect();
    let ranks = [1, 50, 90, 91, 99, 100].map(|p| nearest_rank(&values, p));
    assert_eq!(ranks, [1.0, 5.0, 9.0, 10.0, 10.0, 10.0].map(Some));
    assert_eq!(nearest_rank(&[], 50), None);
    assert_eq!(nearest_rank(&[7.0], 1), Some(7.0));
}

#[test]
fn ledgers_are_shown_and_forgotten_with_their_stage() {
    let metrics = Metrics::default();
    let mut cluster = Cluster::new(ClusterMetrics::new(&metrics.service("metrics")).unwrap());
    let mut counts = Counts { read: 9, emitted: 4, held: 2, ..Counts::default() };
    counts.count_dropped(Code::Duplicate, 1);
    counts.count_dead_lettered(Code::InvalidJson, 1);
    assert_eq!(counts.imbalance(), 1, "one record is unaccounted for");
    let standing = Standing { lag: BTreeMap::from([("atio.x".into(), 4)]), counts, ledgers: 1 };
    let seen = Seen {
        groups: BTreeMap::from([("normalization".into(), standing)]),
        dead_letters: BTreeMap::from([("atio.x.dlq".into(), 1)]),
    };
    cluster.show(&seen);
    let text = metrics.text().unwrap();
    for line in [
        r#"atio_ledger_records_total{outcome="dropped",reason="duplicate",service="metrics",stage="normalization"} 1"#,
        r#"atio_ledger_records_total{outcome="read",reason="",service="metrics",stage="normalization"} 9"#,
        r#"atio_ledger_imbalance{service="metrics",stage="normalization"} 1"#,
        r#"atio_lag_records{service="metrics",stage="normalization",topic="atio.x"} 4"#,
        r#"atio_dead_letters{service="metrics",topic="atio.x.dlq"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    cluster.show(&Seen::default());
    let text = metrics.text().unwrap();
    assert!(!text.contains("normalization") && !text.contains("dlq"), "{text}");
}

fn moment() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of((-5_000_i64..5_000_000).prop_map(|ms| Timestamp(1_700_000_000_000_000 + ms * 1000)))
}

fn incidents() -> impl Strategy<Value = Vec<Incident>> {
    let one = (
        0..12_u8,
        (moment(), moment(), moment(), moment(), moment(), moment(), moment()),
        proptest::option::of(0..Verdict::ALL.len()),
        proptest::option::of(0..Answerer::ALL.len()),
        0..Kind::ALL.len(),
    );
    let one = one.prop_map(
        |(id, (occurred, detected, notified, acked, handed, contained, closed), verdict, by, kind)| {
            Incident {
                occurred_at: occurred,
                detected_at: detected,
                notified_at: notified,
                acked_at: acked,
                handed_over_at: handed,
                contained_at: contained,
                closed_at: closed,
                verdict: verdict.map(|v| Verdict::ALL[v]),
                acked_as: by.map(|b| Answerer::ALL[b]),
                // An incident keeps its kind.
                kind: Kind::ALL[(kind + usize::from(id)) % 2],
                ..incident(&format!("i{id}"))
            }
        },
    );
    proptest::collection::vec(one, 0..40)
}

fn newest(records: &[Incident]) -> Vec<Incident> {
    let latest: BTreeMap<&str, &Incident> = records.iter().map(|i| (i.incident_id.as_str(), i)).collect();
    latest.into_values().cloned().collect()
}

proptest! {
    /// Sums are of floats, so that another order may differ in the last digit: everything else is the same text.
    #[test]
    fn compacted_or_not_and_read_twice_is_the_same(records in incidents()) {
        let whole: Vec<Incident> = records.iter().chain(&records).cloned().collect();
        let rounded = |text: String| -> Vec<String> {
            text.lines().map(|l| match l.rsplit_once(' ') {
                Some((name, value)) if name.contains("_sum{") => format!("{name} {:.3}", value.parse::<f64>().unwrap()),
                _ => l.to_owned(),
            }).collect()
        };
        prop_assert_eq!(rounded(text(&whole)), rounded(text(&newest(&records))));
    }

    #[test]
    fn the_report_is_what_a_naive_computation_gives(records in incidents(), since in moment()) {
        let filter = Filter { since, kind: Some(Kind::Threat) };
        let all = newest(&records);
        let wanted: Vec<&Incident> = all.iter().filter(|i| {
            i.kind == Kind::Threat && since.is_none_or(|s| i.detected_at.or(i.occurred_at).is_some_and(|t| t >= s))
        }).collect();
        let taken: Vec<Times> = all.iter().map(Times::of).filter(|t| filter.takes(t)).collect();
        let report = report(&taken, NOW);
        prop_assert_eq!(report.incidents, wanted.len());
        let mut naive: Vec<f64> = vec![];
        let mut skewed = 0;
        for i in &wanted {
            if i.verdict == Some(Verdict::FalsePositive) { continue; }
            if let (Some(a), Some(b)) = (i.detected_at, i.contained_at) {
                skewed += usize::from(b < a);
                naive.push(((b.0 - a.0) as f64 / 1e6).max(0.0));
            }
        }
        naive.sort_by(f64::total_cmp);
        let row = &report.timings[1];
        prop_assert_eq!((row.count, row.skewed, row.max), (naive.len(), skewed, naive.last().copied()));
        // Half of the values are at most the median, and no smaller value has that.
        if let Some(p50) = row.p50 {
            prop_assert!(naive.iter().filter(|v| **v <= p50).count() * 2 >= naive.len());
            prop_assert!(naive.iter().filter(|v| **v < p50).count() * 2 < naive.len());
        }
        if let Some(mean) = row.mean {
            prop_assert!((mean - naive.iter().sum::<f64>() / naive.len() as f64).abs() < 1e-6);
        }
        let human = wanted.iter().filter(|i| i.acked_as != Some(Answerer::Policy) && i.notified_at.is_some() && i.acked_at.is_some());
        prop_assert_eq!(report.timings[2].count, human.count());
    }
}
