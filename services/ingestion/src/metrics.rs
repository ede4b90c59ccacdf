//! What ingestion measures.
use atio_metric::{Counter, Gauge, MetricError, Service};

#[derive(Clone, Debug)]
pub struct IngestionMetrics {
    accepted: Counter,
    bytes: Counter,
    rejected: Counter,
    dead_lettered: Counter,
    errors: Counter,
    table_rows: Gauge,
    table_changed: Counter,
}

impl IngestionMetrics {
    /// # Errors
    /// A family's name is taken by another type.
    pub fn new(service: &Service) -> Result<Self, MetricError> {
        let labels = &["source", "transport"];
        Ok(Self {
            accepted: service.counter(
                "atio_ingest_accepted_total",
                "Raw events that the broker has.",
                labels,
            )?,
            bytes: service.counter("atio_ingest_bytes_total", "Bytes of accepted raw events.", labels)?,
            rejected: service.counter(
                "atio_ingest_rejected_total",
                "Raw events refused at the door.",
                &["source", "transport", "error_code"],
            )?,
            dead_lettered: service.counter(
                "atio_ingest_dead_lettered_total",
                "Lines, records and files that were dead-lettered instead of becoming raw events.",
                &["source", "transport", "error_code"],
            )?,
            errors: service.counter(
                "atio_ingest_errors_total",
                "Faults of a tail, a directory or a table, each tried again: files that can't be read, transactions that did not commit.",
                &["name", "transport", "error_code"],
            )?,
            table_rows: service.gauge("atio_ingest_table_rows", "Rows of a reference table.", &["table"])?,
            table_changed: service.counter(
                "atio_ingest_table_changes_total",
                "Rows of a reference table that were written, tombstones included.",
                &["table"],
            )?,
        })
    }
    pub fn accepted(&self, source: &str, transport: &str, events: u64, bytes: u64) {
        self.accepted.add(&[source, transport], events);
        self.bytes.add(&[source, transport], bytes);
    }
    pub fn dead_lettered(&self, source: &str, transport: &str, code: &str) {
        self.dead_lettered.inc(&[source, transport, code]);
    }
    pub fn error(&self, name: &str, transport: &str, code: &str) {
        self.errors.inc(&[name, transport, code]);
    }
    pub fn table(&self, table: &str, rows: usize, changed: usize) {
        self.table_rows.set(&[table], rows as f64);
        self.table_changed.add(&[table], changed as u64);
    }
    pub fn rejected(&self, source: &str, transport: &str, code: &str) {
        self.rejected.inc(&[source, transport, code]);
    }
}
