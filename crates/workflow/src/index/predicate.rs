//! One condition on one column. An unknown column fulfils none but "is unknown"; a list fulfils it where any of its elements does.
//! Owns what each test means. Must not know: how conditions are written, which of them are filed.
use super::literals::{Literals, of_regex};
use atio_schemas::{
    Detection,
    column::{COLUMNS, Cell},
};
use ipnet::IpNet;
use regex::Regex;
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    /// Position in `COLUMNS`.
    pub column: usize,
    pub test: Test,
}

/// Bounds are (value, inclusive).
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// One of these.
    Texts(BTreeSet<Box<str>>),
    /// An address in one of these; an address alone is a network of one.
    Networks(Vec<IpNet>),
    Bool(bool),
    Ints(BTreeSet<i64>),
    Floats(Vec<f64>),
    /// Whole numbers and times (microseconds).
    IntRange {
        low: Option<(i64, bool)>,
        high: Option<(i64, bool)>,
    },
    FloatRange {
        low: Option<(f64, bool)>,
        high: Option<(f64, bool)>,
    },
    /// Starts with one of these.
    Prefixes(BTreeSet<Box<str>>),
    /// Ends with one of these.
    Suffixes(Vec<Box<str>>),
    /// One of these stands in it.
    Parts(Vec<Box<str>>),
    /// Somewhere in it.
    Regex(Pattern),
    /// One value fulfils all of these.
    Both(Vec<Test>),
    Not(Box<Test>),
    /// Known (of a list: with an element), or not.
    Exists(bool),
    /// A list with elements, each of which fulfils this.
    Every(Box<Test>),
    /// A list none of whose elements fulfils this.
    NoElement(Box<Test>),
}

/// A regular expression; equal where it is written equally.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// One of them stands in whatever it finds something in.
    literals: Option<Arc<Literals>>,
}

impl Pattern {
    #[must_use]
    pub fn new(regex: Regex) -> Self {
        let literals = of_regex(regex.as_str()).map(Arc::new);
        Self { regex, literals }
    }
    pub(super) fn literals(&self) -> Option<&[Box<[u8]>]> {
        self.literals.as_deref().map(Vec::as_slice)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Predicate {
    #[must_use]
    pub fn holds(&self, detection: &Detection) -> bool {
        COLUMNS.get(self.column).is_some_and(|column| self.test.column((column.get)(detection)))
    }
}

impl Test {
    /// What the test says of a column.
    pub(crate) fn column(&self, cell: Cell<'_>) -> bool {
        match (self, cell) {
            (Self::Exists(known), Cell::Null) => !known,
            (Self::Exists(known), Cell::Texts(texts)) => texts.is_empty() != *known,
            (Self::Exists(known), _) => *known,
            (_, Cell::Null) => false,
            (Self::Every(test), Cell::Texts(texts)) => {
                !texts.is_empty() && texts.iter().all(|t| test.value(Cell::Text(t)))
            }
            (Self::NoElement(test), Cell::Texts(texts)) => !texts.iter().any(|t| test.value(Cell::Text(t))),
            (_, Cell::Texts(texts)) => texts.iter().any(|t| self.value(Cell::Text(t))),
            (_, value) => self.value(value),
        }
    }

    /// What it says of one value, or of one element.
    fn value(&self, cell: Cell<'_>) -> bool {
        match (self, cell) {
            (Self::Both(tests), _) => tests.iter().all(|t| t.value(cell)),
            (Self::Not(test), _) => !test.value(cell),
            (Self::Bool(yes), Cell::Bool(b)) => *yes == b,
            (_, Cell::Text(text)) => self.text(text),
            (_, Cell::Int(number)) => self.int(number),
            (_, Cell::Time(at)) => self.int(at.0),
            (_, Cell::Float(number)) => self.float(number),
            _ => false,
        }
    }

    fn text(&self, text: &str) -> bool {
        match self {
            Self::Texts(texts) => texts.contains(text),
            Self::Networks(networks) => {
                address(text).is_some_and(|ip| networks.iter().any(|n| n.contains(&ip)))
            }
            Self::Prefixes(parts) => parts.iter().any(|p| text.starts_with(&**p)),
            Self::Suffixes(parts) => parts.iter().any(|p| text.ends_with(&**p)),
            Self::Parts(parts) => parts.iter().any(|p| text.contains(&**p)),
            Self::Regex(pattern) => pattern.regex.is_match(text),
            _ => false,
        }
    }
    fn int(&self, number: i64) -> bool {
        match self {
            Self::Ints(numbers) => numbers.contains(&number),
            Self::IntRange { low, high } => within(number, *low, *high),
            _ => false,
        }
    }
    fn float(&self, number: f64) -> bool {
        match self {
            Self::Floats(numbers) => numbers.contains(&number),
            Self::FloatRange { low, high } => within(number, *low, *high),
            _ => false,
        }
    }

    /// What it costs to look: cheap tests come first.
    pub(super) fn cost(&self) -> u8 {
        match self {
            Self::Exists(_) | Self::Bool(_) | Self::IntRange { .. } | Self::FloatRange { .. } => 0,
            Self::Texts(_) | Self::Ints(_) | Self::Floats(_) | Self::Prefixes(_) | Self::Suffixes(_) => 1,
            Self::Networks(_) | Self::Parts(_) => 2,
            Self::Regex(_) => 3,
            Self::Not(test) | Self::Every(test) | Self::NoElement(test) => test.cost(),
            Self::Both(tests) => tests.iter().map(Self::cost).max().unwrap_or(0),
        }
    }
}

/// The address that a text is; `::ffff:10.0.0.1` is 10.0.0.1.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn within<N: PartialOrd + Copy>(number: N, low: Option<(N, bool)>, high: Option<(N, bool)>) -> bool {
    low.is_none_or(|(bound, inclusive)| number > bound || (inclusive && number == bound))
        && high.is_none_or(|(bound, inclusive)| number < bound || (inclusive && number == bound))
}
