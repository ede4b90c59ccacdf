//! Records as a stage sees them and as it makes them. Owns nothing of how they travel.
use crate::outcome::Outcome;
use atio_schemas::{Code, Codec, Timestamp, codec, header};
use std::sync::Arc;

/// One input record, borrowed from the batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// The broker's (LogAppendTime on topics of ours).
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    /// None = tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a Headers,
}

impl Record<'_> {
    /// `topic/partition/offset`.
    #[must_use]
    pub fn origin(&self) -> String {
        let (mut partition, mut offset) = (itoa::Buffer::new(), itoa::Buffer::new());
        [self.topic, "/", partition.format(self.partition), "/", offset.format(self.offset)].concat()
    }
    /// The value, for whoever must have one. `what`: as an error calls it, e.g. `a detection`.
    ///
    /// # Errors
    /// How the record ends otherwise: a dead letter, `null_value` or the codec's reason.
    pub fn decode<R: codec::Record>(&self, codec: &Codec, what: &str) -> Result<R, Outcome> {
        let Some(value) = self.value else {
            return Err(Outcome::dead_letter(Code::NullValue, format!("{what} has no value")));
        };
        codec.decode(value).map_err(|error| Outcome::dead_letter(error.code(), error.to_string()))
    }
}

/// Record headers in order; a name may repeat, the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Arc<str>, Vec<u8>)>);

impl Headers {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(n, _)| &**n == name).map(|(_, v)| v.as_slice())
    }
    /// The header as text, where it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.retain(|(n, _)| &**n != name);
        self.0.push((Arc::from(name), value.into()));
    }
    /// The attributes of an Avro value as CloudEvents 1.0 has them in the binary mode of its Kafka binding (§3.2).
    pub fn describe(&mut self, kind: &str, id: &str, source: impl Into<Vec<u8>>, time: Option<Timestamp>) {
        self.set(header::CE_SPECVERSION, "1.0");
        self.set(header::CE_ID, id);
        self.set(header::CE_SOURCE, source);
        self.set(header::CE_TYPE, kind);
        if let Some(at) = time {
            self.set(header::CE_TIME, at.rfc3339_micros());
        }
        self.set(header::CONTENT_TYPE, header::CONTENT_TYPE_AVRO);
    }
    /// Whether the record is of the live run, as one is that says nothing of it; else it is of a replay.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.text(header::RUN).is_none_or(|run| run == header::LIVE)
    }
    /// What a stage hands on from its input to its outputs ([`header::CARRIED`]).
    #[must_use]
    pub fn carried(&self) -> Self {
        Self(self.0.iter().filter(|(n, _)| header::CARRIED.contains(&&**n)).cloned().collect())
    }
}

/// One record to produce, in the transaction of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub topic: Arc<str>,
    /// None = by the key (murmur2), or spread.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

impl Output {
    #[must_use]
    pub fn new(
        topic: impl Into<Arc<str>>,
        key: impl Into<Vec<u8>>,
        value: Vec<u8>,
        headers: Headers,
    ) -> Self {
        Self { topic: topic.into(), partition: None, key: Some(key.into()), value: Some(value), headers }
    }
    /// key + value + headers + 100: what is held against `max.message.bytes` (exactly-once, rule 13).
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.0.iter().map(|(n, v)| n.len() + v.len() + 10).sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers + 100
    }
}
