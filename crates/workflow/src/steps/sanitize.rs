//! `sanitize: external`: takes out what tells others about us, from columns and STIX objects alike; then references are repaired.
//! Owns the list of what that is. What is taken out is nowhere left: whatever else mentions it goes as well, or is emptied.
use super::{Flow, Step, objects::drop_objects};
use crate::{check::Check, machine::Event, spec};
use atio_schemas::{
    Detection,
    column::{COLUMNS, Cell, NewCell},
};
use atio_stix::{
    bundle::{self, BundleError, Object},
    constants::EXTENSION_ID,
    ids,
};
use ipnet::IpNet;
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr};

/// Columns that are emptied. Their values are looked for in everything else, but for [`COMMON`] ones.
const IDENTIFYING: &[&str] = &[
    "host",
    "users",
    "process",
    "parent",
    "command_line",
    "sensor",
    "asset",
    "raw_ref",
    "tool_url",
    "analysts",
    "incident_id",
    "iris_id",
    "misp_id",
    "external_ids",
    "cloud_account",
    "resource",
    "email_to",
];
/// Columns that are emptied; their values are words that anybody uses.
const DESCRIPTIVE: &[&str] =
    &["asset_resolved_by", "asset_risk", "criticality", "exposure", "policies", "labels", "suppressed_by"];
/// Types of STIX object that are about us alone.
const OURS: &[&str] = &["user-account", "process"];
/// Names that tell nothing about whose they are.
const COMMON: &[&str] = &[
    "root",
    "admin",
    "administrator",
    "system",
    "guest",
    "user",
    "users",
    "nobody",
    "local",
    "service",
    "none",
    "unknown",
];
/// Shorter values are too common to be looked for.
const SHORTEST: usize = 4;
/// An object that is altered may come to mention something; in so many rounds nothing does any more.
const ROUNDS: usize = 4;

#[derive(Debug)]
struct Sanitize;

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let level = spec::text(&step.body, "`sanitize`", &mut check.problems)?;
    check.flow.sanitized = true;
    check.flow.reach.sanitized();
    // They hold what is taken out here.
    (check.flow.scope.item, check.flow.scope.error) = (None, false);
    if level.text != "external" {
        check.problems.push(spec::unknown(&level, &["external"], &["internal", "community"], "level"));
        return None;
    }
    Some(Box::new(Sanitize))
}

pub(super) fn schema() -> Value {
    serde_json::json!({"enum": ["external"], "description": "Take out what tells others about us"})
}

impl Step for Sanitize {
    fn name(&self) -> &'static str {
        "sanitize"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        match sanitize(event) {
            Ok(()) => Flow::Next,
            Err(error) => Flow::Reject(error.code(), error.to_string()),
        }
    }
}

fn sanitize(event: &mut Event<'_>) -> Result<(), BundleError> {
    let home = event.site.home_networks;
    let objects =
        if event.detection.bundle.is_empty() { vec![] } else { bundle::parse(&event.detection.bundle)? };
    let secrets = Secrets::of(&event.detection, &objects, home);
    let own = own_ids(&event.detection);
    empty_columns(event.change(), &secrets);
    event.unaligned = true;
    drop_objects(event, |object| {
        let kind = text(object, "type");
        OURS.contains(&kind)
            || own.iter().any(|id| id == text(object, "id"))
            // ATIO's own report is brought in line with the emptied columns instead.
            || (!is_own_report(object) && secrets.in_object(object))
    })?;
    for _ in 0..ROUNDS {
        let mut found = false;
        event.unaligned = true;
        drop_objects(event, |object| {
            let goes = secrets.in_object(object);
            found |= goes;
            goes
        })?;
        if !found {
            return Ok(());
        }
    }
    Err(BundleError::Shape("what is sanitized keeps coming back"))
}

/// Ids that are seeded by our names.
fn own_ids(detection: &Detection) -> Vec<String> {
    let tenant = &detection.tenant;
    let assets = detection.asset.iter().chain(&detection.host);
    let ids = assets.flat_map(|a| [ids::asset_identity(tenant, a), ids::asset_infrastructure(tenant, a)]);
    ids.chain(detection.sensor.iter().map(|s| ids::sensor_identity(tenant, s)))
        .map(|id| id.to_text())
        .collect()
}

fn is_own_report(object: &Object) -> bool {
    text(object, "type") == "report"
        && object.get("extensions").is_some_and(|e| e.get(EXTENSION_ID).is_some())
}

