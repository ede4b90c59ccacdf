//! STIX 2.1 of someone else's: bundles, single objects, TAXII envelopes. Owns taking them apart and refusing what is none; each object is
//! kept byte for byte. Must not know what becomes of them.
mod check;
mod write;

pub(crate) use write::{CONTENT_TYPE, StixBundle};

use crate::finding::{Body, Finding, Findings, Rejected, StixInput, Text};
use crate::sniff::{Head, Score};
use crate::split::{Piece, Shape, split};
use crate::{ReadCx, Reader, json};
use atio_schemas::Code;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

pub(crate) struct Stix;

impl Reader for Stix {
    fn sniff(&self, head: &Head<'_>) -> Score {
        // Playbooks of CACAO have ids of the same form.
        if !head.is_json() || head.has("\"cacao-2.0\"") {
            return Score::NO;
        }
        let bundle = head.has("\"bundle--") || (head.has("\"bundle\"") && head.has("\"type\""));
        if bundle {
            return Score::SURE;
        }
        let object = head.has("\"id\"")
            && head.has("\"type\"")
            && (head.has("\"spec_version\"") || has_stix_id(head.bytes));
        if object { Score::LIKELY } else { Score::NO }
    }

    fn read<'a>(&self, raw: &'a [u8], cx: &ReadCx, out: &mut Findings<'a>) {
        for piece in split(raw, Shape::Json, &cx.limits) {
            match piece {
                Ok(piece) => read_piece(piece, cx, out),
                Err(rejected) => out.rejected.push(rejected),
            }
            if out.found.len() + out.rejected.len() >= cx.limits.count {
                out.notices.push(format!("stopped after {} parts", cx.limits.count));
                return;
            }
        }
    }
}

/// Something like `"indicator--8-4-4-4-12"`.
fn has_stix_id(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, b"--")
        .any(|at| bytes.get(at + 2..at + 39).is_some_and(|id| id[36] == b'"' && check::is_uuid(&id[..36])))
}

/// A bundle, a TAXII envelope (objects without a type), or a single object.
#[derive(Deserialize)]
struct Root<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    spec_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    objects: Option<&'a RawValue>,
}

fn read_piece<'a>(piece: Piece<'a>, cx: &ReadCx, out: &mut Findings<'a>) {
    let reject = |code, message: String| Rejected {
        code,
        message,
        raw: piece.raw,
        offset: piece.offset,
        line: piece.line,
    };
    let text = match std::str::from_utf8(piece.raw) {
        Ok(text) => text,
        Err(error) => {
            return out
                .rejected
                .push(reject(Code::BadEncoding, format!("no UTF-8 after {} bytes", error.valid_up_to())));
        }
    };
    let root: Root<'a> = match serde_json::from_str(text) {
        Ok(root) => root,
        Err(error) => return out.rejected.push(reject(json::error_code(&error), error.to_string())),
    };
    let objects: Vec<&'a RawValue> = match (root.kind.as_deref(), root.objects) {
        (Some("bundle"), None) => Vec::new(),
        (Some("bundle") | None, Some(list)) => match serde_json::from_str(list.get()) {
            Ok(objects) => objects,
            Err(error) => return out.rejected.push(reject(Code::InvalidStix, format!("objects: {error}"))),
        },
        (Some(_), _) => return read_objects(piece, None, &[text], cx, out),
        (None, None) => return out.rejected.push(reject(Code::InvalidStix, "no type".to_owned())),
    };
    if root.spec_version.as_deref() == Some("2.0") {
        return out.rejected.push(reject(Code::NotYetSupported, "STIX 2.0 is not read; send 2.1".to_owned()));
    }
    if objects.len() > cx.limits.count {
        return out
            .rejected
            .push(reject(Code::TooMany, format!("{} objects; at most {}", objects.len(), cx.limits.count)));
    }
    if objects.is_empty() {
        out.notices.push(format!("line {}: a bundle without objects", piece.line));
    }
    let texts: Vec<&'a str> = objects.iter().map(|object| object.get()).collect();
    // A bundle's id means nothing by itself: a bad one is replaced, not a reason to lose the objects.
    let id: Option<Text<'a>> = root.id.filter(|id| check::is_id_of(id, "bundle"));
    read_objects(piece, id, &texts, cx, out);
}

fn read_objects<'a>(
    piece: Piece<'a>,
    bundle_id: Option<Text<'a>>,
    texts: &[&'a str],
    cx: &ReadCx,
    out: &mut Findings<'a>,
) {
    let mut objects: Vec<&'a [u8]> = Vec::with_capacity(texts.len());
    for text in texts {
        match check::object(text) {
            Ok(()) => objects.push(text.as_bytes()),
            Err(error) => {
                // Both are slices of one input, so their distance is the object's place in it.
                let inside = (text.as_ptr() as usize).saturating_sub(piece.raw.as_ptr() as usize);
                let before = piece.raw.get(..inside).unwrap_or_default();
                let line = piece.line + memchr::memchr_iter(b'\n', before).count() as u64;
                let Rejection { code, message } = error;
                out.rejected.push(Rejected {
                    code,
                    message,
                    raw: text.as_bytes(),
                    offset: piece.offset + inside as u64,
                    line,
                });
            }
        }
    }
    if objects.is_empty() || out.found.len() >= cx.limits.count {
        return;
    }
    let body = Body::Stix(StixInput { objects, bundle_id });
    out.found.push(Finding {
        body,
        raw: piece.raw,
        offset: piece.offset,
        line: piece.line,
        quality: Vec::new(),
    });
}

/// Why an object is none.
#[derive(Debug)]
struct Rejection {
    code: Code,
    message: String,
}

#[cfg(test)]
mod tests;
