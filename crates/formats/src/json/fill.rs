//! Structs read from JSON objects where they lie: `record!`, and what its fields are. Duplicate keys: the last one counts. Owns the macro; knows
//! no format.
use crate::finding::Text;
use serde::{Deserialize, Deserializer};

/// What a field of a `record!` tells about itself.
pub(crate) trait Field {
    fn present(&self) -> bool;
}

/// What is read where it lies: records nest and are large, and returning them would move each once a level.
pub(crate) trait Fill<'de> {
    /// `self` is the default before; a value of another type leaves it so.
    fn fill<D: Deserializer<'de>>(&mut self, d: D) -> Result<(), D::Error>;
}

/// A place to be filled.
pub(crate) struct Place<'o, T>(pub(crate) &'o mut T);

impl<'de, T: Fill<'de>> serde::de::DeserializeSeed<'de> for Place<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        self.0.fill(d)
    }
}

/// Small enough to be returned.
macro_rules! small {
    ($($name:ident $(<$lt:lifetime>)?),*) => {$(
        impl<'de $(: $lt, $lt)?> $crate::json::Fill<'de> for $name $(<$lt>)? {
            fn fill<D: serde::Deserializer<'de>>(&mut self, d: D) -> Result<(), D::Error> {
                *self = serde::Deserialize::deserialize(d)?;
                Ok(())
            }
        }
    )*};
}
pub(crate) use small;

/// A struct read from a JSON object: fields by name, in any order; other names are skipped, or kept flat by `else`; a value that is no
/// object gives the default. `seen` tells that there was an object, `duplicate` that a known key came twice (the last one counts).
macro_rules! record {
    ($(#[$meta:meta])* $name:ident<$lt:lifetime> { $($field:ident: $ty:ty = $($key:literal)|+),+ $(,)? } $(else $rest:ident if $other:expr)?) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub(crate) struct $name<$lt> {
            pub(crate) seen: bool,
            pub(crate) duplicate: bool,
            $(pub(crate) $field: $ty,)+
            $(pub(crate) $rest: $crate::json::Flat<$lt>,)?
        }
        impl $crate::json::Field for $name<'_> {
            fn present(&self) -> bool { self.seen }
        }
        impl<'de: $lt, $lt> serde::Deserialize<'de> for $name<$lt> {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let mut out = Self::default();
                $crate::json::Fill::fill(&mut out, d)?;
                Ok(out)
            }
        }
        impl<'de: $lt, $lt> $crate::json::Fill<'de> for $name<$lt> {
            fn fill<D: serde::Deserializer<'de>>(&mut self, d: D) -> Result<(), D::Error> {
                struct Visit<'o, $lt>(&'o mut $name<$lt>);
                impl<'de: $lt, $lt> serde::de::Visitor<'de> for Visit<'_, $lt> {
                    type Value = ();
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("an object") }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                        let out = self.0;
                        out.seen = true;
                        while let Some(key) = map.next_key::<$crate::json::Key<'de>>()? {
                            match key.0.as_ref() {
                                $($($key)|+ => {
                                    if $crate::json::Field::present(&out.$field) {
                                        out.duplicate = true;
                                        out.$field = Default::default();
                                    }
                                    map.next_value_seed($crate::json::Place(&mut out.$field))?;
                                })+
                                #[allow(unused_variables)]
                                name => {
                                    $(
                                        let keep: fn(&$name<'_>, &str) -> bool = $other;
                                        if keep(out, name) {
                                            out.$rest = map.next_value()?;
                                            continue;
                                        }
                                    )?
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(())
                    }
                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
                        $crate::json::drain_seq(seq)
                    }
                    fn visit_str<E>(self, _: &str) -> Result<(), E> { Ok(()) }
                    fn visit_u64<E>(self, _: u64) -> Result<(), E> { Ok(()) }
                    fn visit_i64<E>(self, _: i64) -> Result<(), E> { Ok(()) }
                    fn visit_f64<E>(self, _: f64) -> Result<(), E> { Ok(()) }
                    fn visit_bool<E>(self, _: bool) -> Result<(), E> { Ok(()) }
                    fn visit_unit<E>(self) -> Result<(), E> { Ok(()) }
                }
                d.deserialize_any(Visit(self))
            }
        }
    };
}
pub(crate) use record;

/// A key, borrowed unless it has escapes.
#[derive(Deserialize)]
pub(crate) struct Key<'a>(#[serde(borrow)] pub(crate) Text<'a>);
