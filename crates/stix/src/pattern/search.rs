//! Whether observations can be found that fulfil a pattern together, each used once (or as often as it was observed). Owns the operators between
//! observations and their qualifiers (§9.3, §9.5). Must not know: objects.
//!
//! An observation is a span of time: it fulfils what it may have fulfilled at some moment of it, as OASIS's matcher judges.
use super::{Budget, ast::Observe, observed::Observed};
use atio_schemas::Timestamp;

/// Choices that are tried for one bundle, and observations among which they are made.
const MAX_CHOICES: u32 = 100_000;
const MAX_OBSERVATIONS: usize = 1000;

pub(super) fn holds(root: &Observe, observed: &Observed, budget: &Budget) -> bool {
    let mut spans = vec![];
    let mut left = vec![];
    for observation in observed.observations() {
        spans.push(observation.times().map(|(first, last)| (first.0, last.0)));
        left.push(observation.count());
    }
    let plan = planned(root, observed, budget);
    if budget.is_spent() {
        return true;
    }
    // What can't be decided counts as fulfilled where each of its parts is.
    if !plan.is_possible() || spans.len() > MAX_OBSERVATIONS {
        return plan.is_possible();
    }
    let mut search = Search { spans, left, choices: MAX_CHOICES };
    search.each(&plan, Limits::default(), &mut |_, _| true) || search.choices == 0
}

/// A pattern with the observations that fulfil each of its square brackets.
enum Plan {
    One(Vec<usize>),
    All(Vec<Plan>),
    Any(Vec<Plan>),
    Sequence(Vec<Plan>),
    Repeats(Box<Plan>, u32),
    Within(Box<Plan>, i64),
    Between(Box<Plan>, i64, i64),
}

impl Plan {
    /// Whether each part is fulfilled by something, however that goes together.
    fn is_possible(&self) -> bool {
        match self {
            Self::One(found) => !found.is_empty(),
            Self::All(parts) | Self::Sequence(parts) => parts.iter().all(Self::is_possible),
            Self::Any(parts) => parts.iter().any(Self::is_possible),
            Self::Repeats(inner, _) | Self::Within(inner, _) | Self::Between(inner, ..) => {
                inner.is_possible()
            }
        }
    }
}

fn planned(observe: &Observe, observed: &Observed, budget: &Budget) -> Plan {
    let all = |parts: &[Observe]| parts.iter().map(|part| planned(part, observed, budget)).collect();
    let inner = |inner: &Observe| Box::new(planned(inner, observed, budget));
    match observe {
        Observe::One(comparison) => {
            let fulfilling =
                observed.observations().enumerate().filter(|(_, o)| o.fulfils(comparison, budget));
            Plan::One(fulfilling.map(|(at, _)| at).collect())
        }
        Observe::All(parts) => Plan::All(all(parts)),
        Observe::Any(parts) => Plan::Any(all(parts)),
        Observe::Sequence(parts) => Plan::Sequence(all(parts)),
        Observe::Repeats(what, count) => Plan::Repeats(inner(what), *count),
        Observe::Within(what, micros) => Plan::Within(inner(what), *micros),
        Observe::Between(what, Timestamp(start), Timestamp(stop)) => {
            Plan::Between(inner(what), *start, *stop)
        }
    }
}

/// The times of what was chosen: that which began last, and that which ended first. Each of the chosen can be given a moment so that all lie within
/// the distance of the two.
#[derive(Clone, Copy, Debug)]
struct Times {
    latest_first: i64,
    earliest_last: i64,
    /// Of one of them no time is known.
    unknown: bool,
}

impl Times {
    /// Of nothing.
    const NONE: Self = Self { latest_first: i64::MIN, earliest_last: i64::MAX, unknown: false };

    fn of(span: Option<(i64, i64)>) -> Self {
        match span {
            Some((first, last)) => Self { latest_first: first, earliest_last: last, unknown: false },
            None => Self { unknown: true, ..Self::NONE },
        }
    }
    fn with(self, other: Self) -> Self {
        Self {
            latest_first: self.latest_first.max(other.latest_first),
            earliest_last: self.earliest_last.min(other.earliest_last),
            unknown: self.unknown || other.unknown,
        }
    }
    fn within(self, micros: i64) -> bool {
        !self.unknown && self.latest_first.saturating_sub(self.earliest_last) <= micros
    }
}

/// What an observation must fulfil besides.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    /// It may have happened at this time or later.
    from: Option<i64>,
    /// It may have happened before.
    before: Option<i64>,
    /// So close to what was chosen so far.
    within: Option<(i64, Times)>,
}

