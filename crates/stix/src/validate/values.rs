//! One value against its kind (STIX 2.1 §2). Must not know: objects.
use super::Fault;
use super::tables::Kind;
use atio_schemas::Timestamp;
use serde_json::{Map, Value};

type Checked = Result<(), (Fault, String)>;

fn wrong(wanted: &str) -> (Fault, String) {
    (Fault::WrongType, format!("must be {wanted}"))
}

fn bad(message: impl Into<String>) -> (Fault, String) {
    (Fault::BadValue, message.into())
}

pub(super) fn check(kind: &Kind, value: &Value) -> Checked {
    match kind {
        Kind::Text => text(value).map(drop),
        Kind::Texts => each(value, |member| text(member).map(drop)),
        Kind::Bool => value.as_bool().map(drop).ok_or_else(|| wrong("true or false")),
        Kind::Int(from, to) => integer(value, *from, *to),
        Kind::Float(from, to) => match value.as_f64() {
            Some(number) if (*from..=*to).contains(&number) => Ok(()),
            Some(_) => Err(bad(format!("must lie in {from}..{to}"))),
            None => Err(wrong("a number")),
        },
        Kind::Time => time(value),
        Kind::Ref(types) => reference(value, types),
        Kind::Refs(types) => each(value, |member| reference(member, types)),
        Kind::Hashes => hashes(value),
        Kind::Dict => dictionary(value).map(drop),
        Kind::Dicts => each(value, |member| dictionary(member).map(drop)),
        Kind::OneOf(choices) => {
            let found = text(value)?;
            if choices.contains(&found) {
                Ok(())
            } else {
                Err(bad(format!("must be one of {}", choices.join(", "))))
            }
        }
        Kind::Base64 => require(is_base64(text(value)?), "must be base64"),
        Kind::Languages => {
            each(value, |member| require(is_language(text(member)?), "must be a language code"))
        }
        Kind::Address4 => {
            require(is_address::<std::net::Ipv4Addr>(text(value)?, 32), "must be an IPv4 address or CIDR")
        }
        Kind::Address6 => {
            require(is_address::<std::net::Ipv6Addr>(text(value)?, 128), "must be an IPv6 address or CIDR")
        }
        Kind::Mac => require(is_mac(text(value)?), "must be six lower-case octets with colons"),
        Kind::References => each(value, external_reference),
        Kind::Phases => each(value, |phase| {
            let phase = dictionary(phase)?;
            let both = ["kill_chain_name", "phase_name"]
                .iter()
                .all(|key| phase.get(*key).is_some_and(Value::is_string));
            require(both, "a phase needs kill_chain_name and phase_name")
        }),
        Kind::Granular => each(value, granular),
        Kind::Version21 => require(text(value)? == "2.1", "must be 2.1"),
    }
}

fn require(holds: bool, message: &str) -> Checked {
    if holds { Ok(()) } else { Err(bad(message)) }
}

fn text(value: &Value) -> Result<&str, (Fault, String)> {
    value.as_str().ok_or_else(|| wrong("text"))
}

fn dictionary(value: &Value) -> Result<&Map<String, Value>, (Fault, String)> {
    value.as_object().ok_or_else(|| wrong("an object"))
}

fn each(value: &Value, check: impl Fn(&Value) -> Checked) -> Checked {
    value.as_array().ok_or_else(|| wrong("a list"))?.iter().try_for_each(check)
}

fn integer(value: &Value, from: i64, to: i64) -> Checked {
    // Above i64 only where nothing bounds it: the standard's integers end at 2^53.
    let number =
        value.as_i64().or_else(|| value.as_u64().map(|_| i64::MAX)).ok_or_else(|| wrong("an integer"))?;
    if (from..=to).contains(&number) { Ok(()) } else { Err(bad(format!("must lie in {from}..{to}"))) }
}

