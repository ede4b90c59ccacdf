//! What delivery measures: how long sinks take and how they answer.
use atio_metric::{Counter, Histogram, MetricError, Service};
use atio_stage::{BoxFuture, Delivery, Sink, Verdict};
use std::time::Instant;

const BUCKETS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

#[derive(Clone, Debug)]
pub struct DeliveryMetrics {
    seconds: Histogram,
    answers: Counter,
}

impl DeliveryMetrics {
    /// # Errors
    /// A family's name is taken by another type.
    pub fn new(service: &Service) -> Result<Self, MetricError> {
        Ok(Self {
            seconds: service.histogram(
                "atio_delivery_call_seconds",
                "Time of one call to a sink, a batch at most.",
                &["sink"],
                BUCKETS,
            )?,
            answers: service.counter(
                "atio_delivery_answers_total",
                "Deliveries by what the sink answered.",
                &["sink", "answer"],
            )?,
        })
    }
    /// The sink, measured.
    pub fn timed<S: Sink>(&self, name: &str, sink: S) -> Timed<S> {
        Timed { metrics: self.clone(), name: name.to_owned(), sink }
    }
}

/// A sink whose calls are measured.
pub struct Timed<S> {
    metrics: DeliveryMetrics,
    name: String,
    sink: S,
}

impl<S: Sink> Sink for Timed<S> {
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>> {
        Box::pin(async move {
            let start = Instant::now();
            let verdicts = self.sink.deliver(batch).await;
            self.metrics.seconds.observe(&[&self.name], start.elapsed().as_secs_f64());
            for verdict in &verdicts {
                let answer = match verdict {
                    Verdict::Delivered(_) => "delivered",
                    Verdict::Retry { .. } => "retry",
                    Verdict::Reject(_) => "rejected",
                };
                self.metrics.answers.inc(&[&self.name, answer]);
            }
            verdicts
        })
    }
    fn batch_size(&self) -> usize {
        self.sink.batch_size()
    }
}
