//! A request, and reading its parts. Must not know the store.
use super::answer::Fault;
use serde::Deserialize;

/// One request, as any HTTP server can give it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// From the first slash on, percent-encoded, without query.
    pub path: &'a str,
    /// Without the question mark; empty when there is none.
    pub query: &'a str,
    pub body: &'a [u8],
}

/// What a body may hold. Other members are ignored, as Confluent's registry does: clients send more than they need.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Body {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<serde_json::Value>>,
    pub(super) compatibility: Option<String>,
    pub(super) mode: Option<String>,
}

impl Body {
    /// The Avro schema's text.
    pub(super) fn avro(self) -> Result<String, Fault> {
        if self.schema_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("AVRO")) {
            return Err(Fault::Unsupported("only schemaType AVRO is supported"));
        }
        if self.references.is_some_and(|list| !list.is_empty()) {
            return Err(Fault::Unsupported("references are not supported: make the schema self-contained"));
        }
        self.schema.ok_or(Fault::Unsupported("the body has no schema"))
    }
}

impl Request<'_> {
    /// The path's parts, decoded; null where an escape is broken.
    pub(super) fn segments(&self) -> Option<Vec<String>> {
        let parts = self.path.trim_matches('/').split('/').filter(|part| !part.is_empty());
        parts.map(|part| decode(part, false)).collect()
    }

    pub(super) fn body(&self) -> Result<Body, Fault> {
        serde_json::from_slice(self.body).map_err(|e| Fault::Body(e.to_string()))
    }

    /// The first value of a query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| decode(value, true))
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// Percent-decoding (RFC 3986 §2.1); in a query `+` is a blank.
fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
