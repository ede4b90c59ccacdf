//! Whether a comparison can hold, by the standard's tables of types and properties (STIX 2.1 §6). Owns what is said of one that never could.
//! What the tables don't know (`x-` types, `x_` properties, what lies in extensions and dictionaries) may be anything.
use super::{
    PatternError,
    ast::{Comparison, Step, Test},
    constant::Constant,
};
use crate::{
    canon,
    validate::tables::{self, Kind, Property, SCO},
};

pub(super) fn check(comparison: &Comparison) -> Result<(), PatternError> {
    let path = &comparison.path;
    let kind = &*path.kind;
    if kind.starts_with("x-") {
        return Ok(());
    }
    if !canon::is_sco(kind) {
        let message = match tables::of(kind) {
            Some(_) => format!("`{kind}` is no cyber observable: patterns are about what was observed"),
            None => format!("unknown type `{kind}` of cyber observable"),
        };
        let help = format!("one of {}", canon::sco_types().collect::<Vec<_>>().join(", "));
        return Err(PatternError::new(path.at, message, help));
    }
    let mut here = vec![kind];
    let mut found: Option<Kind> = None;
    let mut written = kind.to_owned() + ":";
    for (nth, (at, step)) in path.steps.iter().enumerate() {
        let step_at = *at;
        if let Some(kind) = found {
            let Some(next) = enter(kind, step, &written, step_at)? else { return Ok(()) };
            match next {
                Next::Value(kind) => {
                    found = Some(kind);
                    written.push_str("[…]");
                    continue;
                }
                Next::Objects(kinds) => here = kinds.to_vec(),
            }
        }
        let Step::Key(name) = step else { return Ok(()) };
        let Some(property) = property(&here, name, step_at)? else { return Ok(()) };
        if nth > 0 {
            written.push('.');
        }
        written.push_str(name);
        found = Some(property);
    }
    match found {
        Some(kind) => compares(comparison, kind, &written),
        None => Ok(()),
    }
}

/// What a step leads to.
enum Next {
    /// An element of a list.
    Value(Kind),
    /// The property of an object of one of these types.
    Objects(&'static [&'static str]),
}

/// Where a step behind a property leads; none where nobody knows.
fn enter(kind: Kind, step: &Step, written: &str, at: usize) -> Result<Option<Next>, PatternError> {
    match (kind, step) {
        (Kind::Texts, Step::Index(_) | Step::Each) => Ok(Some(Next::Value(Kind::Text))),
        (Kind::Refs(kinds), Step::Index(_) | Step::Each) => Ok(Some(Next::Value(Kind::Ref(kinds)))),
        (Kind::Ref([]), Step::Key(_)) => Ok(None),
        (Kind::Ref(kinds), Step::Key(_)) => Ok(Some(Next::Objects(kinds))),
        (Kind::Dict | Kind::Hashes, Step::Key(_))
        | (Kind::Dicts | Kind::References | Kind::Granular | Kind::Phases, _) => Ok(None),
        (Kind::Texts | Kind::Refs(_), Step::Key(_)) => {
            let message = format!("`{written}` is a list");
            Err(PatternError::new(at, message, format!("`{written}[*]` for any of its elements")))
        }
        (_, Step::Key(_)) => {
            let message = format!("`{written}` has no properties");
            Err(PatternError::new(at, message, "the comparison behind it"))
        }
        (_, Step::Index(_) | Step::Each) => {
            let message = format!("`{written}` is no list");
            Err(PatternError::new(at, message, "the comparison without an index"))
        }
    }
}

/// The type of a property that one of these types has; none where it may be anything.
fn property(kinds: &[&str], name: &str, at: usize) -> Result<Option<Kind>, PatternError> {
    if name.starts_with("x_") || matches!(name, "id" | "type") {
        return Ok(None);
    }
    let of = |kind: &&str| tables::of(kind).unwrap_or_default();
    let all: Vec<&Property> = kinds.iter().flat_map(of).chain(SCO).collect();
    if let Some(property) = all.iter().find(|property| property.name == name) {
        return Ok(Some(property.kind));
    }
    let message = format!("`{}` has no property `{name}`", kinds.join("` or `"));
    let names: Vec<&str> = kinds.iter().flat_map(of).map(|property| property.name).collect();
    Err(PatternError::new(at, message, format!("it has {}", names.join(", "))))
}

/// Whether values of this type ever compare with what stands there.
fn compares(comparison: &Comparison, kind: Kind, written: &str) -> Result<(), PatternError> {
    let at = comparison.at;
    let constants: Vec<&Constant> = match &comparison.test {
        Test::Exists => return Ok(()),
        Test::Equal(constant) | Test::Differs(constant) | Test::Order(_, constant) => vec![constant],
        Test::In(constants) => constants.iter().collect(),
        Test::Like(_) | Test::Matches(..) | Test::Subset(_) | Test::Superset(_) => vec![],
    };
    let (noun, help) = match kind {
        Kind::Int(..) | Kind::Float(..) => ("a number", "like `443`"),
        Kind::Bool => ("`true` or `false`", "`true`, or `false`, without quotes"),
        Kind::Time => ("a time", "like `t'2026-01-02T03:04:05Z'`"),
        Kind::Base64 => ("bytes", "like `b'TVo='` or `h'4d5a'`"),
        Kind::Texts
        | Kind::Refs(_)
        | Kind::Dicts
        | Kind::References
        | Kind::Granular
        | Kind::Phases
        | Kind::Languages => {
            let help =
                format!("`{written}[*]` for any of its elements, `EXISTS {written}` where it must be there");
            return Err(PatternError::new(at, format!("`{written}` is a list"), help));
        }
        Kind::Dict | Kind::Hashes => {
            let help = format!("`{written}.'<key>'`: `file:hashes.'SHA-256'`");
            return Err(PatternError::new(at, format!("`{written}` is no single value"), help));
        }
        _ => ("a text", "a text in single quotes"),
    };
    let fits = |constant: &&Constant| match constant {
        Constant::Int(_) | Constant::Float(_) => noun == "a number",
        Constant::Bool(_) => noun.contains("true"),
        Constant::Time(_) => noun == "a time",
        // Times can be compared as the texts that they are.
        Constant::Text(_) => matches!(noun, "a text" | "a time" | "bytes"),
        Constant::Bytes(_) => matches!(noun, "a text" | "bytes"),
    };
    if let Some(other) = constants.iter().find(|constant| !fits(constant)) {
        let message = format!("`{written}` is {noun}, not {}", other.noun());
        return Err(PatternError::new(at, message, help));
    }
    if constants.is_empty() && !matches!(noun, "a text" | "a time" | "bytes") {
        let message = format!("`{written}` is {noun}: this operator is for texts");
        return Err(PatternError::new(at, message, "=, !=, <, <=, >, >=, IN"));
    }
    Ok(())
}
