//! `atio schema`: our schemas and a registry's. Owns the comparison; what is compatible, the registry says.
use crate::{
    commands::block_on,
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
};
use atio_runtime::{
    RegistryIds,
    schema_ids::{Registered, RegistryError, registered},
};
use atio_schemas::SUBJECTS;
use serde_json::json;

/// Compare our schemas with the registry's, or register them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio schema check --registry http://registry:8081")]
pub struct Args {
    #[command(subcommand)]
    command: SchemaCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SchemaCommand {
    /// Say which subjects are registered as we have them; exit code 4 where one is not. Changes nothing
    Check {
        /// A table, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Register every schema of ours; one that is there already stays as it is
    Register,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(json!({}))?;
    let url = target.registry(&config)?;
    block_on(async move {
        match args.command {
            SchemaCommand::Check { format } => {
                let found = registered(&url).await.map_err(failed)?;
                show(&found, format)?;
                let all = found.iter().all(|(_, state)| matches!(state, Registered::As(_)));
                Ok(if all { Exit::Done } else { Exit::Differs })
            }
            SchemaCommand::Register => {
                RegistryIds::register(&url).await.map_err(failed)?;
                render::line(&format!("{} subjects are registered", SUBJECTS.len()))?;
                Ok(Exit::Done)
            }
        }
    })
}

/// A registry's error with its exit code.
fn failed(error: RegistryError) -> anyhow::Error {
    match error {
        RegistryError::Unreachable { .. } => Failure::unreachable(error.to_string()),
        RegistryError::Refused { .. } => Failure::with(Exit::Refused, error.to_string()),
    }
}

fn show(found: &[(&'static str, Registered)], format: Format) -> anyhow::Result<()> {
    let state = |state: &Registered| match state {
        Registered::As(id) => ("registered", id.to_string()),
        Registered::Otherwise => ("differs", "-".to_owned()),
        Registered::Not => ("missing", "-".to_owned()),
    };
    if format == Format::Json {
        return found.iter().try_for_each(|(subject, s)| {
            let id = if let Registered::As(id) = s { Some(id) } else { None };
            render::json(&json!({"subject": subject, "state": state(s).0, "id": id}))
        });
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(subject, s)| {
            let (text, id) = state(s);
            vec![(*subject).to_owned(), text.to_owned(), id]
        })
        .collect();
    render::table(&["SUBJECT", "STATE", "ID"], &rows)
}
