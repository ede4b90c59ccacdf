//! Owns the metrics of the embedded broker's disk, in the process that it runs in.
//!
//! Must not know: how damage is found.
use super::System;
use atio_broker::Health;
use atio_metric::{Gauge, MetricError};
use std::time::Duration;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);

struct Disk {
    damaged: Gauge,
    missing: Gauge,
    torn: Gauge,
    rebuilt: Gauge,
    scrubbed: Gauge,
    scrubs: Gauge,
}

impl Disk {
    fn new(system: &System) -> Result<Self, MetricError> {
        let service = system.metrics.service("broker");
        let gauge = |name: &str, help: &str| service.gauge(name, help, &[]);
        Ok(Self {
            damaged: gauge("atio_broker_damaged_batches", "Batches that are broken on disk.")?,
            missing: gauge(
                "atio_broker_missing_bytes",
                "Bytes that had been on the disk and were gone at this start.",
            )?,
            torn: gauge(
                "atio_broker_torn_partitions",
                "Partitions whose torn end was cut off at this start.",
            )?,
            rebuilt: gauge("atio_broker_rebuilt_indexes", "Indexes that were made anew at this start.")?,
            scrubbed: gauge("atio_broker_scrubbed_bytes", "Bytes verified on disk since this start.")?,
            scrubs: gauge(
                "atio_broker_scrubs",
                "How often everything on disk was verified since this start.",
            )?,
        })
    }

    fn set(&self, health: Health) {
        for (gauge, value) in [
            (&self.damaged, health.damaged),
            (&self.missing, health.missing),
            (&self.torn, health.torn),
            (&self.rebuilt, health.rebuilt),
            (&self.scrubbed, health.scrubbed),
            (&self.scrubs, health.scrubs),
        ] {
            gauge.set(&[], value as f64);
        }
    }
}

/// Keeps the metrics true as long as the process runs.
///
/// # Errors
/// A family's name is taken by another type.
pub fn watch(
    system: &System,
    health: impl Fn() -> Option<Health> + Send + Sync + 'static,
) -> Result<(), MetricError> {
    let disk = Disk::new(system)?;
    let tasks = system.tasks.clone();
    system.tasks.spawn(async move {
        while let Some(now) = health() {
            disk.set(now);
            tokio::select! { () = tasks.stopped() => break, () = tokio::time::sleep(LOOK) => {} }
        }
    });
    Ok(())
}
