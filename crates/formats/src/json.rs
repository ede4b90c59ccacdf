//! Lenient, borrowing pieces for reading tools' JSON in one pass: scalars as strings, a value where a list should be, wrong types as
//! absent. Owns these shapes, and in `fill` how structs of them are read; knows no format.
mod fill;

use crate::finding::Text;
use crate::limits::LIST;
pub(crate) use fill::{Field, Fill, Key, Place, record, small};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A text; numbers and booleans become text, null and containers are absent.
#[derive(Debug, Default, Clone)]
pub(crate) struct Txt<'a>(pub(crate) Option<Text<'a>>);

/// A whole number, also as text or as a float without a fraction; anything else is absent.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Num(pub(crate) Option<u64>);

/// A list of texts; a single text is a list of one.
#[derive(Debug, Default)]
pub(crate) struct Texts<'a>(pub(crate) Vec<Text<'a>>);

/// A list of records; a single record is a list of one. At most [`LIST`], the rest is not kept.
#[derive(Debug)]
pub(crate) struct Many<T>(pub(crate) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A map's scalars as `name=value`, nested names joined with a dot: for protocols that have no shape of their own here.
#[derive(Debug, Default)]
pub(crate) struct Flat<'a>(pub(crate) Vec<(Text<'a>, Text<'a>)>);

small! { Txt<'a>, Num, Texts<'a>, Flat<'a> }

impl<'de, T: Deserialize<'de>> Fill<'de> for Many<T> {
    fn fill<D: Deserializer<'de>>(&mut self, d: D) -> Result<(), D::Error> {
        *self = Deserialize::deserialize(d)?;
        Ok(())
    }
}

/// A record that few inputs have: it takes up no room where it is not there.
impl<'de, T: Fill<'de> + Field + Default> Fill<'de> for Option<Box<T>> {
    fn fill<D: Deserializer<'de>>(&mut self, d: D) -> Result<(), D::Error> {
        let mut record = Box::<T>::default();
        record.fill(d)?;
        *self = Some(record).filter(|record| record.present());
        Ok(())
    }
}

impl<'a> Txt<'a> {
    /// The text, if it says anything; leaves nothing.
    pub(crate) fn take(&mut self) -> Option<Text<'a>> {
        self.0.take().filter(|text| !text.is_empty())
    }
    /// The text, if it says anything.
    pub(crate) fn into_text(self) -> Option<Text<'a>> {
        self.0.filter(|text| !text.is_empty())
    }
}

impl Flat<'_> {
    pub(crate) const MAX: usize = 48;
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

impl Field for Txt<'_> {
    fn present(&self) -> bool {
        self.0.is_some()
    }
}
impl Field for Num {
    fn present(&self) -> bool {
        self.0.is_some()
    }
}
impl Field for Texts<'_> {
    fn present(&self) -> bool {
        !self.0.is_empty()
    }
}
impl<T> Field for Many<T> {
    fn present(&self) -> bool {
        !self.0.is_empty()
    }
}
impl Field for Flat<'_> {
    fn present(&self) -> bool {
        !self.0.is_empty()
    }
}
impl<T> Field for Option<Box<T>> {
    fn present(&self) -> bool {
        self.is_some()
    }
}

pub(crate) fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

pub(crate) fn drain_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

struct TxtVisitor;

impl<'de> Visitor<'de> for TxtVisitor {
    type Value = Txt<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Txt<'de>, E> {
        Ok(Txt(Some(Cow::Borrowed(v))))
    }
    fn visit_str<E>(self, v: &str) -> Result<Txt<'de>, E> {
        Ok(Txt(Some(Cow::Owned(v.to_owned()))))
    }
    fn visit_string<E>(self, v: String) -> Result<Txt<'de>, E> {
        Ok(Txt(Some(Cow::Owned(v))))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Txt<'de>, E> {
        Ok(Txt(Some(Cow::Owned(v.to_string()))))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Txt<'de>, E> {
        Ok(Txt(Some(Cow::Owned(v.to_string()))))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Txt<'de>, E> {
        Ok(Txt(Some(Cow::Owned(v.to_string()))))
    }
    fn visit_bool<E>(self, v: bool) -> Result<Txt<'de>, E> {
        Ok(Txt(Some(Cow::Borrowed(if v { "true" } else { "false" }))))
    }
    fn visit_unit<E>(self) -> Result<Txt<'de>, E> {
        Ok(Txt(None))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Txt<'de>, A::Error> {
        drain_map(map).map(|()| Txt(None))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Txt<'de>, A::Error> {
        drain_seq(seq).map(|()| Txt(None))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Txt<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TxtVisitor)
    }
}

struct NumVisitor;

