//! JSON text of typed objects, appended to a buffer: byte for byte what serde_json's compact form is, at a third of its cost. Every event is
//! written with it.
//!
//! Owns the text. Relies on two things that serde_json can't: member names of structs are the standard's and need no escapes, and texts seldom
//! do, so that they are looked through eight bytes at a time and copied whole. Must not know: what is written.
use serde::{Serialize, ser};

/// Appends the JSON of `value`.
///
/// # Errors
/// A value that is no JSON: a map's name that is no text. What was written of it stays.
pub fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    value.serialize(Json(out))
}

/// Appends a text in quotes.
#[inline]
pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// Appends a text as it stands between quotes.
#[inline]
pub(crate) fn escaped(text: &str, out: &mut Vec<u8>) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape(text, out);
    }
}

/// RFC 8259 §7, with the short forms where there are any: what RFC 8785 §3.2.2.2 asks for, too.
#[cold]
fn escape(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[
                b'0',
                b'0',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The top bit of the first of eight bytes that is a quote or a backslash (of later ones perhaps): a byte is zero where subtracting one
/// borrows into its top bit (Hacker's Delight, "Find First 0-Byte").
#[inline]
fn quotes(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    (zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))) & TOPS
}

/// Where the first quote or backslash is. Names and ids are short: words find them sooner than a call of memchr, which long texts get.
#[inline]
pub(crate) fn quote(bytes: &[u8]) -> Option<usize> {
    const WORDS: usize = 8;
    let words = bytes.as_chunks::<8>().0;
    for (nth, word) in words.iter().take(WORDS).enumerate() {
        let found = quotes(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(nth * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let from = words.len().min(WORDS) * 8;
    memchr::memchr2(b'"', b'\\', bytes.get(from..)?).map(|at| from + at)
}

/// Whether no byte needs an escape: no control character, quote or backslash.
#[inline]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    // As with zeros below: a byte is under 0x20 where subtracting that borrows into its top bit.
    let odd = |word: u64| (word.wrapping_sub(ONES * 0x20) & !word & TOPS) | quotes(word);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut found = words.iter().fold(0, |found, word| found | odd(u64::from_le_bytes(*word)));
    if let Some(last) = bytes.last_chunk::<8>() {
        found |= odd(u64::from_le_bytes(*last));
    } else {
        let mut last = [b' '; 8];
        for (place, byte) in last.iter_mut().zip(rest) {
            *place = *byte;
        }
        found = odd(u64::from_le_bytes(last));
    }
    found == 0
}

struct Json<'o>(&'o mut Vec<u8>);

fn refused<T>(what: &str) -> Result<T, serde_json::Error> {
    Err(ser::Error::custom(what))
}

macro_rules! numbers {
    ($($name:ident $type:ty),*) => {$(
        #[inline]
        fn $name(self, v: $type) -> Result<(), serde_json::Error> {
            self.0.extend_from_slice(itoa::Buffer::new().format(v).as_bytes());
            Ok(())
        }
    )*};
}

impl<'o> ser::Serializer for Json<'o> {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = Members<'o>;
    type SerializeTuple = Members<'o>;
    type SerializeTupleStruct = Members<'o>;
    type SerializeTupleVariant = ser::Impossible<(), serde_json::Error>;
    type SerializeMap = Members<'o>;
    type SerializeStruct = Members<'o>;
    type SerializeStructVariant = ser::Impossible<(), serde_json::Error>;

    numbers! { serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
    serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64 }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<(), serde_json::Error> {
        self.0.extend_from_slice(if v { b"true" } else { b"false" });
        Ok(())
    }
    fn serialize_f32(self, v: f32) -> Result<(), serde_json::Error> {
        serde_json::to_writer(self.0, &v)
    }
    fn serialize_f64(self, v: f64) -> Result<(), serde_json::Error> {
        serde_json::to_writer(self.0, &v)
    }
    fn serialize_char(self, v: char) -> Result<(), serde_json::Error> {
        text(v.encode_utf8(&mut [0; 4]), self.0);
        Ok(())
    }
    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), serde_json::Error> {
        text(v, self.0);
        Ok(())
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<(), serde_json::Error> {
        serde_json::to_writer(self.0, v)
    }
    fn serialize_none(self) -> Result<(), serde_json::Error> {
        self.serialize_unit()
    }
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), serde_json::Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), serde_json::Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), serde_json::Error> {
        self.serialize_unit()
    }
    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<(), serde_json::Error> {
        self.serialize_str(name)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), serde_json::Error> {
        refused("a variant with a value")
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'o>, serde_json::Error> {
        self.0.push(b'[');
        Ok(Members { out: self.0, first: true, close: b']' })
    }
    fn serialize_tuple(self, _: usize) -> Result<Members<'o>, serde_json::Error> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'o>, serde_json::Error> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, serde_json::Error> {
        refused("a variant with values")
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Members<'o>, serde_json::Error> {
        self.0.push(b'{');
        Ok(Members { out: self.0, first: true, close: b'}' })
    }
    #[inline]
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Members<'o>, serde_json::Error> {
        // What serde_json alone understands: raw values, numbers of any precision.
        if name.starts_with('$') {
            return refused(name);
        }
        self.serialize_map(None)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, serde_json::Error> {
        refused("a variant with members")
    }
}

