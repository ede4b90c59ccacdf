//! A pattern as a tree. Owns its shape; what it means is in `compare` and `search`. Must not know: texts.
use super::{PatternError, constant::Constant};
use atio_schemas::Timestamp;
use ipnet::IpNet;
use regex::{Regex, bytes};

/// What must be observed.
#[derive(Clone, Debug)]
pub(super) enum Observe {
    /// `[…]`: one observation.
    One(Compare),
    /// All of them, each of other observations.
    All(Vec<Observe>),
    Any(Vec<Observe>),
    /// FOLLOWEDBY.
    Sequence(Vec<Observe>),
    Repeats(Box<Observe>, u32),
    /// Within so many microseconds.
    Within(Box<Observe>, i64),
    /// From a time up to before another.
    Between(Box<Observe>, Timestamp, Timestamp),
}

/// What one observable must be.
#[derive(Clone, Debug)]
pub(super) enum Compare {
    All(Vec<Compare>),
    Any(Vec<Compare>),
    Is(Comparison),
}

#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) path: Path,
    pub(super) negated: bool,
    pub(super) test: Test,
    /// Where what it is compared with stands.
    pub(super) at: usize,
}

/// `network-traffic:src_ref.value`.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) kind: Box<str>,
    pub(super) at: usize,
    pub(super) steps: Vec<(usize, Step)>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(Box<str>),
    Index(usize),
    /// `[*]`.
    Each,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Exists,
    Equal(Constant),
    Differs(Constant),
    Order(Order, Constant),
    In(Vec<Constant>),
    Like(Regex),
    /// On texts, and where it can be used so, on bytes.
    Matches(Regex, Option<bytes::Regex>),
    Subset(IpNet),
    Superset(IpNet),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Observe {
    /// Visits what stands in square brackets, in the pattern's order.
    pub(super) fn brackets<'a>(&'a self, visit: &mut dyn FnMut(&'a Compare)) {
        match self {
            Self::One(comparison) => visit(comparison),
            Self::All(parts) | Self::Any(parts) | Self::Sequence(parts) => {
                parts.iter().for_each(|part| part.brackets(visit));
            }
            Self::Repeats(inner, _) | Self::Within(inner, _) | Self::Between(inner, ..) => {
                inner.brackets(visit);
            }
        }
    }

    /// Visits every comparison up to the first that is refused.
    pub(super) fn comparisons(
        &self,
        visit: &mut dyn FnMut(&Comparison) -> Result<(), PatternError>,
    ) -> Result<(), PatternError> {
        let mut result = Ok(());
        self.brackets(&mut |comparison| {
            if result.is_ok() {
                result = comparison.each(visit);
            }
        });
        result
    }
}

impl Compare {
    fn each(
        &self,
        visit: &mut dyn FnMut(&Comparison) -> Result<(), PatternError>,
    ) -> Result<(), PatternError> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().try_for_each(|part| part.each(visit)),
            Self::Is(comparison) => visit(comparison),
        }
    }
}

impl Path {
    /// The last name on the way: it says how a text is to be read.
    pub(super) fn name(&self) -> &str {
        let names = self.steps.iter().rev().filter_map(|(_, step)| match step {
            Step::Key(name) => Some(&**name),
            _ => None,
        });
        names.into_iter().next().unwrap_or_default()
    }
}
