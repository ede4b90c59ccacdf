//! `await: {ack: analyst, within: 15m, otherwise: escalate}`: the branch waits here until somebody answers for the incident.
//! Owns how a wait is declared and what it holds. Must not know: who keeps waits, when a deadline passes.
use super::{Flow, Step, span, span_schema};
use crate::{
    check::Check,
    machine::Event,
    spec::{self, field},
    suggest,
    yaml::{Node, Value},
};
use atio_schemas::{
    Code,
    incident::{Otherwise, Wait},
};
use atio_stix::ids;
use atio_topics::units::Span;
use serde_json::json;

const FIELDS: &[&str] = &["ack", "within", "otherwise"];
const LATER: &[&str] = &["approvers", "choices"];
/// Who may answer.
const ROLES: &[&str] = &["analyst", "engineer", "admin"];
/// Keys may have these roles too, and must not answer.
const ONLOOKERS: &[&str] = &["ingest", "viewer"];
pub(crate) const EXAMPLE: &str = "await: {ack: analyst, within: 15m, otherwise: escalate}";

#[derive(Debug)]
struct Await {
    /// Which step of its branch this is, from 0.
    step: i32,
    role: String,
    within: Span,
    otherwise: Otherwise,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    check.flow.awaits = true;
    let Value::Map(entries) = &step.body.value else {
        let message = format!("`await` must be a mapping, not {}", step.body.noun());
        check.problem(&step.body.place, message, Some(format!("`{EXAMPLE}`")));
        return None;
    };
    spec::known(entries, FIELDS, LATER, "field of `await`", &mut check.problems);
    // Another form of `await`: what it lacks of this one is no mistake.
    let other = entries.iter().any(|(key, _)| LATER.contains(&key.text.as_str()));
    let mut needed = |name: &str, example: &str| {
        let found = field(entries, name);
        if found.is_none() && !other {
            spec::missing(&step.name.place, name, example, &mut check.problems);
        }
        found
    };
    let (ack, within) = (needed("ack", "ack: analyst"), needed("within", "within: 15m"));
    let role = ack.and_then(|node| role(node, check));
    let within = within.and_then(|node| span(node, "within", "within: 15m", check));
    let otherwise = match field(entries, "otherwise") {
        None => Some(Otherwise::Escalate),
        Some(node) => otherwise(node, check),
    };
    Some(Box::new(Await { step: check.flow.step, role: role?, within: within?, otherwise: otherwise? }))
}

pub(super) fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "Wait until somebody answers for the incident",
        "additionalProperties": false,
        "required": ["ack", "within"],
        "properties": {
            "ack": {"enum": ROLES, "description": "Whose answer it takes"},
            "within": span_schema("Time for the answer, 1s to 30d"),
            "otherwise": {"enum": Otherwise::NAMES, "default": "escalate", "description": "What becomes of it when nobody answered in time"},
        },
    })
}

fn role(node: &Node, check: &mut Check<'_>) -> Option<String> {
    let role = spec::text(node, "`ack`", &mut check.problems)?;
    if ROLES.contains(&role.text.as_str()) {
        return Some(role.text);
    }
    if ONLOOKERS.contains(&role.text.as_str()) {
        let help = suggest::help("", ROLES);
        check.problem(&role.place, format!("role `{}` answers for no incident", role.text), help);
    } else {
        check.problems.push(spec::unknown(&role, ROLES, &[], "role"));
    }
    None
}

fn otherwise(node: &Node, check: &mut Check<'_>) -> Option<Otherwise> {
    let text = spec::text(node, "`otherwise`", &mut check.problems)?;
    let found = Otherwise::parse(&text.text);
    if found.is_none() {
        check.problems.push(spec::unknown(&text, Otherwise::NAMES, &[], "end of a wait"));
    }
    found
}

impl Step for Await {
    fn name(&self) -> &'static str {
        "await"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let original = event.original;
        let Some(incident) = &original.incident_id else {
            let message = "the event belongs to no incident, so nobody can answer for it".to_owned();
            return Flow::Reject(Code::NoIncident, message);
        };
        let (workflow, branch) = (&event.definition.name, &event.branch.name);
        // Without the version: what comes to the same step under the next one joins what waits.
        let id = ids::joined(&["wait", incident, workflow, branch, &self.step.to_string()]);
        Flow::Wait(Wait {
            wait_id: id.to_string(),
            incident_id: incident.clone(),
            tenant: original.tenant.clone(),
            workflow: workflow.clone(),
            version: event.site.version,
            branch: branch.to_string(),
            step: self.step,
            role: self.role.clone(),
            within_ms: self.within.millis(),
            otherwise: self.otherwise,
            original: original.clone(),
            detection: event.detection.clone().into_owned(),
            unaligned: event.unaligned,
        })
    }
}
