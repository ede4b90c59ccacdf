//! Every id rule: which seed gives which id, and the canonical form that the standard hashes for SCOs.
//!
//! Owns namespaces, seeds and [`Id`]. Must not know: Kafka, tools, the clock. The same input gives the same id for ever:
//! changing anything here changes what consumers have already stored, so golden tests hold every rule.
//!
//! SDO, SRO and bundle ids are UUIDv5 in [`NAMESPACE`] over `type|tenant|natural key`; SCO ids are STIX 2.1 §2.9.
use crate::json;
use serde::{Serialize, Serializer};
use sha1::Digest as _;
use std::borrow::Cow;
use std::fmt;
use uuid::Uuid;

/// ATIO's namespace for everything that is no SCO.
pub const NAMESPACE: Uuid = Uuid::from_u128(0xd084_66d4_c06e_4810_a25d_fb83_f634_c248);
/// The standard's namespace for SCOs (STIX 2.1 §2.9); never for anything else.
pub const SCO_NAMESPACE: Uuid = Uuid::from_u128(0x00ab_edb4_aa42_466c_9c01_fed2_3315_a9b7);
/// The tenant where none is configured.
pub const DEFAULT_TENANT: &str = "default";
/// created and modified of knowledge objects whose source states no time.
pub const FIXED_TIME: &str = "2024-01-01T00:00:00.000Z";

/// A STIX identifier: one that we minted, as type and UUID, or a foreign one, kept as it is.
#[derive(Clone, Copy)]
pub enum Id<'a> {
    Own(&'static str, Uuid),
    Text(&'a str),
}

impl<'a> Id<'a> {
    /// The object type before `--`; all of the text when there is none.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Own(kind, _) => kind,
            Self::Text(text) => text.split_once("--").map_or(text, |(kind, _)| kind),
        }
    }

    /// The UUID after `--`, where it is one in the standard's form (lower or upper case, hyphenated).
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        match self {
            Self::Own(_, uuid) => Some(*uuid),
            Self::Text(text) => {
                let (_, tail) = text.split_once("--")?;
                if tail.len() == 36 { Uuid::try_parse(tail).ok() } else { None }
            }
        }
    }

    /// An id that we minted, borrowing nothing. A foreign one becomes the empty text.
    #[must_use]
    pub fn own(self) -> Id<'static> {
        match self {
            Self::Own(kind, uuid) => Id::Own(kind, uuid),
            Self::Text(_) => Id::default(),
        }
    }

    /// The same id, borrowing nothing.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.with_text(str::to_owned)
    }

    /// Hands the text to `f` without an allocation.
    pub fn with_text<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Text(text) => f(text),
            Self::Own(kind, uuid) => {
                let mut buffer = [0u8; 96];
                let tail = kind.len() + 2;
                let Some(body) = buffer.get_mut(..tail + 36).filter(|_| kind.len() <= 58) else {
                    return f(&format!("{kind}--{}", uuid.hyphenated()));
                };
                body[..kind.len()].copy_from_slice(kind.as_bytes());
                body[kind.len()] = b'-';
                body[kind.len() + 1] = b'-';
                uuid.hyphenated().encode_lower(&mut body[tail..]);
                f(std::str::from_utf8(body).unwrap_or_default())
            }
        }
    }

    /// Appends the text as it stands in JSON, between quotes. A type of ours has nothing to escape.
    #[inline]
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => json::escaped(text, out),
            Self::Own(kind, uuid) => {
                out.extend_from_slice(kind.as_bytes());
                out.extend_from_slice(b"--");
                let mut tail = [0; 36];
                uuid.hyphenated().encode_lower(&mut tail);
                out.extend_from_slice(&tail);
            }
        }
    }

    /// What tells two ids apart when a bundle collects its objects.
    pub(crate) fn key(&self) -> (u64, u128) {
        match self.uuid() {
            Some(uuid) => (fnv(self.kind().as_bytes()), uuid.as_u128()),
            None => self.with_text(|text| (fnv(text.as_bytes()), u128::MAX)),
        }
    }
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

