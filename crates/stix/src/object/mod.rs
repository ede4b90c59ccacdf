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
use crate::json;

/// What a bundle can hold.
pub trait StixObject {
    fn id(&self) -> Id<'_>;

    /// Appends its JSON.
    ///
    /// # Errors
    /// A foreign extension that is no JSON; what was written of the object stays.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error>;

    /// Its JSON.
    ///
    /// # Errors
    /// As [`StixObject::write`].
    fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::with_capacity(4096);
        self.write(&mut out).map(|()| out)
    }
}

/// A property's value, appended as JSON. What every event has is written here, the rest by way of serde.
pub(crate) trait Property {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error>;
}
impl Property for Text<'_> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        json::text(self, out);
        Ok(())
    }
}
impl Property for Id<'_> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        out.push(b'"');
        self.put(out);
        out.push(b'"');
        Ok(())
    }
}
impl Property for crate::stamp::Stamp {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        out.push(b'"');
        out.extend_from_slice(self.as_bytes());
        out.push(b'"');
        Ok(())
    }
}
impl<T: Property> Property for Option<T> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match self {
            Some(value) => value.write(out),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }
}
impl<T: Property> Property for Vec<T> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        out.push(b'[');
        for (at, value) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            value.write(out)?;
        }
        out.push(b']');
        Ok(())
    }
}
macro_rules! by_serde {
    ($($type:ty),*) => {$(
        impl Property for $type {
            #[inline]
            fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
                serde_json::to_writer(out, self)
            }
        }
    )*};
}
by_serde! { bool, u8, u16, u32, u64, i64, Hashes<'_>, Extensions<'_>, ExternalReference<'_>, KillChainPhase<'_>, RegistryValue<'_> }

/// Appends `,"name":` and the value, unless it is left out.
macro_rules! property {
    ($out:ident, $name:expr, $value:expr) => {
        if !$crate::object::Skip::skip($value) {
            $out.extend_from_slice(concat!(",\"", $name, "\":").as_bytes());
            $crate::object::Property::write($value, $out)?;
        }
    };
}
pub(crate) use property;

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
impl Skip for Extensions<'_> {
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
        impl $crate::object::StixObject for $name<'_> {
            fn id(&self) -> $crate::ids::Id<'_> {
                self.common.id
            }
            fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
                out.extend_from_slice(
                    concat!("{\"type\":\"", $kind, "\",\"spec_version\":\"2.1\",\"id\":\"").as_bytes(),
                );
                self.common.id.put(out);
                out.push(b'"');
                self.common.head(out)?;
                $($crate::object::property!(out, stringify!($field), &self.$field);)*
                self.common.tail(out)?;
                out.push(b'}');
                Ok(())
            }
        }
    )*};
}
pub(crate) use objects;

#[cfg(test)]
mod tests;
