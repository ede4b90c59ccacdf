//! `atio dlq`: what could not be processed, and why. Owns how it is counted and shown; the reasons are in the headers of dead letters.
use crate::{
    commands::{
        look::{Look, full_name, look},
        tap::shown,
    },
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
};
use atio_schemas::{Timestamp, header, raw::RawEvent};
use atio_stream::read::Entry;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Look at what could not be processed, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio dlq ls && atio dlq show raw.suricata")]
pub struct Args {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DlqCommand {
    /// Count dead letters by topic, stage and reason
    Ls {
        /// A table, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show the dead letters of a topic, oldest first
    Show {
        /// The topic, with or without prefix and `.dlq`
        topic: String,
        /// Only with this reason
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        /// Dead letters at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Text, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    look(target, move |look: &Look| {
        match args.command {
            DlqCommand::Ls { format } => list(look, format)?,
            DlqCommand::Show { topic, code, limit, format } => {
                show(look, &dead_letters_of(look, &topic)?, code.as_deref(), limit, format)?;
            }
        }
        Ok(Exit::Done)
    })
}

/// True for topics of dead letters.
pub fn is_dlq(topic: &str) -> bool {
    topic.ends_with(".dlq") || topic.ends_with("workflow-dlq")
}

fn dead_letters_of(look: &Look, topic: &str) -> anyhow::Result<String> {
    if is_dlq(topic) {
        return full_name(look, topic);
    }
    full_name(look, &format!("{topic}.dlq")).map_err(|_| {
        Failure::usage(format!("no dead letters of `{topic}`; `atio dlq ls` shows which topics have some"))
    })
}

/// Dead letters that are alike.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    topic: String,
    stage: String,
    code: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Default)]
struct Counted(BTreeMap<(String, String, String), (u64, Timestamp, Timestamp)>);

impl Counted {
    fn add(&mut self, entry: &Entry) {
        let key = (entry.topic.to_string(), reason(entry, "stage"), reason(entry, "code"));
        let at = entry.timestamp;
        let seen = self.0.entry(key).or_insert((0, at, at));
        *seen = (seen.0 + 1, seen.1.min(at), seen.2.max(at));
    }
    fn rows(self) -> Vec<Row> {
        let row =
            |((topic, stage, code), (count, first, last))| Row { topic, stage, code, count, first, last };
        self.0.into_iter().map(row).collect()
    }
}

/// A header of the dead letter; `?` where it has none.
fn reason(entry: &Entry, name: &str) -> String {
    entry.headers.text(&format!("{}{name}", header::ERRORS)).unwrap_or("?").to_owned()
}

fn list(look: &Look, format: Format) -> anyhow::Result<()> {
    let mut counted = Counted::default();
    for topic in look.topics()?.keys().filter(|t| t.starts_with(&look.config.prefix) && is_dlq(t)) {
        look.scan(topic, |entry| counted.add(&entry))?;
    }
    let rows = counted.rows();
    if format == Format::Json {
        return rows.iter().try_for_each(render::json);
    }
    if rows.is_empty() {
        render::notice("no dead letters");
        return Ok(());
    }
    let cells = |r: &Row| {
        let times = [r.first.rfc3339_millis(), r.last.rfc3339_millis()];
        let mut cells = vec![r.topic.clone(), r.stage.clone(), r.code.clone(), r.count.to_string()];
        cells.extend(times);
        cells
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    render::table(&["TOPIC", "STAGE", "CODE", "COUNT", "FIRST", "LAST"], &cells)
}

fn show(look: &Look, topic: &str, code: Option<&str>, limit: usize, format: Format) -> anyhow::Result<()> {
    let (mut count, mut result) = (0_usize, Ok(()));
    look.scan(topic, |entry| {
        if result.is_err() || code.is_some_and(|c| c != reason(&entry, "code")) {
            return;
        }
        count += 1;
        if count <= limit {
            result = letter(look, &entry, format);
        }
    })?;
    result?;
    if count > limit {
        render::notice(&format!("{} more; --limit shows them", count - limit));
    }
    Ok(())
}

fn letter(look: &Look, entry: &Entry, format: Format) -> anyhow::Result<()> {
    let mut line = shown(entry, &look.decoder);
    if format == Format::Json {
        line["error_reason"] = reasons(entry).into();
        return render::json(&line);
    }
    let place = format!("{}/{}/{}", entry.topic, entry.partition, entry.offset);
    let from =
        format!("{}/{}/{}", reason(entry, "topic"), reason(entry, "partition"), reason(entry, "offset"));
    render::line(&format!("{place}  {}", entry.timestamp.rfc3339_millis()))?;
    render::line(&format!("  reason  {}: {}", reason(entry, "code"), reason(entry, "message")))?;
    render::line(&format!("  stage   {} on {from}", reason(entry, "stage")))?;
    let raw = entry.value.as_deref().and_then(|v| look.decoder.decode::<RawEvent>(v).ok());
    let text = match (raw, line.get("value").or_else(|| line.get("value_base64"))) {
        // People want to see what the tool sent.
        (Some(raw), _) => String::from_utf8_lossy(&raw.payload).into_owned(),
        (None, Some(Value::String(text))) => text.clone(),
        (None, value) => value.map(Value::to_string).unwrap_or_default(),
    };
    render::line(&format!("  value   {}", cut(&text, 300)))
}

/// The reason's headers, without their common start.
fn reasons(entry: &Entry) -> Map<String, Value> {
    let of_ours = entry.headers.0.iter().filter_map(|(name, value)| {
        Some((name.strip_prefix(header::ERRORS)?.to_owned(), String::from_utf8_lossy(value).into()))
    });
    of_ours.collect()
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
    use atio_stage::Headers;

    fn entry(at: i64, code: &str) -> Entry {
        let mut headers = Headers::default();
        headers.set("atio.errors.code", code.as_bytes());
        headers.set("ce_id", b"7");
        Entry {
            topic: "atio.raw.x.dlq".into(),
            partition: 0,
            offset: at,
            timestamp: Timestamp(at),
            key: None,
            value: None,
            headers,
        }
    }

    #[test]
    fn letters_are_counted_by_reason() {
        let mut counted = Counted::default();
        [entry(5, "empty"), entry(3, "empty"), entry(4, "too_deep")].iter().for_each(|e| counted.add(e));
        let rows = counted.rows();
        assert_eq!(rows.len(), 2);
        assert_eq!((&*rows[0].code, rows[0].count, rows[0].first.0, rows[0].last.0), ("empty", 2, 3, 5));
        assert_eq!(rows[0].stage, "?");
    }

    #[test]
    fn only_our_headers_are_reasons() {
        assert_eq!(Value::from(reasons(&entry(0, "empty"))), serde_json::json!({"code": "empty"}));
    }

    #[test]
    fn topics_of_dead_letters() {
        assert!(is_dlq("atio.raw.x.dlq") && is_dlq("atio.workflow-dlq") && !is_dlq("atio.detections"));
        assert_eq!(cut("a\nb", 9), "a b");
        assert_eq!(cut("abcd", 2), "ab…");
    }
}
