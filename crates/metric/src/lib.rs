//! Prometheus metrics: families by service, the text format. The only crate that names prometheus.
//!
//! Names follow Prometheus' conventions (`atio_…_total`, `_seconds`, `_bytes`); label values are bounded by whoever sets them. Every family
//! carries `service`; asking twice for the same family gives the same one, so that a lane that restarts goes on counting.
//! Must not know: what is measured.
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder, core::Collector,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Why a family can't be had.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    #[error("metric {name}: {reason}")]
    Family { name: String, reason: String },
    #[error("metrics can't be written as text: {0}")]
    Text(String),
}

impl MetricError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Family { .. } => "metric_family",
            Self::Text(_) => "metric_text",
        }
    }
}

#[derive(Clone)]
enum Family {
    Counter(IntCounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

impl Family {
    fn counter(&self) -> Option<&IntCounterVec> {
        if let Self::Counter(c) = self { Some(c) } else { None }
    }
    fn gauge(&self) -> Option<&GaugeVec> {
        if let Self::Gauge(g) = self { Some(g) } else { None }
    }
    fn histogram(&self) -> Option<&HistogramVec> {
        if let Self::Histogram(h) = self { Some(h) } else { None }
    }
}

#[derive(Default)]
struct Inner {
    registry: Registry,
    families: Mutex<HashMap<(String, String), Family>>,
}

/// All metrics of a process.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// The metrics of one service in this process.
    #[must_use]
    pub fn service(&self, service: &str) -> Service {
        Service { metrics: self.clone(), service: Arc::from(service) }
    }
    /// Everything, in the text exposition format 0.0.4.
    ///
    /// # Errors
    /// [`MetricError::Text`].
    pub fn text(&self) -> Result<String, MetricError> {
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .map_err(|e| MetricError::Text(e.to_string()))
    }

    fn family<C: Collector + Clone + 'static>(
        &self,
        key: (String, String),
        make: impl FnOnce() -> prometheus::Result<C>,
        wrap: fn(C) -> Family,
        unwrap: fn(&Family) -> Option<&C>,
    ) -> Result<C, MetricError> {
        let fail = |name: &str, reason: String| MetricError::Family { name: name.to_owned(), reason };
        let mut families = self.0.families.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = families.get(&key) {
            return unwrap(known).cloned().ok_or_else(|| fail(&key.1, "is of another type".into()));
        }
        let made = make().map_err(|e| fail(&key.1, e.to_string()))?;
        self.0.registry.register(Box::new(made.clone())).map_err(|e| fail(&key.1, e.to_string()))?;
        families.insert(key, wrap(made.clone()));
        Ok(made)
    }
}

/// Families of one service.
#[derive(Clone, Debug)]
pub struct Service {
    metrics: Metrics,
    service: Arc<str>,
}

impl Service {
    fn key(&self, name: &str) -> (String, String) {
        (self.service.to_string(), name.to_owned())
    }
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_label("service", &*self.service)
    }
    #[must_use]
    pub fn name(&self) -> &str {
        &self.service
    }
    /// A counter family; `name` ends in `_total`.
    ///
    /// # Errors
    /// The name or a label is not valid, or the name is taken by another type.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<Counter, MetricError> {
        let make = || IntCounterVec::new(self.opts(name, help), labels);
        self.metrics.family(self.key(name), make, Family::Counter, Family::counter).map(Counter)
    }
    /// A gauge family.
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<Gauge, MetricError> {
        let make = || GaugeVec::new(self.opts(name, help), labels);
        self.metrics.family(self.key(name), make, Family::Gauge, Family::gauge).map(Gauge)
    }
    /// A histogram family; `buckets` are upper bounds, in the unit of the name (`_seconds`).
    ///
    /// # Errors
    /// As [`Self::counter`].
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<Histogram, MetricError> {
        let make = || {
            let opts = HistogramOpts::new(name, help)
                .const_label("service", &*self.service)
                .buckets(buckets.to_vec());
            HistogramVec::new(opts, labels)
        };
        self.metrics.family(self.key(name), make, Family::Histogram, Family::histogram).map(Histogram)
    }
}

