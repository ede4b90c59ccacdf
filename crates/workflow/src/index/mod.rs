//! Which definitions a detection triggers. Each definition is filed under its most selective condition (a text, a network, a start or a part of a
//! text), so that a detection looks at those only that it may trigger; what it finds there is tested in full. Owns the choice. Must not know: branches, steps.
mod filed;
mod literals;
mod predicate;

pub use predicate::{Pattern, Predicate, Test};

use atio_schemas::{
    Detection,
    column::{COLUMNS, Type},
};
use filed::Filed;
use std::{collections::BTreeMap, sync::Arc};

/// Filed triggers; `usize` is the position in the list that it was built from.
#[derive(Debug, Default)]
pub struct Index {
    triggers: Vec<Arc<[Predicate]>>,
    /// By column.
    filed: Vec<(usize, Filed)>,
    /// With no condition to file under: always looked at.
    rest: Vec<usize>,
}

impl Index {
    /// Each trigger's conditions in the order in which they are tested: see [`in_order`].
    #[must_use]
    pub fn new(triggers: Vec<Arc<[Predicate]>>) -> Self {
        let mut filed: BTreeMap<usize, Filed> = BTreeMap::new();
        let mut rest = vec![];
        for (position, predicates) in triggers.iter().enumerate() {
            let chosen = most_selective(predicates);
            if !chosen.is_some_and(|(column, test)| filed.entry(column).or_default().add(test, position)) {
                rest.push(position);
            }
        }
        filed.values_mut().for_each(|column| rest.extend(column.finish()));
        Self { triggers, filed: filed.into_iter().collect(), rest }
    }

    /// The positions of the triggers that hold, in order.
    #[must_use]
    pub fn matches(&self, detection: &Detection) -> Vec<usize> {
        let mut found: Vec<usize> = self.rest.clone();
        for (column, filed) in &self.filed {
            let Some(column) = COLUMNS.get(*column) else { continue };
            filed.look_up((column.get)(detection), &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|position| self.holds(*position, detection));
        found
    }

    /// Whether one trigger holds, without the filing: what [`Self::matches`] must agree with.
    #[must_use]
    pub fn holds(&self, position: usize, detection: &Detection) -> bool {
        self.triggers.get(position).is_some_and(|all| all.iter().all(|p| p.holds(detection)))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.triggers.len()
    }
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.triggers.is_empty()
    }
}

/// The conditions of one trigger, cheap ones first.
#[must_use]
pub fn in_order(mut predicates: Vec<Predicate>) -> Arc<[Predicate]> {
    predicates.sort_by_key(|p| p.test.cost());
    predicates.into()
}

/// The condition to file under: free texts before networks before starts of texts before parts of texts before what is widespread (every
/// detection has a kind); few of them before many.
fn most_selective(predicates: &[Predicate]) -> Option<(usize, &Test)> {
    let conditions = predicates.iter().flat_map(|p| parts(&p.test).iter().map(move |test| (p.column, test)));
    let ranked = conditions.filter_map(|(column, test)| Some((rank(column, test)?, (column, test))));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, chosen)| chosen)
}

/// The tests that one value fulfils together.
fn parts(test: &Test) -> &[Test] {
    if let Test::Both(tests) = test { tests } else { std::slice::from_ref(test) }
}

fn rank(column: usize, test: &Test) -> Option<(u8, usize)> {
    let column = COLUMNS.get(column)?;
    Some(match test {
        Test::Texts(texts) if matches!(column.ty, Type::Symbol(_)) => (5, texts.len()),
        Test::Texts(texts) if matches!(column.name, "tenant" | "source" | "product") => (4, texts.len()),
        Test::Texts(texts) => (0, texts.len()),
        Test::Networks(networks) => (1, networks.len()),
        Test::Prefixes(texts) => (2, texts.len()),
        _ => (3, literals::of(test)?.len()),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
