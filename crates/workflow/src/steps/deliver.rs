//! `deliver: siem`: hands the event to a sink, in the form that it was converted to, else in the sink's own.
//! What is marked above the sink's clearance is rejected here and never reaches it.
use super::{Flow, Step, convert};
use crate::{check::Check, machine::Event, spec};
use atio_schemas::{Code, Detection, delivery::Delivery, detection::Tlp};
use atio_stix::{constants, ids};
use atio_topics::Audience;
use memchr::memmem;
use std::sync::LazyLock;

#[derive(Debug)]
struct Deliver {
    sink: String,
    format: String,
    clearance: Tlp,
}

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let sink = spec::text(&step.body, "`deliver`", &mut check.problems)?;
    check.flow.undelivered = None;
    let Some(facts) = check.known.sinks.get(&sink.text).cloned() else {
        let names: Vec<&str> = check.known.sinks.keys().map(String::as_str).collect();
        check.problems.push(spec::unknown(&sink, &names, &[], "sink"));
        return None;
    };
    if check.flow.sinks.contains(&sink.text) {
        let message = format!("this branch delivers to `{}` already", sink.text);
        check.problem(
            &sink.place,
            message,
            Some("one delivery to a sink in a branch; write a second branch".to_owned()),
        );
        return None;
    }
    if facts.audience == Audience::External && !check.flow.sanitized {
        let what = if check.flow.tables.is_empty() { "nothing" } else { "not all that is brought in" };
        let message = format!(
            "sink `{}` has readers outside (audience: external), and {what} is sanitized before it",
            sink.text
        );
        check.problem(&sink.place, message, Some("`- sanitize: external` before it".to_owned()));
        return None;
    }
    if let Some(lowest) = check.flow.reach.lowest_marking().filter(|lowest| *lowest > facts.clearance) {
        let message = format!(
            "sink `{}` is cleared up to tlp {}, and only what is marked {lowest} or above comes here",
            sink.text, facts.clearance
        );
        check.problem(&sink.place, message, Some("another sink, or another `match: {tlp: …}`".to_owned()));
        return None;
    }
    check.flow.sinks.push(sink.text.clone());
    Some(Box::new(Deliver { sink: sink.text, format: facts.format, clearance: facts.clearance }))
}

pub(super) fn schema() -> serde_json::Value {
    crate::schema::name("The sink that gets the event")
}

impl Step for Deliver {
    fn name(&self) -> &'static str {
        "deliver"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        let marked = marking(&event.detection);
        if marked > self.clearance {
            let message =
                format!("marked tlp {marked}, and sink {} is cleared up to {}", self.sink, self.clearance);
            return Flow::Reject(Code::Clearance, message);
        }
        let converted =
            match event.converted.clone().map_or_else(|| convert::convert(event, &self.format), Ok) {
                Ok(converted) => converted,
                Err(message) => return Flow::Reject(Code::ConvertFailed, message),
            };
        let delivery = delivery(event, &self.sink, converted);
        event.end.outputs.push(delivery);
        Flow::Next
    }
}

fn delivery(event: &Event<'_>, sink: &str, converted: convert::Converted) -> Delivery {
    let original = event.original;
    // Without the version: a delivery repeated under the next one is the same delivery.
    let item = event.item.as_ref().map(ToString::to_string);
    let mut key = vec!["delivery", &original.event_id, &event.definition.name, &event.branch.name, sink];
    // Of an element its value: a list in another order gives the same deliveries.
    key.extend(item.as_deref().into_iter().flat_map(|item| ["item", item]));
    let key = ids::joined(&key);
    Delivery {
        sink: sink.to_owned(),
        idempotency_key: key.to_string(),
        event_id: original.event_id.clone(),
        incident_id: original.incident_id.clone(),
        asset: original.asset.clone(),
        workflow: event.workflow(),
        branch: event.branch.name.to_string(),
        format: converted.format,
        content_type: converted.content_type,
        tlp: event.detection.tlp,
        occurred_at: original.occurred_at,
        received_at: original.received_at,
        payload: converted.payload,
        residue: converted.residue,
    }
}

/// How the id of a marking begins where something refers to it: a whole string stands in quotes.
const MARKING: &[u8] = b"\"marking-definition--";

/// Each marking of TLP as it stands in a bundle, quotes included.
static MARKINGS: LazyLock<Vec<(Tlp, String)>> = LazyLock::new(|| {
    let current = Tlp::ALL.iter().map(|tlp| (*tlp, constants::tlp_marking(*tlp).to_text()));
    let first = Tlp::ALL.iter().filter_map(|tlp| Some((*tlp, first_edition(*tlp)?.to_owned())));
    current.chain(first).map(|(tlp, id)| (tlp, format!("\"{id}\""))).collect()
});

/// The highest marking of the detection and of anything in its bundle, in one pass.
fn marking(detection: &Detection) -> Tlp {
    let bundle = &detection.bundle;
    let marked = memmem::find_iter(bundle, MARKING).filter_map(|at| {
        let here = bundle.get(at..)?;
        MARKINGS.iter().find(|(_, id)| here.starts_with(id.as_bytes())).map(|(tlp, _)| *tlp)
    });
    marked.fold(detection.tlp, Tlp::max)
}

/// The markings of TLP 1.0 that STIX 2.1 §7.2.1.4 fixes; foreign objects still carry them.
const fn first_edition(tlp: Tlp) -> Option<&'static str> {
    match tlp {
        Tlp::Clear => Some("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9"),
        Tlp::Green => Some("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"),
        Tlp::Amber => Some("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"),
        Tlp::AmberStrict => None,
        Tlp::Red => Some("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"),
    }
}
