//! Triggers other than `detection`. A record of another topic, or a time that has come, becomes an *operational* detection, by one pure function a
//! trigger; match, branches and steps take it from there. Each has a stage of its own, so that a flood of one delays nothing else; it runs once a workflow asks for it.
//! Owns what they share: where such a stage begins, and what it writes. Must not know: steps.
mod change;
mod incident;
mod manual;
mod receipt;
mod schedule;
mod silence;

pub use incident::of_incident;
pub use manual::runs;

use crate::{Definitions, Deps, SERVICE, routed, router};
use atio_schemas::{
    Code, Codec, Detection, Timestamp,
    detection::{Kind, Reason},
    incident::IncidentEvent,
};
use atio_stage::{
    Headers, Input, Outcome, Output, Pace, Processor, Record, Reject, Replay, Run, Stage, StageError,
    StoreSpec, Tx,
};
use atio_stix::{graph, ids};
use atio_workflow::{
    Definition, End, Site, To, Trigger,
    rehearsal::{Rehearsal, Subject},
};
use ipnet::IpNet;
use std::sync::Arc;

/// Whose id is part of that of every event here.
const TENANT: &str = "default";

/// One trigger.
trait Source: Send + Sync + 'static {
    const ON: Trigger;
    /// Without the prefix.
    const TOPIC: &'static str;
    const PACE: Pace = Pace::Interactive;
    fn stores(&self, _prefix: &str) -> Vec<StoreSpec> {
        vec![]
    }
    /// # Errors
    /// How the record ends where there is nothing in it for a workflow.
    fn event<'d>(&self, codec: &Codec, record: &Record<'_>, tx: &mut Tx<'d>) -> Result<Event<'d>, Outcome>;
}

/// What a record came to.
struct Event<'d> {
    detection: Detection,
    /// What the record before said: a workflow gets what it does not hold for already.
    before: Option<Detection>,
    /// A workflow that gets it as this version, whatever is in force.
    also: Option<Also<'d>>,
    /// And nobody else does.
    alone: bool,
}

struct Also<'d> {
    definition: &'d Definition,
    version: i64,
    /// Its branches run here: they end, or have ended, where they ran.
    here: bool,
}

/// The stages of triggers of which there are, or were, workflows.
pub(crate) fn stages(deps: &Deps, definitions: &Definitions) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Trigger::ALL.iter().filter_map(|on| stage(*on, deps, definitions)).collect();
    if definitions.since(Trigger::Silence).is_some() {
        stages.extend(silence::stages(deps, definitions));
    }
    stages
}

/// Whether this is the name of a trigger's stage.
#[must_use]
pub fn is_named(stage: &str) -> bool {
    stage == silence::LISTENER || Trigger::ALL.iter().any(|on| name(*on) == stage)
}

/// The name of a trigger's stage, and group.
#[must_use]
pub fn name(on: Trigger) -> String {
    format!("{SERVICE}-{}", on.as_str())
}

fn stage(on: Trigger, deps: &Deps, definitions: &Definitions) -> Option<Stage> {
    definitions.since(on)?;
    match on {
        // The routers are these; silence has two.
        Trigger::Detection | Trigger::Silence => None,
        Trigger::Change => Some(of(change::Changes, deps, definitions)),
        Trigger::Incident => Some(of(incident::Incidents, deps, definitions)),
        Trigger::Manual => Some(of(manual::Runs, deps, definitions)),
        Trigger::Receipt => Some(of(receipt::Receipts, deps, definitions)),
        Trigger::Schedule => Some(schedule::stage(deps, definitions)),
    }
}

