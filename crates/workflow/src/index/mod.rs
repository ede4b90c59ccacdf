//! Which definitions a detection triggers. Each definition is filed under its most selective equality, so that a detection looks at
//! those only that it may trigger; what it finds there is tested in full. Owns this filing. Must not know: branches, steps.
mod predicate;

pub(crate) use predicate::plain;
pub use predicate::{Predicate, Test};

use atio_schemas::{
    Detection,
    column::{COLUMNS, Cell, Type},
};
use std::collections::HashMap;

/// Positions by the text that the column must hold.
type ByText = HashMap<Box<str>, Vec<usize>>;

/// Filed triggers; `usize` is the position in the list that it was built from.
#[derive(Debug, Default)]
pub struct Index {
    triggers: Vec<Vec<Predicate>>,
    /// By column.
    filed: Vec<(usize, ByText)>,
    /// Without an equality: always looked at.
    rest: Vec<usize>,
}

impl Index {
    #[must_use]
    pub fn new(triggers: Vec<Vec<Predicate>>) -> Self {
        let mut filed: HashMap<usize, ByText> = HashMap::new();
        let mut rest = vec![];
        for (position, predicates) in triggers.iter().enumerate() {
            let Some((column, texts)) = most_selective(predicates) else {
                rest.push(position);
                continue;
            };
            let by_text = filed.entry(column).or_default();
            for text in texts {
                by_text.entry(text.clone()).or_default().push(position);
            }
        }
        let mut filed: Vec<_> = filed.into_iter().collect();
        filed.sort_unstable_by_key(|(column, _)| *column);
        Self { triggers, filed, rest }
    }

    /// The positions of the triggers that hold, in order.
    #[must_use]
    pub fn matches(&self, detection: &Detection) -> Vec<usize> {
        let mut found: Vec<usize> = self.rest.clone();
        for (column, by_text) in &self.filed {
            let Some(column) = COLUMNS.get(*column) else { continue };
            match (column.get)(detection) {
                Cell::Text(text) => found.extend(by_text.get(text).into_iter().flatten()),
                Cell::Texts(texts) => {
                    found.extend(texts.iter().filter_map(|t| by_text.get(t.as_str())).flatten());
                }
                _ => {}
            }
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

/// The equality to file under: free texts before symbols (every detection has a kind), few texts before many.
fn most_selective(predicates: &[Predicate]) -> Option<(usize, impl Iterator<Item = &Box<str>>)> {
    let equalities = predicates.iter().filter_map(|p| match &p.test {
        Test::Texts(texts) => Some((p.column, texts)),
        _ => None,
    });
    let (column, texts) = equalities.min_by_key(|(column, texts)| {
        let common = COLUMNS.get(*column).is_none_or(|c| matches!(c.ty, Type::Symbol(_)));
        let widespread =
            COLUMNS.get(*column).is_none_or(|c| matches!(c.name, "tenant" | "source" | "product"));
        (common, widespread, texts.len())
    })?;
    Some((column, texts.iter()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
