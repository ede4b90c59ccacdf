//! What steps with state keep between events, of one partition of one branch: the windows that `dedup` and `rate` count in and `gather` gathers in, and
//! the events that `delay` and `gather` hold. Owns how windows are counted, when they are forgotten, and how much is kept. Must not know: steps, topics, clocks.
//!
//! Windows run on the times of the events' records, so that a replay counts as the first run did, however late either comes.
pub mod gathered;

use crate::{
    machine::Delay,
    tables::{self, Rows},
};
use atio_schemas::{Code, Detection, Timestamp};
use atio_stage::{Reject, StageError, Store, Tx};
use atio_vrl::Row;
use gathered::{Gathered, Gathering};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Windows that are kept at most, a partition and branch.
pub const WINDOWS_MAX: u64 = 100_000;
/// Events that are held at most, a partition and branch, and their bytes.
pub const HELD_MAX: u64 = 10_000;
pub const HELD_BYTES_MAX: u64 = 64 << 20;
/// One event that is held: what its changelog takes.
const DELAYED_MAX: usize = (8 << 20) - (64 << 10);
/// From so many windows on those that have ended are looked for, and so many of them are deleted at once.
const SWEEP_FROM: u64 = 1000;
const SWEEP_MAX: usize = 10_000;
/// Between two looks; in the time of the records.
const SWEEP_AGAIN_MS: i64 = 1000;

const WINDOW: &str = "window/";
const DELAYED: &str = "delayed/";
const TOTALS: &str = "totals";

/// The store of a branch that has such steps.
pub struct Steps;

impl Store for Steps {
    const NAME: &'static str = "steps";
    type Value = Kept;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Key `window/…`: a step and the values that it counts by.
    Window(Window),
    /// Key `window/…`, too.
    Gathering(Gathering),
    /// Key `gathered/…`: a step, the values that it gathers by, and when that ends.
    Gathered(Gathered),
    /// Key `delayed/…`: the record's number.
    Delayed(Box<Delayed>),
    /// How much there is.
    Totals(Totals),
}

/// Begun by the first event of its key, with the length that its step had then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub until: Timestamp,
    /// That went on.
    pub events: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    windows: u64,
    /// With so many windows, and from then on, those that have ended are looked for.
    sweep_at: u64,
    sweep_from: Timestamp,
    held: u64,
    held_bytes: u64,
    #[serde(default)]
    gathered_bytes: u64,
}

/// An event that a `delay` holds, with all that the rest of its branch needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delayed {
    /// Of the workflow: it goes on under the one that it started with.
    pub version: i64,
    /// Index of the `delay` among the branch's steps.
    pub step: usize,
    pub due: Timestamp,
    /// As the branch got it: keys and identifies its deliveries.
    pub original: Detection,
    /// As the steps before have left it; none where they left it alone.
    pub detection: Option<Detection>,
    /// Columns were changed since its bundle was last brought in line with them.
    pub unaligned: bool,
    /// Headers that go on to what is delivered.
    pub carried: Vec<(String, String)>,
    /// Of a `gather`: under which name it is what others add to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathering: Option<String>,
    /// What they have added; where it is taken.
    #[serde(skip)]
    pub gathered: Option<Gathered>,
    /// Its size as it is kept.
    #[serde(default)]
    pub bytes: u64,
}

impl Delayed {
    /// What is held of an event that a branch of this version wants held.
    #[must_use]
    pub fn of(delay: &Delay, original: &Detection, version: i64, carried: Vec<(String, String)>) -> Self {
        Self {
            version,
            step: delay.step,
            due: delay.due,
            original: original.clone(),
            detection: delay.detection.clone(),
            unaligned: delay.unaligned,
            carried,
            gathering: delay.gathering.clone(),
            gathered: None,
            bytes: 0,
        }
    }
}

/// Where steps keep it: the transaction of the event.
pub trait Memory {
    /// What is due by then is not held.
    fn now(&self) -> Timestamp;
    /// # Errors
    /// What is stored does not read.
    fn get(&mut self, key: &str) -> Result<Option<Kept>, StageError>;
    /// # Errors
    /// It can't be written.
    fn put(&mut self, key: &str, value: &Kept) -> Result<(), StageError>;
    fn delete(&mut self, key: &str);
    /// Visits all windows: when each ends, and how many bytes of lists it keeps.
    ///
    /// # Errors
    /// What is stored does not read.
    fn windows(&mut self, visit: &mut dyn FnMut(&str, Timestamp, u64)) -> Result<(), StageError>;
    /// The row of a table that has this key.
    ///
    /// # Errors
    /// The stage does not read this table.
    fn row(&self, table: &str, key: &str) -> Result<Option<Arc<Row>>, StageError>;
}

