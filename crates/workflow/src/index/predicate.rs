//! One condition on one column. An unknown column fulfils none; a list fulfils it where any of its elements does.
use atio_schemas::{
    Detection,
    column::{COLUMNS, Cell},
};
use ipnet::IpNet;
use std::{collections::BTreeSet, net::IpAddr};

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
}

impl Predicate {
    #[must_use]
    pub fn holds(&self, detection: &Detection) -> bool {
        let Some(column) = COLUMNS.get(self.column) else { return false };
        match (column.get)(detection) {
            Cell::Null => false,
            Cell::Text(text) => self.test.text(text),
            Cell::Texts(texts) => texts.iter().any(|t| self.test.text(t)),
            Cell::Int(n) => self.test.int(n),
            Cell::Time(t) => self.test.int(t.0),
            Cell::Float(n) => self.test.float(n),
            Cell::Bool(b) => self.test == Test::Bool(b),
        }
    }
}

impl Test {
    fn text(&self, text: &str) -> bool {
        match self {
            Self::Texts(texts) => texts.contains(text),
            Self::Networks(networks) => {
                text.parse::<IpAddr>().is_ok_and(|ip| networks.iter().any(|n| n.contains(&plain(ip))))
            }
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
}

/// `::ffff:10.0.0.1` is 10.0.0.1.
#[must_use]
pub(crate) fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn within<N: PartialOrd + Copy>(number: N, low: Option<(N, bool)>, high: Option<(N, bool)>) -> bool {
    low.is_none_or(|(bound, inclusive)| number > bound || (inclusive && number == bound))
        && high.is_none_or(|(bound, inclusive)| number < bound || (inclusive && number == bound))
}
