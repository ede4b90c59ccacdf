//! Matches detections against workflows and runs their branches.
//!
//! The router reads enriched detections and writes each to the topic of every workflow whose trigger holds; `triggers` does so with records of other
//! topics. Each branch is a stage of its
//! own, with its own group on its workflow's topic, and writes deliveries, and waits where it comes to one. One that has steps with state keeps
//! it in stores of its own, and one that looks into reference tables reads these too. Both see the definitions
//! through [`Definitions`], a view of the topic `workflows`. Branches of workflows that are *pooled* have none: one stage (`pool`) runs them all. Must not know: how a step works (`atio-workflow` does), how a sink is spoken to, Kafka.

mod branch;
mod pool;
mod router;
pub mod triggers;

pub use atio_workflow::Definitions;
pub use pool::{POOL, stage as pool_stage};

use atio_schemas::{Codec, definition::Placement};
use atio_stage::{Input, Pace, Run, Stage, Store as _, StoreSpec, TableSpec, Timers};
use atio_workflow::{
    Known, Trigger,
    definitions::{Live, Reach},
    state::Steps,
    tables,
};
use ipnet::IpNet;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

pub const SERVICE: &str = "routing";

/// What the stages are made of.
#[derive(Clone)]
pub struct Deps {
    prefix: String,
    codec: Codec,
    known: Known,
    home_networks: Vec<IpNet>,
    /// Every stage has a clone: all of them see one view.
    table: TableSpec,
    /// Reference tables that branches look into, each made once for the same reason.
    references: Arc<Mutex<BTreeMap<String, TableSpec>>>,
}

impl Deps {
    /// `prefix`: of topics and groups, e.g. `atio.`. `known`: sinks and tables that are declared outside the topic of definitions; those on
    /// the topic win. `home_networks`: addresses that are ours.
    #[must_use]
    pub fn new(prefix: &str, codec: Codec, known: Known, home_networks: Vec<IpNet>) -> Self {
        let table = Definitions::table(prefix, &codec, &known);
        Self { prefix: prefix.to_owned(), codec, known, home_networks, table, references: Arc::default() }
    }
    fn topic(&self, name: &str) -> Arc<str> {
        Arc::from(format!("{}{name}", self.prefix))
    }
    /// Topics of what is called, wherever it runs.
    fn called(&self, reach: &Reach) -> Vec<Arc<str>> {
        let own = reach.calls.iter().map(|name| self.topic(&format!("workflow.{name}")));
        let shared = (!reach.calls.is_empty()).then(|| self.topic("routed"));
        own.chain(shared).collect()
    }
    /// A reference table.
    fn reference(&self, name: &str) -> TableSpec {
        let mut all = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        let spec = all.entry(name.to_owned());
        spec.or_insert_with(|| tables::table(&self.prefix, name, &self.codec)).clone()
    }
    /// The definitions, as the router sees them: all workflows that are in force.
    #[must_use]
    pub fn definitions(&self) -> Definitions {
        Definitions::new(self.codec.clone(), self.known.clone())
    }
}

/// The routers, and what follows from `definitions`.
#[must_use]
pub fn stages(deps: &Deps, definitions: &Definitions) -> Vec<Stage> {
    let mut stages = router_stages(deps, definitions);
    stages.extend(changing_stages(deps, definitions, &|_| true));
    stages
}

/// The routers of detections alone: one for what someone must see, one for the bulk, which never delays the other. They live as long as the service
/// does; `definitions` only tells which topics they may write now.
#[must_use]
pub fn router_stages(deps: &Deps, definitions: &Definitions) -> Vec<Stage> {
    let outputs = routed(deps, definitions, Trigger::Detection);
    let router = |name: &str, input: &str, pace| Stage {
        name: name.to_owned(),
        service: SERVICE,
        group: format!("{}{name}", deps.prefix),
        inputs: vec![Input::new(&deps.topic(input))],
        outputs: outputs.clone(),
        stores: vec![],
        tables: vec![deps.table.clone()],
        pace,
        run: Run::Transform(Box::new(router::Router::new(deps.codec.clone(), deps.prefix.clone()))),
    };
    vec![router(SERVICE, "enriched", Pace::Interactive), router("routing-logs", "enriched-logs", Pace::Bulk)]
}

/// Where the router of what triggers `on` writes: topics of workflows that have their own from the start, and the one that all others share.
fn routed(deps: &Deps, definitions: &Definitions, on: Trigger) -> Vec<Arc<str>> {
    let own = definitions.live().filter(|live| live.on == on && live.placement == Placement::Own);
    let topics = own.map(|live| deps.topic(&format!("workflow.{}", live.name)));
    topics.chain([deps.topic("routed")]).collect()
}

