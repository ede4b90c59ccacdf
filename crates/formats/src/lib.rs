//! Every tool format, read to findings and written from detections. Pure: bytes in, values and rejects out.
//!
//! A stranger adds a format in one file and one line of the table of formats. Must not know: Kafka, HTTP, ids, assets; STIX only where
//! the format is STIX.

mod cve;
mod ecs;
pub mod finding;
mod json;
pub mod limits;
mod openvas;
mod report;
pub mod sniff;
pub mod split;
mod stix;
mod suricata;
pub mod time;
pub mod writer;

use atio_schemas::{Code, Timestamp};
use finding::{Findings, Rejected};
use limits::Limits;
use sniff::{Head, Score};
use split::Shape;
pub use writer::{OutFormat, WRITERS, WriteCx, WriteError, Writer, Written, writer};

/// A format that ATIO reads.
pub struct Format {
    /// What a source's `format:` and `--format` take.
    pub name: &'static str,
    pub description: &'static str,
    /// Content types under which it arrives.
    pub content_types: &'static [&'static str],
    /// How a stream of it divides into records.
    pub shape: Shape,
    pub reader: &'static dyn Reader,
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Format").field("name", &self.name).finish_non_exhaustive()
    }
}

const CSV: &[&str] = &["text/csv", "application/csv"];
const JSON: &[&str] = &["application/json", "application/x-ndjson"];
const STIX: &[&str] =
    &["application/stix+json", "application/taxii+json", "application/json", "application/x-ndjson"];
const XML: &[&str] = &["application/xml", "text/xml"];

/// Every format that is read, alphabetical, a line each.
#[rustfmt::skip]
pub static FORMATS: &[Format] = &[
    Format { name: "openvas-csv", description: "OpenVAS and Greenbone results as CSV", content_types: CSV, shape: Shape::Whole, reader: &openvas::OpenvasCsv },
    Format { name: "openvas-xml", description: "OpenVAS and Greenbone reports as GMP or OMP XML", content_types: XML, shape: Shape::Whole, reader: &openvas::OpenvasXml },
    Format { name: "stix", description: "STIX 2.1 bundles, single objects and TAXII envelopes", content_types: STIX, shape: Shape::Json, reader: &stix::Stix },
    Format { name: "suricata", description: "Suricata EVE JSON, every event type", content_types: JSON, shape: Shape::Json, reader: &suricata::Suricata },
];

/// What a reader is told beside the bytes.
#[derive(Clone, Copy, Debug)]
pub struct ReadCx {
    /// When ATIO received the input: the fallback for a missing time.
    pub received_at: Timestamp,
    pub limits: Limits,
}

impl ReadCx {
    #[must_use]
    pub fn new(received_at: Timestamp) -> Self {
        Self { received_at, limits: Limits::default() }
    }
}

/// Reads one format. Values *and* rejects, never all or nothing; never panics, whatever the bytes.
pub trait Reader: Send + Sync {
    fn sniff(&self, head: &Head<'_>) -> Score;
    /// Adds what it finds to `out`. `raw` holds one or more records and is within the size limit.
    fn read<'a>(&self, raw: &'a [u8], cx: &ReadCx, out: &mut Findings<'a>);
}

/// Why no format could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    #[error("nothing to read")]
    Empty,
    #[error("UTF-16; send UTF-8")]
    Utf16,
    #[error("no known format; pin one of: {}", names())]
    Unknown,
    #[error("unknown format `{name}`; known: {}", names())]
    NotAFormat { name: String },
}

impl DetectError {
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Empty => Code::Empty,
            Self::Utf16 => Code::BadEncoding,
            Self::Unknown | Self::NotAFormat { .. } => Code::UnknownFormat,
        }
    }
}

fn names() -> String {
    FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

/// The format of that name.
#[must_use]
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Whether a source may pin this name: a format, a family (`openvas` = openvas-csv and openvas-xml), or `auto`.
#[must_use]
pub fn is_pin(name: &str) -> bool {
    name == "auto" || format(name).is_some() || family(name).next().is_some()
}

/// The formats of a family.
fn family(name: &str) -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(move |f| f.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')))
}

/// Chooses the format of `raw`: the pinned one, else the one (of the pinned family, else of all) that is surest of its first bytes.
///
/// # Errors
/// `Empty` for blank input, `Utf16`, `Unknown` where no reader claims it, `NotAFormat` for a pinned name that is none.
pub fn detect(raw: &[u8], pinned: Option<&str>) -> Result<&'static Format, DetectError> {
    let pinned = pinned.filter(|name| *name != "auto");
    if let Some(found) = pinned.and_then(format) {
        return Ok(found);
    }
    let candidates: Vec<&'static Format> = match pinned {
        Some(name) => family(name).collect(),
        None => FORMATS.iter().collect(),
    };
    if let Some(name) = pinned.filter(|_| candidates.is_empty()) {
        return Err(DetectError::NotAFormat { name: name.to_owned() });
    }
    let head = Head::of(raw);
    if head.bytes.is_empty() {
        return Err(DetectError::Empty);
    }
    if raw.starts_with(b"\xff\xfe") || raw.starts_with(b"\xfe\xff") {
        return Err(DetectError::Utf16);
    }
    let mut best: (Score, Option<&'static Format>) = (Score::NO, None);
    for candidate in candidates {
        let score = candidate.reader.sniff(&head);
        if score > best.0 {
            best = (score, Some(candidate));
        }
    }
    best.1.ok_or(DetectError::Unknown)
}

