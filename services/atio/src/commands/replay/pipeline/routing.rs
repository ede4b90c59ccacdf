//! Routing in a replay: the router and the branches of the workflows that were in force, their deliveries collected. Owns which branches there are, and
//! what they see. Must not know: steps, what was delivered then.
use super::{Desk, Reader, bench::Lane, hop::Fed, log::Views, stand::as_record};
use crate::commands::replay::{
    behind,
    compare::{Comparison, Made},
    epochs::{Epochs, Told},
    seen::{Past, Scope},
};
use atio_routing::{Definitions, Deps, SERVICE};
use atio_schemas::{Detection, delivery::Delivery, incident::Wait};
use atio_stage::{Output, Stage, TableName, Tables, harness::Counts};
use atio_workflow::{Site, Trigger, rehearsal::Subject};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    rc::Rc,
    sync::Arc,
};

/// A branch of a workflow, on the partition that is read now.
struct Branch {
    stage: Stage,
    lane: Lane,
    /// Reference tables that it looks into.
    tables: BTreeSet<String>,
    /// What it saw last of these, and which definitions.
    seen: Option<(Arc<Tables>, u64, Tables)>,
}

pub struct Routing<'a> {
    deps: Deps,
    router: Stage,
    lane: Lane,
    views: Views,
    epochs: Rc<Epochs>,
    scope: Scope,
    /// By workflow and name.
    branches: BTreeMap<(String, String), Branch>,
    /// The definitions that they are made of.
    made_of: Option<u64>,
    pasts: BTreeMap<String, Past<'a>>,
    counts: BTreeMap<String, Counts>,
    comparison: Comparison,
    names: BTreeSet<String>,
    offset: i64,
}

/// What it comes to.
pub struct Routed {
    pub comparison: Comparison,
    /// By stage.
    pub counts: BTreeMap<String, Counts>,
    /// Workflows on detections that were in force at some time.
    pub names: BTreeSet<String>,
    /// By stage, or workflow.
    pub tables: Vec<(String, Told)>,
}

impl<'a> Routing<'a> {
    pub fn new(
        desk: &Desk<'a>,
        deps: Deps,
        router: Stage,
        epochs: &Rc<Epochs>,
        scope: Scope,
        comparison: Comparison,
    ) -> anyhow::Result<Self> {
        let views = Views::read(desk.look, &router.tables, scope.which)?;
        Ok(Self {
            deps,
            router,
            lane: Lane::default(),
            views,
            epochs: Rc::clone(epochs),
            scope,
            branches: BTreeMap::new(),
            made_of: None,
            pasts: BTreeMap::new(),
            counts: BTreeMap::new(),
            comparison,
            names: BTreeSet::new(),
            offset: 0,
        })
    }

    pub fn told(self) -> Routed {
        let router = self.router.name;
        let mut tables: Vec<(String, Told)> =
            self.views.told().into_iter().map(|told| (router.clone(), told)).collect();
        for (workflow, past) in self.pasts {
            let stage = format!("{SERVICE}.{workflow}");
            tables.extend(past.told().into_iter().map(|told| (stage.clone(), told)));
        }
        Routed { comparison: self.comparison, counts: self.counts, names: self.names, tables }
    }

    /// Branches as these definitions have them; what one keeps stays, also of one that is gone: it may hold events.
    fn branches(&mut self) {
        let Some(definitions) = self.views.tables().get::<Definitions>(Definitions::TABLE) else { return };
        let on_detection = definitions.live().filter(|live| live.on == Trigger::Detection);
        self.names.extend(on_detection.map(|live| live.name.to_owned()));
        for stage in atio_routing::every_branch(&self.deps, definitions) {
            let Some((workflow, branch)) = stage.name.strip_prefix(SERVICE).and_then(|name| {
                let (workflow, branch) = name.strip_prefix('.')?.split_once('.')?;
                Some((workflow.to_owned(), branch.to_owned()))
            }) else {
                continue;
            };
            let tables = stage.tables.iter().filter_map(|t| t.name.0.strip_prefix("reference."));
            let tables = tables.map(str::to_owned).collect();
            let key = (workflow, branch);
            let lane = self.branches.remove(&key).map(|known| known.lane).unwrap_or_default();
            self.branches.insert(key, Branch { stage, lane, tables, seen: None });
        }
    }

    /// One event that the router gave to a workflow.
    fn routed(&mut self, event: &str, fed: &Fed, output: Output, desk: &mut Desk<'a>) -> anyhow::Result<()> {
        let names = workflows(&output, desk)?;
        let keys = self.branches.keys().filter(|(of, _)| names.contains(of));
        let keys: Vec<(String, String)> = keys.cloned().collect();
        let Output { topic, key, value, headers, .. } = output;
        let routed = Fed { topic, key, value, headers, ..fed.clone() };
        self.offset += 1;
        for key in keys {
            let Some(branch) = self.branches.get_mut(&key) else { continue };
            if !branch.tables.is_empty() {
                let past = match self.pasts.entry(key.0.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(free) => {
                        free.insert(Past::open(desk.look, &self.epochs, &key.0, true, self.scope)?)
                    }
                };
                let lies = (fed.partition, fed.offset.unwrap_or_default());
                let rows = past.seen(&key.1, &branch.tables, event, (lies, fed.at))?;
                branch.see(rows, &self.views);
            }
            let tables = branch.seen.as_ref().map_or(self.views.tables(), |(_, _, tables)| tables);
            let counts = self.counts.entry(branch.stage.name.clone()).or_default();
            let mut made = branch.lane.fire(&branch.stage, fed.at, tables, counts);
            made.extend(branch.lane.record(&branch.stage, &as_record(&routed, self.offset), tables, counts));
            self.made(made, desk)?;
        }
        Ok(())
    }

