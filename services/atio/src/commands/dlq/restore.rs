//! A dead letter back into the record that it was: topic, key, value and headers, with what its stage must know to make nothing twice. Owns that
//! record, and what can't be replayed; must not know how it is written. The one thing that is read here is the record that a part was cut from.
use super::{
    edit::{Edit, Opened},
    letter::{At, Letter},
};
use atio_ingestion::door;
use atio_schemas::{Code, Codec, Timestamp, header, raw::RawEvent};
use atio_stage::{Headers, Output, Replay};
use atio_stream::read::Entry;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Why a letter can't be replayed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it does not say where it comes from: no stage of ours wrote it")]
    NoOrigin,
    #[error("{0} does not exist any more")]
    TopicGone(String),
    #[error("{0} is not ours: others may read it; --adopted writes there all the same")]
    Adopted(String),
    #[error("its bytes were too many for any topic: they lie in the file that it names")]
    Elsewhere,
    #[error("{bytes} bytes, {topic} takes {limit}")]
    TooLarge { topic: String, bytes: usize, limit: usize },
    #[error("can't be changed: {0}")]
    Edit(String),
    #[error("its record gave more than a letter can name, and would give it again: --again does so")]
    TooMany,
    #[error("can't be read: {0}")]
    Unreadable(String),
}

impl Refused {
    /// Bounded.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoOrigin => "no_origin",
            Self::TopicGone(_) => "topic_gone",
            Self::Adopted(_) => "adopted",
            Self::Elsewhere => "elsewhere",
            Self::TooLarge { .. } => "too_large",
            Self::Edit(_) => "not_editable",
            Self::TooMany => "too_many",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// What somebody should know before it goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    NobodyReads,
    EnvelopeLost,
    OtherPartition,
}

impl Warning {
    pub const fn code(self) -> &'static str {
        match self {
            Self::NobodyReads => "nobody_reads",
            Self::EnvelopeLost => "envelope_lost",
            Self::OtherPartition => "other_partition",
        }
    }
    pub const fn text(self) -> &'static str {
        match self {
            Self::NobodyReads => "the stage has no group: nobody will take it",
            Self::EnvelopeLost => {
                "the record that it was cut from is gone: sensor, sender's id and time of receipt are not known"
            }
            Self::OtherPartition => "its partition is not there: the key chooses another",
        }
    }
}

/// sha256 of a value before and after, hex.
type Hashes = (String, String);

/// A record that goes out, and what there is to say about it.
#[derive(Debug)]
pub struct Restored {
    pub output: Output,
    /// Where the value was edited.
    pub edited: Option<Hashes>,
    pub warnings: Vec<Warning>,
}

/// Where letters go back to.
pub struct Site {
    pub prefix: String,
    /// Topics with their partition counts.
    pub topics: BTreeMap<String, u32>,
    /// `max.message.bytes`.
    pub limits: HashMap<Arc<str>, usize>,
    pub groups: BTreeSet<String>,
    pub edit: Edit,
    /// Adopted topics are written to as well.
    pub adopted: bool,
    pub again: bool,
}

struct Draft {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
    warning: Option<Warning>,
}

