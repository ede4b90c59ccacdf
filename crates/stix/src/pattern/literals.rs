//! Texts that stand in the bytes of every bundle for which a pattern holds: by them patterns are found without reading bundles. Owns what is certain.
use super::{
    ast::{Compare, Comparison, Observe, Test},
    constant::Constant,
};

/// A text of fewer bytes stands in every bundle.
const SHORTEST: usize = 4;
/// Members of a set that are looked for one by one.
const MOST: usize = 64;

type Literals = Vec<Box<[u8]>>;

pub(super) fn of(observe: &Observe) -> Option<Literals> {
    match observe {
        Observe::One(comparison) => compared(comparison),
        Observe::All(parts) | Observe::Sequence(parts) => best(parts.iter().filter_map(of)),
        Observe::Any(parts) => every(parts.iter().map(of)),
        Observe::Repeats(inner, _) | Observe::Within(inner, _) | Observe::Between(inner, ..) => of(inner),
    }
}

fn compared(compare: &Compare) -> Option<Literals> {
    match compare {
        Compare::All(parts) => best(parts.iter().filter_map(compared)),
        Compare::Any(parts) => every(parts.iter().map(compared)),
        Compare::Is(comparison) => is(comparison),
    }
}

/// Equality with a text: it stands in the bundle as it is written, but for characters that JSON writes in several ways.
fn is(comparison: &Comparison) -> Option<Literals> {
    let name = comparison.path.name();
    if comparison.negated || name.ends_with("_hex") || name.ends_with("_bin") {
        return None;
    }
    let text = |constant: &Constant| if let Constant::Text(text) = constant { run(text) } else { None };
    match &comparison.test {
        Test::Equal(constant) => Some(vec![text(constant)?]),
        Test::In(constants) => good(constants.iter().map(text).collect::<Option<Literals>>()?),
        _ => None,
    }
}

/// The longest part of a text that stands in JSON as it is.
fn run(text: &str) -> Option<Box<[u8]>> {
    let as_it_is = |c: char| (' '..='~').contains(&c) && !matches!(c, '"' | '\\' | '/');
    let longest = text.split(|c| !as_it_is(c)).max_by_key(|part| part.len())?;
    (longest.len() >= SHORTEST).then(|| longest.as_bytes().into())
}

/// Of several of which all hold, the one that is looked for with least.
fn best(found: impl Iterator<Item = Literals>) -> Option<Literals> {
    found.min_by_key(Vec::len)
}

/// Of several of which one holds, all of them; none where one has nothing to look for.
fn every(found: impl Iterator<Item = Option<Literals>>) -> Option<Literals> {
    let all: Option<Vec<Literals>> = found.collect();
    good(all?.into_iter().flatten().collect())
}

fn good(mut literals: Literals) -> Option<Literals> {
    literals.sort_unstable();
    literals.dedup();
    (1..=MOST).contains(&literals.len()).then_some(literals)
}
