//! Whether anything can get past the conditions of a branch, given what `match` lets in. Owns what is known of columns on the way: which
//! values are left, or which range. It only says "never" where that is certain. Must not know: steps.
use super::operators::is_empty;
use crate::{
    index::{Predicate, Test},
    trigger::Trigger,
};
use atio_schemas::{
    Detection,
    column::{self, COLUMNS, Column, NewCell, Type},
    detection::{Kind, Tlp},
};
use atio_vrl::{Expression, Purpose};
use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// Of so many values a column is followed, and of so many combinations an expression is tried.
const MAX_VALUES: usize = 64;
const MAX_TRIES: usize = 512;

/// A bound and whether it belongs to the range.
type Bound = Option<(f64, bool)>;

#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Columns of which every possible value is known.
    values: BTreeMap<&'static str, Vec<NewCell>>,
    /// Columns that lie within a range.
    ranges: BTreeMap<&'static str, (Bound, Bound)>,
    /// Columns that were changed on the way.
    changed: BTreeSet<String>,
}

/// `.confidence >= 60`.
static COMPARISON: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\.([a-z_.]+)\s*(>=|<=|==|>|<)\s*(-?\d+(?:\.\d+)?)$").ok());

impl Reach {
    /// What is known behind `match`.
    #[must_use]
    pub fn new(trigger: &[Predicate], on: Trigger) -> Self {
        let mut reach = Self::default();
        reach.all_values(on);
        trigger.iter().for_each(|predicate| reach.known(predicate));
        reach
    }

    fn all_values(&mut self, on: Trigger) {
        let fixed = COLUMNS.iter().filter_map(|column| Some((column.name, every_value(column, on)?)));
        self.values.extend(fixed);
    }

    fn known(&mut self, predicate: &Predicate) {
        let Some(column) = COLUMNS.get(predicate.column) else { return };
        match &predicate.test {
            Test::Texts(texts)
                if column.ty == Type::Text
                    && texts.len() <= MAX_VALUES
                    && !self.values.contains_key(column.name) =>
            {
                let values = texts.iter().map(|t| NewCell::Text(t.to_string())).collect();
                self.values.insert(column.name, values);
            }
            Test::IntRange { low, high } if column.ty == Type::Int => {
                // A larger number is rounded: then nothing is certain.
                let exact = |bound: &(i64, bool)| bound.0.unsigned_abs() < 1 << 53;
                let float =
                    |bound: Option<(i64, bool)>| bound.filter(exact).map(|(n, with)| (n as f64, with));
                self.ranges.insert(column.name, (float(*low), float(*high)));
            }
            Test::FloatRange { low, high } => drop(self.ranges.insert(column.name, (*low, *high))),
            _ => {}
        }
        if let Some(values) = self.values.get_mut(column.name) {
            values.retain(|value| fulfils(column, value, std::slice::from_ref(predicate)));
        }
    }

    /// The lowest marking of what comes here; None where that is not known.
    #[must_use]
    pub fn lowest_marking(&self) -> Option<Tlp> {
        let parse = |value: &NewCell| if let NewCell::Text(text) = value { Tlp::parse(text) } else { None };
        self.values.get("tlp")?.iter().filter_map(parse).min()
    }

    /// A column got a value that is not known here.
    pub fn forget(&mut self, column: &str) {
        self.changed.insert(column.to_owned());
        self.values.remove(column);
        self.ranges.remove(column);
    }
    /// Whether a step may have changed it.
    #[must_use]
    pub fn is_changed(&self, column: &str) -> bool {
        self.changed.contains(column)
    }
    /// Whether it is certain that it is never known here.
    #[must_use]
    pub fn is_never_known(&self, column: &str) -> bool {
        let unknown = |value: &NewCell| matches!(value, NewCell::Null);
        self.values.get(column).is_some_and(|values| !values.is_empty() && values.iter().all(unknown))
    }
    /// Many columns did; kind and marking are as they were.
    pub fn sanitized(&mut self) {
        let names = COLUMNS.iter().map(|c| c.name).filter(|name| !matches!(*name, "kind" | "tlp"));
        names.for_each(|name| self.forget(name));
    }

    /// What is still known where two ways come together again that began here.
    #[must_use]
    pub fn behind(mut self, one: &Self, other: &Self) -> Self {
        one.changed.union(&other.changed).for_each(|column| self.forget(column));
        self
    }

    /// Goes on with what fulfils a condition.
    ///
    /// # Errors
    /// Why nothing does.
    pub fn narrow(&mut self, condition: &str) -> Result<(), String> {
        conjuncts(condition).into_iter().try_for_each(|part| self.part(part))
    }

    fn part(&mut self, text: &str) -> Result<(), String> {
        let ranged = comparison(text).filter(|(column, ..)| !self.values.contains_key(column));
        if let Some((column, low, high)) = ranged {
            return self.range(column, low, high, text);
        }
        let Ok(expression) = Expression::compile(text, Purpose::When) else { return Ok(()) };
        let columns: Vec<&'static Column> =
            expression.columns().into_iter().filter_map(|at| COLUMNS.get(at)).collect();
        let Some(domains) = columns.iter().map(|c| self.values.get(c.name)).collect::<Option<Vec<_>>>()
        else {
            return Ok(());
        };
        if domains.iter().map(|d| d.len()).product::<usize>() > MAX_TRIES {
            return Ok(());
        }
        let left = fulfilling(&expression, &columns, &domains);
        if left.is_empty() {
            let names: Vec<String> = columns.iter().map(|c| format!("`{}`", c.name)).collect();
            return Err(match names.as_slice() {
                [] => format!("`{text}` is always false"),
                _ => format!("`{text}` is false for every {} that comes here", names.join(" and ")),
            });
        }
        for (at, column) in columns.iter().enumerate() {
            let mut values: Vec<NewCell> = vec![];
            for cell in left.iter().filter_map(|cells| cells.get(at)) {
                if !values.contains(cell) {
                    values.push(cell.clone());
                }
            }
            self.values.insert(column.name, values);
        }
        Ok(())
    }

