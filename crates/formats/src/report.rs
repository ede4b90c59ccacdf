//! A plain JSON report: what a person wants to know of a detection, in the order in which they ask. Owns wording and order; not a format
//! to be read back.
use crate::writer::{WriteCx, WriteError, Writer, Written, headline, residue};
use atio_schemas::{Code, Detection, Timestamp};
use serde::{Deserialize, Serialize};

pub(crate) const CONTENT_TYPE: &str = "application/json";

pub(crate) struct Report;

/// Columns that the report carries.
const CARRIED: &[&str] = &[
    "event_id",
    "finding_uid",
    "kind",
    "category",
    "source",
    "product",
    "sensor",
    "rule.id",
    "rule.rev",
    "rule.name",
    "severity_id",
    "severity_score",
    "severity_raw",
    "confidence",
    "importance",
    "asset_risk",
    "reasons",
    "decision",
    "disposition",
    "outcome",
    "status",
    "count",
    "asset",
    "criticality",
    "exposure",
    "policies",
    "host",
    "users",
    "process",
    "command_line",
    "hashes",
    "domains",
    "urls",
    "src.ip",
    "src.port",
    "dst.ip",
    "dst.port",
    "proto",
    "actor",
    "target",
    "cves",
    "cvss",
    "epss",
    "kev",
    "fix_available",
    "capecs",
    "tactics",
    "techniques",
    "matched_indicators",
    "recommended_actions",
    "occurred_at",
    "reported_at",
    "received_at",
    "first_seen",
    "last_seen",
    "tlp",
    "labels",
    "incident_id",
    "iris_id",
    "misp_id",
    "external_ids",
    "raw_ref",
    "tool_url",
    "email_from",
    "email_to",
    "email_subject",
    "quality",
    "tenant",
    "zone",
];

#[derive(Serialize)]
struct Doc<'a> {
    title: String,
    id: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    severity: Severity<'a>,
    asset: Asset<'a>,
    when: When,
    who: Who<'a>,
    what: What<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cves: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    why: Vec<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    actions: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    solutions: Vec<String>,
    references: References<'a>,
    tlp: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    quality: &'a [String],
}

#[derive(Serialize)]
struct Severity<'a> {
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_reported: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    importance: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cvss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known_exploited: Option<bool>,
}

#[derive(Serialize)]
struct Asset<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    zone: &'a str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    criticality: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    risk: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [String],
}

#[derive(Serialize)]
struct When {
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<i64>,
}

#[derive(Serialize)]
struct Who<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    users: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    email_from: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    email_to: &'a [String],
}

#[derive(Serialize)]
struct What<'a> {
    tool: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sensor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_revision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tactics: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    techniques: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attack_patterns: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    indicators: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hashes: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    domains: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    urls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    email_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix_available: Option<bool>,
}

#[derive(Serialize)]
struct References<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iris: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    external: &'a [String],
}

impl Writer for Report {
    fn write(&self, d: &Detection, _: &WriteCx) -> Result<Written, WriteError> {
        let doc = Doc {
            title: headline(d),
            id: &d.event_id,
            kind: d.kind.as_str(),
            category: d.category.as_deref(),
            status: d.status.map(|status| status.as_str()),
            severity: severity(d),
            asset: asset(d),
            when: When {
                occurred: d.occurred_at,
                reported: d.reported_at,
                received: d.received_at,
                first_seen: d.first_seen,
                last_seen: d.last_seen,
                times: d.count,
            },
            who: who(d),
            what: what(d),
            cves: &d.cves,
            why: d
                .reasons
                .iter()
                .map(|reason| format!("{} {}: {}", reason.code, reason.value, reason.text))
                .collect(),
            actions: &d.recommended_actions,
            solutions: solutions(d),
            references: references(d),
            tlp: d.tlp.as_str(),
            labels: &d.labels,
            quality: &d.quality,
        };
        let body = serde_json::to_vec(&doc)
            .map_err(|error| WriteError::new(Code::ConvertFailed, error.to_string()))?;
        Ok(Written { content_type: CONTENT_TYPE, body, residue: residue(d, |name| CARRIED.contains(&name)) })
    }
}

