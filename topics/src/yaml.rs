//! YAML with limits, errors with places and suggestions. Owns how the YAML library is called.
use crate::{
    place::{Place, Problem},
    suggest,
};
use serde::de::DeserializeOwned;
use serde_saphyr::{DeserializeError as Error, Location, Options, budget::BudgetBreach};
use std::sync::Arc;

/// A declaration file is at most so long.
pub(crate) const MAX_FILE: usize = 1024 * 1024;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 50_000;
const MAX_ALIASES: usize = 100;

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
            max_depth: MAX_DEPTH, max_documents: 1, max_nodes: MAX_NODES, max_events: 200_000,
            max_aliases: MAX_ALIASES, max_anchors: MAX_ALIASES, max_merge_keys: MAX_ALIASES,
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
        Error::DuplicateMappingKey { key, .. } => {
            let name = key.as_deref().unwrap_or("a key").chars().take(80).collect::<String>();
            Problem::new(&at, format!("`{name}` stands here twice"))
                .help(Some("leave one out, or merge them".to_owned()))
        }
        Error::UnknownAnchor { .. } => Problem::new(&at, "an alias (`*`) of an anchor that is not there")
            .help(Some("write out what it stands for".to_owned())),
        Error::Budget { breach, .. } => breached(&at, breach),
        Error::Unexpected { expected: "mapping start", .. } => {
            let help = "`{name: value}`; a secret is a reference: `{env: NAME}` or `{file: PATH}`";
            Problem::new(&at, "a mapping is expected here").help(Some(help.to_owned()))
        }
        // Within what an alias stands for: told where the alias is.
        Error::AliasError { error, .. } => Problem { place: at, ..problem(file, error) },
        other => {
            let help = "look for a bracket, a quote or an indentation that does not fit, here or above";
            Problem::new(&at, first_line(&other.to_string())).help(Some(help.to_owned()))
        }
    }
}

/// A bound that the file, or what its aliases expand to, goes beyond.
fn breached(at: &Place, breach: &BudgetBreach) -> Problem {
    let (message, help) = match breach {
        BudgetBreach::Documents { .. } => (
            "a second document: one declaration a file".to_owned(),
            "put what follows `---` into a file of its own",
        ),
        BudgetBreach::Depth { .. } => (
            format!("nested deeper than {MAX_DEPTH}"),
            "a declaration needs no more; is a bracket left open?",
        ),
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => (
            format!("more than {MAX_NODES} values, with what aliases stand for"),
            "move long lists into a table, or write several files; write out aliases",
        ),
        _ => (
            format!("more than {MAX_ALIASES} anchors, aliases or merge keys"),
            "write out what they stand for",
        ),
    };
    Problem::new(at, message).help(Some(help.to_owned()))
}

/// The library appends "at line …" and may quote; the place is ours, the rest of the first line says what is wrong.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    line.split(" at line ").next().unwrap_or_default().chars().take(300).collect()
}