/// Label values in the order of the family's labels. A wrong number of values is a mistake of ours: it is not counted.
#[derive(Clone, Debug)]
pub struct Counter(IntCounterVec);

impl Counter {
    pub fn add(&self, labels: &[&str], n: u64) {
        if let Ok(counter) = self.0.get_metric_with_label_values(labels) {
            counter.inc_by(n);
        }
    }
    pub fn inc(&self, labels: &[&str]) {
        self.add(labels, 1);
    }
    /// Follows a total that somebody else keeps. A smaller one is a new beginning, as after a restart.
    pub fn follow(&self, labels: &[&str], total: u64) {
        let Ok(counter) = self.0.get_metric_with_label_values(labels) else { return };
        if total < counter.get() {
            counter.reset();
        }
        counter.inc_by(total - counter.get());
    }
    /// Forgets one series: its subject is gone.
    pub fn remove(&self, labels: &[&str]) {
        drop(self.0.remove_label_values(labels));
    }
    #[must_use]
    pub fn get(&self, labels: &[&str]) -> u64 {
        self.0.get_metric_with_label_values(labels).map_or(0, |c| c.get())
    }
}

#[derive(Clone, Debug)]
pub struct Gauge(GaugeVec);

impl Gauge {
    pub fn set(&self, labels: &[&str], value: f64) {
        if let Ok(gauge) = self.0.get_metric_with_label_values(labels) {
            gauge.set(value);
        }
    }
    /// Forgets one series: its subject is gone.
    pub fn remove(&self, labels: &[&str]) {
        drop(self.0.remove_label_values(labels));
    }
    #[must_use]
    pub fn get(&self, labels: &[&str]) -> f64 {
        self.0.get_metric_with_label_values(labels).map_or(0.0, |g| g.get())
    }
}

#[derive(Clone, Debug)]
pub struct Histogram(HistogramVec);

impl Histogram {
    pub fn observe(&self, labels: &[&str], value: f64) {
        if let Ok(histogram) = self.0.get_metric_with_label_values(labels) {
            histogram.observe(value);
        }
    }
    /// How many values were observed, and their sum.
    #[must_use]
    pub fn get(&self, labels: &[&str]) -> (u64, f64) {
        let found = self.0.get_metric_with_label_values(labels);
        found.map_or((0, 0.0), |h| (h.get_sample_count(), h.get_sample_sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_services_share_a_name_and_a_restart_goes_on_counting() {
        let metrics = Metrics::default();
        let (a, b) = (metrics.service("a"), metrics.service("b"));
        a.counter("atio_records_total", "Records.", &["stage"]).unwrap().inc(&["x"]);
        a.counter("atio_records_total", "Records.", &["stage"]).unwrap().inc(&["x"]);
        b.counter("atio_records_total", "Records.", &["stage"]).unwrap().add(&["x"], 5);
        let text = metrics.text().unwrap();
        assert!(text.contains(r#"atio_records_total{service="a",stage="x"} 2"#), "{text}");
        assert!(text.contains(r#"atio_records_total{service="b",stage="x"} 5"#), "{text}");
    }

    #[test]
    fn a_followed_total_may_begin_anew() {
        let counter = Metrics::default().service("a").counter("atio_x_total", "X.", &["k"]).unwrap();
        for total in [3, 3, 7, 2, 4] {
            counter.follow(&["v"], total);
            assert_eq!(counter.get(&["v"]), total);
        }
        counter.remove(&["v"]);
        assert_eq!(counter.get(&["v"]), 0);
    }

    #[test]
    fn another_type_under_a_taken_name_is_an_error() {
        let service = Metrics::default().service("a");
        service.counter("atio_x_total", "X.", &[]).unwrap();
        assert_eq!(service.gauge("atio_x_total", "X.", &[]).unwrap_err().code(), "metric_family");
    }
}
