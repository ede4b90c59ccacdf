//! The detection as VRL sees it: a column is converted when it is touched, at most once, and only then.
//! Owns conversion of cells. Must not know: how programs are compiled.
use crate::beside::{self, Beside, Said};
use atio_schemas::{
    Detection, Timestamp,
    column::{COLUMNS, Cell, NewCell, Type},
};
use chrono::{DateTime, Utc};
use std::{cell::OnceCell, fmt};
use vrl::{
    compiler::{SecretTarget, Target},
    path::{OwnedSegment, OwnedTargetPath, PathPrefix},
    prelude::{Collection, Field, Kind, NotNan, Value},
};

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// By its position in `COLUMNS`.
    Column(usize),
    Beside(&'static str),
}

impl What {
    pub(crate) const fn column(self) -> Option<usize> {
        if let Self::Column(column) = self { Some(column) } else { None }
    }
}

/// A path that a program reads: what it names and what follows the name.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    pub(crate) path: OwnedTargetPath,
    pub(crate) what: What,
    rest: Vec<OwnedSegment>,
}

impl Touched {
    /// None when the path starts with no such name.
    pub(crate) fn of(path: &OwnedTargetPath, beside: &[Beside]) -> Option<Self> {
        let segments = &path.path.segments;
        let field = |i: usize| match segments.get(i)? {
            OwnedSegment::Field(name) => Some(name.as_str()),
            OwnedSegment::Index(_) => None,
        };
        if path.prefix != PathPrefix::Event {
            return None;
        }
        let first = field(0)?;
        let (what, taken) = match (atio_schemas::column::position(first), beside::find(beside, first)) {
            (Some(column), _) => (What::Column(column), 1),
            (None, Some(found)) => (What::Beside(found.name), 1),
            (None, None) => {
                (What::Column(atio_schemas::column::position(&format!("{first}.{}", field(1)?))?), 2)
            }
        };
        Some(Self { path: path.clone(), what, rest: segments.get(taken..)?.to_vec() })
    }
}

/// What the compiler is told of the detection: what the text names. (It clones this at every node, so the rest stays away.)
/// A nullable column is told as if it were always known: see the crate's head.
pub(crate) fn kind(named: &[What]) -> Kind {
    let mut root: Collection<Field> = Collection::empty();
    for what in named {
        let column = match what {
            What::Column(column) => COLUMNS.get(*column),
            What::Beside(name) => {
                root.known_mut().insert((*name).into(), Kind::bytes());
                None
            }
        };
        let Some(column) = column else { continue };
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
    Kind::object(root)
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

/// One detection and what stands beside it, lent to one run of one program.
pub(crate) struct Lent<'a> {
    detection: &'a Detection,
    said: &'a Said<'a>,
    touched: &'a [Touched],
    cells: Vec<OnceCell<Value>>,
    root: Value,
}

impl<'a> Lent<'a> {
    pub(crate) fn new(detection: &'a Detection, said: &'a Said<'a>, touched: &'a [Touched]) -> Self {
        Self {
            detection,
            said,
            touched,
            cells: vec![OnceCell::new(); touched.len()],
            root: Value::Object(std::collections::BTreeMap::new()),
        }
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "detection {}", self.detection.event_id)
    }
}

impl Target for Lent<'_> {
    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        if path.path.segments.is_empty() {
            return Ok(Some(&self.root));
        }
        let found = self.touched.iter().zip(&self.cells).find(|(touched, _)| touched.path == *path);
        let Some((touched, cell)) = found else { return Err(format!("{path} is not a column")) };
        let value = cell.get_or_init(|| match touched.what {
            What::Column(column) => {
                COLUMNS.get(column).map_or(Value::Null, |c| value((c.get)(self.detection)))
            }
            What::Beside(name) => beside::value(self.said, name).map_or(Value::Null, Value::from),
        });
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
        Value::Array(items) => {
            let text = |item| if let Some(NewCell::Text(text)) = cell(item) { Some(text) } else { None };
            NewCell::Texts(items.into_iter().map(text).collect::<Option<_>>()?)
        }
        Value::Regex(_) | Value::Object(_) => return None,
    })
}
