//! Declarations of a system: what is shipped, and the user's over it.
use crate::exit::{Exit, Failure};
use anyhow::Context;
use atio_runtime::Config;
use atio_topics::{
    Declarations, Problem,
    load::{self, File},
    sink::Target,
};
use std::path::PathBuf;

/// Where the user's declarations lie: `topics:` of the configuration, else DATA/topics.
pub fn directory(config: &Config) -> PathBuf {
    config.topics.clone().unwrap_or_else(|| config.data.join("topics"))
}

/// Loads and checks them; every problem is in the error.
pub fn load(config: &Config) -> anyhow::Result<Declarations> {
    let directory = directory(config);
    let files = if directory.is_dir() {
        load::read_dir(&directory).with_context(|| format!("declarations in {}", directory.display()))?
    } else {
        vec![]
    };
    let mut declared = check(&files).map_err(|problems| refused(&problems))?;
    for sink in declared.sinks.values_mut() {
        // A relative path means the data directory, not wherever the process was started.
        if let Target::File { path } = &mut sink.target
            && path.is_relative()
        {
            *path = config.data.join(&*path);
        }
    }
    Ok(declared)
}

/// Shipped declarations with these files over them, formats checked.
pub fn check(files: &[File]) -> Result<Declarations, Vec<Problem>> {
    let declared = Declarations::load(files)?;
    let unknown = declared.sources.values().filter_map(|source| {
        let name = source.format.as_deref().filter(|name| !atio_formats::is_pin(name))?;
        let known: Vec<&str> = atio_formats::FORMATS.iter().map(|f| f.name).collect();
        Some(
            Problem::new(&source.meta.place, format!("unknown format `{name}`"))
                .help(Some(format!("one of {}, or auto", known.join(", ")))),
        )
    });
    let unknown: Vec<Problem> = unknown.collect();
    if unknown.is_empty() { Ok(declared) } else { Err(unknown) }
}

/// All problems as one error of validation.
pub fn refused(problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::with(Exit::Refused, lines.join("\n"))
}
