//! `convert: report`: the form in which the next `deliver` hands the event over. Without it a sink's own format is used.
use super::{Flow, Step, objects};
use crate::{check::Check, machine::Event, spec};
use atio_formats::{WRITERS, WriteCx, writer};
use atio_schemas::Code;
use serde_json::json;

const LATER: &[&str] = &[
    "cef", "csv", "html", "iris", "leef", "markdown", "misp", "ocsf", "openc2", "sentinel", "splunk", "sql",
    "thehive",
];

/// What a writer made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    pub format: String,
    pub content_type: String,
    pub payload: Vec<u8>,
    /// What the format could not carry.
    pub residue: Vec<String>,
}

#[derive(Debug)]
struct Convert(String);

pub(super) fn read(step: &spec::Step, check: &mut Check<'_>) -> Option<Box<dyn Step>> {
    let format = spec::text(&step.body, "`convert`", &mut check.problems)?;
    if writer(&format.text).is_none() {
        let names: Vec<&str> = WRITERS.iter().map(|w| w.name).collect();
        check.problems.push(spec::unknown(&format, &names, LATER, "format"));
        return None;
    }
    check.flow.converted = Some(format.text.clone());
    check.flow.undelivered = Some(step.name.place.clone());
    Some(Box::new(Convert(format.text)))
}

pub(super) fn schema() -> serde_json::Value {
    let names: Vec<&str> = WRITERS.iter().map(|w| w.name).collect();
    json!({"enum": names, "description": "The form in which what follows is delivered"})
}

impl Step for Convert {
    fn name(&self) -> &'static str {
        "convert"
    }
    fn run(&self, event: &mut Event<'_>) -> Flow {
        match convert(event, &self.0) {
            Ok(converted) => {
                event.converted = Some(converted);
                Flow::Next
            }
            Err(message) => Flow::Reject(Code::ConvertFailed, message),
        }
    }
}

/// Writes the event as it is now; its bundle says what its columns say.
pub(super) fn convert(event: &mut Event<'_>, format: &str) -> Result<Converted, String> {
    let found = writer(format).ok_or_else(|| format!("no writer for {format}"))?;
    if event.unaligned {
        objects::drop_objects(event, |_| false).map_err(|e| e.to_string())?;
    }
    let written = found.writer.write(&event.detection, &WriteCx::default()).map_err(|e| e.to_string())?;
    Ok(Converted {
        format: found.name.to_owned(),
        content_type: written.content_type.to_owned(),
        payload: written.body,
        residue: written.residue,
    })
}
