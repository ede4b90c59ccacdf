//! What one stage made of events now, against what lies on its topics: by event, by content. Owns what counts as changed, new, missing, and what the next
//! stage reads in the place of what was there. Must not know: stages, how topics are read.
use atio_schemas::{Codec, Detection, Timestamp, header};
use atio_stage::{Headers, Output};
use atio_stream::read::Entry;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// Of what differs, in all: that much is kept for the next stage.
const KEPT_BYTES: usize = 512 << 20;

/// Events on the topics of one hop at most: what is kept of each takes some 150 bytes.
const MAX_EVENTS: usize = 2_000_000;

/// An event, a record's origin, a content: the first 16 bytes of a hash.
pub type Id = u128;

#[must_use]
pub fn id(bytes: impl AsRef<[u8]>) -> Id {
    let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(bytes.as_ref()).into();
    hash.iter().take(16).fold(0, |id, byte| (id << 8) | Id::from(*byte))
}

/// Where a record comes from, else what it is.
#[must_use]
pub fn origin(headers: &Headers, event: &str) -> Id {
    id(headers.get(header::ORIGIN).unwrap_or(event.as_bytes()))
}

/// A record on its way to the next stage.
#[derive(Clone, Debug)]
pub struct Fed {
    pub topic: Arc<str>,
    pub partition: i32,
    /// Where it lies; none of what was not there then.
    pub offset: Option<i64>,
    pub at: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

impl From<Entry> for Fed {
    fn from(entry: Entry) -> Self {
        let Entry { topic, partition, offset, timestamp, key, value, headers } = entry;
        Self { topic, partition, offset: Some(offset), at: timestamp, key, value, headers }
    }
}

/// What lies on the topics.
struct Then {
    content: Id,
    key: Id,
    topic: usize,
    origin: Id,
    made: bool,
}

/// What was made otherwise than then, or not then.
struct Kept {
    fed: Fed,
    /// It goes elsewhere than what was there: by its time.
    moves: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub same: u64,
    pub changed: u64,
    /// Not there then.
    pub new: u64,
    /// There then.
    pub missing: u64,
    /// Of those that changed: which columns.
    pub columns: BTreeMap<String, u64>,
}

impl Counts {
    #[must_use]
    pub fn differs(&self) -> bool {
        self.changed + self.new + self.missing > 0
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub hop: &'static str,
    pub what: &'static str,
    pub event: String,
    /// Columns.
    pub places: Vec<String>,
}

/// What the next stage reads where a record lies.
#[derive(Debug)]
pub enum Way {
    /// It belongs to nothing that is replayed.
    Not,
    AsItWas,
    Instead(Box<Fed>),
    /// Nothing made it.
    Missing,
}

/// One hop: `detections`, say, with both of its topics.
pub struct Hop {
    pub name: &'static str,
    pub topics: Vec<Arc<str>>,
    codec: Codec,
    then: HashMap<Id, Then>,
    /// Which partition a key is on.
    homes: HashMap<Id, i32>,
    kept: HashMap<Id, Kept>,
    made: HashSet<Id>,
    bytes: usize,
    told: HashSet<Id>,
    pub counts: Counts,
    pub examples: Vec<Difference>,
    most: usize,
}

impl Hop {
    #[must_use]
    pub fn new(name: &'static str, topics: Vec<Arc<str>>, codec: &Codec, most: usize) -> Self {
        Self {
            name,
            topics,
            codec: codec.clone(),
            then: HashMap::new(),
            homes: HashMap::new(),
            kept: HashMap::new(),
            made: HashSet::new(),
            bytes: 0,
            told: HashSet::new(),
            counts: Counts::default(),
            examples: vec![],
            most,
        }
    }

    /// Whether more can be taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.then.len() >= MAX_EVENTS
    }

    /// What was there; none where it does not read.
    pub fn then(&mut self, entry: &Entry) -> Option<()> {
        let detection: Detection = self.codec.decode(entry.value.as_deref()?).ok()?;
        let content = id(self.codec.encode(&detection).ok()?);
        let topic = self.topics.iter().position(|topic| *topic == entry.topic)?;
        let key = id(entry.key.as_deref().unwrap_or_default());
        let origin = origin(&entry.headers, &detection.event_id);
        self.homes.entry(key).or_insert(entry.partition);
        let then = Then { content, key, topic, origin, made: false };
        // What is there again is the same event.
        self.then.entry(id(&detection.event_id)).or_insert(then);
        Some(())
    }

