//! Canonical JSON (RFC 8785) of an SCO's contributing properties, and the prescribed id of any SCO, ours or foreign.
//!
//! Owns the canonical form and the table of contributing properties (STIX 2.1 §2.9, §6). The stix2 library is the judge:
//! it hashes times with trailing zeros cut, and so do we. Must not know: graphs, tenants.
use crate::ids::{self, Id};
use crate::json::text;
use crate::object::{Extensions, Hashes, Property, Skip, Text};
use crate::stamp::Stamp;
use atio_schemas::Timestamp;
use serde_json::{Map, Value};
use sha2::Digest as _;

/// Collects contributing properties; the caller gives them in canonical order.
pub(crate) struct Canonical(Vec<u8>);

impl Canonical {
    pub(crate) fn new() -> Self {
        let mut buffer = Vec::with_capacity(256);
        buffer.push(b'{');
        Self(buffer)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty() {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(crate) fn field<T: Property>(mut self, key: &str, value: &T) -> Self {
        self.key(key);
        // Writing plain data to memory can't fail; were it to, the property counts as empty.
        if value.write(&mut self.0).is_err() {
            self.0.extend_from_slice(b"null");
        }
        self
    }

    pub(crate) fn optional<T: Property + Skip>(self, key: &str, value: &T) -> Self {
        if value.skip() { self } else { self.field(key, value) }
    }

    pub(crate) fn hashes(self, hashes: &Hashes<'_>) -> Self {
        match ids::preferred_hash(&hashes.0) {
            Some((name, value)) => {
                self.field("hashes", &Hashes(vec![(Text::Borrowed(name), Text::Borrowed(value))]))
            }
            None => self,
        }
    }

    pub(crate) fn extensions(mut self, extensions: &Extensions<'_>) -> Self {
        if !extensions.skip() {
            self.key("extensions");
            if extensions.canonical(&mut self.0).is_err() {
                self.0.extend_from_slice(b"null");
            }
        }
        self
    }

    pub(crate) fn id(mut self, kind: &'static str) -> Id<'static> {
        self.0.push(b'}');
        ids::sco_canonical(kind, &self.0)
    }

    /// For an SCO without a contributing property the standard wants a random UUID: v4-shaped bits of SHA-256.
    pub(crate) fn unprescribed(self, kind: &'static str, text: &str) -> Id<'static> {
        let digest = sha2::Sha256::digest(text.as_bytes());
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Id::Own(kind, uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// SCO type → contributing properties, each list in canonical order.
const CONTRIBUTING: &[(&str, &[&str])] = &[
    ("artifact", &["hashes", "payload_bin"]),
    ("autonomous-system", &["number"]),
    ("directory", &["path"]),
    ("domain-name", &["value"]),
    ("email-addr", &["value"]),
    ("email-message", &["body", "from_ref", "subject"]),
    ("file", &["extensions", "hashes", "name", "parent_directory_ref"]),
    ("ipv4-addr", &["value"]),
    ("ipv6-addr", &["value"]),
    ("mac-addr", &["value"]),
    ("mutex", &["name"]),
    (
        "network-traffic",
        &["dst_port", "dst_ref", "end", "extensions", "protocols", "src_port", "src_ref", "start"],
    ),
    ("process", &[]),
    ("software", &["cpe", "name", "swid", "vendor", "version"]),
    ("url", &["value"]),
    ("user-account", &["account_login", "account_type", "user_id"]),
    ("windows-registry-key", &["key", "values"]),
    ("x509-certificate", &["hashes", "serial_number"]),
];

/// Whether `kind` is an SCO type of the standard.
#[must_use]
pub fn is_sco(kind: &str) -> bool {
    CONTRIBUTING.iter().any(|(name, _)| *name == kind)
}

/// Every SCO type of the standard.
pub(crate) fn sco_types() -> impl Iterator<Item = &'static str> {
    CONTRIBUTING.iter().map(|(name, _)| *name)
}

/// The id that STIX 2.1 §2.9 prescribes for this SCO; None where it prescribes none (process, custom types, no
/// contributing property).
#[must_use]
pub fn prescribed_id(object: &Map<String, Value>) -> Option<Id<'static>> {
    let kind = object.get("type")?.as_str()?;
    let (kind, properties) = CONTRIBUTING.iter().find(|(name, _)| *name == kind)?;
    let mut canonical = Canonical::new();
    for property in *properties {
        let Some(value) = object.get(*property).filter(|v| !v.is_null()) else { continue };
        canonical.key(property);
        match (*property, value) {
            ("hashes", Value::Object(hashes)) => {
                let pairs: Vec<(&str, &str)> =
                    hashes.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())).collect();
                let (name, hash) = ids::preferred_hash(&pairs)?;
                write(&serde_json::json!({ name: hash }), &mut canonical.0);
            }
            ("start" | "end", Value::String(text)) => {
                let at = Timestamp::parse(text).map(Stamp::shortest);
                let text = at.as_ref().map_or(text.as_str(), |stamp| stamp.as_str());
                write(&Value::from(text), &mut canonical.0);
            }
            _ => write(value, &mut canonical.0),
        }
    }
    if canonical.is_empty() { None } else { Some(canonical.id(kind)) }
}

/// Appends the canonical JSON of `value`: keys by UTF-16 code units, numbers as ECMAScript prints them.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push(b'{');
            for (i, (key, member)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                text(key, out);
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
        Value::Array(members) => {
            out.push(b'[');
            for (i, member) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(member, out);
            }
            out.push(b']');
        }
        Value::String(string) => text(string, out),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.extend_from_slice(ecmascript_number(float).as_bytes()),
            None => out.extend_from_slice(number.to_string().as_bytes()),
        },
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Null => out.extend_from_slice(b"null"),
    }
}

/// ECMA-262 Number::toString (RFC 8785 §3.2.2.3): shortest digits, exponent from 1e21 up and below 1e-6.
fn ecmascript_number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let split = |at: i32| digits.split_at(usize::try_from(at).unwrap_or(0).min(digits.len()));
    let body = if count <= point && point <= 21 {
        format!("{digits}{}", zeros(point - count))
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = split(point);
        format!("{whole}.{fraction}")
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let sign = if point > 0 { "+" } else { "-" };
        let (first, rest) = split(1);
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{first}{dot}{rest}e{sign}{}", (point - 1).abs())
    };
    if number < 0.0 { format!("-{body}") } else { body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let mut out = vec![];
        write(&serde_json::from_str(json).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The examples of RFC 8785 §3.2.2 and appendix B.
    #[test]
    fn rfc_8785_examples() {
        assert_eq!(ecmascript_number(333_333_333.333_333_3), "333333333.3333333");
        assert_eq!(ecmascript_number(123_456_789_012_345_680_000.0), "123456789012345680000");
        assert_eq!(
            canonical(
                r#"{"numbers":[1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false]}"#
            ),
            r#"{"literals":[null,true,false],"numbers":[1e+30,4.5,0.002,1e-27]}"#
        );
        assert_eq!(
            canonical(r#"["\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"]"#),
            "[\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"]"
        );
        assert_eq!(
            canonical(r#"{"\ufb33":1,"\ud83d\ude00":2,"\u20ac":3,"1":4,"\u00f6":5}"#),
            "{\"1\":4,\"ö\":5,\"€\":3,\"😀\":2,\"\u{fb33}\":1}"
        );
        assert_eq!(
            canonical("[1e21, 1e20, 0.000001, 1e-7, -0.0, -1.5]"),
            "[1e+21,100000000000000000000,0.000001,1e-7,0,-1.5]"
        );
    }
}
