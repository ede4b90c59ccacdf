//! `atio key create`: the token is printed once; only its hash is kept.
use crate::{
    endpoints::Target,
    exit::{Exit, Failure},
    render,
};
use anyhow::Context;
use atio_runtime::http::auth::{Keys, Role};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key and print it
    Create {
        /// ingest, viewer, analyst, engineer or admin
        #[arg(long)]
        role: String,
        /// The one source that an ingest key may feed
        #[arg(long)]
        source: Option<String>,
    },
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    let KeyCommand::Create { role, source } = args.command;
    let known = "ingest, viewer, analyst, engineer, admin";
    let role =
        Role::parse(&role).ok_or_else(|| Failure::usage(format!("unknown role `{role}`; one of {known}")))?;
    if source.is_some() && role != Role::Ingest {
        return Err(Failure::usage("--source goes with --role ingest"));
    }
    let config = target.configuration(serde_json::json!({}))?;
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("data directory {}", config.data.display()))?;
    let token = Keys::open(&config.data)?.create(role, source)?;
    render::line(&token)?;
    render::notice("keep it: it is not shown again");
    Ok(Exit::Done)
}
