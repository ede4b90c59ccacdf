//! `on: change`: what happened to a definition, as monitoring tells it. Owns what each column is filled with (docs/workflows.md).
//!
//! No loop: a workflow that changes definitions would need a step for it, and there is none. A workflow gets what is done to itself as the version that
//! was in force before, and where that stops its branches they run here: nobody silences the watcher by taking it away first.
use super::{Also, Event, Source, TENANT, definitions, operational, weigh};
use atio_schemas::{
    Codec, Detection,
    command::ObjectKind,
    definition::{Change, ChangeType},
    detection::Disposition,
};
use atio_stage::{Outcome, Record, Tx};
use atio_stix::ids;
use atio_workflow::Trigger;

pub(super) struct Changes;

/// Who tells it.
const TELLER: &str = "monitoring";

impl Source for Changes {
    const ON: Trigger = Trigger::Change;
    const TOPIC: &'static str = "workflow-changes";

    fn event<'d>(&self, codec: &Codec, record: &Record<'_>, tx: &mut Tx<'d>) -> Result<Event<'d>, Outcome> {
        let change: Change = record.decode(codec, "a change")?;
        let detection = detection(&change, record);
        // By now it may be gone.
        let before = change.before_version.filter(|_| change.kind == ObjectKind::Workflow);
        let watcher = before.and_then(|version| {
            let definition = definitions(tx).ok()?.version(&change.name, version).ok()?;
            Some(Also { definition, version, here: silences(&detection) })
        });
        let told = |w: &Also<'_>| w.definition.on == Self::ON && w.definition.triggers(&detection);
        Ok(Event { also: watcher.filter(told), before: None, alone: false, detection })
    }
}

/// What was done, in one word, for `code`; how bad it is; what to do about it.
fn kind(change: &Change) -> (&'static str, f64) {
    match change.change_type {
        ChangeType::Creation => ("created", 20.0),
        ChangeType::Modification => match (change.before.as_deref(), change.after.as_deref()) {
            (Some("paused: false"), Some("paused: true")) => ("paused", 60.0),
            (Some("paused: true"), Some("paused: false")) => ("resumed", 20.0),
            (Some("placement: pooled"), Some("placement: promoted")) => ("promoted", 20.0),
            _ => ("modified", 30.0),
        },
        ChangeType::Deletion => ("deleted", 80.0),
        ChangeType::Refusal => ("refused", 30.0),
        ChangeType::Restoration => ("restored", 20.0),
        ChangeType::Tampering => ("tampered", 95.0),
        ChangeType::Run => ("run", 10.0),
    }
}

/// Whether it may have taken a workflow out of force: an incident of its own.
fn silences(detection: &Detection) -> bool {
    matches!(detection.code.as_deref(), Some("deleted" | "paused" | "tampered"))
}

fn detection(change: &Change, record: &Record<'_>) -> Detection {
    let mut d = operational(Trigger::Change, TELLER, record);
    let (code, score) = kind(change);
    let (object, name) = (change.kind.as_str(), &change.name);
    let refused = change.change_type == ChangeType::Refusal;
    d.code = Some(code.to_owned());
    d.rule.id = Some(format!("{object}.{code}"));
    d.rule.name = Some(match change.finding.as_deref() {
        Some(finding) => format!("{object} tampered with: {finding}"),
        None => format!("{object} {code}"),
    });
    d.rule.rev = change.before_version.or(change.after_version).map(|v| v.to_string());
    d.asset = Some(format!("{object}:{name}"));
    d.resource = Some(name.clone());
    // Of a tampering nobody knows.
    if change.change_type != ChangeType::Tampering {
        d.actor = Some(change.actor.clone());
        d.users = vec![change.actor.clone()];
    }
    d.disposition = Some(if refused { Disposition::Blocked } else { Disposition::Allowed });
    d.outcome = Some(if refused { "failure" } else { "success" }.to_owned());
    d.labels = change.finding.iter().cloned().collect();
    d.external_ids = vec![change.command_id.clone()];
    d.reported_at = Some(change.at);
    d.occurred_at = Some(change.occurred_at.unwrap_or(change.at));
    let why = change.refused_message.as_ref().or(change.reason.as_ref());
    weigh(&mut d, score, why.map_or(code, String::as_str));
    if silences(&d) {
        d.incident_id = Some(ids::joined(&["incident", TENANT, "change", &d.event_id]).to_string());
        if change.kind == ObjectKind::Workflow {
            let undo = if code == "paused" { "resume" } else { "restore" };
            d.recommended_actions = vec![format!("atio workflow {undo} {name}")];
        }
    }
    d
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