fn severity(d: &Detection) -> Severity<'_> {
    Severity {
        level: severity_word(d.severity_id),
        score: d.severity_score,
        as_reported: d.severity_raw.as_deref(),
        confidence: d.confidence,
        importance: d.importance,
        priority: d.importance.map(priority_word),
        decision: d.decision.map(|decision| decision.as_str()),
        cvss: d.cvss,
        epss: d.epss,
        known_exploited: d.kev,
    }
}

/// OCSF severity_id in words.
pub(crate) fn severity_word(id: Option<i32>) -> &'static str {
    match id {
        Some(1) => "informational",
        Some(2) => "low",
        Some(3) => "medium",
        Some(4) => "high",
        Some(5) => "critical",
        Some(6) => "fatal",
        _ => "unknown",
    }
}

/// The bands of `atio-risk/1`.
fn priority_word(importance: f64) -> &'static str {
    match importance {
        80.0.. => "critical",
        60.0.. => "high",
        40.0.. => "medium",
        20.0.. => "low",
        _ => "informational",
    }
}

fn asset(d: &Detection) -> Asset<'_> {
    Asset {
        id: d.asset.as_deref(),
        host: d.host.as_deref(),
        zone: d.zone.as_str(),
        tenant: &d.tenant,
        criticality: d.criticality.map(|criticality| criticality.as_str()),
        exposure: d.exposure.map(|exposure| exposure.as_str()),
        risk: d.asset_risk,
        policies: &d.policies,
    }
}

fn who(d: &Detection) -> Who<'_> {
    let side = |endpoint: &atio_schemas::detection::Endpoint| match (&endpoint.ip, endpoint.port) {
        (Some(ip), Some(port)) if ip.contains(':') => Some(format!("[{ip}]:{port}")),
        (Some(ip), Some(port)) => Some(format!("{ip}:{port}")),
        (Some(ip), None) => Some(ip.clone()),
        (None, Some(port)) => Some(format!("port {port}")),
        (None, None) => None,
    };
    Who {
        actor: d.actor.as_deref(),
        target: d.target.as_deref(),
        source: side(&d.src),
        destination: side(&d.dst),
        protocol: d.proto.as_deref(),
        users: &d.users,
        email_from: d.email_from.as_deref(),
        email_to: &d.email_to,
    }
}

fn what(d: &Detection) -> What<'_> {
    What {
        tool: d.product.as_deref().unwrap_or(&d.source),
        source: &d.source,
        sensor: d.sensor.as_deref(),
        rule: d.rule.id.as_deref(),
        rule_revision: d.rule.rev.as_deref(),
        rule_name: d.rule.name.as_deref(),
        disposition: d.disposition.map(|disposition| disposition.as_str()),
        outcome: d.outcome.as_deref(),
        tactics: &d.tactics,
        techniques: &d.techniques,
        attack_patterns: &d.capecs,
        indicators: &d.matched_indicators,
        process: d.process.as_deref(),
        command_line: d.command_line.as_deref(),
        hashes: &d.hashes,
        domains: &d.domains,
        urls: &d.urls,
        email_subject: d.email_subject.as_deref(),
        fix_available: d.fix_available,
    }
}

fn references(d: &Detection) -> References<'_> {
    References {
        finding: d.finding_uid.as_deref(),
        incident: d.incident_id.as_deref(),
        iris: d.iris_id.as_deref(),
        misp: d.misp_id.as_deref(),
        tool: d.tool_url.as_deref(),
        raw: d.raw_ref.as_deref(),
        external: &d.external_ids,
    }
}

/// What the bundle's courses of action say is to be done.
fn solutions(d: &Detection) -> Vec<String> {
    #[derive(Deserialize)]
    struct CourseOfAction {
        #[serde(default)]
        name: String,
        #[serde(default)]
        description: String,
    }
    // Most bundles have none, and looking through one costs more than the rest of the report.
    if memchr::memmem::find(&d.bundle, b"\"course-of-action\"").is_none() {
        return Vec::new();
    }
    let Some(objects) = atio_stix::scan::Objects::of(&d.bundle) else { return Vec::new() };
    let courses = objects.iter().filter(|object| object.kind == Some("course-of-action"));
    let read = courses.filter_map(|object| serde_json::from_slice::<CourseOfAction>(object.json).ok());
    read.map(|course| if course.description.is_empty() { course.name } else { course.description }).collect()
}
