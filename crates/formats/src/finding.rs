//! What a reader read out of raw bytes, before STIX: values *and* rejects, never all or nothing. Owns shapes only; knows no STIX, no ids, no asset.
use atio_schemas::{Code, Timestamp, detection::Disposition};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

pub type Text<'a> = Cow<'a, str>;

/// What a reader found, in input order.
#[derive(Debug, Default, Serialize)]
pub struct Findings<'a> {
    pub found: Vec<Finding<'a>>,
    pub rejected: Vec<Rejected<'a>>,
    /// What was mended or guessed in the input as a whole, for the log.
    pub notices: Vec<String>,
}

/// A part that could not be read: its bytes, why, and where.
#[derive(Debug, Serialize)]
pub struct Rejected<'a> {
    pub code: Code,
    pub message: String,
    #[serde(serialize_with = "length")]
    pub raw: &'a [u8],
    pub offset: u64,
    /// From 1; 0 = unknown.
    pub line: u64,
}

#[derive(Debug, Serialize)]
pub struct Finding<'a> {
    pub body: Body<'a>,
    /// The bytes of this part within the input.
    #[serde(serialize_with = "length")]
    pub raw: &'a [u8],
    pub offset: u64,
    pub line: u64,
    /// Names of what was mended: `time_guessed`, `duplicate_key` …
    pub quality: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub enum Body<'a> {
    /// An event about a flow: Suricata, Zeek … (a threat when it carries an alert, else a log).
    Network(Box<Network<'a>>),
    /// One result of a vulnerability scanner.
    Result(Box<ScanResult<'a>>),
    /// One host of a scan: what was counted, and its inventory.
    Host(Box<ScanHost<'a>>),
    /// STIX objects of someone else's, checked.
    Stix(StixInput<'a>),
}

#[derive(Debug, Default, Clone, Serialize)]
pub struct Peer<'a> {
    pub ip: Option<Text<'a>>,
    pub port: Option<u16>,
    pub mac: Option<Text<'a>>,
    pub packets: Option<u64>,
    pub bytes: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub struct Network<'a> {
    /// `Suricata` …
    pub product: &'static str,
    /// The tool's own type of event: `alert`, `dns`, `flow` …
    pub event_type: Text<'a>,
    pub sensor: Option<Text<'a>>,
    pub interface: Option<Text<'a>>,
    pub time: Timestamp,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub flow_id: Option<Text<'a>>,
    pub community_id: Option<Text<'a>>,
    /// As the event has them (not the flow's initiator: see `initiator`).
    pub src: Peer<'a>,
    pub dst: Peer<'a>,
    /// The flow's own src and dst, where the event carries its flow: the initiator is its src.
    pub flow: Option<(Peer<'a>, Peer<'a>)>,
    /// Lower case: `tcp`, `udp`, `icmp`, `ipv6-icmp` …
    pub proto: Option<Text<'a>>,
    pub app_proto: Option<Text<'a>>,
    pub direction: Option<Text<'a>>,
    pub vlan: Vec<u16>,
    pub icmp: Option<(u8, u8)>,
    pub alert: Option<Alert<'a>>,
    pub http: Option<Http<'a>>,
    pub dns: Vec<Dns<'a>>,
    pub tls: Option<Tls<'a>>,
    pub files: Vec<FileSeen<'a>>,
    pub email: Option<Email<'a>>,
    pub user: Option<Text<'a>>,
    /// Original client behind a proxy.
    pub xff: Option<Text<'a>>,
    /// For events without a flow (stats, anomalies): the tool's short description.
    pub summary: Option<Text<'a>>,
}

#[derive(Debug, Default, Serialize)]
pub struct Alert<'a> {
    pub gid: u64,
    pub sid: u64,
    pub rev: u64,
    pub signature: Text<'a>,
    pub category: Option<Text<'a>>,
    /// Suricata priority: 1 (worst) to 4, as it stands (0 to 255 seen).
    pub priority: Option<u64>,
    pub disposition: Option<Disposition>,
    /// Full rule text, where the tool sends it.
    pub rule: Option<Text<'a>>,
    /// ET's signature_severity.
    pub severity: Option<Text<'a>>,
    /// ET's confidence.
    pub confidence: Option<Text<'a>>,
    pub attack_target: Vec<Text<'a>>,
    pub cves: Vec<String>,
    pub techniques: Vec<(Text<'a>, Option<Text<'a>>)>,
    pub tactics: Vec<(Text<'a>, Option<Text<'a>>)>,
    pub capecs: Vec<String>,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    /// alert.source.ip / alert.target.ip
    pub source: Option<Peer<'a>>,
    pub target: Option<Peer<'a>>,
    /// Rule references (urls), as text.
    pub references: Vec<Text<'a>>,
}

#[derive(Debug, Default, Serialize)]
pub struct Http<'a> {
    pub method: Option<Text<'a>>,
    pub host: Option<Text<'a>>,
    pub url: Option<Text<'a>>,
    pub version: Option<Text<'a>>,
    pub user_agent: Option<Text<'a>>,
    pub referer: Option<Text<'a>>,
    pub content_type: Option<Text<'a>>,
    pub status: Option<u16>,
    pub length: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub struct Dns<'a> {
    pub kind: Text<'a>,
    pub name: Option<Text<'a>>,
    pub rtype: Option<Text<'a>>,
    pub rcode: Option<Text<'a>>,
    /// Addresses and names of the answer.
    pub answers: Vec<Text<'a>>,
}