/// The members of a list or an object, of which the bracket is open.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
    close: u8,
}

impl Members<'_> {
    #[inline]
    fn next(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }
    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), serde_json::Error> {
        value.serialize(Json(self.out))
    }
}

macro_rules! lists {
    ($($trait:ident $element:ident),*) => {$(
        impl ser::$trait for Members<'_> {
            type Ok = ();
            type Error = serde_json::Error;
            #[inline]
            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), serde_json::Error> {
                self.next();
                self.value(value)
            }
            #[inline]
            fn end(self) -> Result<(), serde_json::Error> {
                self.out.push(self.close);
                Ok(())
            }
        }
    )*};
}
lists! { SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field }

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = serde_json::Error;
    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), serde_json::Error> {
        self.next();
        let start = self.out.len();
        self.value(key)?;
        if self.out.get(start) == Some(&b'"') { Ok(()) } else { refused("a name that is no text") }
    }
    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), serde_json::Error> {
        self.out.push(b':');
        self.value(value)
    }
    #[inline]
    fn end(self) -> Result<(), serde_json::Error> {
        self.out.push(self.close);
        Ok(())
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = serde_json::Error;
    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        self.out.extend_from_slice(if std::mem::take(&mut self.first) { b"\"" } else { b",\"" });
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.value(value)
    }
    #[inline]
    fn end(self) -> Result<(), serde_json::Error> {
        self.out.push(self.close);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn as_serde_json_writes_it() {
        #[derive(serde::Serialize)]
        enum Kind {
            #[serde(rename = "a kind")]
            A,
        }
        #[derive(serde::Serialize)]
        struct All<'a> {
            text: &'a str,
            numbers: (u8, i64, u64, f64, f64, Option<i32>),
            yes: bool,
            nothing: (),
            letter: char,
            kind: Kind,
            list: Vec<All<'a>>,
            map: BTreeMap<&'a str, serde_json::Value>,
        }
        let all = |text, list| All {
            text,
            numbers: (7, i64::MIN, u64::MAX, 0.1, 1e300, None),
            yes: true,
            nothing: (),
            letter: 'é',
            kind: Kind::A,
            list,
            map: [(text, serde_json::json!({"a": [1, -2.5, null, "x"], "": {}}))].into_iter().collect(),
        };
        let mut texts: Vec<String> =
            (0..=255_u8).map(|byte| format!("{}abcdefgh", char::from(byte))).collect();
        texts
            .extend(texts.clone().iter().flat_map(|t| (0..20).map(move |n| format!("{}{t}", "z".repeat(n)))));
        texts.extend([
            "".into(),
            "short".into(),
            "é€😀\u{7f}\u{2028}".into(),
            "\"".repeat(9),
            "ends in \n".into(),
        ]);
        for text in &texts {
            let value = all(text, vec![all("", vec![])]);
            let mut out = b"before".to_vec();
            write(&value, &mut out).unwrap();
            assert_eq!(out, [b"before", serde_json::to_vec(&value).unwrap().as_slice()].concat());
        }
    }

    #[test]
    fn finds_the_first_quote() {
        for length in 0..100 {
            for at in 0..=length {
                for byte in [b'"', b'\\'] {
                    let mut bytes: Vec<u8> =
                        (0..length).map(|n| [b'#', b'!', b'[', b']', 0xa2, 0xdc][n % 6]).collect();
                    bytes.insert(at, byte);
                    assert_eq!(quote(&bytes), Some(at));
                    bytes.push(b'"');
                    assert_eq!(quote(&bytes), Some(at));
                }
            }
            assert_eq!(quote(&vec![b'x'; length]), None);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(write(&[(1, 2)].into_iter().collect::<BTreeMap<_, _>>(), &mut vec![]).is_err());
        assert!(write(&serde_json::value::RawValue::NULL, &mut vec![]).is_err());
        assert!(write(&Some(Result::<u8, u8>::Ok(1)), &mut vec![]).is_err());
    }
}
