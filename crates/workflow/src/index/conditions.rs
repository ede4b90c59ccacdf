//! What triggers a definition: conditions on columns, and a STIX pattern that the bundle must fulfil. Owns in which order they are held against an
//! event. Must not know: where they are filed.
use super::{Predicate, predicate::Test};
use atio_schemas::Detection;
use atio_stix::pattern::{Observed, Pattern};
use std::{cell::OnceCell, sync::Arc};

/// All of them must hold.
#[derive(Clone, Debug)]
pub struct Conditions {
    columns: Arc<[Predicate]>,
    pattern: Option<Arc<Pattern>>,
}

/// The conditions on columns of one trigger, cheap ones first.
#[must_use]
pub fn in_order(mut predicates: Vec<Predicate>) -> Conditions {
    predicates.sort_by_key(|p| p.test.cost());
    Conditions { columns: predicates.into(), pattern: None }
}

impl Conditions {
    /// The same, and the bundle fulfils this.
    #[must_use]
    pub fn and(self, pattern: Option<Arc<Pattern>>) -> Self {
        Self { pattern, ..self }
    }
    #[must_use]
    pub fn hold(&self, detection: &Detection) -> bool {
        self.hold_with(detection, &OnceCell::new())
    }
    /// The same; what the bundle observed is read once for all triggers that ask for it.
    pub(super) fn hold_with(&self, detection: &Detection, observed: &OnceCell<Observed>) -> bool {
        self.columns.iter().all(|predicate| predicate.holds(detection))
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.holds(observed.get_or_init(|| Observed::of(&detection.bundle))))
    }
    /// How many conditions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.len() + usize::from(self.pattern.is_some())
    }
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Each test of a column that its value, or one element, must pass.
    pub(super) fn tests(&self) -> impl Iterator<Item = (usize, &Test)> {
        self.columns.iter().flat_map(|p| parts(&p.test).iter().map(move |test| (p.column, test)))
    }
    /// Texts of which one stands in the bundle's bytes.
    pub(super) fn literals(&self) -> Option<&[Box<[u8]>]> {
        self.pattern.as_ref()?.literals()
    }
}

/// The tests that one value fulfils together.
fn parts(test: &Test) -> &[Test] {
    if let Test::Both(tests) = test { tests } else { std::slice::from_ref(test) }
}
