//! `on: incident`: an incident as it stands on its topic. A workflow gets it where its match begins to hold: for the state that the record shows, and
//! not for the one before. Owns what each column is filled with (docs/workflows.md), and the state before.
use super::{Event, Source, operational, weigh};
use atio_schemas::{Code, Codec, Detection, incident::Incident};
use atio_stage::{Outcome, Record, Store, StoreSpec, Tx};
use atio_workflow::Trigger;

pub(super) struct Incidents;

const TELLER: &str = "incidents";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The state before, by incident: the topic's key. An incident that nothing was heard of for so long begins anew.
pub(super) struct Before;

impl Store for Before {
    const NAME: &'static str = "incident-before";
    const RETENTION_MS: Option<i64> = Some(400 * DAY_MS);
    type Value = Incident;
}

impl Source for Incidents {
    const ON: Trigger = Trigger::Incident;
    const TOPIC: &'static str = "incidents";

    fn stores(&self, prefix: &str) -> Vec<StoreSpec> {
        vec![StoreSpec::of::<Before>(prefix, crate::SERVICE)]
    }

    fn event<'d>(&self, codec: &Codec, record: &Record<'_>, tx: &mut Tx<'d>) -> Result<Event<'d>, Outcome> {
        let key = std::str::from_utf8(record.key.unwrap_or_default()).unwrap_or_default();
        if record.value.is_none() {
            // It is gone from its topic.
            tx.store::<Before>().delete(key);
            return Err(Outcome::Drop(Code::Filtered));
        }
        let incident: Incident = record.decode(codec, "an incident")?;
        if key != incident.incident_id {
            return Err(Outcome::dead_letter(Code::InvalidField, "the record's key is not its incident_id"));
        }
        let before = tx.store::<Before>().get(key).map_err(Outcome::Fail)?;
        tx.store::<Before>().put(key, &incident).map_err(Outcome::Fail)?;
        let before = before.map(|before| detection(&before, record));
        Ok(Event { detection: detection(&incident, record), before, also: None, alone: false })
    }
}

/// Where it stands, for `code`: as `atio incident ls` says it.
fn state(incident: &Incident) -> &'static str {
    if incident.closed_at.is_some() {
        "closed"
    } else if !incident.waits.is_empty() {
        "waiting"
    } else if incident.acked_at.is_some() {
        "acknowledged"
    } else {
        "open"
    }
}

fn detection(incident: &Incident, record: &Record<'_>) -> Detection {
    filled(operational(Trigger::Incident, TELLER, record), incident)
}

/// An incident as an event, for whoever runs a workflow on it by hand.
#[must_use]
pub fn of_incident(incident: &Incident) -> Detection {
    filled(Trigger::Incident.blank(incident.incident_id.clone(), &incident.tenant, TELLER), incident)
}

fn filled(mut d: Detection, incident: &Incident) -> Detection {
    let code = state(incident);
    d.tenant.clone_from(&incident.tenant);
    d.code = Some(code.to_owned());
    d.rule.id.clone_from(&incident.rule_id);
    d.rule.name = Some(format!("incident {code}"));
    d.asset.clone_from(&incident.asset);
    d.incident_id = Some(incident.incident_id.clone());
    d.count = Some(incident.events);
    d.outcome = incident.verdict.map(|verdict| verdict.to_string());
    d.analysts = incident.acked_by.iter().cloned().collect();
    d.occurred_at = incident.occurred_at.or(incident.detected_at);
    d.first_seen = incident.detected_at;
    d.last_seen = incident.updated_at;
    if let Some(importance) = incident.importance {
        weigh(&mut d, importance, format!("{} events", incident.events));
    }
    let marks = [
        ("notified", incident.notified_at),
        ("escalated", incident.escalated_at),
        ("acknowledged", incident.acked_at),
        ("handed_over", incident.handed_over_at),
        ("contained", incident.contained_at),
    ];
    let marks = marks.into_iter().filter(|(_, at)| at.is_some()).map(|(mark, _)| mark.to_owned());
    d.labels = [incident.kind.to_string()].into_iter().chain(marks).collect();
    d
}

#[cfg(test)]
#[path = "incident_tests.rs"]
mod tests;
