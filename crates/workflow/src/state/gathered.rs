//! What `gather` keeps of the events of a key: how many came, and the elements of lists. Owns when a window begins and is complete, and how much is
//! kept. Must not know: steps, columns.
use super::{HELD_MAX, Kept, Memory, Totals, WINDOW, begin, put_totals, totals};
use atio_schemas::Timestamp;
use atio_stage::StageError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Elements of one list, and bytes of all lists of a window.
const ELEMENTS_MAX: usize = 1000;
const BYTES_MAX: u64 = 64 << 10;
/// Bytes of the lists of all windows, a partition and branch.
pub const GATHERED_BYTES_MAX: u64 = 64 << 20;

const GATHERED: &str = "gathered/";

/// Elements that an event adds to lists, by list.
pub type Lists = BTreeMap<&'static str, Vec<String>>;

/// What came together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    pub events: u64,
    /// Each element once, in the order in which they came.
    pub lists: BTreeMap<String, Vec<String>>,
    /// There were more elements than are kept.
    pub cut: bool,
    bytes: u64,
}

/// Of a window: key `window/…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathering {
    pub until: Timestamp,
    /// Where what came is kept until the window ends: under this key. Without it here, until there are enough.
    held: Option<String>,
    gathered: Gathered,
}

impl Gathering {
    /// What it keeps here.
    pub(super) const fn bytes(&self) -> u64 {
        self.gathered.bytes
    }
}

impl Gathered {
    fn add(&mut self, lists: Lists, room: u64) {
        let room = self.bytes.saturating_add(room).min(BYTES_MAX);
        self.events += 1;
        for (name, elements) in lists {
            let list = self.lists.entry(name.to_owned()).or_default();
            for element in elements {
                if list.contains(&element) {
                    continue;
                }
                let bytes = self.bytes.saturating_add(element.len() as u64 + 8);
                if list.len() >= ELEMENTS_MAX || bytes > room {
                    self.cut = true;
                } else {
                    self.bytes = bytes;
                    list.push(element);
                }
            }
        }
    }
}

/// What becomes of one more event.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gather {
    /// It is counted, and others go on with it.
    Joined,
    /// With it there are enough.
    Complete(Gathered),
    /// It is the first: to be held until then, and under this name is what others add.
    Begun { until: Timestamp, name: String },
    /// It would begin a window, and there is no room for one more.
    NoRoom,
}

/// Adds an event of `key` at a time to its window: the first begins one of `span_ms`, the one that makes `count` of them ends it. What came in a window
/// that ends before is forgotten.
///
/// # Errors
/// The state can't be read or written.
pub fn toward(
    memory: &mut dyn Memory,
    key: &str,
    at: Timestamp,
    (span_ms, count): (i64, u64),
    lists: Lists,
) -> Result<Gather, StageError> {
    let key = format!("{WINDOW}{key}");
    let known = window(memory, &key)?;
    if known.is_none() && !begin(memory, at)? {
        return Ok(Gather::NoRoom);
    }
    let before = known.as_ref().map_or(0, Gathering::bytes);
    let open = known.filter(|window| at < window.until && window.held.is_none());
    let mut window = open.unwrap_or_else(|| Gathering {
        until: at.plus_millis(span_ms),
        held: None,
        gathered: Gathered::default(),
    });
    let mut totals = totals(memory)?;
    totals.gathered_bytes = totals.gathered_bytes.saturating_sub(before);
    window.gathered.add(lists, left(&totals).saturating_sub(window.gathered.bytes));
    if window.gathered.events >= count {
        memory.delete(&key);
        totals.windows = totals.windows.saturating_sub(1);
        put_totals(memory, totals)?;
        return Ok(Gather::Complete(window.gathered));
    }
    totals.gathered_bytes += window.gathered.bytes;
    put_totals(memory, totals)?;
    memory.put(&key, &Kept::Gathering(window))?;
    Ok(Gather::Joined)
}

/// Adds an event of `key` at a time to the one that began its window of `span_ms`; or begins one. [`take`] ends it.
///
/// # Errors
/// The state can't be read or written.
pub fn into_one(
    memory: &mut dyn Memory,
    key: &str,
    at: Timestamp,
    span_ms: i64,
    lists: Lists,
) -> Result<Gather, StageError> {
    let window_key = format!("{WINDOW}{key}");
    let known = window(memory, &window_key)?;
    if let Some(name) = known.as_ref().filter(|window| at < window.until).and_then(|w| w.held.clone())
        // It is gone once it has gone on: what comes later begins anew.
        && let Some(Kept::Gathered(mut gathered)) = memory.get(&name)?
    {
        let mut totals = totals(memory)?;
        let before = gathered.bytes;
        gathered.add(lists, left(&totals));
        totals.gathered_bytes += gathered.bytes.saturating_sub(before);
        put_totals(memory, totals)?;
        memory.put(&name, &Kept::Gathered(gathered))?;
        return Ok(Gather::Joined);
    }
    if totals(memory)?.held >= HELD_MAX || known.is_none() && !begin(memory, at)? {
        return Ok(Gather::NoRoom);
    }
    let until = at.plus_millis(span_ms);
    let name = format!("{GATHERED}{key}@{}", until.0);
    let mut gathered = Gathered::default();
    let mut totals = totals(memory)?;
    // In the place of one that counted.
    totals.gathered_bytes = totals.gathered_bytes.saturating_sub(known.as_ref().map_or(0, Gathering::bytes));
    gathered.add(lists, left(&totals));
    totals.gathered_bytes += gathered.bytes;
    put_totals(memory, totals)?;
    memory.put(&name, &Kept::Gathered(gathered))?;
    let window = Gathering { until, held: Some(name.clone()), gathered: Gathered::default() };
    memory.put(&window_key, &Kept::Gathering(window))?;
    Ok(Gather::Begun { until, name })
}

/// Takes out what was gathered under a name.
///
/// # Errors
/// The state can't be read or written.
pub fn take(memory: &mut dyn Memory, name: &str) -> Result<Option<Gathered>, StageError> {
    let Some(Kept::Gathered(gathered)) = memory.get(name)? else { return Ok(None) };
    memory.delete(name);
    let mut totals = totals(memory)?;
    totals.gathered_bytes = totals.gathered_bytes.saturating_sub(gathered.bytes);
    put_totals(memory, totals)?;
    Ok(Some(gathered))
}

fn window(memory: &mut dyn Memory, key: &str) -> Result<Option<Gathering>, StageError> {
    Ok(match memory.get(key)? {
        Some(Kept::Gathering(window)) => Some(window),
        _ => None,
    })
}

fn left(totals: &Totals) -> u64 {
    GATHERED_BYTES_MAX.saturating_sub(totals.gathered_bytes)
}
