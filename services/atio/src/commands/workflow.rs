//! `atio workflow`: the definitions in force, their texts and how they came to be, read from the topics. Changing them is not done here.
use crate::{
    commands::look::{Look, look},
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
};
use atio_schemas::{
    command::ObjectKind,
    definition::{Change, Definition},
};
use serde_json::json;
use std::collections::BTreeMap;

/// Look at workflows: what is in force, and who changed what
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio workflow show threat-detection-response@1")]
pub struct Args {
    #[command(subcommand)]
    command: WorkflowCommand,
}

#[derive(Debug, clap::Subcommand)]
enum WorkflowCommand {
    /// List the workflows in force
    Ls {
        /// A table, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print a workflow's text: the one in force, or a version's
    Show {
        #[arg(value_name = "NAME[@VERSION]")]
        name: String,
    },
    /// Show every change of a workflow, refused ones too, oldest first
    History {
        name: String,
        /// A table, or one JSON object a line with the texts before and after
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    look(target, move |look: &Look| {
        match args.command {
            WorkflowCommand::Ls { format } => list(look, format)?,
            WorkflowCommand::Show { name } => show(&definitions(look)?, &name)?,
            WorkflowCommand::History { name, format } => history(look, &name, format)?,
        }
        Ok(Exit::Done)
    })
}

/// Every definition and pointer of a workflow, by its key: `<name>@<n>`, `<name>`.
fn definitions(look: &Look) -> anyhow::Result<BTreeMap<String, Definition>> {
    let topic = format!("{}workflows", look.config.prefix);
    let mut found = BTreeMap::new();
    for (key, entry) in look.latest(&topic)? {
        let key = String::from_utf8_lossy(&key).into_owned();
        let value = entry.value.unwrap_or_default();
        let definition: Definition =
            look.decoder.decode(&value).map_err(|e| anyhow::anyhow!("{topic}, key {key}: {e}"))?;
        if definition.kind == ObjectKind::Workflow {
            found.insert(key, definition);
        }
    }
    Ok(found)
}

fn list(look: &Look, format: Format) -> anyhow::Result<()> {
    let all = definitions(look)?;
    let live: Vec<(&Definition, Option<&Definition>)> = all
        .values()
        .filter(|d| d.pointer)
        .map(|pointer| (pointer, all.get(&format!("{}@{}", pointer.name, pointer.version))))
        .collect();
    if format == Format::Json {
        return live.iter().try_for_each(|(p, d)| {
            render::json(&json!({
                "name": p.name, "version": p.version, "paused": p.paused, "sha256": d.map(|d| &d.sha256),
                "created_at": d.map(|d| d.created_at), "created_by": d.map(|d| &d.created_by)
            }))
        });
    }
    if live.is_empty() {
        render::notice("no workflow is in force; `atio apply` brings the declared ones into force");
        return Ok(());
    }
    let cells = |(p, d): &(&Definition, Option<&Definition>)| {
        let state = if p.paused { "paused" } else { "running" };
        let (at, by) =
            d.map_or_else(Default::default, |d| (d.created_at.rfc3339_millis(), d.created_by.clone()));
        vec![p.name.clone(), p.version.to_string(), state.to_owned(), at, by]
    };
    let cells: Vec<Vec<String>> = live.iter().map(cells).collect();
    render::table(&["NAME", "VERSION", "STATE", "SINCE", "BY"], &cells)
}

fn show(all: &BTreeMap<String, Definition>, name: &str) -> anyhow::Result<()> {
    let key = match all.get(name) {
        Some(pointer) if pointer.pointer => format!("{name}@{}", pointer.version),
        _ => name.to_owned(),
    };
    let Some(definition) = all.get(&key).filter(|d| !d.pointer) else {
        let known: Vec<&str> = all.values().filter(|d| d.pointer).map(|d| d.name.as_str()).collect();
        return Err(Failure::usage(format!("no workflow `{name}`; in force: {}", known.join(", "))));
    };
    render::line(definition.definition.trim_end())
}

fn history(look: &Look, name: &str, format: Format) -> anyhow::Result<()> {
    let topic = format!("{}workflow-changes", look.config.prefix);
    let (mut changes, mut bad) = (vec![], 0_u64);
    look.scan(&topic, |entry| match look.decoder.decode::<Change>(&entry.value.unwrap_or_default()) {
        Ok(change) if change.kind == ObjectKind::Workflow && change.name == name => changes.push(change),
        Ok(_) => {}
        Err(_) => bad += 1,
    })?;
    if bad > 0 {
        render::notice(&format!("{bad} records of {topic} can't be read and are left out"));
    }
    changes.sort_by_key(|c| c.at);
    if format == Format::Json {
        return changes.iter().try_for_each(render::json);
    }
    if changes.is_empty() {
        return Err(Failure::usage(format!(
            "nothing ever changed a workflow `{name}`; `atio workflow ls` lists them"
        )));
    }
    let cells: Vec<Vec<String>> = changes.iter().map(cells).collect();
    render::table(&["AT", "CHANGE", "FROM", "TO", "BY", "WHY"], &cells)
}

fn cells(c: &Change) -> Vec<String> {
    let version = |v: Option<i64>| v.map_or_else(|| "-".to_owned(), |v| v.to_string());
    let why = match (&c.refused_code, &c.refused_message) {
        (Some(code), message) => format!("{code}: {}", message.as_deref().unwrap_or_default()),
        _ => c.reason.clone().unwrap_or_default(),
    };
    let kind = match c.change_type {
        atio_schemas::definition::ChangeType::Creation => "created",
        atio_schemas::definition::ChangeType::Modification => "modified",
        atio_schemas::definition::ChangeType::Deletion => "deleted",
        atio_schemas::definition::ChangeType::Refusal => "refused",
    };
    vec![
        c.at.rfc3339_millis(),
        kind.to_owned(),
        version(c.before_version),
        version(c.after_version),
        c.actor.clone(),
        why.replace('\n', "; "),
    ]
}