impl Limits {
    fn allow(self, span: Option<(i64, i64)>) -> bool {
        let Some((first, last)) = span else {
            return self.from.is_none() && self.before.is_none() && self.within.is_none();
        };
        self.from.is_none_or(|from| last >= from)
            && self.before.is_none_or(|before| first < before)
            && self.within.is_none_or(|(micros, so_far)| so_far.with(Times::of(span)).within(micros))
    }
    fn from(self, at: i64) -> Self {
        Self { from: Some(self.from.map_or(at, |from| from.max(at))), ..self }
    }
    fn before(self, at: i64) -> Self {
        Self { before: Some(self.before.map_or(at, |before| before.min(at))), ..self }
    }
    /// Behind what was chosen.
    fn behind(self, chosen: Times) -> Self {
        Self { within: self.within.map(|(micros, so_far)| (micros, so_far.with(chosen))), ..self }
    }
}

struct Search {
    spans: Vec<Option<(i64, i64)>>,
    /// How often each observation can still be used.
    left: Vec<u32>,
    choices: u32,
}

/// Told of each way to fulfil a part; true ends the search.
type Next<'n> = dyn FnMut(&mut Search, Times) -> bool + 'n;

impl Search {
    /// Tries every way to fulfil a plan until one is taken.
    fn each(&mut self, plan: &Plan, limits: Limits, next: &mut Next<'_>) -> bool {
        match plan {
            Plan::One(candidates) => self.repeated(candidates, 1, limits, Times::NONE, next),
            Plan::All(parts) => self.all(parts, limits, Times::NONE, next),
            Plan::Any(parts) => parts.iter().any(|part| self.each(part, limits, next)),
            Plan::Sequence(parts) => self.sequence(parts, limits, Times::NONE, next),
            Plan::Repeats(inner, count) => match &**inner {
                Plan::One(candidates) => self.repeated(candidates, *count, limits, Times::NONE, next),
                inner => self.repeats(inner, *count, limits, Times::NONE, next),
            },
            Plan::Within(inner, micros) => {
                // The closer one of two that stand around it; each is held against the whole in its place.
                let outer = limits.within.filter(|(outer, _)| outer < micros);
                let inside = Limits { within: outer.or(Some((*micros, Times::NONE))), ..limits };
                self.each(inner, inside, &mut |search, times| times.within(*micros) && next(search, times))
            }
            Plan::Between(inner, start, stop) => self.each(inner, limits.from(*start).before(*stop), next),
        }
    }

    fn all(&mut self, parts: &[Plan], limits: Limits, so_far: Times, next: &mut Next<'_>) -> bool {
        let Some((first, rest)) = parts.split_first() else { return next(self, so_far) };
        self.each(first, limits, &mut |search, times| {
            search.all(rest, limits.behind(times), so_far.with(times), next)
        })
    }

    fn sequence(&mut self, parts: &[Plan], limits: Limits, so_far: Times, next: &mut Next<'_>) -> bool {
        let Some((first, rest)) = parts.split_first() else { return next(self, so_far) };
        self.each(first, limits, &mut |search, times| {
            let so_far = so_far.with(times);
            if so_far.unknown && !rest.is_empty() {
                return false;
            }
            let later = if rest.is_empty() { limits } else { limits.from(so_far.latest_first) };
            search.sequence(rest, later.behind(times), so_far, next)
        })
    }

    /// What consists of several observations, so often.
    fn repeats(
        &mut self,
        plan: &Plan,
        count: u32,
        limits: Limits,
        so_far: Times,
        next: &mut Next<'_>,
    ) -> bool {
        if count == 0 {
            return next(self, so_far);
        }
        self.each(plan, limits, &mut |search, times| {
            search.repeats(plan, count - 1, limits.behind(times), so_far.with(times), next)
        })
    }

    /// So many of these observations, in their order: as many of each as there are, then fewer.
    fn repeated(
        &mut self,
        candidates: &[usize],
        count: u32,
        limits: Limits,
        so_far: Times,
        next: &mut Next<'_>,
    ) -> bool {
        if count == 0 {
            return next(self, so_far);
        }
        for (position, at) in candidates.iter().enumerate() {
            let (Some(span), Some(left)) = (self.spans.get(*at).copied(), self.left.get(*at).copied()) else {
                continue;
            };
            if left == 0 || !limits.allow(span) {
                continue;
            }
            let times = Times::of(span);
            let rest = candidates.get(position + 1..).unwrap_or_default();
            // One use or many of the same observation are the same to the clock: fewer are tried only so that others have it.
            for uses in (1..=left.min(count)).rev() {
                self.choices = self.choices.saturating_sub(1);
                if self.choices == 0 {
                    return false;
                }
                self.spend(*at, uses);
                let found = self.repeated(rest, count - uses, limits.behind(times), so_far.with(times), next);
                self.give_back(*at, uses);
                if found {
                    return true;
                }
            }
        }
        false
    }

    fn spend(&mut self, at: usize, uses: u32) {
        if let Some(left) = self.left.get_mut(at) {
            *left = left.saturating_sub(uses);
        }
    }
    fn give_back(&mut self, at: usize, uses: u32) {
        if let Some(left) = self.left.get_mut(at) {
            *left = left.saturating_add(uses);
        }
    }
}
