//! Typed objects that borrow what they say: structs for every STIX type in ATIO's graphs, serialized without a detour.
//!
//! Owns the shape of what we write. Must not know: which graph uses what, tenants, tools. Foreign objects are read as
//! maps ([`crate::bundle`]), never into these types, since these don't carry what they don't know.
mod common;
mod extensions;
pub mod meta;
pub mod sco;
pub mod sdo;

pub use common::{Common, ExternalReference, Hashes, KillChainPhase, ScoCommon, Text};
pub use extensions::{Extension, Extensions, HttpRequest, Icmp};
pub use meta::{ExtensionDefinition, MarkingDefinition};
pub use sco::*;
pub use sdo::*;

use crate::ids::Id;
use serde::Serialize;

/// What a bundle can hold.
pub trait StixObject: Serialize {
    fn id(&self) -> Id<'_>;
}

/// Whether a property is left out: None and empty lists are, required text never is.
pub(crate) trait Skip {
    fn skip(&self) -> bool;
}
impl<T> Skip for Option<T> {
    fn skip(&self) -> bool {
        self.is_none()
    }
}
impl<T> Skip for Vec<T> {
    fn skip(&self) -> bool {
        self.is_empty()
    }
}
impl Skip for Text<'_> {
    fn skip(&self) -> bool {
        false
    }
}
impl Skip for Id<'_> {
    fn skip(&self) -> bool {
        false
    }
}
impl Skip for crate::stamp::Stamp {
    fn skip(&self) -> bool {
        false
    }
}
impl Skip for u32 {
    fn skip(&self) -> bool {
        false
    }
}
impl Skip for Hashes<'_> {
    fn skip(&self) -> bool {
        self.0.is_empty()
    }
}
impl Skip for bool {
    fn skip(&self) -> bool {
        !self
    }
}

/// A struct per object type: the common properties, then its own, each property named as in the standard.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, $common:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name<'a> {
            pub common: $common<'a>,
            $($(#[$fdoc])* pub $field: $ty,)*
        }
        impl $name<'_> {
            pub const TYPE: &'static str = $kind;
        }
        impl serde::Serialize for $name<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                // The length is a hint that JSON ignores, unless it is 0.
                let mut out = serializer.serialize_struct($kind, 1)?;
                out.serialize_field("type", $kind)?;
                self.common.head(&mut out)?;
                $(if !$crate::object::Skip::skip(&self.$field) {
                    out.serialize_field(stringify!($field), &self.$field)?;
                })*
                self.common.tail(&mut out)?;
                out.end()
            }
        }
        impl $crate::object::StixObject for $name<'_> {
            fn id(&self) -> $crate::ids::Id<'_> {
                self.common.id
            }
        }
    )*};
}
pub(crate) use objects;
