//! `atio apply`: makes what `plan` shows. Topics by the admin API, workflows by commands that monitoring carries out.
use crate::{
    commands::{block_on, plan, test},
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
    system::{self, PATIENCE, applied, declared, wanted, workflows},
};
use std::collections::BTreeMap;

/// Make the cluster as declared, and the workflows: `atio apply --kafka k:9092 --registry http://r:8081`
///
/// Where a test of a declared workflow fails (`atio test`), nothing is applied: exit code 5.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: plan::PlanFlags,
    /// Topics only: before the services run for the first time
    #[arg(long)]
    topics_only: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(serde_json::json!({}))?;
    let declarations = declared::load(&config)?;
    let found = plan::difference(target, &config, &declarations, &args.flags)?;
    if found.topics.impossible() {
        plan::show(&found, args.format)?;
        return Err(Failure::with(Exit::Refused, "nothing was applied"));
    }
    let failing = if args.topics_only { BTreeMap::new() } else { test::failing(&declarations, &config)? };
    if !failing.is_empty() {
        let failing: Vec<String> = failing.into_values().flatten().collect();
        return Err(Failure::with(Exit::Refused, format!("nothing was applied\n{}", failing.join("\n"))));
    }
    // A topic is there before the definition that needs it.
    wanted::make(&found.admin, &found.topics)?;
    let mut outcome = workflows::Applied::default();
    if !args.topics_only {
        let url = target.registry(&config)?;
        let (codec, _ids) = block_on(system::codec(&url))?;
        let kafka = system::kafka(&config, &target.kafka(&config)?);
        outcome = workflows::apply(&kafka, &config, &codec, &declarations, PATIENCE)?;
        if !applied::wait(&kafka, &config, &codec, PATIENCE)? {
            render::notice("no router runs: the workflows are in force, and take effect when one does");
        }
    }
    let changes: Vec<String> = found.topics.changes.iter().map(wanted::change).collect();
    if args.format == Format::Json {
        render::json(
            &serde_json::json!({"changes": changes, "workflows": outcome.changed, "unchanged": outcome.unchanged, "refused": outcome.refused}),
        )?;
    } else {
        changes.iter().try_for_each(|c| render::line(c))?;
        outcome.changed.iter().try_for_each(|w| render::line(&format!("~ workflow {w}")))?;
        found.topics.refused.iter().for_each(|r| render::notice(&format!("not done: {r}")));
    }
    if outcome.refused.is_empty() {
        return Ok(Exit::Done);
    }
    let lines: Vec<String> = outcome
        .refused
        .iter()
        .map(|(name, code, message)| format!("workflow {name}: {code}: {message}"))
        .collect();
    Err(Failure::with(Exit::Refused, lines.join("\n")))
}