fn of<S: Source>(source: S, deps: &Deps, definitions: &Definitions) -> Stage {
    let name = name(S::ON);
    let mut outputs = routed(deps, definitions, S::ON);
    if S::ON == Trigger::Change {
        let reach = definitions.reach(S::ON);
        outputs.push(deps.topic("incident-events"));
        outputs.extend(reach.sinks.iter().map(|sink| deps.topic(&format!("delivery.{sink}"))));
        outputs.extend(reach.awaits.then(|| deps.topic("waits")));
        outputs.extend(deps.called(&reach));
    }
    Stage {
        group: format!("{}{name}", deps.prefix),
        name,
        service: SERVICE,
        inputs: vec![Input { dead_letters: deps.topic("workflow-dlq"), ..Input::new(&deps.topic(S::TOPIC)) }],
        outputs,
        stores: source.stores(&deps.prefix),
        tables: vec![deps.table.clone()],
        pace: S::PACE,
        run: Run::Transform(Box::new(Router {
            source,
            codec: deps.codec.clone(),
            prefix: deps.prefix.clone(),
            home_networks: deps.home_networks.clone(),
            incident_events: deps.topic("incident-events"),
        })),
    }
}

struct Router<S> {
    source: S,
    codec: Codec,
    prefix: String,
    home_networks: Vec<IpNet>,
    incident_events: Arc<str>,
}

impl<S: Source> Processor for Router<S> {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let definitions = match definitions(tx) {
            Ok(definitions) => definitions,
            Err(end) => return end,
        };
        let event = match self.source.event(&self.codec, record, tx) {
            Ok(event) => event,
            Err(end) => return end,
        };
        // The stage begins with the topic's first record: what was there before the first workflow is nobody's.
        if definitions.since(S::ON).is_none_or(|since| record.timestamp < since) {
            return Outcome::Drop(Code::NoMatch);
        }
        let mut found: Vec<(&str, i64)> = definitions.matches(S::ON, &event.detection).collect();
        if event.alone {
            found.clear();
        }
        if let Some(before) = &event.before {
            let held: Vec<_> = definitions.matches(S::ON, before).collect();
            found.retain(|workflow| !held.contains(workflow));
        }
        if let Some(also) = &event.also {
            let name = also.definition.name.as_str();
            let is_routed = found.iter().any(|(other, _)| *other == name);
            if also.here {
                found.retain(|(other, _)| *other != name);
            } else if !is_routed {
                found.push((name, also.version));
            }
        }
        let here = event.also.filter(|also| also.here);
        if found.is_empty() && here.is_none() {
            return Outcome::Drop(Code::NoMatch);
        }
        self.outputs(event.detection, record, (definitions, &found), here).unwrap_or_else(|end| end)
    }
}

impl<S: Source> Router<S> {
    fn to<'a>(&'a self, definitions: &'a Definitions) -> To<'a> {
        To { codec: &self.codec, prefix: &self.prefix, definitions }
    }

    fn outputs(
        &self,
        mut detection: Detection,
        record: &Record<'_>,
        (definitions, found): (&Definitions, &[(&str, i64)]),
        here: Option<Also<'_>>,
    ) -> Result<Outcome, Outcome> {
        bundle(&mut detection)?;
        let (mut outputs, mut rejected) = (vec![], vec![]);
        outputs.extend(self.opened(&detection, record)?);
        if let Some(also) = here {
            self.run(&also, &detection, (record, definitions), &mut outputs, &mut rejected)?;
        }
        outputs.extend(routed_to(self.to(definitions), record.headers, detection, found)?);
        Ok(Outcome::of(outputs, rejected, Code::NoMatch))
    }