impl Memory for Tx<'_> {
    fn now(&self) -> Timestamp {
        Tx::now(self)
    }
    fn get(&mut self, key: &str) -> Result<Option<Kept>, StageError> {
        self.store::<Steps>().get(key)
    }
    fn put(&mut self, key: &str, value: &Kept) -> Result<(), StageError> {
        self.store::<Steps>().put(key, value)
    }
    fn delete(&mut self, key: &str) {
        self.store::<Steps>().delete(key);
    }
    fn windows(&mut self, visit: &mut dyn FnMut(&str, Timestamp, u64)) -> Result<(), StageError> {
        self.store::<Steps>().each(WINDOW, |key, kept| match kept {
            Kept::Window(window) => visit(key, window.until, 0),
            Kept::Gathering(window) => visit(key, window.until, window.bytes()),
            _ => {}
        })
    }
    fn row(&self, table: &str, key: &str) -> Result<Option<Arc<Row>>, StageError> {
        Ok(self.table::<Rows>(&tables::name(table).0)?.get(key).cloned())
    }
}

/// Where nothing is kept: no step with state may stand there.
pub struct Nothing;

impl Nothing {
    fn refused() -> StageError {
        StageError { code: Code::Internal, message: "steps keep no state and read no tables here".to_owned() }
    }
}

impl Memory for Nothing {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
    fn get(&mut self, _: &str) -> Result<Option<Kept>, StageError> {
        Err(Self::refused())
    }
    fn put(&mut self, _: &str, _: &Kept) -> Result<(), StageError> {
        Err(Self::refused())
    }
    fn delete(&mut self, _: &str) {}
    fn windows(&mut self, _: &mut dyn FnMut(&str, Timestamp, u64)) -> Result<(), StageError> {
        Err(Self::refused())
    }
    fn row(&self, _: &str, _: &str) -> Result<Option<Arc<Row>>, StageError> {
        Err(Self::refused())
    }
}

/// What a window says of one more event.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One of the first `limit`.
    Within,
    Above,
    /// It would begin a window, and there are [`WINDOWS_MAX`].
    NoRoom,
}

/// Counts an event of `key` at a time: the first begins a window of `span_ms`, and up to `limit` of it go on until it ends.
///
/// # Errors
/// The state can't be read or written.
pub fn count(
    memory: &mut dyn Memory,
    key: &str,
    at: Timestamp,
    span_ms: i64,
    limit: u64,
) -> Result<Count, StageError> {
    let key = format!("{WINDOW}{key}");
    let known = match memory.get(&key)? {
        Some(Kept::Window(window)) => Some(window),
        _ => None,
    };
    if let Some(window) = known.filter(|window| at < window.until) {
        if window.events >= limit {
            return Ok(Count::Above);
        }
        memory.put(&key, &Kept::Window(Window { events: window.events + 1, ..window }))?;
        return Ok(Count::Within);
    }
    // One that has ended begins anew in its place.
    if known.is_none() && !begin(memory, at)? {
        return Ok(Count::NoRoom);
    }
    memory.put(&key, &Kept::Window(Window { until: at.plus_millis(span_ms), events: 1 }))?;
    Ok(Count::Within)
}

/// One window more, where there is room for it.
fn begin(memory: &mut dyn Memory, at: Timestamp) -> Result<bool, StageError> {
    let mut totals = totals(memory)?;
    let enough = totals.windows >= totals.sweep_at.clamp(SWEEP_FROM, WINDOWS_MAX);
    let swept = enough && at >= totals.sweep_from;
    if swept {
        sweep(memory, &mut totals, at)?;
    }
    let room = totals.windows < WINDOWS_MAX;
    if room {
        totals.windows += 1;
    }
    if room || swept {
        memory.put(TOTALS, &Kept::Totals(totals))?;
    }
    Ok(room)
}

