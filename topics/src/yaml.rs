//! YAML with limits, errors with places and suggestions. Owns how the YAML library is called.
use crate::{
    place::{Place, Problem},
    suggest,
};
use serde::de::DeserializeOwned;
use serde_saphyr::{DeserializeError as Error, Location, Options};
use std::sync::Arc;

/// A declaration file is at most so long.
pub(crate) const MAX_FILE: usize = 1024 * 1024;

/// Reads one document as `T`. The error never holds a part of the text but names of fields and variants.
pub(crate) fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Problem> {
    let file_place = Place::file(file);
    if text.len() > MAX_FILE {
        return Err(Problem::too_long(&Place::start(file), text.len() as u64, MAX_FILE as u64));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|e| problem(&file_place, &e))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32, max_documents: 1, max_nodes: 50_000, max_events: 200_000, max_aliases: 100, max_anchors: 100, max_merge_keys: 100,
        },
    }
}

pub(crate) fn place(file: &Place, location: Location) -> Place {
    Place { file: Arc::clone(&file.file), line: location.line(), column: location.column() }
}

fn problem(file: &Place, error: &Error) -> Problem {
    let at = error.location().map_or_else(|| file.clone(), |l| place(file, l));
    match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            Problem::new(&at, format!("unknown field `{field}`")).help(suggest::help(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            Problem::new(&at, format!("unknown value `{variant}`")).help(suggest::help(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => {
            Problem::new(&at, format!("field `{field}` is missing")).help(Some(format!("add `{field}: …`")))
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            Problem::new(&at, format!("expected {expected}"))
                .help(Some("write that, quoted where it looks like something else".to_owned()))
        }
        other => {
            let help =
                "look for a bracket, a quote, a name that stands twice or an indentation that does not fit";
            Problem::new(&at, first_line(&other.to_string())).help(Some(help.to_owned()))
        }
    }
}

/// The library appends "at line …" and may quote; the place is ours, the rest of the first line says what is wrong.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").chars().take(300).collect()
}
