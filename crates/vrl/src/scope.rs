//! What an expression may name beside the detection's columns: the row of a table, an element of a list, what went wrong, what people said,
//! variables. Owns their names and types. Must not know: where their values come from.
use crate::CompileError;
use atio_schemas::Detection;
use std::{collections::BTreeMap, sync::Arc};
use vrl::prelude::{Collection, Field, Kind, NotNan, Value};

/// A value that stands in no column.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarType {
    Text,
    Int,
    Float,
    Bool,
}

impl Scalar {
    #[must_use]
    pub const fn ty(&self) -> ScalarType {
        match self {
            Self::Text(_) => ScalarType::Text,
            Self::Int(_) => ScalarType::Int,
            Self::Float(_) => ScalarType::Float,
            Self::Bool(_) => ScalarType::Bool,
        }
    }
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Int(number) => Value::Integer(*number),
            Self::Float(number) => NotNan::new(*number).map_or(Value::Null, Value::Float),
            Self::Bool(yes) => Value::Boolean(*yes),
        }
    }
    pub(crate) fn of(value: Value) -> Option<Self> {
        Some(match value {
            Value::Bytes(bytes) => Self::Text(String::from_utf8(bytes.to_vec()).ok()?),
            Value::String(text) => Self::Text(text.to_string()),
            Value::Integer(number) => Self::Int(number),
            Value::Float(number) => Self::Float(number.into_inner()),
            Value::Boolean(yes) => Self::Bool(yes),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(yes) => write!(f, "{yes}"),
        }
    }
}

impl ScalarType {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Text => Kind::bytes(),
            Self::Int => Kind::integer(),
            Self::Float => Kind::float(),
            Self::Bool => Kind::boolean(),
        }
    }
    /// The type of a list's elements, where it is one. What the compiler knows nothing of is taken for texts, and looked at in each run.
    pub(crate) fn of(kind: &Kind) -> Option<Self> {
        let all = [Self::Text, Self::Int, Self::Float, Self::Bool];
        if kind.contains_bytes() && kind.contains_array() && kind.contains_object() {
            return Some(Self::Text);
        }
        all.into_iter().find(|ty| ty.kind() == *kind)
    }
}

/// A variable's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    One(Scalar),
    List(Vec<Scalar>),
}

impl Constant {
    fn kind(&self) -> Kind {
        match self {
            Self::One(scalar) => scalar.ty().kind(),
            Self::List(all) => {
                let kinds = all.iter().map(|scalar| scalar.ty().kind()).reduce(|one, other| one.union(other));
                Kind::array(Collection::from_unknown(kinds.unwrap_or_else(Kind::bytes)))
            }
        }
    }
    fn value(&self) -> Value {
        match self {
            Self::One(scalar) => scalar.value(),
            Self::List(all) => Value::Array(all.iter().map(Scalar::value).collect()),
        }
    }
}

/// What an expression may name.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `.row.<column>`: texts, of which any may be unknown.
    pub row: bool,
    /// `.item`.
    pub item: Option<ScalarType>,
    /// `.error.code`, `.error.message`.
    pub error: bool,
    /// `.answer`: all that it can be; nothing: it is not known here.
    pub answers: Vec<String>,
    /// `.choice`, likewise.
    pub choices: Vec<String>,
    /// `.vars.<name>`.
    pub vars: Arc<BTreeMap<String, Constant>>,
}

/// What a table's row says, by column.
pub type Row = BTreeMap<String, String>;

/// Why a step failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    pub code: &'a str,
    pub message: &'a str,
}

/// What an expression sees in one run. What its scope named and is not given is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub detection: &'a Detection,
    pub row: Option<&'a Row>,
    pub item: Option<&'a Scalar>,
    pub error: Option<Failure<'a>>,
    pub answer: Option<&'a str>,
    pub choice: Option<&'a str>,
}

impl<'a> From<&'a Detection> for Seen<'a> {
    fn from(detection: &'a Detection) -> Self {
        Self { detection, row: None, item: None, error: None, answer: None, choice: None }
    }
}

/// A name that is no column's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Name {
    Row(String),
    Item,
    Code,
    Message,
    Answer,
    Choice,
    Variable(String),
}

/// What follows such a name's first word.
pub(crate) const HEADS: &[&str] = &["row", "item", "error", "answer", "choice", "vars"];

