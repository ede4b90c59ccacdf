//! `atio workflow`: the definitions in force, their texts and how they came to be, read from the topics; commands that change them are in
//! `command`.
mod changes;
mod command;
mod diff;
mod run;

use crate::{
    commands::look::{Look, Unreadable, look},
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
};
use atio_schemas::definition::Definition;
use serde_json::json;
use std::collections::BTreeMap;

/// Look at workflows: what is in force, and who changed what; pause one, delete one, bring one back
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
    /// Print the JSON Schema of workflow files, for editors; no broker
    Schema,
    /// Print a workflow's text: the one in force, or a version's
    Show {
        #[arg(value_name = "NAME[@VERSION]")]
        name: String,
    },
    /// Show what happened to one workflow, or to all, oldest first: changes, refusals, tampering
    Changes {
        name: Option<String>,
        /// A table, or one JSON object a line with the texts before and after
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Stop the branches of a workflow; what it is for goes on coming to its topic and waits there
    Pause {
        #[command(flatten)]
        ask: command::Ask,
    },
    /// Let the branches of a paused workflow go on from where they were
    Resume {
        #[command(flatten)]
        ask: command::Ask,
    },
    /// Give the branches of a pooled workflow groups of their own, on a topic of its own, from now on
    Promote {
        #[command(flatten)]
        ask: command::Ask,
    },
    /// Take a workflow out of force; `restore` brings it back
    Delete {
        #[command(flatten)]
        ask: command::Ask,
    },
    /// Compare two versions line by line: by default the one in force with the one before
    Diff {
        name: String,
        #[arg(value_name = "VERSION", num_args = 0..=2)]
        versions: Vec<i64>,
        /// A unified diff, or one JSON object with both texts
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Bring a definition back from the audit log: one that was deleted, overwritten, or is no longer wanted otherwise
    #[command(disable_version_flag = true)]
    Restore {
        #[command(flatten)]
        ask: command::Ask,
        /// This one instead of the last
        #[arg(long, value_name = "N")]
        version: Option<i64>,
    },
    /// Run a workflow that is `on: manual` by hand, on an event or an incident
    Run {
        #[command(flatten)]
        ask: command::Ask,
        #[command(flatten)]
        what: run::What,
    },
    /// The same as `changes NAME`
    History {
        name: String,
        /// A table, or one JSON object a line with the texts before and after
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    match args.command {
        WorkflowCommand::Ls { format } => shown(target, move |look| list(look, format)),
        WorkflowCommand::Schema => {
            let schema = atio_workflow::schema::schema();
            render::line(&serde_json::to_string_pretty(&schema)?).map(|()| Exit::Done)
        }
        WorkflowCommand::Show { name } => shown(target, move |look| show(&definitions(look)?, &name)),
        WorkflowCommand::Changes { name, format } => {
            shown(target, move |look| changes::show(look, name.as_deref(), format))
        }
        WorkflowCommand::History { name, format } => {
            shown(target, move |look| changes::show(look, Some(&name), format))
        }
        WorkflowCommand::Diff { name, versions, format } => {
            shown(target, move |look| diff::show(&definitions(look)?, &name, &versions, format))
        }
        WorkflowCommand::Pause { ask } => command::pause(target, &ask, true),
        WorkflowCommand::Resume { ask } => command::pause(target, &ask, false),
        WorkflowCommand::Promote { ask } => command::promote(target, &ask),
        WorkflowCommand::Delete { ask } => command::delete(target, &ask),
        WorkflowCommand::Restore { ask, version } => command::restore(target, &ask, version),
        WorkflowCommand::Run { ask, what } => run::run(target, &ask, &what),
    }
}

fn shown(
    target: &Target,
    show: impl FnOnce(&Look) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Exit> {
    look(target, move |look| show(look).map(|()| Exit::Done))
}

fn definitions(look: &Look) -> anyhow::Result<BTreeMap<String, Definition>> {
    look.definitions(Unreadable::Refused)
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
                "name": p.name, "version": p.version, "paused": p.paused, "placement": p.placed(), "sha256": d.map(|d| &d.sha256),
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
        vec![p.name.clone(), p.version.to_string(), state.to_owned(), p.placed().to_string(), at, by]
    };
    let cells: Vec<Vec<String>> = live.iter().map(cells).collect();
    render::table(&["NAME", "VERSION", "STATE", "PLACEMENT", "SINCE", "BY"], &cells)
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
