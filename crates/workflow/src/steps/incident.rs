//! `incident: {assign: soc, comment: …, severity: high, close: {verdict: benign}}`: the branch tells the event's incident something, by policy.
//! Owns how that is written, and the command that it comes to. Must not know: what becomes of a command.
use super::{Flow, Step};
use crate::{
    check::Check,
    machine::Event,
    spec::{self, field},
    yaml::Node,
};
use atio_schemas::{
    Code,
    incident::{Ack, AckAction, Answerer, Severity, Verdict},
};
use atio_stix::ids;
use serde_json::json;

const FIELDS: &[&str] = &["assign", "comment", "severity", "close"];
const EXAMPLE: &str = "incident: {assign: soc, severity: high}";
/// Longest name of an assignee, and longest comment, bytes.
const NAME_MAX: usize = 256;
const COMMENT_MAX: usize = 4096;

#[derive(Debug)]
struct Tell {
    /// Which step of its branch this is, from 0.
    step: i32,
    assignee: Option<String>,
    comment: Option<String>,
    severity: Option<Severity>,
    verdict: Option<Verdict>,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    check.flow.commands = true;
    let before = check.problems.len();
    let entries = spec::mapping(&step.body, "`incident`", &mut check.problems)?;
    spec::known(entries, FIELDS, &[], "field of `incident`", &mut check.problems);
    if entries.is_empty() {
        check.problem(&step.body.place, "`incident` says nothing", Some(format!("`{EXAMPLE}`")));
    }
    let assignee = field(entries, "assign").and_then(|node| words(node, "assign", NAME_MAX, check));
    let comment = field(entries, "comment").and_then(|node| words(node, "comment", COMMENT_MAX, check));
    let severity = field(entries, "severity").and_then(|node| {
        let text = spec::text(node, "`severity`", &mut check.problems)?;
        let found = Severity::parse(&text.text);
        if found.is_none() {
            check.problems.push(spec::unknown(&text, Severity::NAMES, &[], "severity"));
        }
        found
    });
    let verdict = field(entries, "close").and_then(|node| verdict(node, check));
    let found = Tell { step: check.flow.step, assignee, comment, severity, verdict };
    (check.problems.len() == before).then(|| Box::new(found) as Box<dyn Step>)
}

fn words(node: &Node, name: &str, limit: usize, check: &mut Check<'_>) -> Option<String> {
    let text = spec::text(node, &format!("`{name}`"), &mut check.problems)?;
    if text.text.trim().is_empty() || text.text.len() > limit {
        let message = format!("`{name}` is 1 to {limit} bytes, here are {}", text.text.len());
        check.problem(&text.place, message, Some(format!("`{EXAMPLE}`")));
        return None;
    }
    Some(text.text)
}

fn verdict(node: &Node, check: &mut Check<'_>) -> Option<Verdict> {
    let entries = spec::mapping(node, "`close`", &mut check.problems)?;
    spec::known(entries, &["verdict"], &[], "field of `close`", &mut check.problems);
    let given = spec::needed(entries, &node.place, "verdict", "verdict: benign", &mut check.problems)?;
    let text = spec::text(given, "`verdict`", &mut check.problems)?;
    let found = Verdict::parse(&text.text);
    if found.is_none() {
        check.problems.push(spec::unknown(&text, Verdict::NAMES, &[], "verdict"));
    }
    found
}

pub(super) fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "Tells the event's incident something, by policy",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "assign": {"type": "string", "maxLength": NAME_MAX, "description": "Who is to work on it, where nobody is yet"},
            "comment": {"type": "string", "maxLength": COMMENT_MAX},
            "severity": {"enum": Severity::NAMES, "description": "Where no person has said it"},
            "close": {
                "type": "object",
                "description": "It is closed, and what still waits is stopped",
                "additionalProperties": false,
                "required": ["verdict"],
                "properties": {"verdict": {"enum": Verdict::NAMES}},
            },
        },
    })
}

impl Step for Tell {
    fn name(&self) -> &'static str {
        "incident"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let original = event.original;
        let Some(incident) = &original.incident_id else {
            return Flow::Reject(Code::NoIncident, "the event belongs to no incident".to_owned());
        };
        let (workflow, branch) = (&event.definition.name, &event.branch.name);
        // Without the version: what is done again, also under the next one, is the same command.
        let id = ids::joined(&["ack", &original.event_id, workflow, branch, &self.step.to_string()]);
        let action = if self.verdict.is_some() { AckAction::Close } else { AckAction::Update };
        event.end.commands.push(Ack {
            verdict: self.verdict,
            comment: self.comment.clone(),
            assignee: self.assignee.clone(),
            severity: self.severity,
            answerer: Some(Answerer::Policy),
            ..Ack::new(&id.to_string(), incident, action, &event.workflow(), event.at)
        });
        Flow::Next
    }
}
