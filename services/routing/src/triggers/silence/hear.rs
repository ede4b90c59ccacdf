//! Who hears what the listeners of all partitions say: where none hears a key any more it is silent, where one does again it has returned. Owns what
//! is known of each key, and what the event is filled with (docs/workflows.md). No timer: the listeners wait.
use super::{TOPIC, behind, key, listening};
use crate::{
    Definitions, Deps, SERVICE, routed,
    triggers::{TENANT, bundle, definitions, name, routed_to, told, weigh},
};
use atio_schemas::{
    Code, Codec, Detection, Timestamp,
    column::NewCell,
    heard::{Heard, Sound},
};
use atio_stage::{Input, Outcome, Pace, Processor, Record, Run, Stage, StageError, Store, StoreSpec, Tx};
use atio_stix::ids;
use atio_workflow::{Silence, To, Trigger};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const TELLER: &str = "silence";

/// What is known of a key, by workflow, mark and key: the topic's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ear {
    /// Partitions where it is heard.
    on: BTreeSet<i32>,
    last: Timestamp,
    silent: bool,
}

pub(super) struct Ears;

impl Store for Ears {
    const NAME: &'static str = "silences";
    /// What was not heard, nor said to be quiet, for so long begins anew.
    const RETENTION_MS: Option<i64> = Some(400 * DAY_MS);
    type Value = Ear;
}

/// Of how many keys of a workflow something is known here.
pub(super) struct Known;

impl Store for Known {
    const NAME: &'static str = "silences-keys";
    type Value = Count;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    keys: u64,
    /// When they were counted: what the driver takes away in time is not told.
    at: Timestamp,
}

/// Of so many keys a workflow, and partition, it is known that they are silent; of what is beyond the return is not told.
pub(super) const SILENT_MAX: u64 = 20_000;
const COUNTED_AGAIN_MS: i64 = 60 * 60 * 1000;

pub(super) fn stage(deps: &Deps, definitions: &Definitions) -> Stage {
    let name = name(Trigger::Silence);
    Stage {
        group: format!("{}{name}", deps.prefix),
        name,
        service: SERVICE,
        inputs: vec![Input { dead_letters: deps.topic("workflow-dlq"), ..Input::new(&deps.topic(TOPIC)) }],
        outputs: routed(deps, definitions, Trigger::Silence),
        stores: vec![
            StoreSpec::of::<Ears>(&deps.prefix, SERVICE),
            StoreSpec::of::<Known>(&deps.prefix, SERVICE),
        ],
        tables: vec![deps.table.clone()],
        pace: Pace::Interactive,
        run: Run::Transform(Box::new(Hearer { codec: deps.codec.clone(), prefix: deps.prefix.clone() })),
    }
}

pub(super) struct Hearer {
    pub(super) codec: Codec,
    pub(super) prefix: String,
}

