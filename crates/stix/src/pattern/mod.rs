//! STIX 2.1 patterns (§9): a text is read once, and held against what bundles observed. Owns the language: its grammar, its limits, what its
//! operators mean. Must not know: who asks, workflows, indicators.
//!
//! Reading is linear in the text. Holding a pattern against a bundle takes at most a fixed number of looks; one that can't be decided with so many
//! counts as fulfilled, so that nobody hides behind the size of a bundle.
mod ast;
mod compare;
mod constant;
mod lexer;
mod literals;
mod observed;
mod parse;
mod search;
mod types;

pub use observed::Observed;

use ast::Observe;
use std::{cell::Cell, collections::HashSet};

/// A pattern has at most so many bytes.
pub const MAX_BYTES: usize = 8 * 1024;
/// Brackets of all kinds nest so deep.
const MAX_DEPTH: usize = 32;
/// Comparisons, members of a set, steps of a path, and repetitions of what consists of several observations.
const MAX_COMPARISONS: usize = 256;
const MAX_MEMBERS: usize = 1000;
const MAX_STEPS: usize = 16;
const MAX_REPEATS: u32 = 64;
/// Values that are looked at for one bundle.
const MAX_LOOKS: u32 = 1_000_000;

/// Why a text is no pattern, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// In bytes from its beginning.
    pub offset: usize,
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl PatternError {
    fn new(offset: usize, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { offset, message: message.into(), help: help.into() }
    }
}

/// A pattern, ready to be held against bundles.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    root: Observe,
    literals: Option<Vec<Box<[u8]>>>,
}

impl Pattern {
    /// Reads a pattern: its grammar, and that each comparison can hold, by the standard's types.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let root = parse::pattern(text)?;
        root.comparisons(&mut types::check)?;
        let literals = literals::of(&root);
        Ok(Self { text: text.into(), root, literals })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it holds for what a bundle observed.
    #[must_use]
    pub fn holds(&self, observed: &Observed) -> bool {
        let budget = Budget::new();
        search::holds(&self.root, observed, &budget)
    }

    /// The ids of the observables that it is about in this bundle: each that fulfils what stands in one pair of square brackets, where the pattern
    /// holds as a whole.
    #[must_use]
    pub fn about<'o>(&self, observed: &'o Observed) -> HashSet<&'o str> {
        if !self.holds(observed) {
            return HashSet::new();
        }
        let budget = Budget::new();
        let mut found = HashSet::new();
        for observation in observed.observations() {
            self.root.brackets(&mut |comparison| {
                found.extend(observation.fulfilling(comparison, &budget));
            });
        }
        found
    }

    /// Texts of which one stands in the bytes of every bundle for which the pattern holds, unless these have an escape of the form `\u00…`; none
    /// where there are no such texts.
    #[must_use]
    pub fn literals(&self) -> Option<&[Box<[u8]>]> {
        self.literals.as_deref()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// How many looks are left.
#[derive(Debug)]
struct Budget(Cell<u32>);

impl Budget {
    fn new() -> Self {
        Self(Cell::new(MAX_LOOKS))
    }
    /// One look more; false where there is none left.
    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
    fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

#[cfg(test)]
mod tests;