impl Site {
    /// `codec` has the schema of the letter's value at hand; `original` reads the record at a place, none where it is gone.
    pub fn restore(
        &self,
        entry: &Entry,
        codec: &Codec,
        original: &mut dyn FnMut(&str, At) -> Option<RawEvent>,
    ) -> Result<Restored, Refused> {
        let letter = Letter(entry);
        let to = letter.source().ok_or(Refused::NoOrigin)?;
        let partitions = *self.topics.get(to).ok_or_else(|| Refused::TopicGone(to.to_owned()))?;
        if !to.starts_with(&self.prefix) && !self.adopted {
            return Err(Refused::Adopted(to.to_owned()));
        }
        if letter.emitted() == Some("*") && !self.again {
            return Err(Refused::TooMany);
        }
        let draft = self.draft(letter, to, codec, original)?;
        let mut warnings: Vec<Warning> = draft.warning.into_iter().collect();
        let partition = letter.partition().filter(|p| u32::try_from(*p).is_ok_and(|p| p < partitions));
        if partition.is_none() && letter.partition().is_some() {
            warnings.push(Warning::OtherPartition);
        }
        // Whatever is on it is the pool's to run, whichever branch it is for.
        let pooled = to.strip_prefix(&self.prefix) == Some("routed");
        let group = format!("{}{}", self.prefix, if pooled { atio_routing::POOL } else { letter.stage() });
        if !letter.is_of_a_file() && !self.groups.contains(&group) {
            warnings.push(Warning::NobodyReads);
        }
        let (value, edited) = self.edited(draft.value, codec)?;
        let headers = replayed(letter, draft.headers);
        let output = Output { topic: Arc::from(to), partition, key: draft.key, value, headers };
        let limit = self.limits.get(to).copied().unwrap_or(usize::MAX);
        if output.size() > limit {
            return Err(Refused::TooLarge { topic: to.to_owned(), bytes: output.size(), limit });
        }
        Ok(Restored { output, edited, warnings })
    }

    /// The record without what a replay adds.
    fn draft(
        &self,
        letter: Letter<'_>,
        to: &str,
        codec: &Codec,
        original: &mut dyn FnMut(&str, At) -> Option<RawEvent>,
    ) -> Result<Draft, Refused> {
        let entry = letter.0;
        let source = to.strip_prefix(&self.prefix).and_then(|name| name.strip_prefix("raw."));
        if letter.is_of_a_file() {
            let sets = matches!(self.edit, Edit::Set(_));
            if letter.code() == Code::TooLarge.as_str() && !sets {
                return Err(Refused::Elsewhere);
            }
            let source = source.ok_or(Refused::NoOrigin)?;
            return self.enveloped(codec, of_file(letter, source), None);
        }
        let as_it_was = || Draft {
            key: entry.key.clone(),
            value: entry.value.clone(),
            headers: entry.headers.clone(),
            warning: None,
        };
        if letter.is_anew() {
            // It was held under a key of its stage's.
            let key = topic_key(&Opened::of(codec, letter.value()));
            let key =
                key.ok_or_else(|| Refused::Unreadable("it does not say under which key it lay".to_owned()))?;
            return Ok(Draft { key: Some(key), ..as_it_was() });
        }
        let (Some(part), Some(at)) = (letter.part(), letter.record()) else { return Ok(as_it_was()) };
        let mut draft = as_it_was();
        match original(to, at) {
            Some(mut event) => {
                event.payload = letter.value().to_vec();
                let part = i64::try_from(part).unwrap_or(i64::MAX);
                event.file_offset = event.file_offset.map(|start| start.saturating_add(part));
                draft.value = Some(encoded(codec, &event)?);
                Ok(draft)
            }
            None => match source {
                Some(source) => {
                    let enveloped =
                        self.enveloped(codec, bare(letter, source), Some(Warning::EnvelopeLost))?;
                    Ok(Draft { key: entry.key.clone(), ..enveloped })
                }
                // An adopted topic holds the tool's own bytes.
                None => Ok(draft),
            },
        }
    }

    fn enveloped(&self, codec: &Codec, event: RawEvent, warning: Option<Warning>) -> Result<Draft, Refused> {
        let made = door::record(codec, &self.prefix, None, &event);
        let output = made.map_err(|e| Refused::Unreadable(e.to_string()))?;
        Ok(Draft { key: output.key, value: output.value, headers: output.headers, warning })
    }

    fn edited(
        &self,
        value: Option<Vec<u8>>,
        codec: &Codec,
    ) -> Result<(Option<Vec<u8>>, Option<Hashes>), Refused> {
        if self.edit.is_none() {
            return Ok((value, None));
        }
        let before = value.unwrap_or_default();
        let after = Opened::of(codec, &before).edited(codec, &self.edit).map_err(Refused::Edit)?;
        let hashes = (hash(&before), hash(&after));
        let edited = (hashes.0 != hashes.1).then_some(hashes);
        Ok((Some(after), edited))
    }
}

