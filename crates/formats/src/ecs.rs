//! Elastic Common Schema: one document a detection. Owns which column goes to which field; columns that ECS has no field for go under
//! `atio.`, a name space of its own as ECS asks of custom fields.
use crate::report::severity_word;
use crate::writer::{WriteCx, WriteError, Writer, Written, has_value, headline, residue};
use atio_schemas::column::{COLUMNS, Cell};
use atio_schemas::detection::{Disposition, Endpoint, Kind};
use atio_schemas::{Code, Detection};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

pub(crate) const CONTENT_TYPE: &str = "application/json";
const VERSION: &str = "8.11.0";

pub(crate) struct Ecs;

/// Columns whose value is the field's as it stands.
const DIRECT: &[(&str, &str)] = &[
    ("event_id", "event.id"),
    ("category", "event.action"),
    ("code", "event.code"),
    ("provider", "event.provider"),
    ("importance", "event.risk_score"),
    ("tool_url", "event.url"),
    ("raw_sha256", "event.hash"),
    ("received_at", "event.created"),
    ("occurred_at", "event.start"),
    ("last_seen", "event.end"),
    ("rule.id", "rule.id"),
    ("rule.rev", "rule.version"),
    ("rule.name", "rule.name"),
    ("sensor", "observer.name"),
    ("product", "observer.product"),
    ("host", "host.name"),
    ("asset_risk", "host.risk.calculated_score_norm"),
    ("process", "process.name"),
    ("parent", "process.parent.name"),
    ("command_line", "process.command_line"),
    ("email_from", "email.from.address"),
    ("email_to", "email.to.address"),
    ("email_subject", "email.subject"),
    ("proto", "network.transport"),
    ("community_id", "network.community_id"),
    ("cloud_account", "cloud.account.id"),
    ("cves", "vulnerability.id"),
    ("cvss", "vulnerability.score.base"),
    ("tactics", "threat.tactic.id"),
    ("labels", "tags"),
];
/// Columns that more than a copy makes into ECS's fields.
const SHAPED: &[&str] = &[
    "kind",
    "severity_score",
    "users",
    "hashes",
    "domains",
    "urls",
    "src.ip",
    "src.port",
    "dst.ip",
    "dst.port",
    "techniques",
];

impl Writer for Ecs {
    fn write(&self, d: &Detection, _: &WriteCx) -> Result<Written, WriteError> {
        let mut doc = Map::new();
        for column in COLUMNS {
            let cell = (column.get)(d);
            if !has_value(cell) || SHAPED.contains(&column.name) {
                continue;
            }
            let direct = DIRECT.iter().find(|(name, _)| *name == column.name);
            match direct {
                Some((_, field)) => put(&mut doc, field, value(cell)),
                None => put(&mut doc, &format!("atio.{}", column.name), value(cell)),
            }
        }
        event(d, &mut doc);
        network(d, &mut doc);
        related(d, &mut doc);
        if !d.reasons.is_empty() {
            put(&mut doc, "atio.reasons", json!(d.reasons));
        }
        let body = serde_json::to_vec(&doc)
            .map_err(|error| WriteError::new(Code::ConvertFailed, error.to_string()))?;
        Ok(Written { content_type: CONTENT_TYPE, body, residue: residue(d, |name| name != "bundle") })
    }
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => json!(text),
        Cell::Int(number) => json!(number),
        Cell::Float(number) => json!(number),
        Cell::Bool(truth) => json!(truth),
        Cell::Time(at) => json!(at.rfc3339_micros()),
        Cell::Texts(list) => json!(list),
    }
}

