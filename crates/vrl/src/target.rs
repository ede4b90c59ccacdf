//! The detection as VRL sees it, and what is named beside it: a column is converted when it is touched, at most once, and only then.
//! Owns conversion of cells. Must not know: how programs are compiled.
use crate::scope::{HEADS, Name, Scalar, Scope, Seen};
use atio_schemas::{
    Timestamp,
    column::{COLUMNS, Cell, NewCell, Type},
};
use chrono::{DateTime, Utc};
use std::{cell::OnceCell, fmt};
use vrl::{
    compiler::{SecretTarget, Target},
    path::{OwnedSegment, OwnedTargetPath, PathPrefix},
    prelude::{Collection, Field, Kind, NotNan, Value},
};

/// A path that a program reads: where its value comes from, and what follows the name.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    pub(crate) path: OwnedTargetPath,
    pub(crate) source: Source,
    rest: Vec<OwnedSegment>,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Column(usize),
    Beside(Name),
    Constant(Value),
}

impl Touched {
    /// None when the path starts with no name that is known.
    pub(crate) fn of(path: &OwnedTargetPath, scope: &Scope) -> Option<Self> {
        let segments = &path.path.segments;
        let field = |i: usize| match segments.get(i) {
            Some(OwnedSegment::Field(name)) => Some(name.as_str()),
            _ => None,
        };
        if path.prefix != PathPrefix::Event {
            return None;
        }
        let first = field(0)?;
        let (source, taken) = if HEADS.contains(&first) {
            match scope.name(first, field(1).unwrap_or_default(), 0).ok()? {
                (Name::Variable(name), taken) => (Source::Constant(scope.constant(&name)?), taken),
                (name, taken) => (Source::Beside(name), taken),
            }
        } else {
            match atio_schemas::column::position(first) {
                Some(column) => (Source::Column(column), 1),
                None => {
                    let nested = format!("{first}.{}", field(1)?);
                    (Source::Column(atio_schemas::column::position(&nested)?), 2)
                }
            }
        };
        Some(Self { path: path.clone(), source, rest: segments.get(taken..)?.to_vec() })
    }
    pub(crate) const fn column(&self) -> Option<usize> {
        if let Source::Column(column) = self.source { Some(column) } else { None }
    }
}

/// What the compiler is told of the detection: the columns that the text names. (It clones this at every node, so the rest stays away.)
/// A nullable column is told as if it were always known: see the crate's head.
pub(crate) fn kind(named: &[usize]) -> Collection<Field> {
    let mut root: Collection<Field> = Collection::empty();
    for column in named.iter().filter_map(|i| COLUMNS.get(*i)) {
        match column.name.split_once('.') {
            None => {
                root.known_mut().insert(column.name.into(), kind_of(column.ty));
            }
            Some((head, tail)) => {
                let nested =
                    root.known_mut().entry(head.into()).or_insert_with(|| Kind::object(Collection::empty()));
                if let Some(object) = nested.as_object_mut() {
                    object.known_mut().insert(tail.into(), kind_of(column.ty));
                }
            }
        }
    }
    root
}

/// The kind that a known value of a column has.
pub(crate) fn kind_of(ty: Type) -> Kind {
    match ty {
        Type::Text | Type::Ip | Type::Symbol(_) => Kind::bytes(),
        Type::Int => Kind::integer(),
        Type::Float => Kind::float(),
        Type::Bool => Kind::boolean(),
        Type::Time => Kind::timestamp(),
        Type::Texts => Kind::array(Collection::from_unknown(Kind::bytes())),
    }
}

/// One detection and what is beside it, lent to one run of one program.
pub(crate) struct Lent<'a> {
    seen: Seen<'a>,
    touched: &'a [Touched],
    cells: Vec<OnceCell<Value>>,
    root: Value,
}

impl<'a> Lent<'a> {
    pub(crate) fn new(seen: Seen<'a>, touched: &'a [Touched]) -> Self {
        Self {
            seen,
            touched,
            cells: vec![OnceCell::new(); touched.len()],
            root: Value::Object(std::collections::BTreeMap::new()),
        }
    }

