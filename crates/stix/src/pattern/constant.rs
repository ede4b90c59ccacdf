//! Constants of patterns, and how values of observables compare with them. Owns which types compare at all (§9.6.1). Must not know: paths.
use super::lexer::unhex;
use atio_schemas::Timestamp;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{borrow::Cow, cmp::Ordering};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Text(Box<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Written in hexadecimal or Base64.
    Bytes(Vec<u8>),
    Time(Timestamp),
}

impl Constant {
    /// What it is, for messages.
    pub(super) const fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Bool(_) => "`true` or `false`",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "a time",
        }
    }
}

/// A value of an observable, as its property's name says that it is to be read.
pub(super) enum Found<'a> {
    Text(&'a str),
    Number(Number),
    Bool(bool),
    Bytes(Cow<'a, [u8]>),
    /// A list or an object.
    Other,
}

#[derive(Clone, Copy)]
pub(super) enum Number {
    Whole(i128),
    Float(f64),
}

impl<'a> Found<'a> {
    pub(super) fn of(value: &'a Value, name: &str) -> Self {
        match value {
            Value::String(text) => {
                let bytes = if name.ends_with("_hex") {
                    unhex(text)
                } else if name.ends_with("_bin") {
                    STANDARD.decode(text).ok()
                } else {
                    None
                };
                bytes.map_or(Self::Text(text), |bytes| Self::Bytes(Cow::Owned(bytes)))
            }
            Value::Bool(yes) => Self::Bool(*yes),
            Value::Number(number) => {
                let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                let float = || number.as_f64().map(Number::Float);
                whole.map(Number::Whole).or_else(float).map_or(Self::Other, Self::Number)
            }
            Value::Null | Value::Array(_) | Value::Object(_) => Self::Other,
        }
    }

    /// How it lies to a constant; none where the two don't compare.
    pub(super) fn compare(&self, constant: &Constant) -> Option<Ordering> {
        match (self, constant) {
            (Self::Text(a), Constant::Text(b)) => Some((**a).cmp(b)),
            (Self::Text(a), Constant::Time(b)) => Timestamp::parse(a).ok().map(|a| a.cmp(b)),
            (Self::Text(a), Constant::Bytes(b)) => Some((*bytes_of(a)?).cmp(b)),
            (Self::Bytes(a), Constant::Bytes(b)) => Some((**a).cmp(b)),
            (Self::Bytes(a), Constant::Text(b)) => Some((**a).cmp(&*bytes_of(b)?)),
            (Self::Bool(a), Constant::Bool(b)) => Some(a.cmp(b)),
            (Self::Number(a), Constant::Int(b)) => a.compare(Number::Whole(i128::from(*b))),
            (Self::Number(a), Constant::Float(b)) => a.compare(Number::Float(*b)),
            _ => None,
        }
    }
}

impl Number {
    fn compare(self, other: Self) -> Option<Ordering> {
        let float = |number| match number {
            Self::Whole(n) => n as f64,
            Self::Float(n) => n,
        };
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (a, b) => float(a).partial_cmp(&float(b)),
        }
    }
}

/// A text as bytes, a character each; none where one has no room in a byte.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