/// Puts a value at a dotted name as nested objects.
fn put(doc: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            doc.insert(path.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = doc.entry(head).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Kind, categories and types by ECS's own values.
fn event(d: &Detection, doc: &mut Map<String, Value>) {
    let at = d.reported_at.or(d.occurred_at).or(d.received_at);
    if let Some(at) = at {
        put(doc, "@timestamp", json!(at.rfc3339_micros()));
    }
    put(doc, "ecs.version", json!(VERSION));
    put(doc, "message", json!(headline(d)));
    let (kind, category) = match d.kind {
        Kind::Threat => ("alert", "intrusion_detection"),
        Kind::Vulnerability => ("state", "vulnerability"),
        Kind::Intelligence => ("enrichment", "threat"),
        Kind::Log | Kind::Playbook | Kind::Operational if is_network(d) => ("event", "network"),
        Kind::Log | Kind::Playbook | Kind::Operational => ("event", "host"),
    };
    put(doc, "event.kind", json!(kind));
    let both = d.kind == Kind::Threat && is_network(d);
    put(doc, "event.category", if both { json!([category, "network"]) } else { json!([category]) });
    put(doc, "event.type", event_type(d));
    put(doc, "atio.kind", json!(d.kind.as_str()));
    if let Some(product) = &d.product {
        let module = product.to_ascii_lowercase();
        put(
            doc,
            "event.dataset",
            json!(format!("{module}.{}", d.category.as_deref().unwrap_or(d.kind.as_str()))),
        );
        put(doc, "event.module", json!(module));
    }
    if let Some(score) = d.severity_score {
        #[allow(clippy::cast_possible_truncation)]
        put(doc, "event.severity", json!(score.round() as i64));
        put(doc, "atio.severity_score", json!(score));
    }
    if let Some(outcome) =
        d.outcome.as_deref().filter(|outcome| matches!(*outcome, "success" | "failure" | "unknown"))
    {
        put(doc, "event.outcome", json!(outcome));
    }
    if !d.cves.is_empty() {
        put(doc, "vulnerability.enumeration", json!("CVE"));
    }
    if d.kind == Kind::Vulnerability {
        put(doc, "vulnerability.severity", json!(severity_word(d.severity_id)));
        if let Some(product) = &d.product {
            put(doc, "vulnerability.scanner.vendor", json!(product));
        }
    }
    if !d.techniques.is_empty() || !d.tactics.is_empty() {
        put(doc, "threat.framework", json!("MITRE ATT&CK"));
    }
    if !d.techniques.is_empty() {
        let (sub, whole): (Vec<&String>, Vec<&String>) = d.techniques.iter().partition(|id| id.contains('.'));
        let mut ids: Vec<&str> = whole.into_iter().map(String::as_str).collect();
        ids.extend(sub.iter().filter_map(|id| id.split('.').next()));
        ids.dedup();
        put(doc, "threat.technique.id", json!(ids));
        if !sub.is_empty() {
            put(doc, "threat.technique.subtechnique.id", json!(sub));
        }
    }
}

fn is_network(d: &Detection) -> bool {
    d.src.ip.is_some() || d.dst.ip.is_some()
}

fn event_type(d: &Detection) -> Value {
    let verdict = match d.disposition {
        Some(Disposition::Allowed) => Some("allowed"),
        Some(Disposition::Blocked | Disposition::Quarantined) => Some("denied"),
        None => None,
    };
    match (d.kind, verdict) {
        (Kind::Intelligence, _) => json!(["indicator"]),
        (Kind::Vulnerability, _) => json!(["info"]),
        (Kind::Log, None) if is_network(d) => json!(["connection"]),
        (_, Some(verdict)) => json!(["info", verdict]),
        (_, None) => json!(["info"]),
    }
}

fn network(d: &Detection, doc: &mut Map<String, Value>) {
    for (side, endpoint) in [("source", &d.src), ("destination", &d.dst)] {
        let Endpoint { ip, port } = endpoint;
        if let Some(ip) = ip {
            put(doc, &format!("{side}.address"), json!(ip));
            if ip.parse::<IpAddr>().is_ok() {
                put(doc, &format!("{side}.ip"), json!(ip));
            }
        }
        if let Some(port) = port {
            put(doc, &format!("{side}.port"), json!(port));
        }
    }
    let version = d.src.ip.as_deref().or(d.dst.ip.as_deref()).and_then(|ip| ip.parse::<IpAddr>().ok());
    if let Some(address) = version {
        put(doc, "network.type", json!(if address.is_ipv6() { "ipv6" } else { "ipv4" }));
    }
    if let Some(url) = d.urls.first() {
        put(doc, "url.original", json!(url));
    }
    if d.urls.len() > 1 {
        put(doc, "atio.urls", json!(d.urls));
    }
}

/// What a search across fields finds.
fn related(d: &Detection, doc: &mut Map<String, Value>) {
    let addresses: Vec<&str> = [&d.src.ip, &d.dst.ip]
        .into_iter()
        .filter_map(|ip| ip.as_deref())
        .filter(|ip| ip.parse::<IpAddr>().is_ok())
        .collect();
    let hosts: Vec<&str> = d.domains.iter().map(String::as_str).chain(d.host.as_deref()).collect();
    let hashes: Vec<&str> = hashes_of(d).collect();
    for (field, list) in [("related.ip", addresses), ("related.hosts", hosts), ("related.hash", hashes)] {
        if !list.is_empty() {
            put(doc, field, json!(list));
        }
    }
    if let Some(first) = d.users.first() {
        put(doc, "user.name", json!(first));
        put(doc, "related.user", json!(d.users));
    }
    for hash in hashes_of(d) {
        let algorithm = match hash.len() {
            32 => "md5",
            40 => "sha1",
            64 => "sha256",
            128 => "sha512",
            _ => continue,
        };
        put(doc, &format!("file.hash.{algorithm}"), json!(hash));
    }
}

/// The values of the hashes, with or without an algorithm's name before them.
fn hashes_of(d: &Detection) -> impl Iterator<Item = &str> {
    d.hashes.iter().map(|hash| hash.split_once(':').map_or(hash.as_str(), |(_, value)| value))
}
