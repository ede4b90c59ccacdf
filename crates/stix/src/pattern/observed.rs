//! What a bundle observed: its observables, by observed-data. Owns which objects make up one observation. Must not know: patterns' operators.
use super::{Budget, ast::Compare, compare::fulfils};
use crate::{
    bundle::{self, Object},
    canon::is_sco,
};
use atio_schemas::Timestamp;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The observables of a bundle. Those that an observed-data lists were observed together; those that none lists are one more observation, of which
/// no time is known.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    objects: Vec<Object>,
    by_id: HashMap<String, usize>,
    observations: Vec<Members>,
}

/// One observation.
#[derive(Clone, Debug)]
struct Members {
    /// Positions of its objects, in order.
    objects: Vec<usize>,
    /// From its first to its last time.
    times: Option<(Timestamp, Timestamp)>,
    /// So often.
    count: u32,
}

impl Observed {
    /// Nothing, where the bytes are no bundle.
    #[must_use]
    pub fn of(bundle: &[u8]) -> Self {
        bundle::parse(bundle).map(Self::in_objects).unwrap_or_default()
    }

    fn in_objects(objects: Vec<Object>) -> Self {
        let id = |object: &Object| object.get("id").and_then(Value::as_str).map(str::to_owned);
        let by_id: HashMap<String, usize> =
            objects.iter().enumerate().filter_map(|(at, object)| Some((id(object)?, at))).collect();
        let is_observable = |at: &usize| objects.get(*at).is_some_and(observable);
        let mut listed = HashSet::new();
        let mut observations = vec![];
        for data in objects.iter().filter(|object| kind(object) == "observed-data") {
            let refs = data.get("object_refs").and_then(Value::as_array).into_iter().flatten();
            let found = refs.filter_map(|id| by_id.get(id.as_str()?).copied()).filter(is_observable);
            let mut members: Vec<usize> = found.collect();
            members.sort_unstable();
            members.dedup();
            listed.extend(members.iter().copied());
            let time = |name: &str| Timestamp::parse(data.get(name)?.as_str()?).ok();
            let times = time("first_observed").zip(time("last_observed"));
            let times = times.map(|(first, last)| (first, last.max(first)));
            let count = data.get("number_observed").and_then(Value::as_u64).unwrap_or(1);
            let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
            observations.push(Members { objects: members, times, count });
        }
        let rest: Vec<usize> =
            (0..objects.len()).filter(|at| !listed.contains(at) && is_observable(at)).collect();
        if !rest.is_empty() {
            observations.push(Members { objects: rest, times: None, count: 1 });
        }
        Self { objects, by_id, observations }
    }

    pub(super) fn observations(&self) -> impl Iterator<Item = Observation<'_>> {
        self.observations.iter().map(|members| Observation { observed: self, members })
    }
}

fn kind(object: &Object) -> &str {
    object.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Observables of others' types have no creation of their own.
fn observable(object: &Object) -> bool {
    let kind = kind(object);
    is_sco(kind) || kind.starts_with("x-") && !object.contains_key("created")
}

/// One observation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<'o> {
    observed: &'o Observed,
    members: &'o Members,
}

impl<'o> Observation<'o> {
    fn objects(self) -> impl Iterator<Item = &'o Object> {
        self.members.objects.iter().filter_map(move |at| self.observed.objects.get(*at))
    }
    /// The object of this id, where it was observed here.
    pub(super) fn member(self, id: &str) -> Option<&'o Object> {
        let at = self.observed.by_id.get(id)?;
        self.observed.objects.get(*at).filter(|_| self.members.objects.binary_search(at).is_ok())
    }
    pub(super) fn times(self) -> Option<(Timestamp, Timestamp)> {
        self.members.times
    }
    pub(super) fn count(self) -> u32 {
        self.members.count
    }
    /// Whether an object fulfils what stands in a pair of square brackets.
    pub(super) fn fulfils(self, comparison: &Compare, budget: &Budget) -> bool {
        self.objects().any(|object| fulfils(object, comparison, &self, budget))
    }
    /// The ids of those that do.
    pub(super) fn fulfilling(self, comparison: &Compare, budget: &Budget) -> impl Iterator<Item = &'o str> {
        let found = self.objects().filter(move |object| fulfils(object, comparison, &self, budget));
        found.filter_map(|object| object.get("id").and_then(Value::as_str))
    }
}