/// §2.16: RFC 3339 with `T` and `Z`.
fn time(value: &Value) -> Checked {
    let text = value.as_str().ok_or_else(|| wrong("a time"))?;
    let shaped = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') && text.len() <= 40;
    // A leap second is RFC 3339; what reads it next takes it for the second before.
    if shaped && Timestamp::parse(text).is_ok() {
        Ok(())
    } else {
        Err((Fault::BadTime, "must be RFC 3339 in UTC with Z".to_owned()))
    }
}

fn reference(value: &Value, types: &[&str]) -> Checked {
    let id = text(value)?;
    if !is_id(id) {
        return Err((Fault::BadReference, "must be <type>--<UUID>".to_owned()));
    }
    let kind = id.split_once("--").map_or(id, |(kind, _)| kind);
    if types.is_empty() || types.contains(&kind) {
        Ok(())
    } else {
        Err((Fault::BadReference, format!("must refer to {}", types.join(", "))))
    }
}

/// §2.9: `<type>--<UUID>`; the UUID of RFC 4122's variant with a version (1 to 8).
pub(super) fn is_id(id: &str) -> bool {
    let Some((kind, uuid)) = id.split_once("--") else { return false };
    let bytes = uuid.as_bytes();
    let shaped = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => matches!(byte, b'1'..=b'8'),
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        });
    shaped && is_type_name(kind)
}

pub(super) fn is_type_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=250).contains(&name.len()) && name.bytes().all(plain)
}

/// §2.7: a hash of a known name has the length of its algorithm.
fn hashes(value: &Value) -> Checked {
    let hashes = dictionary(value)?;
    require(!hashes.is_empty(), "must not be empty")?;
    hashes.iter().try_for_each(|(name, hash)| {
        let hash = text(hash)?;
        let digits = match name.as_str() {
            "MD5" => 32,
            "SHA-1" => 40,
            "SHA-256" | "SHA3-256" => 64,
            "SHA-512" | "SHA3-512" => 128,
            _ => return require((3..=250).contains(&name.len()), "a hash's name has 3 to 250 characters"),
        };
        let fits = hash.len() == digits && hash.bytes().all(|b| b.is_ascii_hexdigit());
        require(fits, &format!("{name} has {digits} hexadecimal digits"))
    })
}

/// §2.5: a name, and one of what it is good for.
fn external_reference(value: &Value) -> Checked {
    let reference = dictionary(value)?;
    require(reference.get("source_name").is_some_and(Value::is_string), "needs a source_name")?;
    let says = ["description", "url", "external_id"]
        .iter()
        .any(|key| reference.get(*key).is_some_and(Value::is_string));
    require(says, "needs one of description, url, external_id")?;
    reference.get("hashes").map_or(Ok(()), hashes)
}

/// §7.2.3: selectors, and either a marking or a language.
fn granular(value: &Value) -> Checked {
    let marking = dictionary(value)?;
    let selectors = marking.get("selectors").ok_or_else(|| bad("needs selectors"))?;
    each(selectors, |selector| text(selector).map(drop))?;
    match (marking.get("marking_ref"), marking.get("lang")) {
        (Some(marking), None) => reference(marking, &["marking-definition"]),
        (None, Some(lang)) => text(lang).map(drop),
        _ => Err(bad("needs either marking_ref or lang")),
    }
}

/// RFC 4648 §4, with its padding.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(alphabet)
}

/// RFC 5646: a language of two or three lower-case letters, then subtags.
fn is_language(code: &str) -> bool {
    let mut subtags = code.split('-');
    let primary = subtags.next().unwrap_or_default();
    let language = (2..=3).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_lowercase());
    language
        && subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn is_address<A: std::str::FromStr>(text: &str, bits: u8) -> bool {
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let fits = |prefix: &str| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits);
    address.parse::<A>().is_ok() && prefix.is_none_or(fits)
}

fn is_mac(text: &str) -> bool {
    let octet =
        |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    text.split(':').count() == 6 && text.split(':').all(octet)
}
