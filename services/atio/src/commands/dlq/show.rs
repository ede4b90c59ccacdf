//! `atio dlq show`: letters, one by one. Owns how they look; what they say is in `letter`.
use super::{
    edit::Opened,
    letter::{At, Letter},
    marks::{Marks, told},
};
use crate::{
    commands::{look::Look, tap::shown},
    exit::Failure,
    render::{self, Format},
};
use anyhow::Context;
use atio_schemas::header;
use atio_stream::read::{Entry, From, Next, ReadSpec, TopicReader, Until};
use std::{io::Write, path::PathBuf, time::Duration};

const CLIENT: &str = "atio-dlq";
/// Of a value in a list.
const EXCERPT: usize = 300;
const WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The topic, with or without prefix and `.dlq`
    pub topic: String,
    /// Only with this reason
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// One letter, whole
    #[arg(long, value_name = "PARTITION/OFFSET", conflicts_with = "code")]
    at: Option<At>,
    /// Its value alone, the bytes as they lie there
    #[arg(long, requires = "at", conflicts_with = "value")]
    raw: bool,
    /// Its value alone, as `replay --set-value` takes it: what the tool sent or the sink got, else the fields as JSON
    #[arg(long, requires = "at")]
    value: bool,
    /// Write the value to a file
    #[arg(long, value_name = "FILE", requires = "at")]
    out: Option<PathBuf>,
    /// Letters at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Text, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn show(look: &Look, topic: &str, args: &ShowArgs) -> anyhow::Result<()> {
    let marks = Marks::read(look)?;
    let Some(at) = args.at else { return list(look, topic, args, &marks) };
    let entry = read(look, topic, at)?;
    if args.raw || args.value || args.out.is_some() {
        return value(look, &entry, args);
    }
    one(look, &entry, args.format, &marks, true)
}

fn list(look: &Look, topic: &str, args: &ShowArgs, marks: &Marks) -> anyhow::Result<()> {
    let (mut count, mut result) = (0_usize, Ok(()));
    look.scan(topic, |entry| {
        if result.is_err() || args.code.as_deref().is_some_and(|c| c != Letter(&entry).code()) {
            return;
        }
        count += 1;
        if count <= args.limit {
            result = one(look, &entry, args.format, marks, false);
        }
    })?;
    result?;
    if count > args.limit {
        render::notice(&format!("{} more; --limit shows them", count - args.limit));
    }
    Ok(())
}

fn read(look: &Look, topic: &str, at: At) -> anyhow::Result<Entry> {
    let spec = ReadSpec {
        partitions: Some(vec![at.partition]),
        from: From::Offset(at.offset),
        until: Until::End,
        ..ReadSpec::whole(&look.kafka, CLIENT, topic)
    };
    let mut reader = TopicReader::open(&spec).map_err(crate::commands::look::read_error)?;
    match reader.next(WAIT).map_err(crate::commands::look::read_error)? {
        Next::Record(entry) if entry.offset == at.offset => Ok(entry),
        _ => Err(Failure::usage(format!("{topic} has no letter at {at}"))),
    }
}

fn value(look: &Look, entry: &Entry, args: &ShowArgs) -> anyhow::Result<()> {
    let raw = Letter(entry).value();
    let bytes = if args.value { Opened::of(look.decoder.known(raw), raw).text()? } else { raw.to_vec() };
    match &args.out {
        Some(file) => std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display())),
        None => {
            let mut out = std::io::stdout().lock();
            Ok(out.write_all(&bytes).and_then(|()| out.flush())?)
        }
    }
}

fn one(look: &Look, entry: &Entry, format: Format, marks: &Marks, whole: bool) -> anyhow::Result<()> {
    let letter = Letter(entry);
    let mark = marks.of(&entry.topic, letter.at());
    if format == Format::Json {
        let mut line = shown(entry, &look.decoder);
        line["error_reason"] = letter.reasons().into();
        line["done"] = serde_json::to_value(mark)?;
        return render::json(&line);
    }
    let from = format!("{}/{}/{}", letter.shown("topic"), letter.shown("partition"), letter.shown("offset"));
    render::line(&format!("{}  {}", letter.place(), entry.timestamp.rfc3339_millis()))?;
    render::line(&format!("  reason  {}: {}", letter.code(), letter.shown("message")))?;
    render::line(&format!("  stage   {} on {from}", letter.stage()))?;
    if letter.attempt() > 1 {
        let since = letter.first_seen().unwrap_or("?");
        render::line(&format!("  attempt {}, first seen {since}", letter.attempt()))?;
    }
    if let Some(mark) = mark {
        render::line(&format!("  done    {}", told(mark)))?;
    }
    // People want to see what the tool sent.
    let raw = letter.value();
    let text = Opened::of(look.decoder.known(raw), raw).text()?;
    let text = String::from_utf8_lossy(&text);
    if !whole {
        return render::line(&format!("  value   {}", cut(&text, EXCERPT)));
    }
    let key = entry.key.as_deref().map_or_else(|| "(none)".into(), String::from_utf8_lossy);
    render::line(&format!("  key     {key}"))?;
    for (name, value) in entry.headers.0.iter().filter(|(name, _)| !is_shown(name)) {
        render::line(&format!("  header  {name}: {}", cut(&String::from_utf8_lossy(value), EXCERPT)))?;
    }
    render::line("  value")?;
    render::line(text.trim_end())
}

/// What the lines above the headers say already.
fn is_shown(name: &str) -> bool {
    let reason = name.strip_prefix(header::ERRORS);
    reason.is_some_and(|n| {
        ["topic", "partition", "offset", "stage", "code", "message", "attempt", "first_seen"].contains(&n)
    })
}

/// One line of at most so many characters.
fn cut(text: &str, max: usize) -> String {
    let mut line: String = text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_line() {
        assert_eq!(cut("a\nb", 9), "a b");
        assert_eq!(cut("abcd", 2), "ab…");
        assert!(is_shown("atio.errors.code") && !is_shown("atio.errors.part_offset") && !is_shown("ce_id"));
    }
}