/// Deletes windows that have ended. The next look is worth it when there are twice as many: so it costs little an event, however many windows
/// there are.
fn sweep(memory: &mut dyn Memory, totals: &mut Totals, at: Timestamp) -> Result<(), StageError> {
    let (mut ended, mut freed) = (vec![], 0);
    memory.windows(&mut |key, until, bytes| {
        if until <= at && ended.len() < SWEEP_MAX {
            ended.push(key.to_owned());
            freed += bytes;
        }
    })?;
    ended.iter().for_each(|key| memory.delete(key));
    totals.windows = totals.windows.saturating_sub(ended.len() as u64);
    totals.gathered_bytes = totals.gathered_bytes.saturating_sub(freed);
    totals.sweep_at = totals.windows.saturating_mul(2);
    // Where one look deletes all that it may, the next one goes on at once.
    totals.sweep_from = if ended.len() < SWEEP_MAX { at.plus_millis(SWEEP_AGAIN_MS) } else { at };
    Ok(())
}

fn totals(memory: &mut dyn Memory) -> Result<Totals, StageError> {
    Ok(match memory.get(TOTALS)? {
        Some(Kept::Totals(totals)) => totals,
        _ => Totals::default(),
    })
}

fn put_totals(memory: &mut dyn Memory, totals: Totals) -> Result<(), StageError> {
    memory.put(TOTALS, &Kept::Totals(totals))
}

/// Under which key the record of this number is held.
#[must_use]
pub fn delayed_key(number: i64) -> String {
    // What is due at the same time goes on in the order in which it came.
    format!("{DELAYED}{number:020}")
}

/// Keeps an event under its key until it is taken; or says why not.
///
/// # Errors
/// The state can't be read or written.
pub fn hold(memory: &mut dyn Memory, key: &str, delayed: Delayed) -> Result<Option<Reject>, StageError> {
    let gathering = delayed.gathering.clone();
    let reject = hold_where_there_is_room(memory, key, delayed)?;
    if let Some(name) = gathering.filter(|_| reject.is_some()) {
        // Nothing may be added to what never goes on.
        gathered::take(memory, &name)?;
    }
    Ok(reject)
}

fn hold_where_there_is_room(
    memory: &mut dyn Memory,
    key: &str,
    delayed: Delayed,
) -> Result<Option<Reject>, StageError> {
    let mut totals = totals(memory)?;
    let bytes = match size(&delayed) {
        Ok(bytes) => bytes,
        Err(reject) => return Ok(Some(reject)),
    };
    if totals.held >= HELD_MAX || totals.held_bytes.saturating_add(bytes) > HELD_BYTES_MAX {
        let message = format!(
            "{} events of {} bytes are delayed here, at most {HELD_MAX} of {HELD_BYTES_MAX} a partition are",
            totals.held, totals.held_bytes
        );
        return Ok(Some(Reject::whole(Code::TooMany, message)));
    }
    memory.put(key, &Kept::Delayed(Box::new(Delayed { bytes, ..delayed })))?;
    totals.held += 1;
    totals.held_bytes += bytes;
    memory.put(TOTALS, &Kept::Totals(totals))?;
    Ok(None)
}

/// What could not be kept, or not be read again, must not stop the branch later.
fn size(delayed: &Delayed) -> Result<u64, Reject> {
    let unfit = |error: serde_json::Error| Reject::whole(Code::InvalidField, error.to_string());
    let text = serde_json::to_vec(delayed).map_err(unfit)?;
    if text.len() > DELAYED_MAX {
        let message = format!("{} bytes to be held, {DELAYED_MAX} are", text.len());
        return Err(Reject::whole(Code::TooLarge, message));
    }
    serde_json::from_slice::<Delayed>(&text).map_err(unfit)?;
    Ok(text.len() as u64)
}

/// Takes an event out; none where none is held under this key.
///
/// # Errors
/// The state can't be read or written.
pub fn take(memory: &mut dyn Memory, key: &str) -> Result<Option<Delayed>, StageError> {
    let Some(Kept::Delayed(delayed)) = memory.get(key)? else { return Ok(None) };
    memory.delete(key);
    let mut totals = totals(memory)?;
    totals.held = totals.held.saturating_sub(1);
    totals.held_bytes = totals.held_bytes.saturating_sub(delayed.bytes);
    put_totals(memory, totals)?;
    let gathered = match &delayed.gathering {
        Some(name) => gathered::take(memory, name)?,
        None => None,
    };
    Ok(Some(Delayed { gathered, ..*delayed }))
}

/// As if there were so much already.
#[cfg(test)]
pub(crate) fn crowd(memory: &mut dyn Memory, windows: u64, held: u64) {
    let totals = Totals { windows, held, ..Totals::default() };
    memory.put(TOTALS, &Kept::Totals(totals)).unwrap();
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
