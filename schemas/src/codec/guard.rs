//! What is fit to be read. Schemas: whoever may register a schema must not be able to bring a reader down with it: a recursive one
//! lets a record nest until the stack ends, and items without a length let a few bytes stand for any number of them. Datums: an
//! empty text takes one byte on the wire and 24 in memory, so the items of lists are counted before they are made.
use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, NamesRef, UuidSchema};
use std::collections::HashMap;

/// Most items of all lists and maps of a record together.
pub(super) const MAX_ITEMS: usize = 200_000;

const DEPTH: usize = 32;

/// True for schemas that are neither recursive nor nested too deep, and whose lists have items that take a byte at least.
pub(super) fn is_safe(schema: &Schema) -> bool {
    least(schema, &mut HashMap::new(), DEPTH).is_some()
}

/// The least number of bytes of a datum (capped at 1); null where the schema is not safe. `named`: what was walked; null while inside of it.
fn least(schema: &Schema, named: &mut HashMap<String, Option<usize>>, depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    match schema {
        Schema::Null => Some(0),
        Schema::Fixed(fixed) => {
            let least = fixed.size.min(1);
            named.insert(fixed.name.to_string(), Some(least));
            Some(least)
        }
        Schema::Enum(symbols) => {
            named.insert(symbols.name.to_string(), Some(1));
            Some(1)
        }
        Schema::Ref { name } => *named.get(&name.to_string())?,
        Schema::Array(array) => (least(&array.items, named, depth)? > 0).then_some(1),
        Schema::Map(map) => least(&map.types, named, depth).map(|_| 1),
        Schema::Union(union) => {
            for variant in union.variants() {
                least(variant, named, depth)?;
            }
            Some(1)
        }
        Schema::Record(record) => {
            named.insert(record.name.to_string(), None);
            let mut sum = 0;
            for field in &record.fields {
                sum += least(&field.schema, named, depth)?;
            }
            named.insert(record.name.to_string(), Some(sum.min(1)));
            Some(sum.min(1))
        }
        _ => Some(1),
    }
}

/// True unless the lists and maps of a datum have more than [`MAX_ITEMS`] items. What can't be read is left to the reader to say.
pub(super) fn is_countable(schema: &Schema, names: &NamesRef<'_>, datum: &[u8]) -> bool {
    // An item takes a byte at least (`is_safe`, and ours): a short datum can't have too many.
    let mut count = Count { rest: datum, left: MAX_ITEMS, names, exceeded: false };
    datum.len() <= MAX_ITEMS || count.value(schema).is_some() || !count.exceeded
}

/// Walks over a datum. Each step is null where it ends too early, or has too many items.
struct Count<'a> {
    rest: &'a [u8],
    left: usize,
    names: &'a NamesRef<'a>,
    exceeded: bool,
}

impl Count<'_> {
    fn value(&mut self, schema: &Schema) -> Option<()> {
        match schema {
            Schema::Null => Some(()),
            Schema::Boolean => self.skip(1),
            Schema::Float => self.skip(4),
            Schema::Double => self.skip(8),
            Schema::Bytes | Schema::String | Schema::BigDecimal => self.text(),
            Schema::Uuid(UuidSchema::String | UuidSchema::Bytes) => self.text(),
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.skip(fixed.size)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => self.text(),
                InnerDecimalSchema::Fixed(fixed) => self.skip(fixed.size),
            },
            Schema::Array(array) => self.items(&array.items, false),
            Schema::Map(map) => self.items(&map.types, true),
            Schema::Union(union) => {
                let index = usize::try_from(self.number()?).ok()?;
                self.value(union.variants().get(index)?)
            }
            Schema::Record(record) => record.fields.iter().try_for_each(|field| self.value(&field.schema)),
            Schema::Ref { name } => {
                let schema = *self.names.get(name)?;
                self.value(schema)
            }
            // The rest are whole numbers, logical types of them, and enums.
            _ => self.number().map(drop),
        }
    }

    /// Blocks of items, to the empty one that ends them; a negative count has the block's length in bytes after it.
    fn items(&mut self, schema: &Schema, keyed: bool) -> Option<()> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Some(());
            }
            if count < 0 {
                self.number()?;
            }
            let count = usize::try_from(count.unsigned_abs()).ok()?;
            let Some(left) = self.left.checked_sub(count) else {
                self.exceeded = true;
                return None;
            };
            self.left = left;
            for _ in 0..count {
                if keyed {
                    self.text()?;
                }
                self.value(schema)?;
            }
        }
    }

    fn text(&mut self) -> Option<()> {
        let length = usize::try_from(self.number()?).ok()?;
        self.skip(length)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    /// A zigzag varint.
    fn number(&mut self) -> Option<i64> {
        let mut coded = 0_u64;
        for place in 0..10 {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            coded |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some((coded >> 1).cast_signed() ^ -(coded & 1).cast_signed());
            }
        }
        None
    }
}
