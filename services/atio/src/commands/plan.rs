//! `atio plan`: what `apply` would change. Exit 4 where something would.
use crate::{
    commands::block_on,
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
    system::{self, declared, wanted, workflows},
};
use atio_runtime::Config;
use atio_stream::admin::Admin;
use atio_topics::{Declarations, Flags, Plan};
use std::collections::BTreeMap;

/// Show the difference between the declarations and the cluster: `atio plan --kafka k:9092`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub flags: PlanFlags,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What may be destroyed.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanFlags {
    /// Delete topics under our prefix that nothing declares
    #[arg(long)]
    pub delete: bool,
    /// Make settings smaller that keep records: retention, sizes, cleanup policy
    #[arg(long)]
    pub shrink: bool,
    /// The cluster is the embedded broker: 3 partitions by default instead of 12
    #[arg(long)]
    pub embedded: bool,
}

impl PlanFlags {
    pub fn flags(&self) -> Flags {
        Flags { delete: self.delete, shrink: self.shrink }
    }
}

/// Everything that `plan` shows and `apply` makes.
pub struct Difference {
    pub admin: Admin,
    pub topics: Plan,
    /// Workflows that are not in force as declared; none where no registry was given.
    pub workflows: Option<Vec<String>>,
}

pub fn difference(
    target: &Target,
    config: &Config,
    declarations: &Declarations,
    flags: &PlanFlags,
) -> anyhow::Result<Difference> {
    let kafka = system::kafka(config, &target.kafka(config)?);
    let embedded = flags.embedded || is_embedded(config)?;
    let looking = Admin::connect(&kafka, "atio-plan").map_err(wanted::unreachable)?;
    let there =
        looking.topics().map_err(wanted::unreachable)?.contains_key(&format!("{}workflows", config.prefix));
    looking.retire();
    let live = match target.registry(config) {
        Ok(url) if there => {
            let (codec, _ids) = block_on(system::codec(&url))?;
            Some(workflows::in_force(&kafka, config, &codec)?)
        }
        Ok(_) => Some(BTreeMap::new()),
        Err(_) => None,
    };
    let placed = live.as_ref().map(|live| live.iter().map(|(name, d)| (name.clone(), d.placed())).collect());
    let (admin, topics) =
        wanted::difference(&kafka, config, declarations, embedded, flags.flags(), placed.as_ref())?;
    let workflows = live.map(|live| {
        let differs =
            |w: &&atio_topics::WorkflowText| live.get(&w.name).is_none_or(|l| l.definition != w.text);
        declarations.workflows.values().filter(differs).map(|w| w.name.clone()).collect()
    });
    Ok(Difference { admin, topics, workflows })
}

/// Data of a running `atio up` whose broker is its own.
pub fn is_embedded(config: &Config) -> anyhow::Result<bool> {
    Ok(config.data.join("broker").is_dir() && crate::endpoints::Endpoints::read(&config.data)?.is_some())
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(serde_json::json!({}))?;
    let declarations = declared::load(&config)?;
    let found = difference(target, &config, &declarations, &args.flags)?;
    show(&found, args.format)?;
    if found.topics.impossible() {
        return Err(Failure::with(Exit::Refused, "what is refused for good can't be applied"));
    }
    let differs = !found.topics.is_empty() || found.workflows.as_ref().is_some_and(|w| !w.is_empty());
    Ok(if differs { Exit::Differs } else { Exit::Done })
}

pub fn show(found: &Difference, format: Format) -> anyhow::Result<()> {
    let changes: Vec<String> = found.topics.changes.iter().map(wanted::change).collect();
    let refused: Vec<String> = found.topics.refused.iter().map(ToString::to_string).collect();
    if format == Format::Json {
        return render::json(
            &serde_json::json!({"changes": changes, "refused": refused, "workflows": found.workflows}),
        );
    }
    changes.iter().try_for_each(|c| render::line(c))?;
    found.workflows.iter().flatten().try_for_each(|w| render::line(&format!("~ workflow {w}")))?;
    refused.iter().for_each(|r| render::notice(&format!("not done: {r}")));
    match &found.workflows {
        Some(w) if w.is_empty() && changes.is_empty() => {
            render::notice("nothing to do: the cluster is as declared")
        }
        None => render::notice("workflows were not compared: no --registry given"),
        Some(_) => {}
    }
    Ok(())
}
