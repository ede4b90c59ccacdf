//! What lanes measure: names, units and help in one place. Must not know who asks for them.
use crate::{books::LegEnds, ledger::Counts};
use atio_metric::{Counter, Gauge, Histogram, MetricError, Service};

const SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0];

#[derive(Clone, Debug)]
struct Counters {
    read: Counter,
    emitted: Counter,
    dropped: Counter,
    dead_lettered: Counter,
    parts: Counter,
    legs: Counter,
    outputs: Counter,
    transactions: Counter,
    rebuilds: Counter,
    doubtful: Counter,
    retries: Counter,
    rows_refused: Counter,
}

impl Counters {
    fn new(service: &Service) -> Result<Self, MetricError> {
        let stage: &[&str] = &["stage"];
        let reason: &[&str] = &["stage", "reason"];
        let counter = |name: &str, help: &str, labels: &[&str]| service.counter(name, help, labels);
        Ok(Self {
            read: counter(
                "atio_stage_records_read_total",
                "Input records whose outcome is committed.",
                stage,
            )?,
            emitted: counter("atio_stage_records_emitted_total", "Input records that gave output.", stage)?,
            dropped: counter(
                "atio_stage_records_dropped_total",
                "Input records that ended without output, by reason.",
                reason,
            )?,
            dead_lettered: counter(
                "atio_stage_records_dead_lettered_total",
                "Input records that were dead-lettered, by reason.",
                reason,
            )?,
            parts: counter(
                "atio_stage_parts_dead_lettered_total",
                "Bad parts of records that were otherwise good.",
                stage,
            )?,
            legs: counter(
                "atio_stage_legs_total",
                "What a stage that runs several has made of records for each, by how that ended: emitted, dropped, dead_lettered.",
                &["stage", "leg", "end"],
            )?,
            outputs: counter(
                "atio_stage_outputs_total",
                "Records given to the producer, aborted transactions included.",
                stage,
            )?,
            transactions: counter(
                "atio_stage_transactions_total",
                "Transactions that were ended, by result: committed or aborted.",
                &["stage", "result"],
            )?,
            rebuilds: counter(
                "atio_stage_producer_rebuilds_total",
                "Producers made anew, by reason.",
                reason,
            )?,
            doubtful: counter(
                "atio_stage_doubtful_ok_total",
                "Transaction calls that said ok and may have been retried, by sign.",
                reason,
            )?,
            retries: counter("atio_stage_delivery_retries_total", "Deliveries that are tried again.", stage)?,
            rows_refused: counter(
                "atio_stage_table_rows_refused_total",
                "Rows that a table's view left out.",
                stage,
            )?,
        })
    }
}

/// The stream layer's families of one service. Labels: `stage`, and `reason` (a [`atio_schemas::Code`]) where records end.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    counters: Counters,
    commit_seconds: Histogram,
    batch_seconds: Histogram,
    restore_seconds: Histogram,
    held: Gauge,
    in_flight: Gauge,
    up: Gauge,
    held_back: Counter,
    downstream: Gauge,
    window: Gauge,
}

impl StreamMetrics {
    /// # Errors
    /// A name is taken by a family of another type.
    pub fn new(service: &Service) -> Result<Self, MetricError> {
        let stage: &[&str] = &["stage"];
        Ok(Self {
            counters: Counters::new(service)?,
            commit_seconds: service.histogram(
                "atio_stage_commit_seconds",
                "From draining to committed.",
                stage,
                SECONDS,
            )?,
            batch_seconds: service.histogram(
                "atio_stage_transaction_seconds",
                "From the first record to committed.",
                stage,
                SECONDS,
            )?,
            restore_seconds: service.histogram(
                "atio_stage_restore_seconds",
                "From an assignment to its first fetch.",
                stage,
                SECONDS,
            )?,
            held: service.gauge("atio_stage_held", "Records held now, by lane.", &["stage", "lane"])?,
            in_flight: service.gauge(
                "atio_stage_deliveries_in_flight",
                "Deliveries under way, by lane.",
                &["stage", "lane"],
            )?,
            held_back: service.counter(
                "atio_intake_held_back_seconds_total",
                "Time in which a source may have had records and was not taken from, so that others are not delayed.",
                &["stage", "source"],
            )?,
            downstream: service.gauge(
                "atio_intake_downstream_records",
                "Records that wait downstream, by the last look; nobody looks at rest.",
                stage,
            )?,
            window: service.gauge(
                "atio_intake_window_records",
                "Above so many downstream who has had his share is held back; 0 at rest.",
                stage,
            )?,
            up: service.gauge(
                "atio_stage_lane_up",
                "1 while the lane runs, 0 while it stalls or has failed.",
                &["stage", "lane"],
            )?,
        })
    }

    pub(crate) fn committed(&self, stage: &str, added: &Counts, commit: f64, batch: f64) {
        let labels = &[stage];
        self.counters.read.add(labels, added.read);
        self.counters.emitted.add(labels, added.emitted);
        self.counters.parts.add(labels, added.parts);
        for (code, n) in &added.dropped {
            self.counters.dropped.add(&[stage, code.as_str()], *n);
        }
        for (code, n) in &added.dead_lettered {
            self.counters.dead_lettered.add(&[stage, code.as_str()], *n);
        }
        self.counters.transactions.inc(&[stage, "committed"]);
        self.commit_seconds.observe(labels, commit);
        self.batch_seconds.observe(labels, batch);
    }
    pub(crate) fn legs(&self, stage: &str, ends: &LegEnds) {
        for ((leg, end), n) in ends {
            self.counters.legs.add(&[stage, leg, end], *n);
        }
    }
    pub(crate) fn outputs(&self, stage: &str, n: u64) {
        self.counters.outputs.add(&[stage], n);
    }
    pub(crate) fn aborted(&self, stage: &str) {
        self.counters.transactions.inc(&[stage, "aborted"]);
    }
    pub(crate) fn rebuilt(&self, stage: &str, reason: &str) {
        self.counters.rebuilds.inc(&[stage, reason]);
    }
    pub(crate) fn doubtful(&self, stage: &str, sign: &str) {
        self.counters.doubtful.inc(&[stage, sign]);
    }
    pub(crate) fn retried(&self, stage: &str) {
        self.counters.retries.inc(&[stage]);
    }
    pub(crate) fn rows_refused(&self, stage: &str, n: u64) {
        self.counters.rows_refused.add(&[stage], n);
    }
    pub(crate) fn restored(&self, stage: &str, seconds: f64) {
        self.restore_seconds.observe(&[stage], seconds);
    }
    pub(crate) fn held_back(&self, stage: &str, source: &str, seconds: u64) {
        self.held_back.add(&[stage, source], seconds);
    }
    /// `waiting`: where it was looked.
    pub(crate) fn downstream(&self, stage: &str, waiting: Option<u64>, window: Option<f64>) {
        if let Some(waiting) = waiting {
            self.downstream.set(&[stage], waiting as f64);
        }
        self.window.set(&[stage], window.unwrap_or(0.0));
    }
    pub(crate) fn state(&self, stage: &str, lane: u32, up: bool, held: i64, in_flight: usize) {
        let labels = &[stage, &lane.to_string()];
        self.up.set(labels, f64::from(u8::from(up)));
        self.held.set(labels, held as f64);
        self.in_flight.set(labels, in_flight as f64);
    }
}
