//! Lag, ledgers and dead letters of the whole system as metrics. Owns which series there are and which are gone; must not know how the cluster is asked.
use crate::metrics::ClusterMetrics;
use atio_stream::{
    Counts,
    survey::{Seen, Standing},
};
use std::collections::BTreeSet;

/// Shows what was seen, and takes away what is there no more.
pub struct Cluster {
    metrics: ClusterMetrics,
    /// Labels of the series that stand: stage and topic, stage, outcome and reason, stage, topic.
    lags: BTreeSet<[String; 2]>,
    records: BTreeSet<[String; 3]>,
    stages: BTreeSet<[String; 1]>,
    dead: BTreeSet<[String; 1]>,
}

impl Cluster {
    #[must_use]
    pub fn new(metrics: ClusterMetrics) -> Self {
        Self {
            metrics,
            lags: BTreeSet::new(),
            records: BTreeSet::new(),
            stages: BTreeSet::new(),
            dead: BTreeSet::new(),
        }
    }

    pub fn show(&mut self, seen: &Seen) {
        let (mut lags, mut records) = (BTreeSet::new(), BTreeSet::new());
        let (mut stages, mut dead) = (BTreeSet::new(), BTreeSet::new());
        for (stage, standing) in &seen.groups {
            for (topic, lag) in &standing.lag {
                self.metrics.lag.set(&[stage, topic], *lag as f64);
                lags.insert([stage.clone(), topic.clone()]);
            }
            if standing.ledgers > 0 {
                records.extend(self.ledger(stage, standing));
                stages.insert([stage.clone()]);
            }
        }
        for (topic, n) in &seen.dead_letters {
            self.metrics.dead_letters.set(&[topic], *n as f64);
            dead.insert([topic.clone()]);
        }
        let m = &self.metrics;
        gone(&self.lags, &lags, |labels| m.lag.remove(labels));
        gone(&self.records, &records, |labels| m.records.remove(labels));
        gone(&self.dead, &dead, |labels| m.dead_letters.remove(labels));
        gone(&self.stages, &stages, |labels| {
            m.parts.remove(labels);
            m.held.remove(labels);
            m.imbalance.remove(labels);
        });
        (self.lags, self.records, self.stages, self.dead) = (lags, records, stages, dead);
    }

    fn ledger(&self, stage: &str, standing: &Standing) -> Vec<[String; 3]> {
        let (counts, m) = (&standing.counts, &self.metrics);
        m.held.set(&[stage], counts.held as f64);
        m.imbalance.set(&[stage], counts.imbalance() as f64);
        m.parts.follow(&[stage], counts.parts);
        let rows = outcomes(counts);
        for (outcome, reason, n) in &rows {
            m.records.follow(&[stage, outcome, reason], *n);
        }
        rows.into_iter().map(|(outcome, reason, _)| [stage, outcome, reason].map(str::to_owned)).collect()
    }
}

/// How records ended: outcome, reason where there is one, number.
fn outcomes(counts: &Counts) -> Vec<(&'static str, &'static str, u64)> {
    let mut rows = vec![("read", "", counts.read), ("emitted", "", counts.emitted)];
    rows.extend(counts.dropped.iter().map(|(code, n)| ("dropped", code.as_str(), *n)));
    rows.extend(counts.dead_lettered.iter().map(|(code, n)| ("dead_lettered", code.as_str(), *n)));
    rows
}

fn gone<const N: usize>(
    before: &BTreeSet<[String; N]>,
    now: &BTreeSet<[String; N]>,
    remove: impl Fn(&[&str]),
) {
    for labels in before.difference(now) {
        remove(&labels.each_ref().map(String::as_str));
    }
}
