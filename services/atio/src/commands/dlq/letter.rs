//! What a dead letter says: where its record lay, which stage refused it, and why. Pure. Owns how the headers are read; must not know what is done
//! about it.
use atio_ingestion::SERVICE as INGESTION;
use atio_schemas::{header, letter::LetterMark};
use atio_stream::read::Entry;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// Partition and offset of a letter in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub partition: i32,
    pub offset: i64,
}

impl From<&LetterMark> for At {
    fn from(mark: &LetterMark) -> Self {
        Self { partition: mark.partition, offset: mark.offset }
    }
}

impl FromStr for At {
    type Err = String;
    /// `PARTITION/OFFSET`; a topic before it is left aside, so that what is printed can be pasted.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "PARTITION/OFFSET, such as 1/42".to_owned();
        let (rest, offset) = text.rsplit_once('/').ok_or_else(wrong)?;
        let partition = rest.rsplit_once('/').map_or(rest, |(_, partition)| partition);
        let at = Self {
            partition: partition.parse().map_err(|_| wrong())?,
            offset: offset.parse().map_err(|_| wrong())?,
        };
        if at.partition < 0 || at.offset < 0 { Err(wrong()) } else { Ok(at) }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

#[derive(Clone, Copy)]
pub struct Letter<'e>(pub &'e Entry);

impl<'e> Letter<'e> {
    fn error(self, name: &str) -> Option<&'e str> {
        self.0.headers.text(&format!("{}{name}", header::ERRORS))
    }
    /// One of the reasons, for people: `?` where it has none.
    pub fn shown(self, name: &str) -> &'e str {
        self.error(name).unwrap_or("?")
    }
    pub const fn at(self) -> At {
        At { partition: self.0.partition, offset: self.0.offset }
    }
    /// topic/partition/offset.
    pub fn place(self) -> String {
        format!("{}/{}", self.0.topic, self.at())
    }
    pub fn stage(self) -> &'e str {
        self.shown("stage")
    }
    pub fn code(self) -> &'e str {
        self.shown("code")
    }
    /// The topic that its record was read from; for what never was a record, the one that it was meant for.
    pub fn source(self) -> Option<&'e str> {
        self.error("topic")
    }
    /// Where in that topic the record lay. None: it never was there, or the stage had taken it over.
    pub fn record(self) -> Option<At> {
        let at = At { partition: self.partition()?, offset: self.error("offset")?.parse().ok()? };
        (at.offset >= 0).then_some(at)
    }
    pub fn partition(self) -> Option<i32> {
        self.error("partition")?.parse().ok()
    }
    /// Where the part stood in its record, or the line in its file.
    pub fn part(self) -> Option<u64> {
        self.error("part_offset")?.parse().ok()
    }
    /// A line or file that never became a record: the value is its bytes.
    pub fn is_of_a_file(self) -> bool {
        self.stage() == INGESTION
    }
    pub fn file(self) -> Option<&'e str> {
        self.error("file")
    }
    pub fn path(self) -> Option<&'e str> {
        self.error("path")
    }
    pub fn attempt(self) -> u32 {
        self.error("attempt").and_then(|n| n.parse().ok()).unwrap_or(1)
    }
    pub fn first_seen(self) -> Option<&'e str> {
        self.error("first_seen")
    }
    /// What its record gave all the same, as the stream layer names outputs.
    pub fn emitted(self) -> Option<&'e str> {
        self.0.headers.text(header::ERRORS_EMITTED)
    }
    pub fn is_anew(self) -> bool {
        self.0.headers.get(header::ERRORS_ANEW).is_some()
    }
    pub fn value(self) -> &'e [u8] {
        self.0.value.as_deref().unwrap_or_default()
    }
    /// The reasons, without their common start.
    pub fn reasons(self) -> Map<String, Value> {
        let of_ours = self.0.headers.0.iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(header::ERRORS)?.to_owned(), String::from_utf8_lossy(value).into()))
        });
        of_ours.collect()
    }
    /// The same for letters of one record at one stage, whatever their reasons: a branch that can't reach two sinks leaves two, and one replay runs
    /// it for both. Parts are records of their own.
    pub fn record_id(self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let text = |name| self.error(name).unwrap_or_default();
        for part in ["topic", "partition", "offset", "stage", "part_offset", "file"].map(text) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        // Without a place it is told by its content.
        if self.record().is_none() {
            hash.update(self.value());
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use atio_schemas::Timestamp;
    use atio_stage::Headers;

    /// A letter on `atio.raw.x.dlq`, of a record on `atio.raw.x/1/22`; reasons without their common start.
    pub(in crate::commands::dlq) fn entry(reasons: &[(&str, &str)], value: &[u8]) -> Entry {
        let mut headers = Headers::default();
        headers.set("ce_id", b"7");
        for (name, value) in
            [("topic", "atio.raw.x"), ("partition", "1"), ("offset", "22"), ("stage", "normalization")]
        {
            headers.set(&format!("atio.errors.{name}"), value.as_bytes());
        }
        reasons.iter().for_each(|(n, v)| headers.set(&format!("atio.errors.{n}"), v.as_bytes()));
        Entry {
            topic: "atio.raw.x.dlq".into(),
            partition: 1,
            offset: 5,
            timestamp: Timestamp(9_000_000),
            key: Some(b"k".to_vec()),
            value: Some(value.to_vec()),
            headers,
        }
    }

    #[test]
    fn places_are_read_as_they_are_printed() {
        let at = At { partition: 1, offset: 42 };
        assert_eq!(("1/42".parse(), "atio.raw.x.dlq/1/42".parse()), (Ok(at), Ok(at)));
        assert_eq!(at.to_string().parse(), Ok(at));
        for wrong in ["", "1", "a/b", "-1/2", "1/-2", "1/2/", "/"] {
            assert!(wrong.parse::<At>().unwrap_err().starts_with("PARTITION/OFFSET"), "{wrong}");
        }
    }

    #[test]
    fn a_letter_says_where_its_record_lay() {
        let whole = entry(&[("code", "invalid_json"), ("attempt", "3")], b"{");
        let letter = Letter(&whole);
        assert_eq!(
            (letter.source(), letter.record()),
            (Some("atio.raw.x"), Some(At { partition: 1, offset: 22 }))
        );
        assert_eq!(
            (letter.code(), letter.attempt(), letter.place().as_str()),
            ("invalid_json", 3, "atio.raw.x.dlq/1/5")
        );
        assert_eq!(letter.shown("message"), "?");
        let held = entry(&[("offset", "-1"), ("anew", "true")], b"w");
        assert!(Letter(&held).record().is_none() && Letter(&held).is_anew());
    }

    #[test]
    fn letters_of_one_record_are_one() {
        let id = |reasons: &[(&str, &str)], value: &[u8]| Letter(&entry(reasons, value)).record_id();
        let first = id(&[("code", "above_clearance")], b"v");
        assert_eq!(first, id(&[("code", "convert_failed")], b"v"), "two reasons, one record");
        assert_ne!(first, id(&[("stage", "routing.w.b")], b"v"), "another branch's is another's");
        assert_ne!(id(&[("part_offset", "1")], b"v"), id(&[("part_offset", "9")], b"v"));
        let held = |value: &[u8]| id(&[("offset", "-1")], value);
        assert_ne!(held(b"v"), held(b"w"));
        assert_eq!(held(b"v"), held(b"v"));
    }
}