    /// Runs the branches here. What they count or hold otherwise begins and ends with this event.
    fn run(
        &self,
        also: &Also<'_>,
        detection: &Detection,
        (record, definitions): (&Record<'_>, &Definitions),
        outputs: &mut Vec<Output>,
        rejected: &mut Vec<Reject>,
    ) -> Result<(), Outcome> {
        let Also { definition, version, .. } = *also;
        let site = Site { version, home_networks: &self.home_networks };
        for branch in &definition.branches {
            let subject = Subject { definition, branch, site };
            let mut rehearsal = Rehearsal::default();
            let mut ends = vec![];
            let mut told = |_: &Detection, headers: &Headers, end: End| -> Result<(), StageError> {
                ends.push((headers.carried(), end));
                Ok(())
            };
            let event = (detection, record.headers);
            let run = rehearsal.event(subject, record.timestamp, event, &mut told);
            run.and_then(|()| rehearsal.finish(subject, &mut told)).map_err(Outcome::Fail)?;
            for (headers, mut end) in ends {
                let made = self.to(definitions).end(&headers, detection, &mut end);
                outputs.extend(made.map_err(router::refused)?);
                rejected.extend(end.rejected);
            }
        }
        Ok(())
    }

    /// What is an incident of its own opens one, as enrichment does for what tools detect.
    fn opened(&self, d: &Detection, record: &Record<'_>) -> Result<Option<Output>, Outcome> {
        let Some(incident_id) = d.incident_id.as_ref().filter(|_| S::ON == Trigger::Change) else {
            return Ok(None);
        };
        let event = IncidentEvent {
            incident_id: incident_id.clone(),
            event_id: d.event_id.clone(),
            tenant: d.tenant.clone(),
            kind: d.kind,
            asset: d.asset.clone(),
            rule_id: d.rule.id.clone(),
            opened: true,
            importance: d.importance,
            status: d.status,
            occurred_at: d.occurred_at,
            received_at: d.received_at,
        };
        let value = self.codec.encode(&event).map_err(router::refused)?;
        let mut headers = record.headers.carried();
        let source = format!("/atio/{}/{}", d.tenant, d.source);
        headers.describe("atio.incident-event", &d.event_id, source, d.occurred_at);
        Ok(Some(Output::new(self.incident_events.clone(), incident_id.as_bytes(), value, headers)))
    }
}

/// An operational detection of a record: what all of them have. `source`: which part of ATIO tells it.
fn operational(on: Trigger, source: &str, record: &Record<'_>) -> Detection {
    // A replayed dead letter is the event that it would have been.
    let first = Replay::of(record.headers).and_then(Replay::place);
    let (topic, partition, offset) = first.unwrap_or((record.topic, record.partition, record.offset));
    let event_id = ids::event_id(TENANT, source, topic, partition, offset, 0);
    told(on, source, event_id.to_string(), format!("{topic}/{partition}/{offset}"), record.timestamp)
}

/// `place`: the record that it goes back to; `at`: when that came to this.
fn told(on: Trigger, source: &str, event_id: String, place: String, at: Timestamp) -> Detection {
    let mut detection = on.blank(event_id, TENANT, source);
    detection.product = Some("ATIO".to_owned());
    detection.tools = vec!["ATIO".to_owned()];
    detection.confidence = Some(100);
    detection.raw_ref = Some(place);
    detection.received_at = Some(at);
    detection.reported_at = Some(at);
    debug_assert_eq!(detection.kind, Kind::Operational);
    detection
}

/// Gives it the bundle of an operational detection, where it has none.
fn bundle(detection: &mut Detection) -> Result<(), Outcome> {
    if detection.bundle.is_empty() {
        let bundle = graph::operational(detection);
        let bundle = bundle.map_err(|e| Outcome::dead_letter(e.code(), e.to_string()))?;
        detection.bundle = Arc::from(bundle);
    }
    Ok(())
}

/// A record for each of these workflows.
fn routed_to(
    to: To<'_>,
    from: &Headers,
    detection: Detection,
    found: &[(&str, i64)],
) -> Result<Vec<Output>, Outcome> {
    to.event(from, detection, found).map_err(router::refused)
}

/// How bad it is, 0 to 100, in all columns that say so, and why.
fn weigh(detection: &mut Detection, score: f64, why: impl Into<String>) {
    let level = match score {
        90.0.. => 5,
        70.0.. => 4,
        40.0.. => 3,
        20.0.. => 2,
        _ => 1,
    };
    detection.severity_id = Some(level);
    detection.severity_score = Some(score);
    detection.importance = Some(score);
    detection.reasons = vec![Reason { code: "severity".to_owned(), value: score, text: why.into() }];
}

/// The table is there, or the stage can't go on.
fn definitions<'d>(tx: &Tx<'d>) -> Result<&'d Definitions, Outcome> {
    tx.table::<Definitions>(Definitions::TABLE).map_err(Outcome::Fail)
}

#[cfg(test)]
mod tests;
