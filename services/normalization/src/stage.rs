//! The stage: one raw record in, its detections and logs out. Owns decoding, ids by position, duplicates and headers; must not know how a
//! format is read or a graph is built.
use crate::asset::Assets;
use crate::config::Source;
use crate::event::{EventIds, Origin};
use crate::graph::{self, Cx, Made, RawRef, Refused};
use crate::{MAX_OUTPUTS, asset};
use atio_formats::ReadCx;
use atio_formats::finding::{Findings, Rejected};
use atio_schemas::{Code, Codec, Detection, Timestamp, detection::Kind, header, raw::RawEvent};
use atio_stage::{Headers, Outcome, Output, Part, Processor, Record, Reject, Replay, StageError, Store, Tx};
use atio_stix::Known;
use ipnet::IpNet;
use std::collections::HashMap;
use std::sync::Arc;

/// Events with an id of their sender's, by that id: a repeat within 24 h is one event (exactly-once, rule 21).
pub struct Seen;

/// A day, in milliseconds.
const WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

impl Store for Seen {
    const NAME: &'static str = "seen";
    /// An hour more than the window, which runs on the records' times.
    const RETENTION_MS: Option<i64> = Some(WINDOW_MS + 60 * 60 * 1000);
    /// The first record's timestamp, microseconds.
    type Value = i64;
}

/// The processor; made by [`crate::processor`].
pub struct Normalizer {
    pub(crate) codec: Codec,
    pub(crate) home: Vec<IpNet>,
    /// By raw topic.
    pub(crate) sources: HashMap<String, Source>,
    pub(crate) detections: Arc<str>,
    pub(crate) logs: Arc<str>,
    pub(crate) names: Names,
    /// A memory of what it has written; results are the same without it.
    pub(crate) known: Known,
}

/// The headers' names, made once.
pub(crate) struct Names([Arc<str>; 9]);

impl Default for Names {
    fn default() -> Self {
        let names = [
            header::CE_SPECVERSION,
            header::CE_ID,
            header::CE_SOURCE,
            header::CE_TYPE,
            header::CE_TIME,
            header::CONTENT_TYPE,
            header::RUN,
            header::ORIGIN,
            header::TENANT,
        ];
        Self(names.map(Arc::from))
    }
}

/// A raw record, decoded.
struct Raw<'r> {
    payload: &'r [u8],
    format: Option<&'r str>,
    sensor: Option<&'r str>,
    received_at: Timestamp,
    origin: Origin<'r>,
}

impl Processor for Normalizer {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let Some(value) = record.value else {
            return Outcome::dead_letter(Code::NullValue, "a raw record without a value");
        };
        let Some(source) = self.sources.get(record.topic) else {
            return Outcome::dead_letter(
                Code::UnknownSource,
                format!("no source is declared on {}", record.topic),
            );
        };
        let replay = trusted(record);
        if source.naked {
            let raw = Raw {
                payload: value,
                format: source.format.as_deref(),
                sensor: None,
                received_at: record.timestamp,
                origin: position(record, replay),
            };
            return self.normalize(record, source, &raw, tx);
        }
        let event: RawEvent = match self.codec.decode(value) {
            Ok(event) => event,
            Err(error) => return Outcome::dead_letter(error.code(), error.to_string()),
        };
        // What is replayed was seen, and came to nothing.
        if replay.is_none() {
            match self.is_repeat(record, &event, tx) {
                Ok(true) => return Outcome::Drop(Code::Duplicate),
                Ok(false) => {}
                Err(error) => return Outcome::Fail(error),
            }
        }
        let raw = Raw {
            payload: &event.payload,
            format: source.format.as_deref().or(event.format.as_deref()),
            sensor: event.sensor.as_deref(),
            received_at: event.received_at,
            origin: origin(record, replay, &event),
        };
        self.normalize(record, source, &raw, tx)
    }
}

/// The replay that a record says it is. Others write to raw topics too, and ids are made of where the record lay first: nobody's word is taken for a
/// place that is not before this one, so that nobody gives his event the id that another one will have.
fn trusted<'r>(record: &Record<'r>) -> Option<Replay<'r>> {
    Replay::of(record.headers).filter(|replay| {
        replay.place().is_some_and(|(topic, partition, offset)| {
            topic == record.topic && partition == record.partition && (0..record.offset).contains(&offset)
        })
    })
}

fn position<'r>(record: &Record<'r>, replay: Option<Replay<'r>>) -> Origin<'r> {
    let (topic, partition, offset) =
        replay.and_then(Replay::place).unwrap_or((record.topic, record.partition, record.offset));
    Origin::Topic { topic, partition, offset }
}

/// By the sender's id, else the place in a file, else the position on the topic.
fn origin<'r>(record: &Record<'r>, replay: Option<Replay<'r>>, event: &'r RawEvent) -> Origin<'r> {
    if let Some((ce_source, ce_id)) = event.dedup_key.as_deref().and_then(|key| key.rsplit_once('/')) {
        let index = u32::try_from(event.index).unwrap_or(0);
        return Origin::Cloud { ce_source, ce_id, index };
    }
    match (event.file.as_deref(), event.file_offset.and_then(|offset| u64::try_from(offset).ok())) {
        (Some(sha256), Some(offset)) => Origin::File { sha256, offset },
        _ => position(record, replay),
    }
}

