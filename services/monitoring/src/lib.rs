//! The one writer of definitions, change events and the audit log.
//!
//! Two stages. `monitoring` turns each command into the definition that it asks for, a change event and an entry of the audit log, in one
//! transaction: who saw an older version is refused, so that concurrent applies can't lose each other. `monitoring-audit` appends what
//! others want recorded. A thread watches what lies on the three topics, and reports what no entry of the log accounts for. Must not know: how a
//! workflow is run, who sends commands.

mod chain;
pub mod check;
pub mod checkpoint;
mod commands;
pub mod compare;
mod decide;
mod intents;
mod metrics;
pub mod noted;
pub mod report;
mod stores;
#[cfg(test)]
mod tests;
mod trail;
pub mod verify;
pub mod watcher;
pub mod written;

pub use check::{BuiltIn, Check, Facts, Refused, Wanted};
pub use decide::{Room, place};

use atio_schemas::{Codec, command::ObjectKind};
use atio_stage::{Input, Pace, Run, Stage, Start, StoreSpec};
use std::sync::Arc;

pub const SERVICE: &str = "monitoring";

/// What the stages are made of.
#[derive(Clone)]
pub struct Deps {
    /// Of topics and groups, e.g. `atio.`.
    pub prefix: String,
    pub codec: Codec,
    /// What a definition must pass before it goes live.
    pub check: Arc<dyn Check>,
    /// Branches with a group of their own, of all workflows in force: where there would be more, what asks for nothing is pooled.
    pub budget: u64,
}

/// The key of an object's commands and changes: `workflow/<name>`. A command under another key is no command.
#[must_use]
pub fn object_key(kind: ObjectKind, name: &str) -> String {
    format!("{kind}/{name}")
}

/// The key of an object on `workflows`, without version: the bare name for a workflow, `<kind>/<name>` for the rest.
#[must_use]
pub fn pointer_key(kind: ObjectKind, name: &str) -> String {
    if kind == ObjectKind::Workflow { name.to_owned() } else { object_key(kind, name) }
}

/// Both stages.
#[must_use]
pub fn stages(deps: &Deps) -> Vec<Stage> {
    let topic = |name: &str| Arc::<str>::from(format!("{}{name}", deps.prefix));
    let topics = commands::Topics {
        workflows: topic("workflows"),
        changes: topic("workflow-changes"),
        audit: topic("audit"),
    };
    let outputs = vec![topics.workflows.clone(), topics.changes.clone(), topics.audit.clone()];
    let commands = commands::Commands::new(deps.codec.clone(), Arc::clone(&deps.check), topics, deps.budget);
    let intents = intents::Intents::new(deps.codec.clone(), topic("audit"), topic("workflow-changes"));
    let stage = |name: &str, input: &str, outputs, stores, run| Stage {
        name: name.to_owned(),
        service: SERVICE,
        group: format!("{}{name}", deps.prefix),
        inputs: vec![Input { start: Start::Beginning, ..Input::new(&topic(input)) }],
        outputs,
        stores,
        tables: vec![],
        pace: Pace::Interactive,
        run,
    };
    vec![
        stage(
            "monitoring",
            "commands",
            outputs,
            vec![
                StoreSpec::of::<stores::Objects>(&deps.prefix, SERVICE),
                StoreSpec::of::<stores::Groups>(&deps.prefix, SERVICE),
                StoreSpec::of::<stores::Answered>(&deps.prefix, SERVICE),
                StoreSpec::of::<stores::CommandChains>(&deps.prefix, SERVICE),
            ],
            Run::Transform(Box::new(commands)),
        ),
        stage(
            "monitoring-audit",
            "audit-intents",
            vec![topic("workflow-changes"), topic("audit")],
            vec![
                StoreSpec::of::<stores::IntentChains>(&deps.prefix, SERVICE),
                StoreSpec::of::<stores::Reported>(&deps.prefix, SERVICE),
            ],
            Run::Transform(Box::new(intents)),
        ),
    ]
}