impl Scope {
    /// The name `.<head>.<field>`; how many words of it are taken stands beside it.
    ///
    /// # Errors
    /// It is not to be had here.
    pub(crate) fn name(&self, head: &str, field: &str, offset: usize) -> Result<(Name, usize), CompileError> {
        let refused = |message: &str, suggestion: String| CompileError::Refused {
            message: message.to_owned(),
            suggestion: Some(suggestion),
            offset,
        };
        let absent = |what: &str| {
            let message = format!("`.{head}` is not known here");
            refused(&message, format!("{what}, and nothing of it behind a `sanitize`"))
        };
        match head {
            "row" if !self.row => Err(refused(
                "`.row` is not known here",
                "a table's row is known in the `set` of an `enrich`".to_owned(),
            )),
            "row" if field.is_empty() => Err(refused(
                "a row as a whole can't be used here",
                "name a column of the table: `.row.owner`".to_owned(),
            )),
            "row" => Ok((Name::Row(field.to_owned()), 2)),
            "item" if self.item.is_none() => Err(absent("an element is known in the `do` of an `each`")),
            "item" => Ok((Name::Item, 1)),
            "answer" if self.answers.is_empty() => Err(refused(
                "`.answer` is not known here",
                "how a wait ended is known behind an `await`".to_owned(),
            )),
            "answer" => Ok((Name::Answer, 1)),
            "choice" if self.choices.is_empty() => Err(refused(
                "`.choice` is not known here",
                "what was chosen is known behind an `await` that has `choices`".to_owned(),
            )),
            "choice" => Ok((Name::Choice, 1)),
            "error" if !self.error => Err(absent("what went wrong is known in `on_error`")),
            "error" => match field {
                "code" => Ok((Name::Code, 2)),
                "message" => Ok((Name::Message, 2)),
                _ => Err(refused(
                    "an error has a code and a message",
                    "`.error.code`, or `.error.message`".to_owned(),
                )),
            },
            _ if field.is_empty() => Err(refused(
                "the variables as a whole can't be used here",
                "name one: `.vars.least`".to_owned(),
            )),
            _ if self.vars.contains_key(field) => Ok((Name::Variable(field.to_owned()), 2)),
            _ => {
                let near = crate::scan::nearest(field, self.vars.keys().map(String::as_str));
                let suggestion = near.map_or_else(
                    || "declare it: `variables: {name: value}` at the top of the file".to_owned(),
                    |near| format!("did you mean `.vars.{near}`?"),
                );
                Err(refused(&format!("unknown variable `{field}`"), suggestion))
            }
        }
    }

    /// Adds names to what the compiler is told of the event.
    pub(crate) fn add<'n>(&self, names: impl Iterator<Item = &'n Name>, root: &mut Collection<Field>) {
        for name in names {
            let (head, field, kind) = match name {
                Name::Item => {
                    root.known_mut()
                        .insert("item".into(), self.item.map_or_else(Kind::bytes, ScalarType::kind));
                    continue;
                }
                Name::Answer | Name::Choice => {
                    let word = if *name == Name::Answer { "answer" } else { "choice" };
                    root.known_mut().insert(word.into(), Kind::bytes());
                    continue;
                }
                Name::Row(column) => ("row", column.as_str(), Kind::bytes()),
                Name::Code => ("error", "code", Kind::bytes()),
                Name::Message => ("error", "message", Kind::bytes()),
                Name::Variable(name) => {
                    ("vars", name.as_str(), self.vars.get(name).map_or_else(Kind::bytes, Constant::kind))
                }
            };
            let object =
                root.known_mut().entry(head.into()).or_insert_with(|| Kind::object(Collection::empty()));
            if let Some(object) = object.as_object_mut() {
                object.known_mut().insert(field.into(), kind);
            }
        }
    }

    /// All that a name can be, where that is a fixed list.
    pub(crate) fn values(&self, name: &Name) -> Option<&[String]> {
        match name {
            Name::Answer => Some(&self.answers),
            Name::Choice => Some(&self.choices),
            _ => None,
        }
    }

    /// Where two ways come together: what can be said on either, and what is known on both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let both = |mut one: Vec<String>, other: Vec<String>| {
            let new: Vec<String> = other.into_iter().filter(|value| !one.contains(value)).collect();
            one.extend(new);
            one
        };
        Self {
            row: self.row && other.row,
            item: self.item.and(other.item),
            error: self.error && other.error,
            answers: both(self.answers, other.answers),
            choices: both(self.choices, other.choices),
            vars: self.vars,
        }
    }

    /// A variable's value, as the compiler has it.
    pub(crate) fn constant(&self, name: &str) -> Option<Value> {
        self.vars.get(name).map(Constant::value)
    }
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
