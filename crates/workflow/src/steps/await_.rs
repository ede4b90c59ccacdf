//! `await: {ack: analyst, within: 15m, otherwise: escalate}`: the branch waits here until somebody answers for the incident.
//! Owns how a wait is declared and what it holds. Must not know: who keeps waits, when a deadline passes.
use super::{Flow, Step, rota, span, span_schema};
use crate::{
    check::{self, Check},
    machine::Event,
    spec::{self, field},
    suggest,
    yaml::{Node, Value, short},
};
use atio_schemas::{
    Code,
    incident::{Answer, Hours, Level, Otherwise, Rejected, Wait},
};
use atio_stix::ids;
use atio_topics::units::Span;
use serde_json::json;

const FIELDS: &[&str] =
    &["ack", "within", "otherwise", "choices", "approvers", "rejected", "hours", "escalate"];
/// What an answer may be chosen from.
const CHOICES: std::ops::RangeInclusive<usize> = 2..=16;
const CHOICE_MAX: usize = 63;
/// How many people must say yes.
const APPROVERS: std::ops::RangeInclusive<i32> = 1..=5;
/// Who may answer.
pub(crate) const ROLES: &[&str] = &["analyst", "engineer", "admin"];
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
    choices: Vec<String>,
    /// None where one is enough.
    approvers: Option<i32>,
    rejected: Option<Rejected>,
    hours: Option<Hours>,
    escalate: Vec<Level>,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    check.flow.awaits = true;
    let Value::Map(entries) = &step.body.value else {
        let message = format!("`await` must be a mapping, not {}", step.body.noun());
        check.problem(&step.body.place, message, Some(format!("`{EXAMPLE}`")));
        return None;
    };
    spec::known(entries, FIELDS, &[], "field of `await`", &mut check.problems);
    let mut needed = |name: &str, example: &str| {
        let found = field(entries, name);
        if found.is_none() {
            spec::missing(&step.name.place, name, example, &mut check.problems);
        }
        found
    };
    let (ack, within) = (needed("ack", "ack: analyst"), needed("within", "within: 15m"));
    let role = ack.and_then(|node| role(node, "`ack`", check));
    let hours = field(entries, "hours").and_then(|node| rota::hours(node, check));
    let time = within;
    let within = time.and_then(|node| span(node, "within", "within: 15m", check));
    if let Some((node, within)) = time.zip(within.as_ref()) {
        rota::reachable(node, within.millis(), hours.as_ref(), check);
    }
    let escalate = field(entries, "escalate")
        .map(|node| rota::levels(node, role.as_deref(), hours.as_ref(), check))
        .unwrap_or_default();
    let otherwise = match field(entries, "otherwise") {
        None => Some(Otherwise::Escalate),
        Some(node) => otherwise(node, check),
    };
    let choices = field(entries, "choices").map(|node| choices(node, check)).unwrap_or_default();
    let approvers = field(entries, "approvers").and_then(|node| approvers(node, check));
    let rejected = field(entries, "rejected").and_then(|node| rejected(node, check));
    let found = Await {
        step: check.flow.step,
        role: role?,
        within: within?,
        otherwise: otherwise?,
        choices,
        approvers,
        rejected,
        hours,
        escalate,
    };
    found.tell(&mut check.flow);
    Some(Box::new(found))
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
            "hours": rota::hours_schema("When `within` counts: business hours; always without them"),
            "escalate": rota::levels_schema(),
            "approvers": {
                "type": "integer",
                "minimum": APPROVERS.start(),
                "maximum": APPROVERS.end(),
                "default": 1,
                "description": "How many different people must say yes",
            },
            "rejected": {"enum": Rejected::NAMES, "default": "stop", "description": "What becomes of it when one of them says no"},
            "choices": {
                "type": "array",
                "description": "What the answer must name one of: `.choice` in the expressions behind",
                "minItems": CHOICES.start(),
                "maxItems": CHOICES.end(),
                "uniqueItems": true,
                "items": {"type": "string", "pattern": "^[a-z0-9_-]{1,63}$"},
            },
        },
    })
}

pub(super) fn role(node: &Node, what: &str, check: &mut Check<'_>) -> Option<String> {
    let role = spec::text(node, what, &mut check.problems)?;
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

fn rejected(node: &Node, check: &mut Check<'_>) -> Option<Rejected> {
    let text = spec::text(node, "`rejected`", &mut check.problems)?;
    let found = Rejected::parse(&text.text);
    if found.is_none() {
        check.problems.push(spec::unknown(&text, Rejected::NAMES, &[], "end of a rejected wait"));
    }
    found
}

/// None for one, which is the same as not to say it.
fn approvers(node: &Node, check: &mut Check<'_>) -> Option<i32> {
    let text = spec::text(node, "`approvers`", &mut check.problems)?;
    match text.text.parse::<i32>() {
        Ok(count) if APPROVERS.contains(&count) => Some(count).filter(|count| *count > 1),
        _ => {
            let message = format!(
                "`approvers` is {} to {}, not `{}`",
                APPROVERS.start(),
                APPROVERS.end(),
                short(&text.text)
            );
            check.problem(&text.place, message, Some("`approvers: 2`".to_owned()));
            None
        }
    }
}

fn choices(node: &Node, check: &mut Check<'_>) -> Vec<String> {
    const LIKE: &str = "`choices: [isolate, monitor, ignore]`";
    let Value::List(items) = &node.value else {
        let message = format!("`choices` is a list of names, not {}", node.noun());
        check.problem(&node.place, message, Some(LIKE.to_owned()));
        return vec![];
    };
    if !CHOICES.contains(&items.len()) {
        let message = format!("{} to {} choices, here are {}", CHOICES.start(), CHOICES.end(), items.len());
        let help = format!("{LIKE}; where there is nothing to choose leave it out");
        check.problem(&node.place, message, Some(help));
    }
    let mut found: Vec<String> = vec![];
    for item in items {
        let Some(name) = spec::text(item, "a choice", &mut check.problems) else { continue };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if name.text.is_empty() || name.text.len() > CHOICE_MAX || !name.text.bytes().all(plain) {
            let message =
                format!("`{}` is no choice: 1 to {CHOICE_MAX} of a-z, 0-9, `-` and `_`", short(&name.text));
            check.problem(&name.place, message, Some(LIKE.to_owned()));
        } else if found.contains(&name.text) {
            let message = format!("the choice `{}` stands here twice", name.text);
            check.problem(&name.place, message, Some("leave one out".to_owned()));
        } else {
            found.push(name.text);
        }
    }
    found
}

impl Await {
    /// What expressions behind it may name.
    fn tell(&self, flow: &mut check::Flow) {
        let goes_on = [
            (Answer::Acknowledged, true),
            (Answer::Unanswered, self.otherwise == Otherwise::Continue),
            (Answer::Rejected, self.rejected == Some(Rejected::Continue)),
        ];
        let answers = goes_on.into_iter().filter(|(_, goes_on)| *goes_on).map(|(a, _)| a.as_str().to_owned());
        flow.scope.answers = answers.collect();
        if !self.choices.is_empty() {
            flow.scope.choices.clone_from(&self.choices);
        }
    }
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
            choices: self.choices.clone(),
            choice: event.heard.choice.map(str::to_owned),
            approvers: self.approvers,
            rejected: self.rejected,
            hours: self.hours.clone(),
            escalate: self.escalate.clone(),
        })
    }
}
