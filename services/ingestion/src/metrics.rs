//! What ingestion measures.
use atio_metric::{Counter, MetricError, Service};

#[derive(Clone, Debug)]
pub struct IngestionMetrics {
    accepted: Counter,
    bytes: Counter,
    rejected: Counter,
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
        })
    }
    pub fn accepted(&self, source: &str, transport: &str, events: u64, bytes: u64) {
        self.accepted.add(&[source, transport], events);
        self.bytes.add(&[source, transport], bytes);
    }
    pub fn rejected(&self, source: &str, transport: &str, code: &str) {
        self.rejected.inc(&[source, transport, code]);
    }
}