fn text<'o>(object: &'o Object, key: &str) -> &'o str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn empty_columns(detection: &mut Detection, secrets: &Secrets<'_>) {
    detection.reasons.clear();
    for column in COLUMNS {
        let listed = IDENTIFYING.contains(&column.name) || DESCRIPTIVE.contains(&column.name);
        let emptied = match (column.get)(detection) {
            Cell::Texts(texts) => {
                let kept = texts.iter().filter(|t| !listed && !secrets.in_text(t)).cloned();
                Some(NewCell::Texts(kept.collect()))
            }
            Cell::Text(text) if column.nullable && (listed || secrets.in_text(text)) => Some(NewCell::Null),
            _ if listed => Some(NewCell::Null),
            _ => None,
        };
        if let Some(cell) = emptied {
            // A list takes a list and a nullable column takes null: there is no misfit here.
            let _fits: Result<_, _> = column.put(detection, cell);
        }
    }
}

/// What must be nowhere afterwards.
struct Secrets<'h> {
    /// Lower case.
    values: BTreeSet<String>,
    home: &'h [IpNet],
}

impl<'h> Secrets<'h> {
    fn of(detection: &Detection, objects: &[Object], home: &'h [IpNet]) -> Self {
        let mut secrets = Self { values: BTreeSet::new(), home };
        for column in COLUMNS.iter().filter(|c| IDENTIFYING.contains(&c.name)) {
            match (column.get)(detection) {
                Cell::Text(text) => secrets.add(text),
                Cell::Texts(texts) => texts.iter().for_each(|t| secrets.add(t)),
                _ => {}
            }
        }
        for name in detection.asset.iter().chain(&detection.host) {
            secrets.add_name(name);
        }
        for user in &detection.users {
            // `EXAMPLE\alice`, `alice@example.org`
            user.split(['\\', '@']).for_each(|part| secrets.add(part));
        }
        for object in objects.iter().filter(|o| OURS.contains(&text(o, "type"))) {
            for key in ["account_login", "user_id", "display_name", "command_line"] {
                secrets.add(text(object, key));
            }
        }
        secrets
    }

    fn add(&mut self, value: &str) {
        let value = value.trim().to_lowercase();
        if value.len() >= SHORTEST && !COMMON.contains(&value.as_str()) {
            self.values.insert(value);
        }
    }

    /// `ot/host:plc-1.example.org`: also without what stands before it, and the host's first label.
    fn add_name(&mut self, name: &str) {
        let bare = name.rsplit_once('/').map_or(name, |(_, tail)| tail);
        let bare = bare.strip_prefix("host:").or_else(|| bare.strip_prefix("ip:")).unwrap_or(bare);
        self.add(bare);
        if bare.parse::<IpAddr>().is_err() {
            self.add(bare.split('.').next().unwrap_or_default());
        }
    }

    fn in_object(&self, object: &Object) -> bool {
        object.iter().any(|(key, value)| !matches!(key.as_str(), "id" | "type") && self.in_value(value))
    }

    fn in_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.in_text(text),
            Value::Array(items) => items.iter().any(|v| self.in_value(v)),
            Value::Object(fields) => fields.iter().any(|(key, v)| self.in_text(key) || self.in_value(v)),
            _ => false,
        }
    }

    fn in_text(&self, text: &str) -> bool {
        let lower = text.to_lowercase();
        self.values.iter().any(|value| stands_in(&lower, value)) || self.home_in(&lower)
    }

    /// An address of ours anywhere in the text.
    fn home_in(&self, text: &str) -> bool {
        let address = |part: &str| {
            part.parse::<IpAddr>().is_ok_and(|ip| self.home.iter().any(|n| n.contains(&ip.to_canonical())))
        };
        let part_of_address = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        text.split(|c: char| !part_of_address(c)).filter(|part| part.len() >= 2).any(|part| {
            let trimmed = part.trim_matches('.');
            address(trimmed)
                || address(trimmed.trim_end_matches(':'))
                || trimmed.split(':').any(|v4| v4.contains('.') && address(v4))
        })
    }
}

/// As words of their own: `web-1` stands in `http://web-1.example.org/`, and not in `web-12`.
fn stands_in(text: &str, value: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(value).any(|(at, found)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|t| t.chars().next());
        let (starts, ends) = (value.chars().next(), value.chars().next_back());
        !(word(before) && word(starts) || word(after) && word(ends))
    })
}

#[cfg(test)]
#[path = "sanitize_tests.rs"]
mod tests;
