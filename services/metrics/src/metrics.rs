//! Names, units, help and buckets of what this service exposes. Must not know where the numbers come from.
use crate::times::{Times, Timing};
use atio_metric::{Counter, Gauge, Histogram, MetricError, Service};

/// 1 s to 30 d.
const DETECT: &[f64] = &[
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    14_400.0,
    43_200.0,
    86_400.0,
    259_200.0,
    604_800.0,
    1_209_600.0,
    2_592_000.0,
];
/// 5 s to 1 d.
const ACKNOWLEDGE: &[f64] =
    &[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];
/// 5 ms to 60 s.
const HANDOVER: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

#[derive(Clone, Debug)]
pub struct IncidentMetrics {
    detect: Histogram,
    acknowledge: Histogram,
    handover: Histogram,
    respond: Histogram,
    resolve: Histogram,
    skew: Counter,
    pub open: Gauge,
    pub oldest: Gauge,
    pub waits: Gauge,
    pub escalations: Counter,
    pub false_positives: Gauge,
    pub unreadable: Counter,
    pub untracked: Counter,
}

impl IncidentMetrics {
    /// # Errors
    /// A family's name is taken by another type.
    pub fn new(service: &Service) -> Result<Self, MetricError> {
        let labels: &[&str] = &["kind", "tenant"];
        let times = |name: &str, help: &str, buckets: &[f64]| service.histogram(name, help, labels, buckets);
        Ok(Self {
            detect: times(
                "atio_incident_detect_seconds",
                "MTTD: from the occurrence of an incident to its detection.",
                DETECT,
            )?,
            acknowledge: service.histogram(
                "atio_incident_acknowledge_seconds",
                "MTTA: from the notification of people to an answer, by who answered.",
                &["kind", "tenant", "by"],
                ACKNOWLEDGE,
            )?,
            handover: times(
                "atio_incident_handover_seconds",
                "From the detection of an incident to its acceptance by a response tool.",
                HANDOVER,
            )?,
            respond: times(
                "atio_incident_respond_seconds",
                "MTTR: from the detection of an incident to its containment.",
                DETECT,
            )?,
            resolve: times(
                "atio_incident_resolve_seconds",
                "From the detection of an incident to its closing.",
                DETECT,
            )?,
            skew: service.counter(
                "atio_incident_clock_skew_total",
                "Times of incidents that ended before they began; each counts as 0 seconds.",
                &["timing"],
            )?,
            open: service.gauge(
                "atio_incidents_open",
                "Incidents that are not closed, by how far they have come.",
                &["kind", "state"],
            )?,
            oldest: service.gauge(
                "atio_incidents_oldest_open_seconds",
                "Age of the oldest incident that is not closed; 0 without one.",
                &["kind"],
            )?,
            waits: service.gauge(
                "atio_incident_waits_open",
                "Branches of workflows that wait for an answer.",
                &[],
            )?,
            escalations: service.counter(
                "atio_incident_escalations_total",
                "How often somebody else was asked because nobody had answered in time.",
                &["kind"],
            )?,
            false_positives: service.gauge(
                "atio_incidents_false_positive",
                "Incidents that turned out to be none.",
                &["kind"],
            )?,
            unreadable: service.counter(
                "atio_incident_records_unreadable_total",
                "Records of the topic of incidents that can't be decoded.",
                &[],
            )?,
            untracked: service.counter(
                "atio_incident_records_untracked_total",
                "Records of incidents above the number that is kept in memory: not measured.",
                &[],
            )?,
        })
    }

    /// Observes a measure of an incident; true where there was one.
    pub fn observe(&self, times: &Times, tenant: &str, timing: Timing) -> bool {
        let Some(measured) = times.measured(timing) else { return false };
        if measured.skewed {
            self.skew.inc(&[timing.as_str()]);
        }
        let (kind, seconds) = (times.kind.as_str(), measured.seconds);
        match timing {
            Timing::Detect => self.detect.observe(&[kind, tenant], seconds),
            Timing::Respond => self.respond.observe(&[kind, tenant], seconds),
            Timing::Acknowledge => {
                self.acknowledge.observe(&[kind, tenant, times.acked_by.as_str()], seconds);
            }
            Timing::Handover => self.handover.observe(&[kind, tenant], seconds),
            Timing::Resolve => self.resolve.observe(&[kind, tenant], seconds),
        }
        true
    }
}

#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    pub lag: Gauge,
    pub records: Counter,
    pub parts: Counter,
    pub held: Gauge,
    pub imbalance: Gauge,
    pub dead_letters: Gauge,
    pub up: Gauge,
    pub looked: Gauge,
}

impl ClusterMetrics {
    /// # Errors
    /// A family's name is taken by another type.
    pub fn new(service: &Service) -> Result<Self, MetricError> {
        let gauge = |name: &str, help: &str, labels: &[&str]| service.gauge(name, help, labels);
        Ok(Self {
            lag: gauge(
                "atio_lag_records",
                "Offsets between what a stage has committed and the last stable one.",
                &["stage", "topic"],
            )?,
            records: service.counter(
                "atio_ledger_records_total",
                "Records of a stage, by how they ended, as committed with its offsets.",
                &["stage", "outcome", "reason"],
            )?,
            parts: service.counter(
                "atio_ledger_parts_dead_lettered_total",
                "Bad parts of records that were otherwise good, as committed with a stage's offsets.",
                &["stage"],
            )?,
            held: gauge("atio_ledger_held", "Records that a stage holds now.", &["stage"])?,
            imbalance: gauge(
                "atio_ledger_imbalance",
                "Records read that neither gave output, were dropped, dead-lettered nor are held: must be 0.",
                &["stage"],
            )?,
            dead_letters: gauge(
                "atio_dead_letters",
                "Offsets between beginning and end of a dead-letter topic: its records and a marker a transaction.",
                &["topic"],
            )?,
            up: gauge(
                "atio_metrics_up",
                "1 while the broker answers and incidents are read to their end, 0 while what is shown is stale.",
                &[],
            )?,
            looked: gauge(
                "atio_metrics_last_look_timestamp_seconds",
                "When the cluster was last looked at in full.",
                &[],
            )?,
        })
    }
}