impl Hearer {
    fn hear(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, Outcome> {
        let heard: Heard = record.decode(&self.codec, "what was heard")?;
        let definitions = definitions(tx)?;
        let id = key(&heard.workflow, &heard.mark, &heard.key);
        if definitions.in_force(&heard.workflow).is_none_or(|(version, _)| version < heard.version)
            && definitions.version(&heard.workflow, heard.version).is_err()
        {
            // The listener knows it already.
            return Err(Outcome::Fail(behind(&heard.workflow, heard.version)));
        }
        let found = listening(definitions, &heard.workflow, &heard.mark).map_err(Outcome::Fail)?;
        let Some((version, silence)) = found else {
            forget(&id, record.timestamp, tx).map_err(Outcome::Fail)?;
            return Ok(Outcome::Drop(Code::NotInVersion));
        };
        let mut ear = tx.store::<Ears>().get(&id).map_err(Outcome::Fail)?.unwrap_or_default();
        match heard.sound {
            Sound::Heard => ear.on.insert(heard.partition),
            Sound::Quiet => ear.on.remove(&heard.partition),
        };
        // When it was heard last before it came back.
        let before = ear.last;
        ear.last = ear.last.max(heard.seen);
        let silent = ear.on.is_empty();
        let changed = silent != ear.silent;
        ear.silent = silent;
        keep(&id, &ear, record.timestamp, tx).map_err(Outcome::Fail)?;
        if !changed {
            return Ok(Outcome::Drop(Code::Duplicate));
        }
        let last = if silent { ear.last } else { before };
        let mut detection = detection(&heard, (version, silence), silent, last, record);
        bundle(&mut detection)?;
        let to = [(&*heard.workflow, version)];
        let outputs = routed_to(
            To { codec: &self.codec, prefix: &self.prefix, definitions },
            record.headers,
            detection,
            &to,
        )?;
        Ok(Outcome::of(outputs, vec![], Code::NoMatch))
    }
}

/// Keeps what is known of a key, where there is room for it or it is heard.
fn keep(id: &str, ear: &Ear, at: Timestamp, tx: &mut Tx<'_>) -> Result<(), StageError> {
    let is_new = tx.store::<Ears>().get(id)?.is_none();
    let count = known(id, at, tx)?;
    if ear.silent && count.keys >= SILENT_MAX {
        return forget(id, at, tx);
    }
    tx.store::<Ears>().put(id, ear)?;
    if is_new { tx.store::<Known>().put(of(id), &Count { keys: count.keys + 1, ..count }) } else { Ok(()) }
}

fn forget(id: &str, at: Timestamp, tx: &mut Tx<'_>) -> Result<(), StageError> {
    if tx.store::<Ears>().get(id)?.is_none() {
        return Ok(());
    }
    let count = known(id, at, tx)?;
    tx.store::<Ears>().delete(id);
    tx.store::<Known>().put(of(id), &Count { keys: count.keys.saturating_sub(1), ..count })
}

/// The workflow, with the slash behind it.
fn of(id: &str) -> &str {
    id.split_inclusive('/').next().unwrap_or(id)
}

/// How many keys of this one's workflow are known; counted again once an hour where there are too many.
fn known(id: &str, at: Timestamp, tx: &mut Tx<'_>) -> Result<Count, StageError> {
    let mut count = tx.store::<Known>().get(of(id))?.unwrap_or_default();
    if count.keys >= SILENT_MAX && at > count.at.plus_millis(COUNTED_AGAIN_MS) {
        count = Count { keys: 0, at };
        tx.store::<Ears>().each(of(id), |_, _| count.keys += 1)?;
        tx.store::<Known>().put(of(id), &count)?;
    }
    Ok(count)
}

/// `last`: when it was heard last, before it came back.
pub(super) fn detection(
    heard: &Heard,
    (version, silence): (i64, &Silence),
    silent: bool,
    last: Timestamp,
    record: &Record<'_>,
) -> Detection {
    let (code, workflow) = (if silent { "silent" } else { "returned" }, &*heard.workflow);
    let id = ids::joined(&[
        "event",
        TENANT,
        TELLER,
        workflow,
        &heard.mark,
        &heard.key,
        code,
        &heard.seen.0.to_string(),
    ]);
    let mut d = told(Trigger::Silence, TELLER, id.to_string(), record.origin(), record.timestamp);
    d.code = Some(code.to_owned());
    d.rule.id = Some(format!("silence.{code}"));
    d.rule.rev = Some(version.to_string());
    let whose = match silence.column() {
        None => {
            d.asset = Some(format!("workflow:{workflow}"));
            "all".to_owned()
        }
        Some(column) => {
            d.asset = Some(format!("{}:{}", column.name, heard.key));
            // A text is what each of these columns takes.
            let _misfit = column.put(&mut d, NewCell::Text(heard.key.clone()));
            d.resource = Some(heard.key.clone());
            format!("{} {}", column.name, heard.key)
        }
    };
    d.rule.name = Some(if silent {
        format!("{workflow}: nothing from {whose} for {silence}")
    } else {
        format!("{workflow}: {whose} is back")
    });
    d.last_seen = Some(last);
    d.occurred_at = Some(if silent { silence.since(last) } else { heard.seen });
    weigh(&mut d, if silent { 50.0 } else { 10.0 }, code);
    d
}

impl Processor for Hearer {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        self.hear(record, tx).unwrap_or_else(|end| end)
    }
}
