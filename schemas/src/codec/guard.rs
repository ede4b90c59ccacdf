//! Which writer's schemas are fit to be read. Whoever may register a schema must not be able to bring a reader down with it: a recursive one
//! lets a record nest until the stack ends, and items without a length let a few bytes stand for any number of them.
use apache_avro::Schema;
use std::collections::HashMap;

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