impl Default for Id<'_> {
    /// The empty text: an object that has not been identified yet.
    fn default() -> Self {
        Self::Text("")
    }
}
impl<'a> From<&'a str> for Id<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}
impl<'a> From<&'a String> for Id<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}
impl PartialEq for Id<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(a, b), Self::Own(c, d)) => b == d && a == c,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Own(kind, uuid), Self::Text(text)) | (Self::Text(text), Self::Own(kind, uuid)) => {
                let tail = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix("--"));
                tail.is_some_and(|tail| tail == uuid.hyphenated().encode_lower(&mut [0; 36]))
            }
        }
    }
}
impl Eq for Id<'_> {}
impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}
impl fmt::Debug for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

/// A name for UUIDv5 (RFC 9562 §5.5), gathered part by part before it is hashed: many short updates cost more than the hash.
struct Seed {
    short: [u8; 256],
    length: usize,
    /// All of it, once it is longer.
    long: Vec<u8>,
}

impl Seed {
    fn new(namespace: Uuid) -> Self {
        let mut short = [0; 256];
        short[..16].copy_from_slice(namespace.as_bytes());
        Self { short, length: 16, long: vec![] }
    }

    #[inline]
    fn add(&mut self, part: &[u8]) {
        let place = self.short.get_mut(self.length..self.length + part.len());
        match place.filter(|_| self.long.is_empty()) {
            Some(place) => {
                place.copy_from_slice(part);
                self.length += part.len();
            }
            None => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(&self.short[..self.length]);
                }
                self.long.extend_from_slice(part);
            }
        }
    }

    /// With the bar that separates parts before it.
    #[inline]
    fn next(&mut self, part: &str) {
        self.add(b"|");
        self.add(part.as_bytes());
    }

    fn uuid(&self) -> Uuid {
        let name = if self.long.is_empty() { &self.short[..self.length] } else { &self.long };
        let digest = sha1::Sha1::digest(name);
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_sha1_bytes(bytes).into_uuid()
    }
}

/// UUIDv5 in ATIO's namespace over `parts` joined by `|`.
#[must_use]
pub fn joined(parts: &[&str]) -> Uuid {
    let mut seed = Seed::new(NAMESPACE);
    if let Some((first, rest)) = parts.split_first() {
        seed.add(first.as_bytes());
        rest.iter().for_each(|part| seed.next(part));
    }
    seed.uuid()
}

/// An SDO's, SRO's or bundle's id: UUIDv5 over `kind|tenant|natural key`, the key's parts joined by `|`.
#[must_use]
pub fn seeded(kind: &'static str, tenant: &str, natural_key: &[&str]) -> Id<'static> {
    Id::Own(kind, seeded_uuid(kind, tenant, natural_key))
}

fn seeded_uuid(seed_type: &str, tenant: &str, natural_key: &[&str]) -> Uuid {
    let mut seed = Seed::new(NAMESPACE);
    seed.add(seed_type.as_bytes());
    seed.next(tenant);
    natural_key.iter().for_each(|part| seed.next(part));
    seed.uuid()
}

/// The seed prefix of what `atio normalize` makes in the place of enrichment.
pub const NORMALIZE: &str = "normalize";

/// `event|tenant|source|topic/partition/offset|index`: the event's id on Kafka.
#[must_use]
pub fn event_id(tenant: &str, source: &str, topic: &str, partition: i32, offset: i64, index: u32) -> Uuid {
    let mut seed = Seed::new(NAMESPACE);
    seed.add(b"event");
    [tenant, source, topic].into_iter().for_each(|part| seed.next(part));
    let mut digits = itoa::Buffer::new();
    seed.add(b"/");
    seed.add(digits.format(partition).as_bytes());
    seed.add(b"/");
    seed.add(digits.format(offset).as_bytes());
    seed.next(digits.format(index));
    seed.uuid()
}

/// `event|tenant|source|sha256 of the file|byte offset|index`: the event's id when a file is read without Kafka.
#[must_use]
pub fn file_event_id(tenant: &str, source: &str, file_sha256: &str, byte_offset: u64, index: u32) -> Uuid {
    joined(&["event", tenant, source, file_sha256, &byte_offset.to_string(), &index.to_string()])
}

/// `event|tenant|source|ce_source|ce_id|index`: the id of an event that came over HTTP with a `ce_id` of its own.
#[must_use]
pub fn cloud_event_id(tenant: &str, source: &str, ce_source: &str, ce_id: &str, index: u32) -> Uuid {
    joined(&["event", tenant, source, ce_source, ce_id, &index.to_string()])
}

/// The identity of an asset by its canonical name: `identity|tenant|asset|<asset>`.
#[must_use]
pub fn asset_identity(tenant: &str, asset: &str) -> Id<'static> {
    seeded("identity", tenant, &["asset", asset])
}

