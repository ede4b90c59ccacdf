//! Extensions of objects: the predefined ones that we write, ATIO's own, and foreign ones as they are.
//!
//! Typed extensions serialize with their keys in canonical order, since a network-traffic's id hashes them (§2.9).
use super::Text;
use crate::extension::{AtioObservation, AtioReport};
use crate::ids::Id;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The `extensions` property: name or extension-definition id → content.
#[derive(Clone, Debug, Default)]
pub struct Extensions<'a>(pub Vec<Extension<'a>>);

#[derive(Clone, Debug)]
pub enum Extension<'a> {
    /// `http-request-ext` (§6.12.2).
    HttpRequest(HttpRequest<'a>),
    /// `icmp-ext` (§6.12.3).
    Icmp(Icmp<'a>),
    /// ATIO's, on its report.
    Report(AtioReport<'a>),
    /// ATIO's, on observed-data of logs.
    Observation(AtioObservation<'a>),
    /// Any other, under its own name.
    Value(Text<'a>, serde_json::Value),
}

impl Extension<'_> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::HttpRequest(_) => "http-request-ext",
            Self::Icmp(_) => "icmp-ext",
            Self::Report(_) | Self::Observation(_) => crate::constants::EXTENSION_ID,
            Self::Value(name, _) => name,
        }
    }
}

impl Extensions<'_> {
    /// Appends the canonical JSON (RFC 8785).
    pub(crate) fn canonical(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let mut sorted: Vec<&Extension<'_>> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.name().encode_utf16().cmp(b.name().encode_utf16()));
        out.push(b'{');
        for (i, extension) in sorted.into_iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            crate::json::text(extension.name(), out);
            out.push(b':');
            match extension {
                Extension::HttpRequest(http) => serde_json::to_writer(&mut *out, http)?,
                Extension::Icmp(icmp) => serde_json::to_writer(&mut *out, icmp)?,
                Extension::Report(report) => crate::canon::write(&serde_json::to_value(report)?, out),
                Extension::Observation(seen) => crate::canon::write(&serde_json::to_value(seen)?, out),
                Extension::Value(_, value) => crate::canon::write(value, out),
            }
        }
        out.push(b'}');
        Ok(())
    }
}

impl Serialize for Extensions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for extension in &self.0 {
            map.serialize_key(extension.name())?;
            match extension {
                Extension::HttpRequest(http) => map.serialize_value(http)?,
                Extension::Icmp(icmp) => map.serialize_value(icmp)?,
                Extension::Report(report) => map.serialize_value(report)?,
                Extension::Observation(seen) => map.serialize_value(seen)?,
                Extension::Value(_, value) => map.serialize_value(value)?,
            }
        }
        map.end()
    }
}

/// §6.12.2. Fields stand in canonical order: don't reorder.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_body_data_ref: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_body_length: Option<u64>,
    /// Names as sent; a name occurs once, with all its values.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "sorted_map")]
    pub request_header: Vec<(Text<'a>, Vec<Text<'a>>)>,
    /// Required.
    pub request_method: Text<'a>,
    /// Required: the path with its query.
    pub request_value: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_version: Option<Text<'a>>,
}

/// §6.12.3: both as hexadecimal text of two digits. Fields stand in canonical order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Icmp<'a> {
    pub icmp_code_hex: Text<'a>,
    pub icmp_type_hex: Text<'a>,
}

fn sorted_map<S: Serializer>(
    entries: &[(Text<'_>, Vec<Text<'_>>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
    let mut map = serializer.serialize_map(Some(sorted.len()))?;
    for (name, values) in sorted {
        map.serialize_entry(name, values)?;
    }
    map.end()
}
