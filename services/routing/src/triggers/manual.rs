//! `on: manual`: somebody runs a workflow by hand, on an event that the command brings. Monitoring has checked and recorded it (`atio.commands`,
//! `atio.workflow-changes`): only that workflow gets it, under the version that was in force then. Owns what becomes of the event.
use super::{Also, Event, Source, TENANT, definitions};
use atio_schemas::{
    Code, Codec, Detection,
    definition::{Change, ChangeType},
};
use atio_stage::{Outcome, Record, Replay, Tx};
use atio_stix::ids;
use atio_workflow::{Known, Trigger, compile};

pub(super) struct Runs;

/// Part of the new event's id: each run is an event of its own.
const TELLER: &str = "manual";

impl Source for Runs {
    const ON: Trigger = Trigger::Manual;
    const TOPIC: &'static str = "workflow-changes";

    fn event<'d>(&self, codec: &Codec, record: &Record<'_>, tx: &mut Tx<'d>) -> Result<Event<'d>, Outcome> {
        let change: Change = record.decode(codec, "a change")?;
        let (ChangeType::Run, Some(version)) = (change.change_type, change.after_version) else {
            return Err(Outcome::Drop(Code::NoMatch));
        };
        let given = change.after.as_deref().unwrap_or_default();
        let given = read(given).map_err(|(code, message)| Outcome::dead_letter(code, message))?;
        let detection = detection(given, &change, record);
        // The table may be a moment behind.
        let definition = definitions(tx)?.version(&change.name, version).map_err(Outcome::Fail)?;
        if definition.on != Self::ON || !definition.triggers(&detection) {
            return Err(Outcome::Drop(Code::NoMatch));
        }
        let also = Also { definition, version, here: false };
        Ok(Event { detection, before: None, also: Some(also), alone: true })
    }
}

fn read(event: &str) -> Result<Detection, (Code, String)> {
    serde_json::from_str(event).map_err(|e| (Code::InvalidJson, format!("the event is no detection: {e}")))
}

/// The event as this run has it: an id of its own, and who ran it.
fn detection(mut d: Detection, change: &Change, record: &Record<'_>) -> Detection {
    let first = Replay::of(record.headers).and_then(Replay::place);
    let (topic, partition, offset) = first.unwrap_or((record.topic, record.partition, record.offset));
    let run = ids::event_id(TENANT, TELLER, topic, partition, offset, 0).to_string();
    d.external_ids.push(std::mem::replace(&mut d.event_id, run));
    d.analysts.push(change.actor.clone());
    d.received_at = Some(record.timestamp);
    d
}

/// Whether this definition may be run by hand on this event (a detection as JSON).
///
/// # Errors
/// Why not: a code, and a sentence for people.
pub fn runs(name: &str, definition: &str, event: &str, known: &Known) -> Result<(), (Code, String)> {
    let definition = compile(name, definition, known).map_err(|problems| {
        let why = problems.first().map(ToString::to_string).unwrap_or_default();
        (Code::InvalidDefinition, format!("the workflow can't run: {why}"))
    })?;
    if definition.on != Trigger::Manual {
        let message = format!(
            "workflow `{name}` is `on: {}`; by hand runs what is `on: manual`",
            definition.on.as_str()
        );
        return Err((Code::NotAllowed, message));
    }
    let detection = read(event)?;
    if !definition.triggers(&detection) {
        return Err((Code::NoMatch, format!("the match of workflow `{name}` does not hold for this event")));
    }
    Ok(())
}

#[cfg(test)]
#[path = "manual_tests.rs"]
mod tests;
