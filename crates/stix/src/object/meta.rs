//! Meta objects (STIX 2.1 §7): marking-definition and extension-definition.
use super::common::MetaCommon;
use super::{Text, objects};
use crate::ids::Id;

objects! {
    /// §7.2.1; TLP 2.0 markings carry their colour in an extension.
    MarkingDefinition = "marking-definition", MetaCommon { name: Option<Text<'a>> }
    /// §7.3
    ExtensionDefinition = "extension-definition", MetaCommon {
        name: Text<'a>, description: Option<Text<'a>>, schema: Text<'a>, version: Text<'a>,
        extension_types: Vec<Text<'a>>, extension_properties: Vec<Text<'a>>,
    }
}

impl<'a> MarkingDefinition<'a> {
    #[must_use]
    pub fn named(id: Id<'a>, name: &'a str) -> Self {
        Self { common: MetaCommon { id, ..MetaCommon::default() }, name: Some(name.into()) }
    }
}
