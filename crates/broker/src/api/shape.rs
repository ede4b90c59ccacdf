//! Owns the check that a frame's lengths and counts are true, before anything is allocated for them: the decoder
//! reserves memory for as many array elements as a frame claims, and a claim costs its sender nothing.
//! Must not know what fields mean.

use super::Malformed;

/// How many array elements one request may have, all arrays together.
const MAX_ELEMENTS: usize = 200_000;
const MAX_TAGS: u64 = 1_000;

/// A field's layout.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Type {
    Fixed(usize),
    /// With a 16-bit length; compact in flexible versions.
    Text,
    /// With a 32-bit length; compact in flexible versions.
    Blob,
    /// An array of plain values.
    List(&'static Type),
    /// An array of structures.
    Structs(&'static [Field]),
}

/// A field and the versions that have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    ty: Type,
    min: i16,
    max: i16,
}

/// A request's layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) flexible: i16,
    pub(crate) fields: &'static [Field],
}

pub(crate) const fn all(ty: Type) -> Field {
    Field { ty, min: 0, max: i16::MAX }
}

pub(crate) const fn since(min: i16, ty: Type) -> Field {
    Field { ty, min, max: i16::MAX }
}

pub(crate) const fn until(max: i16, ty: Type) -> Field {
    Field { ty, min: 0, max }
}

pub(crate) const fn between(min: i16, max: i16, ty: Type) -> Field {
    Field { ty, min, max }
}

pub(crate) const I8: Type = Type::Fixed(1);
pub(crate) const I16: Type = Type::Fixed(2);
pub(crate) const I32: Type = Type::Fixed(4);
pub(crate) const I64: Type = Type::Fixed(8);
pub(crate) const UUID: Type = Type::Fixed(16);
pub(crate) const TEXT: Type = Type::Text;
pub(crate) const BLOB: Type = Type::Blob;
pub(crate) const TEXTS: Type = Type::List(&TEXT);
pub(crate) const I32S: Type = Type::List(&I32);
pub(crate) const I64S: Type = Type::List(&I64);

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

fn wrong(what: &str) -> Malformed {
    Malformed(what.to_owned())
}

impl Walk<'_> {
    fn skip(&mut self, size: usize) -> Result<(), Malformed> {
        self.rest = self.rest.get(size..).ok_or_else(|| wrong("shorter than its lengths say"))?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(|| wrong("ends in a number"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(wrong("a number is too long"))
    }

    /// A length of `width` bytes, or a compact one; `None` is null.
    fn length(&mut self, width: usize) -> Result<Option<usize>, Malformed> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1).map(|n| n as usize));
        }
        let bytes = self.rest.get(..width).ok_or_else(|| wrong("ends in a length"))?;
        let length = match *bytes {
            [a, b] => i32::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]),
            _ => return Err(wrong("a length's width")),
        };
        self.skip(width)?;
        match length {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| wrong("a negative length")),
        }
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.length(4)?.unwrap_or(0);
        self.elements = self.elements.saturating_add(count);
        if count > self.rest.len() || self.elements > MAX_ELEMENTS {
            return Err(wrong("more elements than there can be"));
        }
        Ok(count)
    }

    fn value(&mut self, ty: &Type) -> Result<(), Malformed> {
        match ty {
            Type::Fixed(size) => self.skip(*size),
            Type::Text => {
                let size = self.length(2)?.unwrap_or(0);
                self.skip(size)
            }
            Type::Blob => {
                let size = self.length(4)?.unwrap_or(0);
                self.skip(size)
            }
            Type::List(inner) => {
                for _ in 0..self.count()? {
                    self.value(inner)?;
                }
                Ok(())
            }
            Type::Structs(fields) => {
                for _ in 0..self.count()? {
                    self.structure(fields)?;
                }
                Ok(())
            }
        }
    }

    fn structure(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        let version = self.version;
        for field in fields.iter().filter(|f| (f.min..=f.max).contains(&version)) {
            self.value(&field.ty)?;
        }
        if self.flexible { self.tags() } else { Ok(()) }
    }

    fn tags(&mut self) -> Result<(), Malformed> {
        let count = self.varint()?;
        if count > MAX_TAGS {
            return Err(wrong("too many tagged fields"));
        }
        for _ in 0..count {
            self.varint()?;
            let size = self.varint()? as usize;
            self.skip(size)?;
        }
        Ok(())
    }
}

impl Shape {
    /// Whether a request's body (after its header) starts with this shape; returns how many bytes follow it. Clients
    /// are known to send some more, which every broker overlooks.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn check(&self, body: &[u8], version: i16) -> Result<usize, Malformed> {
        let flexible = version >= self.flexible;
        let mut walk = Walk { rest: body, version, flexible, elements: 0 };
        walk.structure(self.fields)?;
        Ok(walk.rest.len())
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
pub(crate) mod tests;