/// The infrastructure of an asset. It has the seed of the asset's identity, so both share one UUID.
#[must_use]
pub fn asset_infrastructure(tenant: &str, asset: &str) -> Id<'static> {
    Id::Own("infrastructure", seeded_uuid("identity", tenant, &["asset", asset]))
}

/// The identity of a sensor or scanner: `identity|tenant|sensor|<name>`.
#[must_use]
pub fn sensor_identity(tenant: &str, sensor: &str) -> Id<'static> {
    seeded("identity", tenant, &["sensor", sensor])
}

/// An attack-pattern of a catalogue: `attack-pattern|tenant|mitre-attack|T1190`, `…|capec|CAPEC-66`.
#[must_use]
pub fn attack_pattern(tenant: &str, catalogue: &str, external_id: &str) -> Id<'static> {
    seeded("attack-pattern", tenant, &[catalogue, external_id])
}

/// An attack-pattern known by its rule only: `attack-pattern|tenant|suricata|gid:sid|signature`. The text belongs to the
/// seed, since one gid:sid carries several texts.
#[must_use]
pub fn attack_pattern_suricata(tenant: &str, gid_sid: &str, signature: &str) -> Id<'static> {
    seeded("attack-pattern", tenant, &["suricata", gid_sid, signature])
}

/// `indicator|tenant|suricata|ruleset|gid:sid|sha256 of the rule's text`.
#[must_use]
pub fn indicator_suricata(tenant: &str, ruleset: &str, gid_sid: &str, rule_text: &str) -> Id<'static> {
    let digest = sha2::Sha256::digest(rule_text.as_bytes());
    seeded("indicator", tenant, &["suricata", ruleset, gid_sid, &hex(&digest)])
}

/// `vulnerability|tenant|cve|CVE-…`.
#[must_use]
pub fn vulnerability_cve(tenant: &str, cve: &str) -> Id<'static> {
    seeded("vulnerability", tenant, &["cve", cve])
}

/// `vulnerability|tenant|nvt|oid`, for a result that names no CVE.
#[must_use]
pub fn vulnerability_nvt(tenant: &str, oid: &str) -> Id<'static> {
    seeded("vulnerability", tenant, &["nvt", oid])
}

/// `course-of-action|tenant|nvt|oid|solution`.
#[must_use]
pub fn course_of_action_nvt(tenant: &str, oid: &str, solution: &str) -> Id<'static> {
    seeded("course-of-action", tenant, &["nvt", oid, solution])
}

/// `observed-data|tenant|event_id`; a Windows log's key is `host|channel|RecordID|TimeCreated`.
#[must_use]
pub fn observed_data(tenant: &str, natural_key: &[&str]) -> Id<'static> {
    seeded("observed-data", tenant, natural_key)
}

/// A knowledge relationship: `relationship|tenant|type|source|target`.
#[must_use]
pub fn relationship(tenant: &str, relationship_type: &str, source: &Id<'_>, target: &Id<'_>) -> Id<'static> {
    let mut seed = Seed::new(NAMESPACE);
    seed.add(b"relationship");
    [tenant, relationship_type].into_iter().for_each(|part| seed.next(part));
    [source, target].into_iter().for_each(|id| id.with_text(|text| seed.next(text)));
    Id::Own("relationship", seed.uuid())
}

/// infrastructure `has` vulnerability, which lives with the finding: `relationship|tenant|finding_uid|cve`.
#[must_use]
pub fn finding_has(tenant: &str, finding_uid: &str, cve: &str) -> Id<'static> {
    seeded("relationship", tenant, &[finding_uid, cve])
}

/// `tenant|asset|port|oid`: what stays the same when the same weakness is found again. Port as the scanner prints it.
#[must_use]
pub fn finding_uid(tenant: &str, asset: &str, port: &str, oid: &str) -> String {
    [tenant, asset, port, oid].join("|")
}