#[derive(Debug, Default, Serialize)]
pub struct Tls<'a> {
    pub sni: Option<Text<'a>>,
    pub subject: Option<Text<'a>>,
    pub issuer: Option<Text<'a>>,
    pub serial: Option<Text<'a>>,
    pub fingerprint: Option<Text<'a>>,
    pub version: Option<Text<'a>>,
    pub ja3: Option<Text<'a>>,
    pub ja4: Option<Text<'a>>,
}

#[derive(Debug, Default, Serialize)]
pub struct FileSeen<'a> {
    pub name: Option<Text<'a>>,
    pub size: Option<u64>,
    pub md5: Option<Text<'a>>,
    pub sha1: Option<Text<'a>>,
    pub sha256: Option<Text<'a>>,
    pub magic: Option<Text<'a>>,
}

#[derive(Debug, Default, Serialize)]
pub struct Email<'a> {
    pub from: Option<Text<'a>>,
    pub to: Vec<Text<'a>>,
    pub cc: Vec<Text<'a>>,
    pub subject: Option<Text<'a>>,
}

/// One result of a scan on one host. Log-level results are inventory only (`log_level`).
#[derive(Debug, Default, Serialize)]
pub struct ScanResult<'a> {
    /// `OpenVAS` …
    pub product: &'static str,
    pub scanner: Option<Text<'a>>,
    pub scan_id: Option<Text<'a>>,
    pub task: Option<Text<'a>>,
    pub result_id: Option<Text<'a>>,
    pub ip: Option<Text<'a>>,
    pub hostname: Option<Text<'a>>,
    /// As reported: `443/tcp`, `general/tcp`.
    pub port_raw: Text<'a>,
    pub port: Option<u16>,
    pub proto: Option<Text<'a>>,
    pub oid: Text<'a>,
    pub name: Text<'a>,
    pub family: Option<Text<'a>>,
    /// High, Medium, Low, Log, False Positive …
    pub threat: Option<Text<'a>>,
    /// 0.0-10.0; negative levels of the tool become None with quality.
    pub severity: Option<f64>,
    pub cvss_vector: Option<Text<'a>>,
    /// 0-100.
    pub qod: Option<u8>,
    /// Distinct, upper case, in order; `NOCVE` left out.
    pub cves: Vec<String>,
    pub cpes: Vec<Text<'a>>,
    pub bids: Vec<Text<'a>>,
    pub urls: Vec<Text<'a>>,
    pub summary: Option<Text<'a>>,
    pub insight: Option<Text<'a>>,
    pub impact: Option<Text<'a>>,
    pub affected: Option<Text<'a>>,
    pub solution: Option<Text<'a>>,
    /// VendorFix, Workaround, Mitigation, WillNotFix, NoneAvailable
    pub solution_type: Option<Text<'a>>,
    /// What the scanner saw.
    pub description: Option<Text<'a>>,
    pub log_level: bool,
    pub false_positive: bool,
    pub host_start: Option<Timestamp>,
    pub host_end: Option<Timestamp>,
    pub reported_at: Option<Timestamp>,
}

#[derive(Debug, Default, Serialize)]
pub struct ScanHost<'a> {
    pub product: &'static str,
    pub scan_id: Option<Text<'a>>,
    pub task: Option<Text<'a>>,
    pub ip: Option<Text<'a>>,
    pub hostnames: Vec<Text<'a>>,
    pub os: Option<Text<'a>>,
    pub cpes: Vec<Text<'a>>,
    pub macs: Vec<Text<'a>>,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    /// Only a complete scan can mark something fixed.
    pub complete: bool,
    /// `oid|port` of every finding reported for this host (log level aside): finding ids are made of them.
    pub findings: Vec<(Text<'a>, Text<'a>)>,
    /// CVEs that log-level results name: inventory, but not to be lost.
    pub inventory_cves: Vec<String>,
    pub high: u32,
    pub medium: u32,
    pub low: u32,
    pub log: u32,
    pub false_positives: u32,
}

/// A bundle or single object of someone else's.
#[derive(Debug, Serialize)]
pub struct StixInput<'a> {
    /// The objects' bytes as they stood, each checked.
    #[serde(serialize_with = "texts")]
    pub objects: Vec<&'a [u8]>,
    pub bundle_id: Option<Text<'a>>,
}

/// Serialized findings are for people and snapshots: of the raw bytes, their number.
fn length<S: Serializer>(raw: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(raw.len() as u64)
}

fn texts<S: Serializer>(objects: &[&[u8]], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(objects.iter().map(|object| String::from_utf8_lossy(object)))
}
