//! Which definitions a detection triggers. Each definition is filed under its most selective condition (a text, a network, a start or a part of a
//! text, or what must stand in the bundle), so that a detection looks at those only that it may trigger; what it finds there is tested in full. Owns
//! the choice. Must not know: branches, steps.
mod conditions;
mod filed;
mod literals;
mod predicate;

pub use conditions::{Conditions, in_order};
pub use predicate::{Pattern, Predicate, Test};

use atio_schemas::{
    Detection,
    column::{COLUMNS, Type},
};
use filed::Filed;
use literals::Search;
use memchr::memmem;
use std::{cell::OnceCell, collections::BTreeMap};

/// How JSON may write any character: then literals are not found in the bytes.
const ESCAPE: &[u8] = b"\\u00";

/// Filed triggers; `usize` is the position in the list that it was built from.
#[derive(Debug, Default)]
pub struct Index {
    triggers: Vec<Conditions>,
    /// By column.
    filed: Vec<(usize, Filed)>,
    /// By what must stand in the bundle, and whatever is filed there.
    bundle: Search,
    of_bundle: Vec<usize>,
    /// With no condition to file under: always looked at.
    rest: Vec<usize>,
}

impl Index {
    /// Of each trigger's conditions: see [`in_order`].
    #[must_use]
    pub fn new(triggers: Vec<Conditions>) -> Self {
        let mut filed: BTreeMap<usize, Filed> = BTreeMap::new();
        let (mut bundle, mut of_bundle, mut rest) = (Search::default(), vec![], vec![]);
        for (position, conditions) in triggers.iter().enumerate() {
            match most_selective(conditions) {
                Some(Place::Bundle(literals)) => {
                    bundle.add(literals, position);
                    of_bundle.push(position);
                }
                Some(Place::Column(column, test)) => {
                    if !filed.entry(column).or_default().add(test, position) {
                        rest.push(position);
                    }
                }
                None => rest.push(position),
            }
        }
        filed.values_mut().for_each(|column| rest.extend(column.finish()));
        rest.extend(bundle.build());
        Self { triggers, filed: filed.into_iter().collect(), bundle, of_bundle, rest }
    }

    /// The positions of the triggers that hold, in order.
    #[must_use]
    pub fn matches(&self, detection: &Detection) -> Vec<usize> {
        let mut found: Vec<usize> = self.rest.clone();
        for (column, filed) in &self.filed {
            let Some(column) = COLUMNS.get(*column) else { continue };
            filed.look_up((column.get)(detection), &mut found);
        }
        self.look_into_bundle(&detection.bundle, &mut found);
        found.sort_unstable();
        found.dedup();
        let observed = OnceCell::new();
        found.retain(|position| {
            self.triggers.get(*position).is_some_and(|t| t.hold_with(detection, &observed))
        });
        found
    }

    fn look_into_bundle(&self, bundle: &[u8], found: &mut Vec<usize>) {
        if self.of_bundle.is_empty() {
            return;
        }
        if memmem::find(bundle, ESCAPE).is_some() {
            found.extend(&self.of_bundle);
        } else {
            self.bundle.look_up(bundle, found);
        }
    }

    /// Whether one trigger holds, without the filing: what [`Self::matches`] must agree with.
    #[must_use]
    pub fn holds(&self, position: usize, detection: &Detection) -> bool {
        self.triggers.get(position).is_some_and(|conditions| conditions.hold(detection))
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

/// Where a trigger is filed.
enum Place<'t> {
    Column(usize, &'t Test),
    /// One of these stands in the bundle.
    Bundle(&'t [Box<[u8]>]),
}

/// The condition to file under: free texts before networks before starts of texts before what must stand in a text or the bundle before what is
/// widespread (every detection has a kind); few of them before many.
fn most_selective(conditions: &Conditions) -> Option<Place<'_>> {
    let ranked = conditions
        .tests()
        .filter_map(|(column, test)| Some((rank(column, test)?, Place::Column(column, test))));
    let in_bundle = conditions.literals().map(|literals| ((3, literals.len()), Place::Bundle(literals)));
    ranked.chain(in_bundle).min_by_key(|(rank, _)| *rank).map(|(_, chosen)| chosen)
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