/// `sighting|tenant|<first event>`: one per window of repeats, seeded by the event that opened it.
#[must_use]
pub fn sighting(tenant: &str, first_event: &[&str]) -> Id<'static> {
    seeded("sighting", tenant, first_event)
}

/// `report|tenant|<key>`: the event id for a threat, the finding_uid for a vulnerability.
#[must_use]
pub fn report(tenant: &str, natural_key: &[&str]) -> Id<'static> {
    seeded("report", tenant, natural_key)
}

/// A branch's own version of a container: `report|tenant|original|workflow|branch`.
#[must_use]
pub fn branch_report(tenant: &str, original: &Id<'_>, workflow: &str, branch: &str) -> Id<'static> {
    original.with_text(|original| seeded("report", tenant, &[original, workflow, branch]))
}

/// What a branch makes of any object that it alters, since only the creator may version it:
/// `type|tenant|original|workflow|branch`. The type may be a foreign one.
#[must_use]
pub fn branch_object(kind: &str, tenant: &str, original: &str, workflow: &str, branch: &str) -> String {
    format!("{kind}--{}", seeded_uuid(kind, tenant, &[original, workflow, branch]).hyphenated())
}

/// `incident|tenant|asset|rule.id|event_id of the first`, for threats.
#[must_use]
pub fn threat_incident(tenant: &str, asset: &str, rule_id: &str, first_event_id: &str) -> Uuid {
    joined(&["incident", tenant, asset, rule_id, first_event_id])
}

/// `incident|tenant|asset|finding_uid`, for vulnerabilities.
#[must_use]
pub fn vulnerability_incident(tenant: &str, asset: &str, finding_uid: &str) -> Uuid {
    joined(&["incident", tenant, asset, finding_uid])
}

/// `bundle|tenant|<key>`, mostly the event id.
#[must_use]
pub fn bundle(tenant: &str, natural_key: &[&str]) -> Id<'static> {
    seeded("bundle", tenant, natural_key)
}

/// A process has no prescribed id (STIX 2.1 §6.13): v4-shaped bits of SHA-256(host|pid|start|event).
#[must_use]
pub fn process(host: &str, pid: i64, start: &str, event: &str) -> Id<'static> {
    let digest = sha2::Sha256::digest(format!("{host}|{pid}|{start}|{event}").as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    Id::Own("process", uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// The id of an SCO whose only contributing property is `property`, a text (addresses, domains, urls, paths, names).
#[must_use]
pub fn sco_text(kind: &'static str, property: &str, value: &str) -> Id<'static> {
    let mut quoted = Cow::Borrowed(value.as_bytes());
    if !json::is_plain(&quoted) {
        let mut out = vec![];
        json::escaped(value, &mut out);
        quoted = Cow::Owned(out);
    }
    let mut seed = Seed::new(SCO_NAMESPACE);
    for part in [b"{\"".as_slice(), property.as_bytes(), b"\":\"", &quoted, b"\"}"] {
        seed.add(part);
    }
    Id::Own(kind, seed.uuid())
}

/// The id of an SCO over the canonical JSON (RFC 8785) of its contributing properties, already in that form.
#[must_use]
pub fn sco_canonical(kind: &'static str, canonical: &[u8]) -> Id<'static> {
    let mut seed = Seed::new(SCO_NAMESPACE);
    seed.add(canonical);
    Id::Own(kind, seed.uuid())
}

/// The hash that counts when an object has several (STIX 2.1 §2.9): MD5, SHA-1, SHA-256, SHA-512, else the first.
#[must_use]
pub fn preferred_hash<K: AsRef<str>, V: AsRef<str>>(hashes: &[(K, V)]) -> Option<(&str, &str)> {
    ["MD5", "SHA-1", "SHA-256", "SHA-512"]
        .iter()
        .find_map(|name| hashes.iter().find(|(k, _)| k.as_ref() == *name))
        .or_else(|| hashes.first())
        .map(|(k, v)| (k.as_ref(), v.as_ref()))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = vec![0; 2 * bytes.len()];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    String::from_utf8(digits).unwrap_or_default()
}

#[cfg(test)]
#[path = "ids_tests.rs"]
mod tests;
