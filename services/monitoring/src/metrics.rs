//! What the watcher exposes. Must not know where the numbers come from.
use atio_metric::{Counter, Gauge, MetricError, Service};

#[derive(Clone, Debug)]
pub(crate) struct WatchMetrics {
    pub(crate) tampering: Counter,
    pub(crate) untrusted: Gauge,
    pub(crate) suspicions: Gauge,
    pub(crate) unverifiable: Gauge,
    pub(crate) up: Gauge,
    pub(crate) looked: Gauge,
    pub(crate) checkpoints: Counter,
}

impl WatchMetrics {
    /// # Errors
    /// A family's name is taken by another type.
    pub(crate) fn new(service: &Service) -> Result<Self, MetricError> {
        Ok(Self {
            tampering: service.counter(
                "atio_monitoring_tampering_total",
                "Records on monitoring's topics that it did not write, or that it wrote and are gone; as told, and as the audit log has them.",
                &["topic", "kind"],
            )?,
            untrusted: service.gauge(
                "atio_monitoring_untrusted_definitions",
                "Keys of the topic of definitions whose newest record is not what monitoring wrote last: until it is restored.",
                &[],
            )?,
            suspicions: service.gauge(
                "atio_monitoring_suspicions",
                "What looks like tampering and was seen only once so far.",
                &[],
            )?,
            unverifiable: service.gauge(
                "atio_monitoring_unverifiable_records",
                "Records whose audit entry, of an older version, holds no hash of them.",
                &[],
            )?,
            up: service.gauge(
                "atio_monitoring_watch_up",
                "1 while the topics are compared with the audit log, 0 while they can't be.",
                &[],
            )?,
            looked: service.gauge(
                "atio_monitoring_last_look_timestamp_seconds",
                "When the topics were last compared with the audit log.",
                &[],
            )?,
            checkpoints: service.counter(
                "atio_monitoring_checkpoints_total",
                "Signed checkpoints of the audit log, by how writing them ended.",
                &["result"],
            )?,
        })
    }
}
