//! The detection: typed columns with a STIX 2.1 bundle inside. One file for the shape; what fills it lives in normalization and enrichment.
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

macro_rules! text_enum {
    ($(#[$m:meta])* $name:ident { $($var:ident = $text:literal),+ $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $(#[serde(rename = $text)] $var),+ }
        impl $name {
            /// Every value, in declaration order (the order of the Avro enum's symbols).
            pub const ALL: &'static [Self] = &[$(Self::$var),+];
            /// Their texts, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$var => $text),+ } }
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> { match text { $($text => Some(Self::$var),)+ _ => None } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use text_enum;

text_enum! { /// What someone must see, and the bulk (`log`).
Kind { Threat = "threat", Vulnerability = "vulnerability", Log = "log", Intelligence = "intelligence", Playbook = "playbook", Operational = "operational" } }
text_enum! { /// Where the asset lives.
Zone { It = "it", Ot = "ot" } }
text_enum! { /// What the tool did about it.
Disposition { Allowed = "allowed", Blocked = "blocked", Quarantined = "quarantined" } }
text_enum! { /// Where the finding is in its life.
Status { New = "new", Recurring = "recurring", Reopened = "reopened", Fixed = "fixed", Suppressed = "suppressed" } }
text_enum! { /// SSVC (CISA) decision for a vulnerability. Avro symbols can't hold `*`: `track_star`.
Decision { Act = "act", Attend = "attend", TrackStar = "track_star", Track = "track" } }
text_enum! { /// TLP 2.0 (FIRST).
Tlp { Clear = "clear", Green = "green", Amber = "amber", AmberStrict = "amber_strict", Red = "red" } }
text_enum! { Criticality { Low = "low", Medium = "medium", High = "high", Extreme = "extreme" } }
text_enum! { Exposure { Isolated = "isolated", Internal = "internal", Internet = "internet" } }
text_enum! { /// How the canonical asset was found.
AssetResolvedBy { Inventory = "inventory", Host = "host", Address = "address", Sensor = "sensor" } }

/// The rule that fired: for Suricata `gid:sid`, for OpenVAS the NVT's OID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub id: Option<String>,
    pub rev: Option<String>,
    pub name: Option<String>,
}

/// One side of a flow. `port` is null for portless protocols.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub ip: Option<String>,
    pub port: Option<i32>,
}

/// Why a score is what it is: `risk` recomputes importance from these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The factor's name, e.g. `severity`, `confidence`, `criticality`, `kev`.
    pub code: String,
    /// Its number in the formula of `atio-risk/1`.
    pub value: f64,
    /// What it was read from, for people.
    pub text: String,
}

/// The columns of a detection. Unknown = null; lists are empty, never null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub event_id: String,
    pub finding_uid: Option<String>,
    pub kind: Kind,
    /// Finer than kind: for Suricata the event_type, for OpenVAS `result` or `host_summary`.
    pub category: Option<String>,
    pub tenant: String,
    pub zone: Zone,
    pub source: String,
    pub product: Option<String>,
    pub sensor: Option<String>,
    pub rule: Rule,
    pub code: Option<String>,
    pub provider: Option<String>,
    pub channel: Option<String>,
    /// OCSF severity_id 0-6.
    pub severity_id: Option<i32>,
    /// 0-100.
    pub severity_score: Option<f64>,
    pub severity_raw: Option<String>,
    /// 0-100.
    pub confidence: Option<i32>,
    /// 0-100, enrichment.
    pub importance: Option<f64>,
    /// 0-100, enrichment.
    pub asset_risk: Option<f64>,
    pub reasons: Vec<Reason>,
    pub decision: Option<Decision>,
    pub disposition: Option<Disposition>,
    pub outcome: Option<String>,
    pub status: Option<Status>,
    pub count: Option<i64>,
    pub asset: Option<String>,
    pub asset_resolved_by: Option<AssetResolvedBy>,
    pub criticality: Option<Criticality>,
    pub exposure: Option<Exposure>,
    pub policies: Vec<String>,
    pub host: Option<String>,
    pub users: Vec<String>,
    pub process: Option<String>,
    pub parent: Option<String>,
    pub command_line: Option<String>,
    pub hashes: Vec<String>,
    pub domains: Vec<String>,
    pub urls: Vec<String>,
    pub email_from: Option<String>,
    pub email_to: Vec<String>,
    pub email_subject: Option<String>,
    pub src: Endpoint,
    pub dst: Endpoint,
    pub proto: Option<String>,
    pub direction: Option<String>,
    pub actor: Option<String>,
    pub target: Option<String>,
    pub community_id: Option<String>,
    pub flow_id: Option<String>,
    pub bytes_out: Option<i64>,
    pub cloud_account: Option<String>,
    pub resource: Option<String>,
    pub cves: Vec<String>,
    pub cpes: Vec<String>,
    /// 0-10.
    pub cvss: Option<f64>,
    /// 0-1, enrichment.
    pub epss: Option<f64>,
    /// In CISA's catalogue, enrichment.
    pub kev: Option<bool>,
    pub fix_available: Option<bool>,
    pub capecs: Vec<String>,
    pub tactics: Vec<String>,
    /// ATT&CK enterprise and ICS ids, e.g. `T1190`.
    pub techniques: Vec<String>,
    pub matched_indicators: Vec<String>,
    pub recommended_actions: Vec<String>,
    pub occurred_at: Option<Timestamp>,
    pub reported_at: Option<Timestamp>,
    pub received_at: Option<Timestamp>,
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub tlp: Tlp,
    pub labels: Vec<String>,
    /// What was wrong with the input and mended, or missing: `time_guessed`, `enrichment_missing:epss` …
    pub quality: Vec<String>,
    pub incident_id: Option<String>,
    pub iris_id: Option<String>,
    pub misp_id: Option<String>,
    pub external_ids: Vec<String>,
    pub analysts: Vec<String>,
    pub tools: Vec<String>,
    /// topic/partition/offset, or sha256/byte offset for files.
    pub raw_ref: Option<String>,
    pub raw_sha256: Option<String>,
    pub tool_url: Option<String>,
    pub suppressed_by: Option<String>,
    /// UTF-8 JSON of a STIX 2.1 bundle, lean (docs/stix.md).
    #[serde(with = "bytes_or_json")]
    pub bundle: Arc<[u8]>,
}

impl Detection {
    /// A detection with nothing known but what every one has; `bundle` empty.
    #[must_use]
    pub fn new(event_id: String, kind: Kind, tenant: &str, source: &str) -> Self {
        Self {
            event_id,
            finding_uid: None,
            kind,
            category: None,
            tenant: tenant.to_owned(),
            zone: Zone::It,
            source: source.to_owned(),
            product: None,
            sensor: None,
            rule: Rule::default(),
            code: None,
            provider: None,
            channel: None,
            severity_id: None,
            severity_score: None,
            severity_raw: None,
            confidence: None,
            importance: None,
            asset_risk: None,
            reasons: vec![],
            decision: None,
            disposition: None,
            outcome: None,
            status: None,
            count: None,
            asset: None,
            asset_resolved_by: None,
            criticality: None,
            exposure: None,
            policies: vec![],
            host: None,
            users: vec![],
            process: None,
            parent: None,
            command_line: None,
            hashes: vec![],
            domains: vec![],
            urls: vec![],
            email_from: None,
            email_to: vec![],
            email_subject: None,
            src: Endpoint::default(),
            dst: Endpoint::default(),
            proto: None,
            direction: None,
            actor: None,
            target: None,
            community_id: None,
            flow_id: None,
            bytes_out: None,
            cloud_account: None,
            resource: None,
            cves: vec![],
            cpes: vec![],
            cvss: None,
            epss: None,
            kev: None,
            fix_available: None,
            capecs: vec![],
            tactics: vec![],
            techniques: vec![],
            matched_indicators: vec![],
            recommended_actions: vec![],
            occurred_at: None,
            reported_at: None,
            received_at: None,
            first_seen: None,
            last_seen: None,
            tlp: Tlp::Amber,
            labels: vec![],
            quality: vec![],
            incident_id: None,
            iris_id: None,
            misp_id: None,
            external_ids: vec![],
            analysts: vec![],
            tools: vec![],
            raw_ref: None,
            raw_sha256: None,
            tool_url: None,
            suppressed_by: None,
            bundle: Arc::from(&[][..]),
        }
    }
}

/// In Avro `bytes`; in JSON the bundle as an object (null when empty).
mod bytes_or_json {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        if !s.is_human_readable() {
            return s.serialize_bytes(bytes);
        }
        if bytes.is_empty() {
            return s.serialize_none();
        }
        serde_json::from_slice::<&serde_json::value::RawValue>(bytes)
            .map_err(serde::ser::Error::custom)?
            .serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<[u8]>, D::Error> {
        if d.is_human_readable() {
            let raw = Option::<Box<serde_json::value::RawValue>>::deserialize(d)?;
            return Ok(Arc::from(raw.as_ref().map_or("", |r| r.get()).as_bytes()));
        }
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Arc<[u8]>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, v: &[u8]) -> Result<Arc<[u8]>, E> {
                Ok(Arc::from(v))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, v: Vec<u8>) -> Result<Arc<[u8]>, E> {
                Ok(Arc::from(v))
            }
        }
        d.deserialize_byte_buf(Bytes)
    }
}