/// Reads an input with one format; over the size limit and blank inputs are one reject.
#[must_use]
pub fn read<'a>(raw: &'a [u8], format: &Format, cx: &ReadCx) -> Findings<'a> {
    let mut out = Findings::default();
    match limits::check_size(raw, &cx.limits) {
        Ok(()) => format.reader.read(raw, cx, &mut out),
        Err(code) => out.rejected.push(Rejected {
            code,
            message: format!("{} bytes", raw.len()),
            raw,
            offset: 0,
            line: 0,
        }),
    }
    out
}

/// Reads a file: as [`read`], but a sequence of records (see [`Format::shape`]) may be of any length, since the limits then hold for each
/// record. Places are those in the file.
#[must_use]
pub fn read_file<'a>(raw: &'a [u8], format: &Format, cx: &ReadCx) -> Findings<'a> {
    if format.shape == Shape::Whole || split::without_bom(raw).trim_ascii().is_empty() {
        return read(raw, format, cx);
    }
    let mut out = Findings::default();
    for piece in split::split(raw, format.shape, &cx.limits) {
        match piece {
            Ok(piece) => {
                let mut part = read(piece.raw, format, cx);
                for finding in &mut part.found {
                    finding.offset += piece.offset;
                    finding.line = place(finding.line, piece.line);
                }
                for rejected in &mut part.rejected {
                    rejected.offset += piece.offset;
                    rejected.line = place(rejected.line, piece.line);
                }
                out.found.append(&mut part.found);
                out.rejected.append(&mut part.rejected);
                out.notices.append(&mut part.notices);
            }
            Err(rejected) => out.rejected.push(rejected),
        }
    }
    out
}

/// A line within a piece as a line of the file; an unknown one is the piece's first.
fn place(line: u64, first: u64) -> u64 {
    line.saturating_sub(1) + first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection() {
        assert_eq!(detect(b" \n", None).unwrap_err(), DetectError::Empty);
        assert_eq!(detect(b"\xff\xfe{\0", None).unwrap_err().code(), Code::BadEncoding);
        assert_eq!(detect(b"hello", None).unwrap_err().code(), Code::UnknownFormat);
        assert_eq!(detect(b"hello", Some("suricata")).unwrap().name, "suricata");
        assert_eq!(detect(b"{\"event_type\":\"dns\",\"flow_id\":1}", Some("auto")).unwrap().name, "suricata");
        let error = detect(b"{}", Some("nessus")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown format `nessus`; known: openvas-csv, openvas-xml, stix, suricata"
        );
        // A playbook's ids look like STIX's.
        let playbook = br#"{"type":"playbook","spec_version":"cacao-2.0","id":"playbook--6f1f7d2a-3f0e-4a6e-8e58-0c4f1f7a9e02"}"#;
        assert!(detect(playbook, None).is_err());
    }

    #[test]
    fn a_file_has_no_limit_of_records() {
        let text = "{\"event_type\":\"a\"}\nbad\n".repeat(20);
        let limits = Limits { count: 5, size: 50, ..Limits::default() };
        let cx = ReadCx { received_at: Timestamp(0), limits };
        let findings = read_file(text.as_bytes(), format("suricata").unwrap(), &cx);
        assert_eq!((findings.found.len(), findings.rejected.len()), (20, 20));
        let last = (findings.found.last().unwrap(), findings.rejected.last().unwrap());
        assert_eq!((last.0.line, last.1.line), (39, 40));
        let at = usize::try_from(last.0.offset).unwrap();
        assert_eq!(text.get(at..at + last.0.raw.len()), Some("{\"event_type\":\"a\"}"));
    }

    #[test]
    fn too_large_and_blank_inputs_are_one_reject() {
        let suricata = format("suricata").unwrap();
        let limits = Limits { size: 10, ..Limits::default() };
        let cx = ReadCx { received_at: Timestamp(0), limits };
        assert_eq!(read(b"{\"event_type\":1}", suricata, &cx).rejected[0].code, Code::TooLarge);
        assert_eq!(read(b"\n\n", suricata, &cx).rejected[0].code, Code::Empty);
    }
}