/// What must run now beside the routers of detections: those of other triggers, the pool, and the branches. Whoever runs stages starts those that
/// are new and stops those that are gone when definitions change; a stage's name says which it is.
#[must_use]
pub fn changing_stages(deps: &Deps, definitions: &Definitions, ready: &dyn Fn(&str) -> bool) -> Vec<Stage> {
    let mut stages = triggers::stages(deps, definitions);
    if definitions.shared().next().is_some() {
        stages.push(pool::stage(deps, definitions, ready));
    }
    stages.extend(branch_stages(deps, definitions, ready));
    stages
}

/// Workflows that have been taken out of the pool: whoever runs stages sees to it that their topics (`workflow.<name>`) are there, and tells so by
/// `ready`.
pub fn promoted(definitions: &Definitions) -> impl Iterator<Item = &str> {
    definitions
        .shared()
        .filter(|(_, placement)| *placement == Some(Placement::Promoted))
        .map(|(name, _)| name)
}

/// Whether a stage is one of [`changing_stages`], by its name.
#[must_use]
pub fn is_changing(name: &str) -> bool {
    name.starts_with("routing.") || name == POOL || triggers::is_named(name)
}

/// One stage for each branch of each workflow that is in force, not paused and not in the pool, sorted by name. A branch that only an older version
/// has goes on for what is still on its way.
#[must_use]
pub fn branch_stages(deps: &Deps, definitions: &Definitions, ready: &dyn Fn(&str) -> bool) -> Vec<Stage> {
    let runs = |live: &Live<'_>| match live.placement {
        _ if live.paused => false,
        Placement::Own => true,
        Placement::Promoted => ready(live.name),
        Placement::Pooled => false,
    };
    stages_of(deps, definitions.live().filter(runs))
}

/// Those of paused and pooled ones, too: what a branch comes to in the end.
#[must_use]
pub fn every_branch(deps: &Deps, definitions: &Definitions) -> Vec<Stage> {
    stages_of(deps, definitions.live())
}

fn stages_of<'d>(deps: &Deps, live: impl Iterator<Item = Live<'d>>) -> Vec<Stage> {
    let mut stages: Vec<Stage> = live
        .flat_map(|live| {
            live.branches
                .into_iter()
                .map(move |(branch, reach)| branch_stage(deps, live.name, branch, &reach))
        })
        .collect();
    stages.sort_by(|a, b| a.name.cmp(&b.name));
    stages
}

fn branch_stage(deps: &Deps, workflow: &str, branch: &str, reach: &Reach) -> Stage {
    let name = format!("{SERVICE}.{workflow}.{branch}");
    let processor = branch::Runner {
        codec: deps.codec.clone(),
        workflow: workflow.to_owned(),
        branch: branch.to_owned(),
        home_networks: deps.home_networks.clone(),
        prefix: deps.prefix.clone(),
        keeps: reach.keeps,
        delays: reach.delays,
        tables: reach.tables.clone(),
    };
    let deliveries = reach.sinks.iter().map(|sink| deps.topic(&format!("delivery.{sink}")));
    Stage {
        group: format!("{}{name}", deps.prefix),
        name,
        service: SERVICE,
        inputs: vec![Input {
            dead_letters: deps.topic("workflow-dlq"),
            ..Input::new(&deps.topic(&format!("workflow.{workflow}")))
        }],
        outputs: deliveries
            .chain(reach.awaits.then(|| deps.topic("waits")))
            .chain(reach.commands.then(|| deps.topic("acks")))
            .chain(deps.called(reach))
            .collect(),
        stores: stores(deps, workflow, branch, reach),
        tables: std::iter::once(deps.table.clone())
            .chain(reach.tables.iter().map(|name| deps.reference(name)))
            .collect(),
        pace: Pace::Interactive,
        run: Run::Transform(Box::new(processor)),
    }
}

/// Changelogs of a branch's own, since a partition is restored whole: those that its steps need, in any version.
fn stores(deps: &Deps, workflow: &str, branch: &str, reach: &Reach) -> Vec<StoreSpec> {
    let changelog = format!("state.{SERVICE}.{workflow}.{branch}");
    let store =
        |name, changelog: &str| StoreSpec { name, changelog: deps.topic(changelog), retention_ms: None };
    let steps = reach.keeps.then(|| store(Steps::NAME, &changelog));
    let timers = reach.delays.then(|| store(Timers::NAME, &format!("{changelog}.timers")));
    steps.into_iter().chain(timers).collect()
}

#[cfg(test)]
mod tests;
