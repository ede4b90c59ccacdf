//! `on: schedule`: a workflow is due by itself. Owns which due times make an event, and what that is filled with (docs/workflows.md).
//!
//! The stage reads changes of definitions. One that puts a scheduled workflow into force is *held*, under the workflow's name, until the next due time;
//! when the timer fires the event goes out and the same record is held on, to the due time after it: `now held` counts the schedules that stand. The
//! next change of the workflow ends it and takes its place. Event, timer and the last due time are one transaction, so that a crash or a rebalance
//! neither loses nor doubles one; a due time lies in the definition alone (`atio_workflow::schedule`), and with its workflow it gives the event's id.
//!
//! No topic of ticks is needed for it, and no clock but that of timers. Who is in force the table says when a timer fires, too: what was taken away or
//! paused behind monitoring's back is not run, and what monitoring did not write starts nothing. Must not know: steps.
use super::{TENANT, bundle, definitions, name, routed_to, told, weigh};
use crate::{Definitions, Deps, SERVICE, routed};
use atio_schemas::{
    Code, Codec, Detection, Timestamp,
    command::ObjectKind,
    definition::{Change, ChangeType},
};
use atio_stage::{
    Headers, Input, Outcome, Output, Pace, Processor, Record, Run, Stage, StageError, StateKey, Store,
    StoreSpec, Timer, Timers, Tx,
};
use atio_stix::ids;
use atio_workflow::{Definition, Schedule, To, Trigger};
use serde::{Deserialize, Serialize};

const TELLER: &str = "schedule";
/// The table of definitions may be behind the change for so long.
const BEHIND_MS: i64 = 10_000;
/// How soon a definition that can't run, or is not there yet, is looked for again.
const SOON_MS: i64 = 1000;
const LATER_MS: i64 = 60_000;
/// What begins later than this is `late`.
const LATE_MS: i64 = 60_000;

/// A workflow's schedule that is held, by the workflow's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    version: i64,
    /// When the change came: what is due before is nobody's.
    since: Timestamp,
    /// The last due time that was settled, whether it made an event or not.
    last: Option<Timestamp>,
    /// The change: topic, partition, offset.
    place: String,
}

impl Standing {
    /// What is due after this is open.
    fn settled(&self) -> Timestamp {
        self.last.map_or(self.since, |last| last.max(self.since))
    }
}

pub(super) struct Standings;

impl Store for Standings {
    const NAME: &'static str = "schedules";
    type Value = Standing;
}

pub(super) fn stage(deps: &Deps, definitions: &Definitions) -> Stage {
    let name = name(Trigger::Schedule);
    let timers = deps.topic(&format!("state.{SERVICE}.schedule-timers"));
    Stage {
        group: format!("{}{name}", deps.prefix),
        name,
        service: SERVICE,
        inputs: vec![Input {
            dead_letters: deps.topic("workflow-dlq"),
            ..Input::new(&deps.topic("workflow-changes"))
        }],
        outputs: routed(deps, definitions, Trigger::Schedule),
        stores: vec![
            StoreSpec::of::<Standings>(&deps.prefix, SERVICE),
            StoreSpec { name: Timers::NAME, changelog: timers, retention_ms: None },
        ],
        tables: vec![deps.table.clone()],
        pace: Pace::Interactive,
        run: Run::Transform(Box::new(Clock { codec: deps.codec.clone(), prefix: deps.prefix.clone() })),
    }
}

pub(super) struct Clock {
    pub(super) codec: Codec,
    pub(super) prefix: String,
}

/// What a change means for a schedule.
enum News {
    InForce(i64),
    Gone,
    /// What fell due while it was paused is nobody's.
    Resumed,
    Nothing,
}

fn news(change: &Change) -> News {
    if change.kind != ObjectKind::Workflow {
        return News::Nothing;
    }
    match (change.change_type, change.after_version) {
        (ChangeType::Refusal | ChangeType::Tampering | ChangeType::Run, _) => News::Nothing,
        (ChangeType::Modification, _) if change.after.as_deref() == Some("paused: true") => News::Nothing,
        (ChangeType::Modification, _) if change.after.as_deref() == Some("paused: false") => News::Resumed,
        (ChangeType::Creation | ChangeType::Modification | ChangeType::Restoration, Some(version)) => {
            News::InForce(version)
        }
        _ => News::Gone,
    }
}

fn held(name: &str) -> StateKey {
    StateKey { store: Standings::NAME, key: name.to_owned() }
}