impl Normalizer {
    /// Whether this event was here within the window; notes it where it was not.
    fn is_repeat(&self, record: &Record<'_>, event: &RawEvent, tx: &mut Tx<'_>) -> Result<bool, StageError> {
        let Some(key) = event.dedup_key.as_deref() else { return Ok(false) };
        // The record's key comes first, since state moves with its partition; a topic's name tells sources apart.
        let key = format!("{key}|{}|{}", record.topic, event.index);
        let mut seen = tx.store::<Seen>();
        let first = seen.get(&key)?.map(Timestamp);
        if first.is_some_and(|first| record.timestamp <= first.plus_millis(WINDOW_MS)) {
            return Ok(true);
        }
        seen.put(&key, &record.timestamp.0)?;
        Ok(false)
    }

    fn normalize(&self, record: &Record<'_>, source: &Source, raw: &Raw<'_>, tx: &mut Tx<'_>) -> Outcome {
        let format = match atio_formats::detect(raw.payload, raw.format) {
            Ok(format) => format,
            Err(error) => return Outcome::dead_letter(error.code(), error.to_string()),
        };
        let findings = atio_formats::read(raw.payload, format, &ReadCx::new(raw.received_at));
        let assets = match tx.table::<Assets>(asset::TABLE) {
            Ok(assets) => assets,
            Err(error) => return Outcome::Fail(error),
        };
        let place = record.origin();
        let cx = Cx {
            tenant: &source.tenant,
            source: &source.name,
            zone: source.zone,
            tlp: source.tlp,
            sensor: raw.sensor,
            received_at: raw.received_at,
            raw_ref: RawRef::Record(&place),
            assets,
            home: &self.home,
            known: &self.known,
        };
        let replay = trusted(record);
        let part = replay.and_then(Replay::part);
        let ids = EventIds::new(&source.tenant, &source.name, raw.origin.clone()).of_part(part);
        let (made, mut rejected) = build(&findings, &cx, ids, Some(raw.payload));
        if made.len() > MAX_OUTPUTS {
            let message = format!("{} detections in one record; at most {MAX_OUTPUTS} are made", made.len());
            return Outcome::dead_letter(Code::TooMany, message);
        }
        // An event is told to come from where its record lay first; what was read of it is in `raw_ref`.
        let first = replay.and_then(Replay::place);
        let origin = first.map(|(topic, partition, offset)| format!("{topic}/{partition}/{offset}"));
        let origin = origin.as_deref().unwrap_or(&place);
        let mut outputs = Vec::with_capacity(made.len());
        for one in made {
            match self.codec.encode(&*one.detection) {
                Ok(value) => outputs.push(self.output(record, source, origin, one, value)),
                Err(error) => rejected.push(Reject::whole(error.code(), error.to_string())),
            }
        }
        // What is left without either has told of the inventory only, or was an empty report.
        let otherwise = if findings.found.is_empty() { Code::Empty } else { Code::InventoryOnly };
        Outcome::of(outputs, rejected, otherwise)
    }

    fn output(
        &self,
        record: &Record<'_>,
        source: &Source,
        place: &str,
        made: Made,
        value: Vec<u8>,
    ) -> Output {
        let topic = if made.detection.kind == Kind::Log { &self.logs } else { &self.detections };
        let headers = self.headers(record, source, place, &made.detection);
        Output::new(Arc::clone(topic), made.key, value, headers)
    }

    fn headers(&self, record: &Record<'_>, source: &Source, place: &str, d: &Detection) -> Headers {
        let Names([spec, id, from, kind, time, content, run, origin, tenant]) = &self.names;
        let mut headers = Vec::with_capacity(10);
        let mut put = |name: &Arc<str>, value: &[u8]| headers.push((Arc::clone(name), value.to_vec()));
        put(spec, b"1.0");
        put(id, d.event_id.as_bytes());
        put(from, ["/atio/", &source.tenant, "/", &source.name].concat().as_bytes());
        put(kind, b"atio.detection");
        if let Some(at) = d.occurred_at {
            put(time, at.rfc3339_micros().as_bytes());
        }
        put(content, header::CONTENT_TYPE_AVRO.as_bytes());
        put(run, record.headers.get(header::RUN).unwrap_or(header::LIVE.as_bytes()));
        put(origin, place.as_bytes());
        put(tenant, source.tenant.as_bytes());
        let trace = record.headers.0.iter().rev().find(|(name, _)| &**name == header::TRACEPARENT);
        headers.extend(trace.cloned());
        Headers(headers)
    }
}

/// Detections of what was found, and dead letters of what could not be read or built. A part that is all of `whole` is none: its dead
/// letter is the record itself, so that it can be replayed as it came.
pub(crate) fn build(
    findings: &Findings<'_>,
    cx: &Cx<'_>,
    mut ids: EventIds<'_>,
    whole: Option<&[u8]>,
) -> (Vec<Made>, Vec<Reject>) {
    let size = whole.map_or(usize::MAX, |whole| whole.trim_ascii().len());
    let part = |code, message, raw: &[u8], offset, line: u64| {
        let line = (line > 0).then_some(line);
        let is_part = raw.trim_ascii().len() < size;
        let part = is_part.then(|| Part { bytes: raw.to_vec(), offset: Some(offset), line });
        Reject { code, message, part }
    };
    let of_reader = |r: &Rejected<'_>| part(r.code, r.message.clone(), r.raw, r.offset, r.line);
    let mut made = Vec::with_capacity(findings.found.len());
    let mut rejected: Vec<Reject> = findings.rejected.iter().map(of_reader).collect();
    for finding in &findings.found {
        match graph::detections(finding, cx, &mut ids, &mut made) {
            Ok(()) | Err(Refused::InventoryOnly) => {}
            Err(Refused::Bad(code, message)) => {
                rejected.push(part(code, message, finding.raw, finding.offset, finding.line));
            }
        }
        if made.len() > MAX_OUTPUTS {
            break;
        }
    }
    (made, rejected)
}