    fn value(&self, source: &Source) -> Value {
        let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
        match source {
            Source::Column(column) => {
                COLUMNS.get(*column).map_or(Value::Null, |c| value((c.get)(self.seen.detection)))
            }
            Source::Constant(value) => value.clone(),
            Source::Beside(Name::Row(column)) => {
                text(self.seen.row.and_then(|row| row.get(column)).map(String::as_str))
            }
            Source::Beside(Name::Item) => self.seen.item.map_or(Value::Null, Scalar::value),
            Source::Beside(Name::Code) => text(self.seen.error.map(|e| e.code)),
            Source::Beside(Name::Answer) => text(self.seen.answer),
            Source::Beside(Name::Choice) => text(self.seen.choice),
            Source::Beside(Name::Message) => text(self.seen.error.map(|e| e.message)),
            // Constants are put in by the compiler.
            Source::Beside(Name::Variable(_)) => Value::Null,
        }
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "detection {}", self.seen.detection.event_id)
    }
}

impl Target for Lent<'_> {
    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        if path.path.segments.is_empty() {
            return Ok(Some(&self.root));
        }
        let found = self.touched.iter().zip(&self.cells).find(|(touched, _)| touched.path == *path);
        let Some((touched, cell)) = found else { return Err(format!("{path} is not a column")) };
        let value = cell.get_or_init(|| self.value(&touched.source));
        // An unknown column is absent, so that `exists` says so.
        let value = if touched.rest.is_empty() { Some(value) } else { value.get(&touched.rest) };
        Ok(value.filter(|v| !v.is_null()))
    }
    fn target_insert(&mut self, path: &OwnedTargetPath, _: Value) -> Result<(), String> {
        Err(format!("{path} is read only"))
    }
    fn target_get_mut(&mut self, path: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        Err(format!("{path} is read only"))
    }
    fn target_remove(&mut self, path: &OwnedTargetPath, _: bool) -> Result<Option<Value>, String> {
        Err(format!("{path} is read only"))
    }
}

impl SecretTarget for Lent<'_> {
    fn get_secret(&self, _: &str) -> Option<&str> {
        None
    }
    fn insert_secret(&mut self, _: &str, _: &str) {}
    fn remove_secret(&mut self, _: &str) {}
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => Value::from(text),
        Cell::Int(number) => Value::Integer(number),
        Cell::Float(number) => NotNan::new(number).map_or(Value::Null, Value::Float),
        Cell::Bool(yes) => Value::Boolean(yes),
        Cell::Time(at) => DateTime::<Utc>::from_timestamp_micros(at.0).map_or(Value::Null, Value::Timestamp),
        Cell::Texts(texts) => Value::Array(texts.iter().map(|t| Value::from(t.as_str())).collect()),
    }
}

/// The way back, for `set`. None where the value is of no column's type.
pub(crate) fn cell(value: Value) -> Option<NewCell> {
    Some(match value {
        Value::Null => NewCell::Null,
        Value::Bytes(bytes) => NewCell::Text(String::from_utf8(bytes.to_vec()).ok()?),
        Value::String(text) => NewCell::Text(text.to_string()),
        Value::Integer(number) => NewCell::Int(number),
        Value::Float(number) => NewCell::Float(number.into_inner()),
        Value::Boolean(yes) => NewCell::Bool(yes),
        Value::Timestamp(at) => NewCell::Time(Timestamp(at.timestamp_micros())),
        // As any call that meets what is unknown.
        Value::Array(items) if items.iter().any(Value::is_null) => NewCell::Null,
        Value::Array(items) => {
            let text = |item| if let Some(NewCell::Text(text)) = cell(item) { Some(text) } else { None };
            NewCell::Texts(items.into_iter().map(text).collect::<Option<_>>()?)
        }
        Value::Regex(_) | Value::Object(_) => return None,
    })
}