impl Clock {
    fn change(&self, change: &Change, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, Outcome> {
        let name = &change.name;
        let before = tx.store::<Standings>().get(name).map_err(Outcome::Fail)?;
        let version = match (news(change), &before) {
            (News::InForce(version), _) => Some(version),
            (News::Resumed, Some(before)) => Some(before.version),
            (News::Gone, _) => None,
            (News::Resumed, None) | (News::Nothing, _) => return Ok(Outcome::Drop(Code::NoMatch)),
        };
        let definitions = definitions(tx)?;
        let found = version.and_then(|version| definitions.version(name, version).ok());
        // What is not known yet, or does not compile here, is looked for when its timer fires.
        let ours = version.is_some() && found.is_none_or(|definition| is_scheduled(definition));
        let mut last = None;
        if let Some(mut before) = before {
            // What fell due until now, and nobody came to, was under the version before.
            if ours && !matches!(news(change), News::Resumed) {
                self.run(name, &mut before, record.timestamp, tx)?;
            }
            last = before.last;
            tx.settle(held(name), Outcome::Drop(Code::NotInVersion));
        }
        let Some(version) = version.filter(|_| ours) else {
            tx.store::<Standings>().delete(name);
            return Ok(Outcome::Drop(Code::NoMatch));
        };
        let standing = Standing { version, since: record.timestamp, last, place: record.origin() };
        tx.store::<Standings>().put(name, &standing).map_err(Outcome::Fail)?;
        let schedule = found.and_then(|definition| definition.schedule.as_ref());
        Ok(on(name, &standing, schedule, tx.now()))
    }

    fn due(&self, name: &str, tx: &mut Tx<'_>) -> Result<Outcome, Outcome> {
        let Some(mut standing) = tx.store::<Standings>().get(name).map_err(Outcome::Fail)? else {
            return Ok(Outcome::Drop(Code::NotInVersion));
        };
        let definitions = definitions(tx)?;
        let now = tx.now();
        if let Ok(definition) = definitions.version(name, standing.version)
            && !is_scheduled(definition)
        {
            tx.store::<Standings>().delete(name);
            return Ok(Outcome::Drop(Code::NotInVersion));
        }
        let pointer = definitions.in_force(name).map(|(version, _)| version);
        let is_behind = pointer.is_none_or(|version| version < standing.version);
        if is_behind && now < standing.since.plus_millis(BEHIND_MS) {
            return Ok(Outcome::Hold { key: held(name), until: now.plus_millis(SOON_MS) });
        }
        let schedule = self.run(name, &mut standing, now, tx)?;
        tx.store::<Standings>().put(name, &standing).map_err(Outcome::Fail)?;
        Ok(on(name, &standing, schedule, now))
    }

    /// The event of the last open due time up to `until`, where there is one; none where its version is not known here.
    fn run<'d>(
        &self,
        name: &str,
        standing: &mut Standing,
        until: Timestamp,
        tx: &mut Tx<'d>,
    ) -> Result<Option<&'d Schedule>, Outcome> {
        let definitions = definitions(tx)?;
        let Ok(definition) = definitions.version(name, standing.version) else { return Ok(None) };
        let Some(schedule) = &definition.schedule else { return Ok(None) };
        let Some(due) = schedule.latest(standing.settled(), until) else { return Ok(Some(schedule)) };
        let missed = schedule.next(standing.settled()).is_some_and(|first| first < due);
        standing.last = Some(due);
        if definitions.runs(name) && schedule.in_time(due, tx.now()) {
            let late = missed || tx.now() > due.plus_millis(LATE_MS);
            let detection = detection(name, schedule, standing, (due, late), tx.now());
            if definition.triggers(&detection) {
                let routed = self.routed(definitions, (name, standing.version), detection).map_err(whole)?;
                routed.into_iter().for_each(|output| tx.show(output));
            }
        }
        Ok(Some(schedule))
    }

    fn routed(
        &self,
        definitions: &Definitions,
        to: (&str, i64),
        mut detection: Detection,
    ) -> Result<Vec<Output>, Outcome> {
        bundle(&mut detection)?;
        let topics = To { codec: &self.codec, prefix: &self.prefix, definitions };
        routed_to(topics, &Headers::default(), detection, &[to])
    }
}

/// The schedule stands whatever becomes of one event: a dead letter would end it.
fn whole(end: Outcome) -> Outcome {
    match end {
        Outcome::DeadLetter(rejects) => {
            let why = rejects.as_slice().first().map(|reject| reject.message.clone());
            Outcome::Fail(StageError { code: Code::Internal, message: why.unwrap_or_default() })
        }
        end => end,
    }
}

/// Holds it until it is due next, or is to be looked for again.
fn on(name: &str, standing: &Standing, schedule: Option<&Schedule>, now: Timestamp) -> Outcome {
    let again = if now < standing.since.plus_millis(LATER_MS) { SOON_MS } else { LATER_MS };
    // A schedule that ends is looked at once a minute, too: there is none that does.
    let next = schedule.and_then(|schedule| schedule.next(standing.settled()));
    Outcome::Hold { key: held(name), until: next.unwrap_or_else(|| now.plus_millis(again)) }
}

fn is_scheduled(definition: &Definition) -> bool {
    definition.on == Trigger::Schedule
}

fn detection(
    workflow: &str,
    schedule: &Schedule,
    standing: &Standing,
    (due, late): (Timestamp, bool),
    now: Timestamp,
) -> Detection {
    let event_id = ids::joined(&["event", TENANT, TELLER, workflow, &due.0.to_string()]);
    let mut d = told(Trigger::Schedule, TELLER, event_id.to_string(), standing.place.clone(), now);
    let code = if late { "late" } else { "due" };
    d.code = Some(code.to_owned());
    d.rule.id = Some(format!("schedule.{code}"));
    d.rule.name = Some(format!("{workflow}: {schedule}"));
    d.rule.rev = Some(standing.version.to_string());
    d.asset = Some(format!("workflow:{workflow}"));
    d.resource = Some(workflow.to_owned());
    d.occurred_at = Some(due);
    weigh(&mut d, if late { 20.0 } else { 10.0 }, code);
    d
}

impl Processor for Clock {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let change: Change = match record.decode(&self.codec, "a change") {
            Ok(change) => change,
            Err(refused) => return refused,
        };
        self.change(&change, record, tx).unwrap_or_else(|end| end)
    }

    fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
        self.due(&timer.key.key, tx).unwrap_or_else(|end| end)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
