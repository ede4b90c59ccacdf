//! Who listens: events in; out goes where something begins to come, and where it does not come any more. Owns what is noted of whom, and the sweep
//! that looks for what is quiet. Must not know: what follows from it.
//!
//! One record of the partition is held as long as anything is noted there: the sweep hangs on it, and goes on being held until nothing is left.
use super::{LISTENER, TOPIC, key, listening};
use crate::{Deps, SERVICE, router::refused, triggers::definitions};
use atio_schemas::{
    Code, Codec, Detection, Timestamp, header,
    heard::{Heard, Sound},
};
use atio_stage::{
    Headers, Input, Outcome, Output, Pace, Processor, Record, Run, Stage, StageError, Start, StateKey, Store,
    StoreSpec, Timer, Timers, Tx,
};
use atio_workflow::{Silence, Trigger};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A workflow notes at most so many keys of a partition.
pub(super) const KEYS_MAX: u64 = 10_000;
/// Between two sweeps.
const PAUSE_MS: i64 = 1000;

/// When something was noted last, by workflow, mark and key.
pub(super) struct Noted;

impl Store for Noted {
    const NAME: &'static str = "heard";
    type Value = Timestamp;
}

/// How many keys are noted, by workflow and mark.
pub(super) struct Keys;

impl Store for Keys {
    const NAME: &'static str = "heard-keys";
    type Value = u64;
}

/// When the sweep is due that is held: one.
pub(super) struct Sweeps;

