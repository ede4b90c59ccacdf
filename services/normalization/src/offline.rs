//! The same readers and graphs without a broker, for `atio normalize`: sighting and report, which enrichment would make, are added with
//! seeds of their own (`normalize|`). Owns that; must not know files or the command line.
use crate::asset::Assets;
use crate::config;
use crate::event::{EventIds, Origin};
use crate::graph::{Cx, RawRef};
use crate::{MAX_OUTPUTS, stage};
use atio_formats::{Format, ReadCx};
use atio_schemas::{
    Code, Detection, Timestamp,
    detection::{Tlp, Zone},
};
use atio_stage::Reject;
use atio_stix::{bundle, graph, ids};
use ipnet::IpNet;
use std::sync::Arc;

/// The input: its name for people, and the SHA-256 of all of it (lower-case hexadecimal), which seeds the event ids.
#[derive(Clone, Copy, Debug)]
pub struct FileRef<'a> {
    pub name: &'a str,
    pub sha256: &'a str,
}

/// What a declared source would say.
#[derive(Clone, Debug)]
pub struct Options {
    /// A format's name; None or `auto`: sniffed.
    pub format: Option<String>,
    pub tenant: String,
    pub source: String,
    pub zone: Zone,
    pub tlp: Tlp,
    pub home_networks: Vec<IpNet>,
    /// Stands for the time of receipt.
    pub now: Timestamp,
}

impl Options {
    /// Tenant `default`, source `file`, zone it, amber, private networks at home.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            format: None,
            tenant: ids::DEFAULT_TENANT.to_owned(),
            source: "file".to_owned(),
            zone: Zone::It,
            tlp: Tlp::Amber,
            home_networks: config::default_home_networks(),
            now,
        }
    }
}

/// Detections of a file, in input order, then what could not be read; an empty but well-formed report gives nothing. A reject without a
/// part is about the whole file.
#[must_use]
pub fn normalize(bytes: &[u8], file: &FileRef<'_>, options: &Options) -> Vec<Result<Detection, Reject>> {
    let format = match atio_formats::detect(bytes, options.format.as_deref()) {
        Ok(format) => format,
        Err(error) => return vec![Err(Reject::whole(error.code(), error.to_string()))],
    };
    normalize_part(bytes, format, Start::FILE, file, options).results
}

/// Where a part lies within its file: bytes from 0, lines from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub offset: u64,
    pub line: u64,
}

impl Start {
    /// The start of the file.
    pub const FILE: Self = Self { offset: 0, line: 1 };
}

/// What a part of a file came to.
#[derive(Debug, Default)]
pub struct Normalized {
    /// As [`normalize`] gives them; places are those in the file.
    pub results: Vec<Result<Detection, Reject>>,
    /// What was mended or left out, for people.
    pub notices: Vec<String>,
}

/// One part of a file, such as one record of a sequence: the detections are those that [`normalize`] makes of the same bytes at the same
/// place. More detections than a record may have (`MAX_OUTPUTS`) are `too_many` for the part as a whole, as in the service.
#[must_use]
pub fn normalize_part(
    bytes: &[u8],
    format: &Format,
    start: Start,
    file: &FileRef<'_>,
    options: &Options,
) -> Normalized {
    let mut findings = atio_formats::read(bytes, format, &ReadCx::new(options.now));
    let line_of = |line: u64| if line == 0 { 0 } else { line - 1 + start.line };
    for finding in &mut findings.found {
        (finding.offset, finding.line) = (finding.offset + start.offset, line_of(finding.line));
    }
    for rejected in &mut findings.rejected {
        (rejected.offset, rejected.line) = (rejected.offset + start.offset, line_of(rejected.line));
    }
    let (assets, known) = (Assets::default(), atio_stix::Known::default());
    let cx = Cx {
        tenant: &options.tenant,
        source: &options.source,
        zone: options.zone,
        tlp: options.tlp,
        sensor: None,
        received_at: options.now,
        raw_ref: RawRef::File(file.sha256),
        assets: &assets,
        home: &options.home_networks,
        known: &known,
    };
    let origin = Origin::File { sha256: file.sha256, offset: 0 };
    let (made, rejected) =
        stage::build(&findings, &cx, EventIds::new(&options.tenant, &options.source, origin), None);
    let notices = std::mem::take(&mut findings.notices);
    if made.len() > MAX_OUTPUTS {
        let message = format!("more than {MAX_OUTPUTS} detections in one record");
        return Normalized { results: vec![Err(Reject::whole(Code::TooMany, message))], notices };
    }
    let detections = made.into_iter().map(|made| completed(*made.detection));
    Normalized { results: detections.chain(rejected.into_iter().map(Err)).collect(), notices }
}

fn completed(mut d: Detection) -> Result<Detection, Reject> {
    // When a file was looked at is no part of what it holds: the same file gives the same objects, whenever it is read. Only where nothing
    // else tells a time does it stand in.
    let received_at = d.received_at.take();
    if d.reported_at.or(d.occurred_at).is_none() {
        d.received_at = received_at;
    }
    let bundle = graph::normalized(&d);
    d.received_at = received_at;
    match bundle {
        Ok(bytes) => {
            d.bundle = Arc::from(bytes);
            Ok(d)
        }
        Err(error) => Err(Reject::whole(error.code(), error.to_string())),
    }
}

/// The detection's bundle as it leaves: with every constant that it refers to, on one line (`--to stix`).
///
/// # Errors
/// `internal`: the detection has no bundle.
pub fn closed_bundle(d: &Detection) -> Result<Vec<u8>, Reject> {
    if d.bundle.is_empty() {
        return Err(Reject::whole(Code::Internal, "the detection has no bundle"));
    }
    Ok(on_one_line(bundle::close(&d.bundle)))
}

/// Foreign objects are kept as they were written, line breaks included: between tokens these mean nothing and are left out here.
fn on_one_line(json: Vec<u8>) -> Vec<u8> {
    if !json.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return json;
    }
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_keeps_what_strings_hold() {
        let json = b"{\n \"a b\" : [ 1 , \"x \\\" y\\\\\" ] }".to_vec();
        assert_eq!(on_one_line(json), b"{\"a b\":[1,\"x \\\" y\\\\\"]}");
    }
}
