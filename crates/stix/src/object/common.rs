//! What objects share (STIX 2.1 §3.2 and the small types of §2). Must not know: any one object type.
use super::{Extensions, property};
use crate::ids::Id;
use crate::stamp::Stamp;
use serde::ser::SerializeMap;
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

    /// What follows the id.
    pub(crate) fn head(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        property!(out, "created_by_ref", &self.created_by_ref);
        property!(out, "created", &self.created);
        property!(out, "modified", &self.modified);
        property!(out, "revoked", &self.revoked);
        Ok(())
    }

    pub(crate) fn tail(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        property!(out, "labels", &self.labels);
        property!(out, "confidence", &self.confidence);
        property!(out, "lang", &self.lang);
        property!(out, "external_references", &self.external_references);
        property!(out, "object_marking_refs", &self.object_marking_refs);
        property!(out, "extensions", &self.extensions);
        Ok(())
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

    pub(crate) fn head(&self, _: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        Ok(())
    }

    pub(crate) fn tail(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        property!(out, "object_marking_refs", &self.object_marking_refs);
        property!(out, "defanged", &self.defanged);
        property!(out, "extensions", &self.extensions);
        Ok(())
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
    pub(crate) fn head(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        property!(out, "created_by_ref", &self.created_by_ref);
        property!(out, "created", &self.created);
        property!(out, "modified", &self.modified);
        Ok(())
    }

    pub(crate) fn tail(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        property!(out, "external_references", &self.external_references);
        property!(out, "object_marking_refs", &self.object_marking_refs);
        property!(out, "extensions", &self.extensions);
        Ok(())
    }
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
