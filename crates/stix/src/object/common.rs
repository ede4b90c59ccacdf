//! What objects share (STIX 2.1 §3.2 and the small types of §2). Must not know: any one object type.
use super::{Extensions, Skip};
use crate::ids::Id;
use crate::stamp::Stamp;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// Borrowed where the event still lives, owned where we made it.
pub type Text<'a> = Cow<'a, str>;

/// Common properties of SDOs and SROs.
#[derive(Clone, Debug, Default)]
pub struct Common<'a> {
    pub id: Id<'a>,
    pub created_by_ref: Option<Id<'a>>,
    pub created: Stamp,
    pub modified: Stamp,
    pub revoked: bool,
    pub labels: Vec<Text<'a>>,
    /// 0-100.
    pub confidence: Option<u8>,
    pub lang: Option<Text<'a>>,
    pub external_references: Vec<ExternalReference<'a>>,
    pub object_marking_refs: Vec<Id<'a>>,
    pub extensions: Extensions<'a>,
}

impl<'a> Common<'a> {
    /// Made and last changed at `at`, by nobody named.
    #[must_use]
    pub fn new(id: Id<'a>, at: impl Into<Stamp>) -> Self {
        let stamp = at.into();
        Self { id, created: stamp, modified: stamp, ..Self::default() }
    }

    /// A knowledge object whose source states no time: the fixed constant.
    #[must_use]
    pub fn fixed(id: Id<'a>) -> Self {
        Self::new(id, Stamp::FIXED)
    }

    /// The same, by ATIO's own identity, which `close` adds.
    #[must_use]
    pub fn by_atio(mut self) -> Self {
        self.created_by_ref = Some(crate::constants::atio_identity_id());
        self
    }

    pub(crate) fn head<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
        out.serialize_field("spec_version", "2.1")?;
        out.serialize_field("id", &self.id)?;
        if let Some(by) = &self.created_by_ref {
            out.serialize_field("created_by_ref", by)?;
        }
        out.serialize_field("created", &self.created)?;
        out.serialize_field("modified", &self.modified)?;
        if self.revoked {
            out.serialize_field("revoked", &true)?;
        }
        Ok(())
    }

    pub(crate) fn tail<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
        field(out, "labels", &self.labels)?;
        field(out, "confidence", &self.confidence)?;
        field(out, "lang", &self.lang)?;
        field(out, "external_references", &self.external_references)?;
        field(out, "object_marking_refs", &self.object_marking_refs)?;
        field(out, "extensions", &self.extensions)
    }
}

/// Common properties of SCOs, which carry neither created nor modified.
#[derive(Clone, Debug, Default)]
pub struct ScoCommon<'a> {
    pub id: Id<'a>,
    pub object_marking_refs: Vec<Id<'a>>,
    pub defanged: bool,
    pub extensions: Extensions<'a>,
}

impl<'a> ScoCommon<'a> {
    #[must_use]
    pub fn new(id: Id<'a>) -> Self {
        Self { id, ..Self::default() }
    }

    pub(crate) fn head<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
        out.serialize_field("spec_version", "2.1")?;
        out.serialize_field("id", &self.id)
    }

    pub(crate) fn tail<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
        field(out, "object_marking_refs", &self.object_marking_refs)?;
        if self.defanged {
            out.serialize_field("defanged", &true)?;
        }
        field(out, "extensions", &self.extensions)
    }
}

/// Common properties of the meta objects, which carry created, never modified as a version.
#[derive(Clone, Debug, Default)]
pub struct MetaCommon<'a> {
    pub id: Id<'a>,
    pub created_by_ref: Option<Id<'a>>,
    pub created: Stamp,
    /// extension-definition only.
    pub modified: Option<Stamp>,
    pub external_references: Vec<ExternalReference<'a>>,
    pub object_marking_refs: Vec<Id<'a>>,
    pub extensions: Extensions<'a>,
}

impl MetaCommon<'_> {
    pub(crate) fn head<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
        out.serialize_field("spec_version", "2.1")?;
        out.serialize_field("id", &self.id)?;
        field(out, "created_by_ref", &self.created_by_ref)?;
        out.serialize_field("created", &self.created)?;
        field(out, "modified", &self.modified)
    }

    pub(crate) fn tail<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
        field(out, "external_references", &self.external_references)?;
        field(out, "object_marking_refs", &self.object_marking_refs)?;
        field(out, "extensions", &self.extensions)
    }
}

fn field<S: SerializeStruct, T: Serialize + Skip>(
    out: &mut S,
    name: &'static str,
    value: &T,
) -> Result<(), S::Error> {
    if value.skip() { Ok(()) } else { out.serialize_field(name, value) }
}

/// STIX 2.1 §2.5. A url without a hash is refused by the validator's 302: put urls into the description.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExternalReference<'a> {
    pub source_name: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Text<'a>>,
}

impl<'a> ExternalReference<'a> {
    #[must_use]
    pub fn new(source_name: impl Into<Text<'a>>, external_id: impl Into<Text<'a>>) -> Self {
        Self { source_name: source_name.into(), description: None, external_id: Some(external_id.into()) }
    }
}

/// STIX 2.1 §2.11.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KillChainPhase<'a> {
    pub kill_chain_name: Text<'a>,
    pub phase_name: Text<'a>,
}

/// Hashes by their name in hash-algorithm-ov (`MD5`, `SHA-1`, `SHA-256` …), each name once.
#[derive(Clone, Debug, Default)]
pub struct Hashes<'a>(pub Vec<(Text<'a>, Text<'a>)>);

impl Serialize for Hashes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