/// The key that a record of this kind has on its topic: its incident; for a routed event its asset, else what intelligence is about.
fn topic_key(value: &Opened) -> Option<Vec<u8>> {
    let Opened::Fields { value, .. } = value else { return None };
    let routed = &value["detection"];
    let names = [&value["incident_id"], &routed["asset"], &routed["rule"]["id"], &routed["event_id"]];
    names.into_iter().find_map(|name| name.as_str()).map(|text| text.as_bytes().to_vec())
}

fn hash(bytes: &[u8]) -> String {
    atio_monitoring::written::hex(&Sha256::digest(bytes).into())
}

fn encoded(codec: &Codec, event: &RawEvent) -> Result<Vec<u8>, Refused> {
    codec.encode(event).map_err(|e| Refused::Unreadable(e.to_string()))
}

/// A raw event of which the letter alone is left.
fn bare(letter: Letter<'_>, source: &str) -> RawEvent {
    let seen = letter.first_seen().and_then(|text| Timestamp::parse(text).ok());
    RawEvent {
        source: source.to_owned(),
        tenant: letter.0.headers.text(header::TENANT).unwrap_or(atio_stix::ids::DEFAULT_TENANT).to_owned(),
        format: None,
        content_type: None,
        sensor: None,
        transport: "topic".to_owned(),
        received_from: None,
        received_at: seen.unwrap_or(letter.0.timestamp),
        file: None,
        file_offset: None,
        dedup_key: None,
        index: 0,
        payload: letter.value().to_vec(),
    }
}

/// A line, or a file, that never became a raw event: it has the ids that it would have had.
fn of_file(letter: Letter<'_>, source: &str) -> RawEvent {
    RawEvent {
        transport: "tail".to_owned(),
        received_from: letter.path().map(str::to_owned),
        file: letter.file().map(str::to_owned),
        file_offset: letter.part().and_then(|part| i64::try_from(part).ok()),
        ..bare(letter, source)
    }
}

/// The headers without the reasons, and with what a replay says of itself.
fn replayed(letter: Letter<'_>, from: Headers) -> Headers {
    let before = Replay::of(&letter.0.headers);
    let first = before
        .and_then(Replay::place)
        .map(|(topic, partition, offset)| format!("{topic}/{partition}/{offset}"));
    let here = || Some(format!("{}/{}", letter.source()?, letter.record()?));
    // Of a part of a part, both places count.
    let inner = letter.part().filter(|_| !letter.is_of_a_file());
    let part = match (before.and_then(Replay::part), inner) {
        (None, part) | (part, None) => part,
        (Some(outer), Some(inner)) => Some(outer.saturating_add(inner)),
    };
    let is_ours = |name: &str| name.starts_with(header::ERRORS) || name.starts_with(header::REPLAY);
    let mut headers = Headers(from.0.into_iter().filter(|(name, _)| !is_ours(name)).collect());
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            headers.set(name, value);
        }
    };
    put(header::REPLAY_LETTER, Some(letter.place()));
    put(header::REPLAY_STAGE, (!letter.is_of_a_file()).then(|| letter.stage().to_owned()));
    put(header::REPLAY_PLACE, first.or_else(here));
    put(header::REPLAY_PART, part.map(|p| p.to_string()));
    put(header::REPLAY_ATTEMPTS, Some(letter.attempt().to_string()));
    put(header::REPLAY_FIRST_SEEN, letter.first_seen().map(str::to_owned));
    put(header::REPLAY_EMITTED, letter.emitted().map(str::to_owned));
    put(header::REPLAY_ANEW, letter.is_anew().then(|| "true".to_owned()));
    headers
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