    fn made(&mut self, outputs: Vec<Output>, desk: &mut Desk<'a>) -> anyhow::Result<()> {
        for output in outputs {
            let (Some(name), Some(value)) = (output.topic.strip_prefix(desk.prefix()), &output.value) else {
                continue;
            };
            if name.starts_with("delivery.") {
                let delivery: Delivery = desk.codec.decode(value)?;
                desk.delivery(name, &output, &delivery)?;
                self.comparison.now(delivery.idempotency_key.clone(), of(delivery), false);
            } else if name == "waits" {
                let wait: Wait = desk.codec.decode(value)?;
                self.waits(&wait, desk);
            }
        }
        Ok(())
    }

    /// Whether somebody answers is open: what would be delivered then is held against what was.
    fn waits(&mut self, wait: &Wait, desk: &Desk<'a>) {
        let definitions = self.views.tables().get::<Definitions>(Definitions::TABLE);
        let definition = definitions.and_then(|all| all.version(&wait.workflow, wait.version).ok());
        let Some((definition, branch)) = definition.and_then(|d| Some((d, d.branch(&wait.branch)?))) else {
            return;
        };
        let site = Site { version: wait.version, home_networks: &desk.look.config.home_networks };
        for delivery in behind(Subject { definition, branch, site }, wait) {
            self.comparison.now(delivery.idempotency_key.clone(), of(delivery), true);
        }
    }
}

impl Branch {
    /// Rows and definitions together, made anew where either has changed.
    fn see(&mut self, rows: Arc<Tables>, views: &Views) {
        let is_same = |(last, version, _): &(Arc<Tables>, u64, Tables)| {
            Arc::ptr_eq(last, &rows) && *version == views.version
        };
        if self.seen.as_ref().is_some_and(is_same) {
            return;
        }
        let mut tables = Tables::clone(&rows);
        let name = TableName::new(Definitions::TABLE);
        if let Some(definitions) = views.tables().0.get(&name) {
            tables.0.insert(name, definitions.fork());
        }
        self.seen = Some((rows, views.version, tables));
    }
}

impl<'a> Reader<'a> for Routing<'a> {
    fn name(&self) -> &str {
        &self.router.name
    }
    fn partition(&mut self) {
        self.lane = Lane::default();
        self.branches.values_mut().for_each(|branch| branch.lane = Lane::default());
    }
    fn record(&mut self, fed: &Fed, desk: &mut Desk<'a>) -> anyhow::Result<()> {
        let noted = self.epochs.of(&self.router.name, &fed.topic, fed.partition);
        self.views.show(noted, fed.offset, fed.at);
        if self.made_of != Some(self.views.version) {
            self.branches();
            self.made_of = Some(self.views.version);
        }
        let detection = fed.value.as_deref().and_then(|value| desk.codec.decode::<Detection>(value).ok());
        let event = detection.map(|detection| detection.event_id).unwrap_or_default();
        self.comparison.event(&event);
        let counts = self.counts.entry(self.router.name.clone()).or_default();
        let record = as_record(fed, fed.offset.unwrap_or_default());
        let routed = self.lane.record(&self.router, &record, self.views.tables(), counts);
        routed.into_iter().try_for_each(|output| self.routed(&event, fed, output, desk))
    }
    fn missing(&mut self, event: &str) {
        self.comparison.event(event);
    }
    /// What is held goes on.
    fn end(&mut self, desk: &mut Desk<'a>) -> anyhow::Result<()> {
        let keys: Vec<(String, String)> = self.branches.keys().cloned().collect();
        for key in keys {
            let Some(branch) = self.branches.get_mut(&key) else { continue };
            let tables = branch.seen.as_ref().map_or(self.views.tables(), |(_, _, tables)| tables);
            let counts = self.counts.entry(branch.stage.name.clone()).or_default();
            let made = branch.lane.fire(&branch.stage, atio_schemas::Timestamp(i64::MAX), tables, counts);
            self.made(made, desk)?;
        }
        Ok(())
    }
}

/// The workflows that a router's record is for: that of its topic, or of the list where the pool runs them.
fn workflows(output: &Output, desk: &Desk<'_>) -> anyhow::Result<BTreeSet<String>> {
    let name = output.topic.strip_prefix(desk.prefix());
    if let Some(one) = name.and_then(|name| name.strip_prefix("workflow.")) {
        return Ok([one.to_owned()].into());
    }
    let Some(value) = output.value.as_deref().filter(|_| name == Some("routed")) else {
        return Ok(BTreeSet::new());
    };
    let routed: atio_schemas::routed::Routed = desk.codec.decode(value)?;
    Ok(routed.workflows().map(|(name, _)| name.to_owned()).collect())
}

/// Legs of all workflows stand beside each other.
pub fn of(delivery: Delivery) -> Made {
    let workflow = delivery.workflow.rsplit_once('@').map_or(&*delivery.workflow, |(name, _)| name);
    let branch = format!("{workflow}.{}", delivery.branch);
    let Delivery { event_id: event, sink, format, payload, .. } = delivery;
    Made { event, branch, sink, format, payload }
}
