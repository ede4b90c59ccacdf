//! A record's datum, written by position: the same bytes as the general encoder's, without looking each field up in the schema by its name.
//!
//! Owns the binary encoding (Avro 1.12, "Binary Encoding") of what our records are made of. Relies on three properties of our schemas, which
//! tests hold by comparing both encoders: fields stand in the struct's order, unions are `[null, T]`, enums have the variants' order.
use serde::{Serialize, ser};
use std::fmt;

/// Appends the datum.
///
/// # Errors
/// A value that has no place in a record of ours.
pub(super) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Failed> {
    value.serialize(&mut Datum(out))
}

/// What a record of ours never holds, or what a datum has that no record of ours is.
#[derive(Debug)]
pub(super) struct Failed(pub(super) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Failed {}
impl ser::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn unexpected<T>(what: &str) -> Result<T, Failed> {
    Err(Failed(format!("{what} has no place in a record")))
}

struct Datum<'o>(&'o mut Vec<u8>);

impl Datum<'_> {
    /// Zig-zag, seven bits a byte.
    fn long(&mut self, value: i64) {
        let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        while rest > 0x7f {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Failed> {
        self.long(i64::try_from(value.len()).map_err(ser::Error::custom)?);
        self.0.extend_from_slice(value);
        Ok(())
    }
}

impl<'a, 'o> ser::Serializer for &'a mut Datum<'o> {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = Items<'a, 'o>;
    type SerializeStruct = Self;
    type SerializeTuple = ser::Impossible<(), Failed>;
    type SerializeTupleStruct = ser::Impossible<(), Failed>;
    type SerializeTupleVariant = ser::Impossible<(), Failed>;
    type SerializeMap = Items<'a, 'o>;
    type SerializeStructVariant = ser::Impossible<(), Failed>;

    fn is_human_readable(&self) -> bool {
        false
    }
    fn serialize_bool(self, v: bool) -> Result<(), Failed> {
        self.0.push(u8::from(v));
        Ok(())
    }
    fn serialize_i32(self, v: i32) -> Result<(), Failed> {
        self.long(i64::from(v));
        Ok(())
    }
    fn serialize_i64(self, v: i64) -> Result<(), Failed> {
        self.long(v);
        Ok(())
    }
    fn serialize_f64(self, v: f64) -> Result<(), Failed> {
        self.0.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }
    fn serialize_str(self, v: &str) -> Result<(), Failed> {
        self.bytes(v.as_bytes())
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Failed> {
        self.bytes(v)
    }
    fn serialize_none(self) -> Result<(), Failed> {
        self.0.push(0);
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        self.0.push(2);
        value.serialize(self)
    }
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), Failed> {
        self.long(i64::from(index));
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        value.serialize(self)
    }
    /// One block with all items, then the end.
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'a, 'o>, Failed> {
        let Some(len) = len else { return unexpected("a list of unknown length") };
        if len > 0 {
            self.long(i64::try_from(len).map_err(ser::Error::custom)?);
        }
        Ok(Items(self))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Failed> {
        Ok(self)
    }

    fn serialize_i8(self, _: i8) -> Result<(), Failed> {
        unexpected("i8")
    }
    fn serialize_i16(self, _: i16) -> Result<(), Failed> {
        unexpected("i16")
    }
    fn serialize_u8(self, _: u8) -> Result<(), Failed> {
        unexpected("u8")
    }
    fn serialize_u16(self, _: u16) -> Result<(), Failed> {
        unexpected("u16")
    }
    fn serialize_u32(self, _: u32) -> Result<(), Failed> {
        unexpected("u32")
    }
    fn serialize_u64(self, _: u64) -> Result<(), Failed> {
        unexpected("u64")
    }
    fn serialize_f32(self, _: f32) -> Result<(), Failed> {
        unexpected("f32")
    }
    fn serialize_char(self, _: char) -> Result<(), Failed> {
        unexpected("char")
    }
    fn serialize_unit(self) -> Result<(), Failed> {
        unexpected("unit")
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Failed> {
        unexpected(name)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Failed> {
        unexpected(name)
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Failed> {
        unexpected("a tuple")
    }
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Failed> {
        unexpected(name)
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Failed> {
        unexpected(name)
    }
    /// As a list of pairs.
    fn serialize_map(self, len: Option<usize>) -> Result<Items<'a, 'o>, Failed> {
        self.serialize_seq(len)
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Failed> {
        unexpected(name)
    }
}

impl ser::SerializeStruct for &mut Datum<'_> {
    type Ok = ();
    type Error = Failed;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Failed> {
        value.serialize(&mut **self)
    }
    fn end(self) -> Result<(), Failed> {
        Ok(())
    }
}

struct Items<'a, 'o>(&'a mut Datum<'o>);

impl ser::SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Failed;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        value.serialize(&mut *self.0)
    }
    fn end(self) -> Result<(), Failed> {
        self.0.0.push(0);
        Ok(())
    }
}

impl ser::SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = Failed;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        key.serialize(&mut *self.0)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        value.serialize(&mut *self.0)
    }
    fn end(self) -> Result<(), Failed> {
        self.0.0.push(0);
        Ok(())
    }
}