    fn range(&mut self, column: &'static str, low: Bound, high: Bound, text: &str) -> Result<(), String> {
        let (old_low, old_high) = self.ranges.get(column).copied().unwrap_or_default();
        let tighter = |a: Bound, b: Bound, sign: f64| match (a, b) {
            (Some(a), Some(b)) if a.0 == b.0 => Some((a.0, a.1 && b.1)),
            (Some(a), Some(b)) => Some(if (a.0 - b.0) * sign > 0.0 { a } else { b }),
            (a, b) => a.or(b),
        };
        let (low, high) = (tighter(old_low, low, 1.0), tighter(old_high, high, -1.0));
        self.ranges.insert(column, (low, high));
        if is_empty(&Test::FloatRange { low, high }) {
            return Err(format!("`{text}` is false for every `{column}` that comes here"));
        }
        Ok(())
    }
}

/// Every value of a column that has a fixed list of them.
fn every_value(column: &Column, on: Trigger) -> Option<Vec<NewCell>> {
    if let Some(values) = on.values(column) {
        return Some(values);
    }
    let mut values: Vec<NewCell> = match column.ty {
        Type::Symbol(names) => names.iter().map(|n| NewCell::Text((*n).to_owned())).collect(),
        Type::Bool => vec![NewCell::Bool(false), NewCell::Bool(true)],
        _ => return None,
    };
    if column.nullable {
        values.push(NewCell::Null);
    }
    Some(values)
}

/// Whether no value of a column with a fixed list of them fulfils the conditions.
pub(super) fn nothing_fulfils(column: &Column, on: Trigger, conditions: &[Predicate]) -> bool {
    let values = every_value(column, on).filter(|_| !conditions.is_empty());
    values.is_some_and(|all| !all.iter().any(|value| fulfils(column, value, conditions)))
}

fn fulfils(column: &Column, value: &NewCell, conditions: &[Predicate]) -> bool {
    let mut detection = Detection::new(String::new(), Kind::Threat, "", "");
    // What can't be tried may hold.
    column.put(&mut detection, value.clone()).is_err() || conditions.iter().all(|c| c.holds(&detection))
}

/// The combinations of values for which the expression is true.
fn fulfilling(
    expression: &Expression,
    columns: &[&'static Column],
    domains: &[&Vec<NewCell>],
) -> Vec<Vec<NewCell>> {
    let mut combinations: Vec<Vec<NewCell>> = vec![vec![]];
    for domain in domains {
        combinations = combinations
            .iter()
            .flat_map(|cells| {
                domain.iter().map(move |cell| cells.iter().cloned().chain([cell.clone()]).collect())
            })
            .collect();
    }
    let holds = |cells: &Vec<NewCell>| {
        let mut detection = Detection::new(String::new(), Kind::Threat, "", "");
        let put = columns.iter().zip(cells).all(|(c, cell)| c.put(&mut detection, cell.clone()).is_ok());
        // What can't be tried may hold.
        !put || expression.test(&detection).unwrap_or(true)
    };
    combinations.into_iter().filter(holds).collect()
}

fn comparison(text: &str) -> Option<(&'static str, Bound, Bound)> {
    let found = COMPARISON.as_ref()?.captures(text)?;
    let column = column::column(found.get(1)?.as_str())?;
    let number = found.get(3)?.as_str().parse().ok().filter(|n: &f64| n.abs() < 9e15)?;
    let (low, high) = match found.get(2)?.as_str() {
        ">=" => (Some((number, true)), None),
        ">" => (Some((number, false)), None),
        "<=" => (None, Some((number, true))),
        "<" => (None, Some((number, false))),
        _ => (Some((number, true)), Some((number, true))),
    };
    matches!(column.ty, Type::Int | Type::Float).then_some((column.name, low, high))
}

/// The parts of a condition that must hold, each by itself; the whole where it is not certain that these are parts.
fn conjuncts(text: &str) -> Vec<&str> {
    let text = text.trim();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let (mut parts, mut start) = (vec![], 0);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            // Statements, blocks, raw and other strings, alternatives, comments: not taken apart.
            b';' | b'{' | b'\'' | b'#' | b'|' | b'?' => return vec![text],
            b'=' if !is_comparison(bytes, at) => return vec![text],
            b'&' if depth == 0 && bytes.get(at + 1) == Some(&b'&') => {
                parts.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 2;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default().trim());
    parts
}

/// Whether the `=` at this place belongs to `==`, `!=`, `>=` or `<=`.
fn is_comparison(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|b| bytes.get(b));
    matches!(before, Some(b'=' | b'!' | b'>' | b'<')) || bytes.get(at + 1) == Some(&b'=')
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
