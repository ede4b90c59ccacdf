//! A record's datum, read by position straight into its type: the counterpart of `write`, for datums that were written with our own schema.
//!
//! Owns the binary decoding (Avro 1.12, "Binary Encoding") of what our records are made of, and the limit on the items of a datum: they are
//! counted before they are made. Must not know schemas; the codec asks for this only where the writer's schema is ours.
use super::{guard::MAX_ITEMS, write::Failed};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor, value::U32Deserializer};

/// Why a datum can't be read.
pub(super) enum Refused {
    TooMany,
    Failed(String),
}

/// Reads a whole datum.
///
/// # Errors
/// Too many items; cut short, out of range, no UTF-8, bytes left over.
pub(super) fn read<T: DeserializeOwned>(datum: &[u8]) -> Result<T, Refused> {
    let mut datum = Datum { rest: datum, items: MAX_ITEMS, exceeded: false };
    match T::deserialize(&mut datum) {
        Ok(value) if datum.rest.is_empty() => Ok(value),
        Ok(_) => Err(Refused::Failed(format!("{} bytes are left over", datum.rest.len()))),
        Err(_) if datum.exceeded => Err(Refused::TooMany),
        Err(error) => Err(Refused::Failed(error.0)),
    }
}

impl de::Error for Failed {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn fail<T>(why: &str) -> Result<T, Failed> {
    Err(Failed(why.to_owned()))
}

struct Datum<'d> {
    rest: &'d [u8],
    /// How many more items its lists and maps may have.
    items: usize,
    exceeded: bool,
}

impl<'d> Datum<'d> {
    fn take(&mut self, len: usize) -> Result<&'d [u8], Failed> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return fail("the datum is cut short");
        };
        self.rest = rest;
        Ok(taken)
    }
    /// Zig-zag, seven bits a byte, ten bytes at most.
    fn long(&mut self) -> Result<i64, Failed> {
        let mut value = 0_u64;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            if place == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        fail("a number has more than 64 bits")
    }
    fn bytes(&mut self) -> Result<&'d [u8], Failed> {
        let len = self.long()?;
        let Ok(len) = usize::try_from(len) else { return fail("a length is negative") };
        self.take(len)
    }
    fn text(&mut self) -> Result<&'d str, Failed> {
        std::str::from_utf8(self.bytes()?).or_else(|_| fail("a text is not UTF-8"))
    }
    /// The items of the next block; 0 = the end. A negative count is followed by the block's length in bytes.
    fn block(&mut self) -> Result<usize, Failed> {
        let mut count = self.long()?;
        if count < 0 {
            let _length = self.long()?;
            let Some(positive) = count.checked_neg() else { return fail("a count is out of range") };
            count = positive;
        }
        let count = usize::try_from(count).map_err(|_| Failed("a count is out of range".to_owned()))?;
        // An item of ours takes a byte at least.
        if count > self.rest.len() {
            return fail("a list claims more items than there are bytes");
        }
        let Some(left) = self.items.checked_sub(count) else {
            self.exceeded = true;
            return fail("too many items");
        };
        self.items = left;
        Ok(count)
    }
}

impl<'d> de::Deserializer<'d> for &mut Datum<'d> {
    type Error = Failed;

    fn is_human_readable(&self) -> bool {
        false
    }
    fn deserialize_any<V: Visitor<'d>>(self, _: V) -> Result<V::Value, Failed> {
        fail("a datum does not say what it holds")
    }
    fn deserialize_bool<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.take(1)? {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            _ => fail("a boolean is neither 0 nor 1"),
        }
    }
    fn deserialize_i32<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        let value = self.long()?;
        visitor.visit_i32(i32::try_from(value).map_err(|_| Failed("an int is out of range".to_owned()))?)
    }
    fn deserialize_i64<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_i64(self.long()?)
    }
    fn deserialize_f64<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        let bytes = self.take(8)?.try_into().map_err(<Failed as de::Error>::custom)?;
        visitor.visit_f64(f64::from_le_bytes(bytes))
    }
    fn deserialize_str<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_borrowed_str(self.text()?)
    }
    fn deserialize_string<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_borrowed_str(self.text()?)
    }
    fn deserialize_bytes<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }
    fn deserialize_byte_buf<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }
    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.long()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => fail("a union has no such branch"),
        }
    }
    fn deserialize_newtype_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        let mut items = Items { left: self.block()?, datum: self };
        let value = visitor.visit_seq(&mut items)?;
        items.ended(value)
    }
    fn deserialize_map<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failed> {
        let mut items = Items { left: self.block()?, datum: self };
        let value = visitor.visit_map(&mut items)?;
        items.ended(value)
    }
    fn deserialize_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_seq(Fields { left: fields.len(), datum: self })
    }
    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        match u32::try_from(self.long()?) {
            Ok(index) if (index as usize) < variants.len() => visitor.visit_enum(U32Deserializer::new(index)),
            _ => fail("an enum has no such symbol"),
        }
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'d>>
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// A struct's fields, one after the other.
struct Fields<'a, 'd> {
    left: usize,
    datum: &'a mut Datum<'d>,
}

impl<'d> de::SeqAccess<'d> for Fields<'_, 'd> {
    type Error = Failed;
    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Failed> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.datum).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The items of a list or map, block by block.
struct Items<'a, 'd> {
    /// Of the current block; 0 = the end was read.
    left: usize,
    datum: &'a mut Datum<'d>,
}

impl Items<'_, '_> {
    /// Whoever reads may stop early; what follows would then be read out of place.
    fn ended<T>(&self, value: T) -> Result<T, Failed> {
        if self.left == 0 { Ok(value) } else { fail("a list was not read to its end") }
    }
    fn passed(&mut self) -> Result<(), Failed> {
        self.left -= 1;
        if self.left == 0 {
            self.left = self.datum.block()?;
        }
        Ok(())
    }
}

impl<'d> de::SeqAccess<'d> for Items<'_, 'd> {
    type Error = Failed;
    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Failed> {
        if self.left == 0 {
            return Ok(None);
        }
        let value = seed.deserialize(&mut *self.datum)?;
        self.passed()?;
        Ok(Some(value))
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'d> de::MapAccess<'d> for Items<'_, 'd> {
    type Error = Failed;
    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Failed> {
        if self.left == 0 {
            return Ok(None);
        }
        seed.deserialize(&mut *self.datum).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        let value = seed.deserialize(&mut *self.datum)?;
        self.passed()?;
        Ok(value)
    }
}
