//! `call: {workflow: contain-host}`: hands the event, as the steps have left it, to another workflow, which goes on by itself. Owns how that is
//! written, and the event that the other one gets. Must not know: which version is in force, topics.
use super::{Flow, Step, objects};
use crate::{check::Check, machine::Event, spec};
use atio_schemas::Detection;
use atio_stix::ids;
use atio_topics::units::is_name;
use serde_json::json;

/// An event for another workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    pub workflow: String,
    /// As that one gets it: an event of its own.
    pub detection: Detection,
}

#[derive(Debug)]
struct Call(String);

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let entries = spec::mapping(&step.body, "`call`", &mut check.problems)?;
    spec::known(entries, &["workflow"], &[], "field of `call`", &mut check.problems);
    let example = "workflow: contain-host";
    let node = spec::needed(entries, &step.name.place, "workflow", example, &mut check.problems)?;
    let name = spec::text(node, "`workflow`", &mut check.problems)?;
    if !is_name(&name.text) {
        let message = format!("`{}` is no workflow's name", crate::yaml::short(&name.text));
        check.problem(&name.place, message, Some(format!("`call: {{{example}}}`")));
        return None;
    }
    if check.flow.calls.iter().any(|other| other.text == name.text) {
        let message = format!("this branch calls `{}` already", name.text);
        check.problem(&name.place, message, Some("once is enough, or write a second branch".to_owned()));
        return None;
    }
    check.flow.calls.push(name.clone());
    Some(Box::new(Call(name.text)))
}

pub(super) fn schema() -> serde_json::Value {
    let fragment = crate::schema::name("A fragment, whose steps stand here");
    let workflow = json!({
        "type": "object",
        "description": "Another workflow, `on: manual`, that gets the event",
        "additionalProperties": false,
        "required": ["workflow"],
        "properties": {"workflow": crate::schema::name("Its name")},
    });
    json!({"anyOf": [fragment, workflow]})
}

impl Step for Call {
    fn name(&self) -> &'static str {
        "call"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        if event.unaligned
            && let Err(error) = objects::drop_objects(event, |_| false)
        {
            return Flow::Reject(error.code(), error.to_string());
        }
        let original = event.original;
        // Without the version: what is done again, also under the next one, is the same call.
        let item = event.item.as_ref().map(ToString::to_string);
        let mut id = vec!["call", &original.event_id, &event.definition.name, &event.branch.name, &self.0];
        id.extend(item.as_deref().into_iter().flat_map(|item| ["item", item]));
        let id = ids::joined(&id).to_string();
        let mut detection = event.detection.clone().into_owned();
        detection.external_ids.push(std::mem::replace(&mut detection.event_id, id));
        event.end.calls.push(Called { workflow: self.0.clone(), detection });
        Flow::Next
    }
}