impl<'de> Visitor<'de> for NumVisitor {
    type Value = Num;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_u64<E>(self, v: u64) -> Result<Num, E> {
        Ok(Num(Some(v)))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Num, E> {
        Ok(Num(u64::try_from(v).ok()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Num, E> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = (v.fract() == 0.0 && (0.0..1.8e19).contains(&v)).then_some(v as u64);
        Ok(Num(whole))
    }
    fn visit_str<E>(self, v: &str) -> Result<Num, E> {
        Ok(Num(v.trim().parse().ok()))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Num, E> {
        Ok(Num(None))
    }
    fn visit_unit<E>(self) -> Result<Num, E> {
        Ok(Num(None))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Num, A::Error> {
        drain_map(map).map(|()| Num(None))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Num, A::Error> {
        drain_seq(seq).map(|()| Num(None))
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(NumVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Texts<'de>, E> {
        Ok(Texts(vec![Cow::Borrowed(v)]))
    }
    fn visit_str<E>(self, v: &str) -> Result<Texts<'de>, E> {
        Ok(Texts(vec![Cow::Owned(v.to_owned())]))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Texts<'de>, E> {
        Ok(Texts(vec![Cow::Owned(v.to_string())]))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Texts<'de>, E> {
        Ok(Texts(vec![Cow::Owned(v.to_string())]))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Texts<'de>, E> {
        Ok(Texts(vec![Cow::Owned(v.to_string())]))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Texts<'de>, E> {
        Ok(Texts(Vec::new()))
    }
    fn visit_unit<E>(self) -> Result<Texts<'de>, E> {
        Ok(Texts(Vec::new()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Texts<'de>, A::Error> {
        drain_map(map).map(|()| Texts(Vec::new()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element::<Txt<'de>>()? {
            if list.len() < LIST {
                list.extend(item.0);
            }
        }
        Ok(Texts(list))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TextsVisitor)
    }
}

struct ManyVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ManyVisitor<T> {
    type Value = Many<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Many<T>, A::Error> {
        T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|one| Many(vec![one]))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Many<T>, A::Error> {
        let mut list = Vec::new();
        while list.len() < LIST {
            let Some(item) = seq.next_element::<T>()? else { return Ok(Many(list)) };
            list.push(item);
        }
        drain_seq(seq).map(|()| Many(list))
    }
    fn visit_str<E>(self, _: &str) -> Result<Many<T>, E> {
        Ok(Many::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<Many<T>, E> {
        Ok(Many::default())
    }
    fn visit_i64<E>(self, _: i64) -> Result<Many<T>, E> {
        Ok(Many::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<Many<T>, E> {
        Ok(Many::default())
    }
    fn visit_bool<E>(self, _: bool) -> Result<Many<T>, E> {
        Ok(Many::default())
    }
    fn visit_unit<E>(self) -> Result<Many<T>, E> {
        Ok(Many::default())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ManyVisitor(std::marker::PhantomData))
    }
}

/// Gathers a value's scalars under `name`.
struct FlatSeed<'f, 'de> {
    out: &'f mut Vec<(Text<'de>, Text<'de>)>,
    name: Text<'de>,
}

impl<'de> FlatSeed<'_, 'de> {
    fn keep(self, value: Text<'de>) {
        if self.out.len() < Flat::MAX && !value.is_empty() {
            self.out.push((self.name, value));
        }
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for FlatSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FlatSeed<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<(), E> {
        self.keep(Cow::Borrowed(v));
        Ok(())
    }
    fn visit_str<E>(self, v: &str) -> Result<(), E> {
        self.keep(Cow::Owned(v.to_owned()));
        Ok(())
    }
    fn visit_u64<E>(self, v: u64) -> Result<(), E> {
        self.keep(Cow::Owned(v.to_string()));
        Ok(())
    }
    fn visit_i64<E>(self, v: i64) -> Result<(), E> {
        self.keep(Cow::Owned(v.to_string()));
        Ok(())
    }
    fn visit_f64<E>(self, v: f64) -> Result<(), E> {
        self.keep(Cow::Owned(v.to_string()));
        Ok(())
    }
    fn visit_bool<E>(self, v: bool) -> Result<(), E> {
        self.keep(Cow::Borrowed(if v { "true" } else { "false" }));
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Txt(key)) = map.next_key::<Txt<'de>>()? {
            if self.out.len() >= Flat::MAX {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let key = key.unwrap_or_default();
            let name = if self.name.is_empty() { key } else { Cow::Owned(format!("{}.{key}", self.name)) };
            map.next_value_seed(FlatSeed { out: &mut *self.out, name })?;
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // The first few: enough for a line that people read.
        for _ in 0..4 {
            let seed = FlatSeed { out: &mut *self.out, name: self.name.clone() };
            if seq.next_element_seed(seed)?.is_none() {
                return Ok(());
            }
        }
        drain_seq(seq)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Flat<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut out: Vec<(Text<'de>, Text<'de>)> = Vec::new();
        d.deserialize_any(FlatSeed { out: &mut out, name: Cow::Borrowed("") })?;
        Ok(Self(out))
    }
}

/// The reject's code of a parser's error.
pub(crate) fn error_code(error: &serde_json::Error) -> atio_schemas::Code {
    if error.is_eof() { atio_schemas::Code::Truncated } else { atio_schemas::Code::InvalidJson }
}

#[cfg(test)]
mod tests {
    use super::*;

    record! { Probe<'a> { name: Txt<'a> = "name" | "nom", size: Num = "size", list: Texts<'a> = "list", inner: Option<Box<Probe<'a>>> = "inner" } else other if |_, name| name == "extra" }

    #[test]
    fn lenient_but_exact() {
        let probe: Probe<'_> = serde_json::from_str(r#"{"name":1,"nom":"b","size":"9007199254740993","list":"x","zz":[{}],"extra":{"a":{"b":true},"c":[1,2]}}"#).unwrap();
        assert!(probe.duplicate);
        assert_eq!(probe.name.0.as_deref(), Some("b"));
        assert!(matches!(probe.name.0, Some(Cow::Borrowed(_))));
        assert_eq!(probe.size.0, Some(9_007_199_254_740_993));
        assert_eq!(probe.list.0, ["x"]);
        assert_eq!(probe.other.get("a.b"), Some("true"));
        assert_eq!(probe.other.0.len(), 3);
        let odd: Probe<'_> =
            serde_json::from_str(r#"{"name":{"a":1},"size":-1,"list":[1,null,"y"],"inner":{"size":3.0}}"#)
                .unwrap();
        assert!(odd.name.0.is_none() && odd.size.0.is_none());
        assert_eq!(odd.list.0, ["1", "y"]);
        assert_eq!(odd.inner.unwrap().size.0, Some(3));
        let absent: Probe<'_> = serde_json::from_str("7").unwrap();
        assert!(!absent.seen);
    }
}
