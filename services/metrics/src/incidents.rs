//! Incidents as they are known now: each measure observed once, the open ones counted. Owns what is kept of an incident, and the limits of it; must
//! not know Kafka nor the clock.
//!
//! Until the topic is read to its end only states are kept, and observed together then: what was compacted away makes no difference, and a
//! restart shows what it showed before, never less on the way there.
use crate::{
    metrics::IncidentMetrics,
    times::{State, Times, Timing},
};
use atio_schemas::{Timestamp, detection::Kind, incident::Incident};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Incidents in memory at most (about 100 bytes each); what is over is counted as untracked.
pub const INCIDENTS_MAX: usize = 1_000_000;
/// Tenants with a label of their own; the rest share `other`.
pub const TENANTS_MAX: usize = 50;
const OTHER: &str = "other";

/// An incident id in 16 bytes.
type Id = u128;

/// What is kept of an incident once its measures are observed.
#[derive(Clone, Copy, Debug)]
struct Kept {
    kind: Kind,
    state: State,
    false_positive: bool,
    /// Bits of the timings that were observed.
    observed: u8,
    waits: u32,
    escalations: u64,
    since: Option<Timestamp>,
}

/// See the module's head.
pub struct Incidents {
    metrics: IncidentMetrics,
    limit: usize,
    tenants: BTreeSet<Arc<str>>,
    kept: HashMap<Id, Kept>,
    /// Some until the topic is read to its end.
    starting: Option<HashMap<Id, (Times, Arc<str>)>>,
    open: BTreeMap<(Kind, State), i64>,
    ages: BTreeSet<(Kind, Timestamp, Id)>,
    false_positives: BTreeMap<Kind, i64>,
    waits: i64,
}

impl Incidents {
    #[must_use]
    pub fn new(metrics: IncidentMetrics) -> Self {
        Self::with_limit(metrics, INCIDENTS_MAX)
    }

    #[must_use]
    pub fn with_limit(metrics: IncidentMetrics, limit: usize) -> Self {
        Self {
            metrics,
            limit,
            tenants: BTreeSet::new(),
            kept: HashMap::new(),
            starting: Some(HashMap::new()),
            open: BTreeMap::new(),
            ages: BTreeSet::new(),
            false_positives: BTreeMap::new(),
            waits: 0,
        }
    }

    /// The newest record of an incident; None = it is gone.
    pub fn apply(&mut self, key: &[u8], incident: Option<&Incident>) {
        let id = id(key);
        let Some(incident) = incident else {
            if let Some(starting) = &mut self.starting {
                starting.remove(&id);
            }
            self.forget(id);
            return;
        };
        let (times, tenant) = (Times::of(incident), self.tenant(&incident.tenant));
        let Some(starting) = &mut self.starting else { return self.take(id, &times, &tenant) };
        if starting.len() < self.limit || starting.contains_key(&id) {
            starting.insert(id, (times, tenant));
        } else {
            self.metrics.untracked.inc(&[]);
        }
    }

    /// The topic is read to its end as it was: from now on each change counts at once.
    pub fn caught_up(&mut self) {
        for (id, (times, tenant)) in self.starting.take().unwrap_or_default() {
            self.take(id, &times, &tenant);
        }
    }

    #[must_use]
    pub const fn is_caught_up(&self) -> bool {
        self.starting.is_none()
    }

    fn take(&mut self, id: Id, times: &Times, tenant: &str) {
        if self.kept.len() >= self.limit && !self.kept.contains_key(&id) {
            self.metrics.untracked.inc(&[]);
            return;
        }
        let before = self.forget(id);
        let mut observed = before.map_or(0, |k| k.observed);
        let escalations = times.escalations.saturating_sub(before.map_or(0, |k| k.escalations));
        self.metrics.escalations.add(&[times.kind.as_str()], escalations);
        for timing in Timing::ALL {
            let is_new = observed & timing.bit() == 0;
            if is_new && self.metrics.observe(times, tenant, timing) {
                observed |= timing.bit();
            }
        }
        let kept = Kept {
            kind: times.kind,
            state: times.state(),
            false_positive: times.false_positive,
            observed,
            waits: times.waits,
            escalations: times.escalations,
            since: times.since(),
        };
        self.count(id, &kept, 1);
        self.kept.insert(id, kept);
    }

    fn forget(&mut self, id: Id) -> Option<Kept> {
        let kept = self.kept.remove(&id)?;
        self.count(id, &kept, -1);
        Some(kept)
    }

    fn count(&mut self, id: Id, kept: &Kept, by: i64) {
        self.waits += by * i64::from(kept.waits);
        if kept.false_positive {
            *self.false_positives.entry(kept.kind).or_default() += by;
        }
        if kept.state == State::Closed {
            return;
        }
        *self.open.entry((kept.kind, kept.state)).or_default() += by;
        if let Some(since) = kept.since {
            let age = (kept.kind, since, id);
            if by > 0 {
                self.ages.insert(age)
            } else {
                self.ages.remove(&age)
            };
        }
    }

    /// Sets the gauges; ages are as of `now`.
    pub fn show(&self, now: Timestamp) {
        for ((kind, state), n) in &self.open {
            self.metrics.open.set(&[kind.as_str(), state.as_str()], *n as f64);
        }
        for (kind, n) in &self.false_positives {
            self.metrics.false_positives.set(&[kind.as_str()], *n as f64);
        }
        let kinds: BTreeSet<Kind> = self.open.keys().map(|(kind, _)| *kind).collect();
        for kind in kinds {
            let from = (kind, Timestamp(i64::MIN), Id::MIN);
            let oldest = self.ages.range(from..).next().filter(|(k, ..)| *k == kind);
            let age = oldest.map_or(0.0, |(_, since, _)| now.seconds_since(*since).max(0.0));
            self.metrics.oldest.set(&[kind.as_str()], age);
        }
        self.metrics.waits.set(&[], self.waits as f64);
    }

    fn tenant(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.tenants.get(name) {
            return known.clone();
        }
        if self.tenants.len() >= TENANTS_MAX {
            return Arc::from(OTHER);
        }
        let name: Arc<str> = Arc::from(name);
        self.tenants.insert(name.clone());
        name
    }
}

fn id(key: &[u8]) -> Id {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
