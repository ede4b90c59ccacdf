//! Suricata EVE JSON: every event type, bare, in a shipper's envelope, a line each or pretty-printed. Owns reading into findings; must not
//! know which side is the asset or what the event is worth.
mod eve;
mod map;

use crate::finding::{Body, Finding, Findings, Rejected};
use crate::json::Fill as _;
use crate::limits::json_too_deep;
use crate::sniff::{Head, Score};
use crate::split::{Piece, Shape, split};
use crate::{ReadCx, Reader, json};
use atio_schemas::Code;
use eve::Eve;

pub(crate) struct Suricata;

impl Reader for Suricata {
    fn sniff(&self, head: &Head<'_>) -> Score {
        if !head.is_json() {
            return Score::NO;
        }
        let named = head.has("\"event_type\"") && (head.has("\"timestamp\"") || head.has("\"flow_id\""));
        if named || head.has("\"eve\"") {
            return Score::SURE;
        }
        if head.has("\\\"event_type\\\"") { Score::LIKELY } else { Score::NO }
    }

    fn read<'a>(&self, raw: &'a [u8], cx: &ReadCx, out: &mut Findings<'a>) {
        if read_single(raw, cx, out) {
            return;
        }
        for piece in split(raw, Shape::Json, &cx.limits) {
            if out.found.len() + out.rejected.len() >= cx.limits.count {
                let message = format!("more than {} records in one input", cx.limits.count);
                let (offset, line) = match &piece {
                    Ok(piece) => (piece.offset, piece.line),
                    Err(rejected) => (rejected.offset, rejected.line),
                };
                let rest = usize::try_from(offset).ok().and_then(|at| raw.get(at..)).unwrap_or_default();
                out.rejected.push(Rejected { code: Code::TooMany, message, raw: rest, offset, line });
                return;
            }
            match piece {
                Ok(piece) => read_piece(piece, cx, out),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
    }
}

/// The common input, one record on one line, without looking for where it ends. False where it is something else.
fn read_single<'a>(raw: &'a [u8], cx: &ReadCx, out: &mut Findings<'a>) -> bool {
    let line = raw.trim_ascii_end();
    if line.first() != Some(&b'{')
        || memchr::memchr(b'\n', line).is_some()
        || json_too_deep(line, cx.limits.depth)
    {
        return false;
    }
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let mut eve = Eve::default();
    if parse(text, &mut eve).is_err() {
        return false;
    }
    finish(Piece { raw: line, offset: 0, line: 1 }, &mut eve, cx, out);
    true
}

fn read_piece<'a>(piece: Piece<'a>, cx: &ReadCx, out: &mut Findings<'a>) {
    match std::str::from_utf8(piece.raw) {
        Ok(text) => {
            let mut eve = Eve::default();
            match parse(text, &mut eve) {
                Ok(()) => finish(piece, &mut eve, cx, out),
                Err(error) => reject(piece, json::error_code(&error), error.to_string(), out),
            }
        }
        Err(error) => {
            reject(piece, Code::BadEncoding, format!("no UTF-8 after {} bytes", error.valid_up_to()), out)
        }
    }
}

fn parse<'a>(text: &'a str, eve: &mut Eve<'a>) -> serde_json::Result<()> {
    let mut parser = serde_json::Deserializer::from_str(text);
    eve.fill(&mut parser)?;
    parser.end()
}

/// Takes the event out of its envelope, if it is in one, and maps it.
fn finish<'a>(piece: Piece<'a>, eve: &mut Eve<'a>, cx: &ReadCx, out: &mut Findings<'a>) {
    let wrapped = eve.event_type.0.is_none();
    if let (true, Some(mut inner)) = (wrapped, eve.suricata.eve.take()) {
        return keep(piece, &mut inner, Some(eve), cx, out);
    }
    let text = [eve.message.0.take(), eve.event.original.0.take(), eve.event_original.0.take()];
    let inner = text.iter().flatten().find(|text| wrapped && text.trim_start().starts_with('{'));
    let Some(bytes) = inner.map(|text| text.as_bytes()) else { return keep(piece, eve, None, cx, out) };
    if json_too_deep(bytes, cx.limits.depth) {
        return reject(piece, Code::TooDeep, "the message nests too deep".to_owned(), out);
    }
    match owned(bytes) {
        Ok(mut event) => keep(piece, &mut event, Some(eve), cx, out),
        Err(error) => reject(piece, json::error_code(&error), format!("in the message: {error}"), out),
    }
}

/// From a reader, so that nothing is borrowed from the unescaped copy.
fn owned(bytes: &[u8]) -> serde_json::Result<Eve<'static>> {
    let mut parser = serde_json::Deserializer::from_reader(bytes);
    let eve = <Eve<'static> as serde::Deserialize<'static>>::deserialize(&mut parser)?;
    parser.end().map(|()| eve)
}

fn keep<'a>(
    piece: Piece<'a>,
    eve: &mut Eve<'a>,
    envelope: Option<&mut Eve<'a>>,
    cx: &ReadCx,
    out: &mut Findings<'a>,
) {
    match map::network(eve, envelope, cx) {
        Ok((network, quality)) => {
            let body = Body::Network(network);
            out.found.push(Finding { body, raw: piece.raw, offset: piece.offset, line: piece.line, quality });
        }
        Err((code, message)) => reject(piece, code, message.to_owned(), out),
    }
}

fn reject<'a>(piece: Piece<'a>, code: Code, message: String, out: &mut Findings<'a>) {
    out.rejected.push(Rejected { code, message, raw: piece.raw, offset: piece.offset, line: piece.line });
}

#[cfg(test)]
mod tests;