impl Store for Sweeps {
    const NAME: &'static str = "heard-sweep";
    type Value = Sweep;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sweep {
    due: Timestamp,
    partition: i32,
}

const SWEEP: &str = "sweep";

pub(super) fn stage(deps: &Deps) -> Stage {
    let letters = deps.topic("workflow-dlq");
    // What came before somebody listened is nobody's.
    let input = |topic: &str| Input {
        dead_letters: letters.clone(),
        start: Start::End,
        ..Input::new(&deps.topic(topic))
    };
    let timers = deps.topic(&format!("state.{SERVICE}.heard-timers"));
    Stage {
        name: LISTENER.to_owned(),
        service: SERVICE,
        group: format!("{}{LISTENER}", deps.prefix),
        inputs: vec![input("enriched"), input("enriched-logs")],
        outputs: vec![deps.topic(TOPIC)],
        stores: vec![
            StoreSpec::of::<Noted>(&deps.prefix, SERVICE),
            StoreSpec::of::<Keys>(&deps.prefix, SERVICE),
            StoreSpec::of::<Sweeps>(&deps.prefix, SERVICE),
            StoreSpec { name: Timers::NAME, changelog: timers, retention_ms: None },
        ],
        tables: vec![deps.table.clone()],
        pace: Pace::Bulk,
        run: Run::Transform(Box::new(Listener { codec: deps.codec.clone(), heard: deps.topic(TOPIC) })),
    }
}

pub(super) struct Listener {
    pub(super) codec: Codec,
    pub(super) heard: Arc<str>,
}

/// What a record came to.
#[derive(Default)]
struct Said {
    outputs: Vec<Output>,
    /// When the first of what was noted anew is quiet.
    due: Option<Timestamp>,
    /// Something was not noted, for there is no room.
    full: bool,
}

fn sweep() -> StateKey {
    StateKey { store: Sweeps::NAME, key: SWEEP.to_owned() }
}

impl Listener {
    fn event(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, Outcome> {
        let definitions = definitions(tx)?;
        if !definitions.has(Trigger::Silence) {
            // Nobody listens any more: not worth a look.
            return Ok(Outcome::Drop(Code::NoMatch));
        }
        let detection: Detection = record.decode(&self.codec, "a detection")?;
        let mut said = Said::default();
        let mut otherwise = Code::NoMatch;
        for (workflow, version) in definitions.matches(Trigger::Silence, &detection) {
            let definition = definitions.version(workflow, version).map_err(Outcome::Fail)?;
            let Some(silence) = &definition.silence else { continue };
            let Some(value) = silence.key(&detection) else { continue };
            otherwise = Code::Duplicate;
            self.note((workflow, version, silence), &value, record, tx, &mut said)?;
        }
        let Some(outputs) = atio_stage::NonEmpty::from_vec(said.outputs) else {
            return Ok(Outcome::Drop(if said.full { Code::TooMany } else { otherwise }));
        };
        let held = tx.store::<Sweeps>().get(SWEEP).map_err(Outcome::Fail)?;
        let Some(due) = said.due.filter(|due| held.as_ref().is_none_or(|held| *due < held.due)) else {
            return Ok(Outcome::Emit { outputs, rejected: vec![] });
        };
        if held.is_some() {
            // It would come too late: this record takes over.
            tx.settle(sweep(), Outcome::Drop(Code::Duplicate));
        }
        outputs.into_vec().into_iter().for_each(|output| tx.show(output));
        hold(Sweep { due, partition: record.partition }, tx)
    }

    /// Notes that something came; what was not noted yet is said.
    fn note(
        &self,
        (workflow, version, silence): (&str, i64, &Silence),
        value: &str,
        record: &Record<'_>,
        tx: &mut Tx<'_>,
        said: &mut Said,
    ) -> Result<(), Outcome> {
        let id = key(workflow, silence.mark(), value);
        let noted = tx.store::<Noted>().get(&id).map_err(Outcome::Fail)?;
        if noted.is_some_and(|noted| record.timestamp < silence.again(noted)) {
            return Ok(());
        }
        if noted.is_none() {
            let of = key(workflow, silence.mark(), "");
            let keys = tx.store::<Keys>().get(&of).map_err(Outcome::Fail)?.unwrap_or_default();
            if keys >= KEYS_MAX {
                said.full = true;
                return Ok(());
            }
            tx.store::<Keys>().put(&of, &(keys + 1)).map_err(Outcome::Fail)?;
            let whose = (workflow, version, silence.mark(), value);
            let heard = heard(whose, record.partition, Sound::Heard, record.timestamp);
            said.outputs.push(self.output(&heard, record.headers)?);
            let due = silence.over(record.timestamp);
            said.due = Some(said.due.map_or(due, |first| first.min(due)));
        }
        tx.store::<Noted>().put(&id, &record.timestamp).map_err(Outcome::Fail)
    }

    fn output(&self, heard: &Heard, from: &Headers) -> Result<Output, Outcome> {
        let id = key(&heard.workflow, &heard.mark, &heard.key);
        let value = self.codec.encode(heard).map_err(refused)?;
        let mut headers = from.carried();
        let event = atio_stix::ids::joined(&[
            "heard",
            &id,
            &heard.partition.to_string(),
            heard.sound.as_str(),
            &heard.seen.0.to_string(),
        ]);
        headers.describe("atio.heard", &event.to_string(), "/atio/routing".to_owned(), Some(heard.seen));
        headers.set(header::WORKFLOW, format!("{}@{}", heard.workflow, heard.version));
        Ok(Output::new(self.heard.clone(), id.as_bytes(), value, headers))
    }

    /// Looks through all that is noted for what is quiet.
    fn swept(&self, tx: &mut Tx<'_>) -> Result<Outcome, Outcome> {
        let Some(Sweep { partition, .. }) = tx.store::<Sweeps>().get(SWEEP).map_err(Outcome::Fail)? else {
            return Ok(Outcome::Drop(Code::NotInVersion));
        };
        let definitions = definitions(tx)?;
        let mut noted = BTreeMap::new();
        let visit = |id: &str, at: Timestamp| {
            noted.insert(id.to_owned(), at);
        };
        tx.store::<Noted>().each("", visit).map_err(Outcome::Fail)?;
        let (mut left, mut outputs, mut next) = (BTreeMap::<String, u64>::new(), vec![], None::<Timestamp>);
        for (id, at) in noted {
            let Some((workflow, mark, value)) = parts(&id) else {
                tx.store::<Noted>().delete(&id);
                continue;
            };
            let Some((version, silence)) = listening(definitions, workflow, mark).map_err(Outcome::Fail)?
            else {
                // Nobody listens for it any more.
                tx.store::<Noted>().delete(&id);
                continue;
            };
            let due = silence.over(at);
            if due > tx.now() {
                *left.entry(key(workflow, mark, "")).or_default() += 1;
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            let heard = heard((workflow, version, mark, value), partition, Sound::Quiet, at);
            outputs.push(self.output(&heard, &Headers::default())?);
            tx.store::<Noted>().delete(&id);
        }
        count(&left, tx).map_err(Outcome::Fail)?;
        let Some(next) = next else {
            tx.store::<Sweeps>().delete(SWEEP);
            return Ok(Outcome::of(outputs, vec![], Code::NotInVersion));
        };
        outputs.into_iter().for_each(|output| tx.show(output));
        hold(Sweep { due: next.max(tx.now().plus_millis(PAUSE_MS)), partition }, tx)
    }
}

/// `whose`: workflow, version, mark and key.
fn heard(
    (workflow, version, mark, value): (&str, i64, &str, &str),
    partition: i32,
    sound: Sound,
    seen: Timestamp,
) -> Heard {
    let (workflow, mark, key) = (workflow.to_owned(), mark.to_owned(), value.to_owned());
    Heard { workflow, version, mark, key, partition, sound, seen }
}

fn hold(sweep: Sweep, tx: &mut Tx<'_>) -> Result<Outcome, Outcome> {
    tx.store::<Sweeps>().put(SWEEP, &sweep).map_err(Outcome::Fail)?;
    Ok(Outcome::Hold { key: self::sweep(), until: sweep.due })
}

/// How many keys are left.
fn count(left: &BTreeMap<String, u64>, tx: &mut Tx<'_>) -> Result<(), StageError> {
    let mut before = BTreeMap::new();
    let visit = |of: &str, keys: u64| {
        before.insert(of.to_owned(), keys);
    };
    tx.store::<Keys>().each("", visit)?;
    for of in before.keys().filter(|of| !left.contains_key(*of)) {
        tx.store::<Keys>().delete(of);
    }
    for (of, keys) in left.iter().filter(|(of, keys)| before.get(*of) != Some(keys)) {
        tx.store::<Keys>().put(of, keys)?;
    }
    Ok(())
}

/// Workflow, mark and key.
fn parts(id: &str) -> Option<(&str, &str, &str)> {
    let (workflow, rest) = id.split_once('/')?;
    let (mark, value) = rest.split_once('/')?;
    Some((workflow, mark, value))
}

impl Processor for Listener {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        self.event(record, tx).unwrap_or_else(|end| end)
    }

    fn on_timer(&self, _timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
        self.swept(tx).unwrap_or_else(|end| end)
    }
}
