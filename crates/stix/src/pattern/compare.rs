//! Whether one observable fulfils comparisons. Owns the operators and the way along object paths. Must not know: observations' times and numbers.
use super::{
    Budget, PatternError,
    ast::{Compare, Comparison, Order, Step, Test},
    constant::{Constant, Found},
    observed::Observation,
};
use crate::bundle::Object;
use icu_normalizer::ComposingNormalizerBorrowed;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder, bytes};
use serde_json::Value;
use std::{borrow::Cow, cmp::Ordering, net::IpAddr};

/// A regular expression has at most so many bytes, and so many when it is compiled.
const MAX_REGEX: usize = 1024;
const MAX_COMPILED: usize = 256 * 1024;

/// Whether an object of an observation fulfils a comparison; where there is no look left, it does.
pub(super) fn fulfils(
    object: &Object,
    comparison: &Compare,
    observation: &Observation<'_>,
    budget: &Budget,
) -> bool {
    match comparison {
        Compare::All(parts) => parts.iter().all(|part| fulfils(object, part, observation, budget)),
        Compare::Any(parts) => parts.iter().any(|part| fulfils(object, part, observation, budget)),
        Compare::Is(comparison) => {
            let is_of_type = object.get("type").and_then(Value::as_str) == Some(&comparison.path.kind);
            let Some(((_, Step::Key(first)), rest)) = comparison.path.steps.split_first() else {
                return false;
            };
            let Some(value) = object.get(&**first).filter(|_| is_of_type) else { return false };
            let walk = Walk { comparison, observation, budget };
            walk.reaches(value, first, rest)
        }
    }
}

struct Walk<'w, 'o> {
    comparison: &'w Comparison,
    observation: &'w Observation<'o>,
    budget: &'w Budget,
}

impl Walk<'_, '_> {
    /// Whether a value that the rest of the path leads to passes the test. `name`: of the property that the value is of.
    fn reaches(&self, value: &Value, name: &str, rest: &[(usize, Step)]) -> bool {
        if !self.budget.take() {
            return true;
        }
        let Some(((_, step), rest)) = rest.split_first() else {
            return self.comparison.passes(value, name);
        };
        match (step, value) {
            (Step::Each, Value::Array(items)) => items.iter().any(|item| self.reaches(item, name, rest)),
            (Step::Index(index), Value::Array(items)) => {
                items.get(*index).is_some_and(|item| self.reaches(item, name, rest))
            }
            (Step::Key(key), Value::Object(inner)) => {
                inner.get(&**key).is_some_and(|value| self.reaches(value, key, rest))
            }
            // A reference leads to what it refers to, within the same observation.
            (Step::Key(key), Value::String(id)) if name.ends_with("_ref") || name.ends_with("_refs") => {
                let value = self.observation.member(id).and_then(|object| object.get(&**key));
                value.is_some_and(|value| self.reaches(value, key, rest))
            }
            _ => false,
        }
    }
}

impl Comparison {
    fn passes(&self, value: &Value, name: &str) -> bool {
        let found = Found::of(value, name);
        let equal = |constant: &Constant| found.compare(constant) == Some(Ordering::Equal);
        let passed = match &self.test {
            Test::Exists => true,
            Test::Equal(constant) => equal(constant),
            Test::Differs(constant) => !equal(constant),
            Test::In(constants) => constants.iter().any(equal),
            // What has no order is neither before nor behind, NOT or no NOT.
            Test::Order(order, constant) => match found.compare(constant) {
                Some(ordering) => order.holds(ordering),
                None => return false,
            },
            Test::Like(regex) => match &found {
                Found::Text(text) => regex.is_match(&composed(text)),
                Found::Bytes(bytes) => std::str::from_utf8(bytes).is_ok_and(|t| regex.is_match(&composed(t))),
                _ => false,
            },
            Test::Matches(regex, bytewise) => match &found {
                Found::Text(text) => regex.is_match(&composed(text)),
                Found::Bytes(bytes) => bytewise.as_ref().is_some_and(|regex| regex.is_match(bytes)),
                _ => false,
            },
            Test::Subset(network) => network_of(&found).is_some_and(|inner| network.contains(&inner)),
            Test::Superset(network) => network_of(&found).is_some_and(|outer| outer.contains(network)),
        };
        passed != self.negated
    }
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

fn network_of(found: &Found<'_>) -> Option<IpNet> {
    let Found::Text(text) = found else { return None };
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// In Unicode's form NFC, as LIKE and MATCHES compare.
fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// `%` stands for any characters, `_` for one; the rest for itself. The whole text is meant.
pub(super) fn like(text: &str, at: usize) -> Result<Test, PatternError> {
    let mut expression = String::from(r"(?s)\A");
    let mut plain = String::new();
    for c in composed(text).chars() {
        let wild = match c {
            '%' => ".*",
            '_' => ".",
            c => {
                plain.push(c);
                continue;
            }
        };
        expression.push_str(&regex::escape(&std::mem::take(&mut plain)));
        expression.push_str(wild);
    }
    expression.push_str(&regex::escape(&plain));
    expression.push_str(r"\z");
    RegexBuilder::new(&expression).size_limit(MAX_COMPILED).build().map(Test::Like).map_err(|_| {
        PatternError::new(at, "this is too large to be looked for", "a shorter text, or fewer `%` and `_`")
    })
}

/// A regular expression that fits somewhere in the text.
pub(super) fn matches(text: &str, at: usize) -> Result<Test, PatternError> {
    let text = composed(text);
    if text.len() > MAX_REGEX {
        let message = format!("the expression has {} bytes, at most {MAX_REGEX} are allowed", text.len());
        return Err(PatternError::new(at, message, "IN, LIKE, or several comparisons with OR"));
    }
    let regex: Regex = RegexBuilder::new(&text).size_limit(MAX_COMPILED).build().map_err(|error| {
        // The library draws the expression and says what is wrong in the last line.
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let help = "without look-around and back-references: what is looked for takes time linear in the text; a backslash is written twice";
        PatternError::new(at, format!("no regular expression: {why}"), help)
    })?;
    // Bytes are no characters: what needs characters is not looked for in them.
    let bytewise = bytes::RegexBuilder::new(&text).unicode(false).size_limit(MAX_COMPILED).build();
    Ok(Test::Matches(regex, bytewise.ok()))
}