    /// What a stage makes now, out of a record of this time. What goes to other topics is none of it.
    pub fn now(&mut self, output: &Output, at: Timestamp) -> anyhow::Result<()> {
        let Some(topic) = self.topics.iter().position(|topic| *topic == output.topic) else { return Ok(()) };
        let (Some(event), Some(value)) = (output.headers.text(header::CE_ID), &output.value) else {
            return Ok(());
        };
        let (event, content) = (id(event), id(value));
        if !self.made.insert(event) {
            return Ok(());
        }
        let key = id(output.key.as_deref().unwrap_or_default());
        let mut moves = true;
        if let Some(then) = self.then.get_mut(&event) {
            then.made = true;
            moves = then.key != key || then.topic != topic;
            if then.content == content && !moves {
                self.counts.same += 1;
                return Ok(());
            }
        }
        self.bytes += value.len();
        anyhow::ensure!(
            self.bytes <= KEPT_BYTES,
            "what differs on {} takes more than {} MiB: replay less at once (--from, --limit)",
            self.name,
            KEPT_BYTES >> 20
        );
        let fed = Fed {
            topic: Arc::clone(&output.topic),
            partition: self.homes.get(&key).copied().unwrap_or(0),
            offset: None,
            at,
            key: output.key.clone(),
            value: output.value.clone(),
            headers: output.headers.clone(),
        };
        self.kept.insert(event, Kept { fed, moves });
        Ok(())
    }

    /// What was not on this partition then and is now, by its time; what is new counts here.
    pub fn coming(&mut self, topic: &str, partition: i32) -> Vec<Fed> {
        let mut found: Vec<(Id, Fed)> = vec![];
        for (event, kept) in &self.kept {
            if kept.moves && *kept.fed.topic == *topic && kept.fed.partition == partition {
                found.push((*event, kept.fed.clone()));
            }
        }
        found.sort_by_key(|(event, fed)| (fed.at, *event));
        for (event, fed) in &found {
            if !self.then.contains_key(event) && self.told.insert(*event) {
                self.counts.new += 1;
                let text = fed.headers.text(header::CE_ID).unwrap_or_default().to_owned();
                self.example("new", text, vec![]);
            }
        }
        found.into_iter().map(|(_, fed)| fed).collect()
    }

    /// What the next stage reads in the place of this record. `origins`: of what is replayed.
    pub fn way(&mut self, entry: &Entry, origins: &HashSet<Id>) -> Way {
        let detection = entry.value.as_deref().and_then(|v| self.codec.decode::<Detection>(v).ok());
        let Some(detection) = detection else { return Way::Not };
        let event = id(&detection.event_id);
        let Some(then) = self.then.get(&event).filter(|then| origins.contains(&then.origin)) else {
            return Way::Not;
        };
        if !then.made {
            if self.told.insert(event) {
                self.counts.missing += 1;
                self.example("missing", detection.event_id, vec![]);
            }
            return Way::Missing;
        }
        let Some(kept) = self.kept.get(&event) else { return Way::AsItWas };
        let mut fed = kept.fed.clone();
        let moves = kept.moves;
        if self.told.insert(event) {
            self.counts.changed += 1;
            let now = fed.value.as_deref().and_then(|value| self.codec.decode::<Detection>(value).ok());
            let places = now.map(|now| columns(&detection, &now)).unwrap_or_default();
            places.iter().for_each(|column| *self.counts.columns.entry(column.clone()).or_default() += 1);
            self.example("changed", detection.event_id, places);
        }
        if moves {
            return Way::Not;
        }
        (fed.partition, fed.offset, fed.at) = (entry.partition, Some(entry.offset), entry.timestamp);
        Way::Instead(Box::new(fed))
    }

    fn example(&mut self, what: &'static str, event: String, places: Vec<String>) {
        if self.examples.len() < self.most {
            self.examples.push(Difference { hop: self.name, what, event, places });
        }
    }
}

/// Columns that differ, by name.
fn columns(then: &Detection, now: &Detection) -> Vec<String> {
    let (Ok(Value::Object(then)), Ok(Value::Object(now))) =
        (serde_json::to_value(then), serde_json::to_value(now))
    else {
        return vec![];
    };
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    names.into_iter().filter(|name| then.get(*name) != now.get(*name)).cloned().collect()
}

#[cfg(test)]
#[path = "hop_tests.rs"]
mod tests;
