//! The definitions in force, compiled as they come from the topic `workflows`: `<name>@<n>` holds an immutable one, `<name>` points to the
//! one in force, `sink/<name>` likewise for sinks. Owns versions, pointers and the trigger index; whoever runs branches feeds one of these. Must not know: records of detections.
use crate::{Branch, Definition, Index, Known, SinkFacts, Trigger, compile};
use atio_schemas::{
    Code, Codec, Timestamp,
    command::ObjectKind,
    definition::{Definition as Stored, Placement},
};
use atio_stage::{StageError, TableName, TableSpec, View};
use atio_topics::load::{Declaration, parse};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One version of a workflow: its text, and what it compiles to, or why not.
#[derive(Clone)]
struct Version {
    text: Arc<str>,
    created_at: Timestamp,
    compiled: Result<Arc<Definition>, String>,
}

/// Which version is in force.
#[derive(Clone, Copy)]
struct Pointer {
    version: i64,
    paused: bool,
    placement: Placement,
}

/// A workflow in force.
#[derive(Debug)]
pub struct Live<'d> {
    pub name: &'d str,
    pub version: i64,
    pub on: Trigger,
    pub paused: bool,
    pub placement: Placement,
    /// Branches of all versions that are kept.
    pub branches: BTreeMap<&'d str, Reach>,
}

/// Where a branch may write, and what it keeps, in any of its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub sinks: BTreeSet<String>,
    /// Tables that it looks into.
    pub tables: BTreeSet<String>,
    /// It may come to wait for somebody.
    pub awaits: bool,
    /// It may tell incidents something.
    pub commands: bool,
    /// Workflows that it calls.
    pub calls: BTreeSet<String>,
    /// It keeps something between events.
    pub keeps: bool,
    /// It may hold events.
    pub delays: bool,
}

impl Reach {
    fn of<'d>(definitions: impl Iterator<Item = &'d Definition>) -> Self {
        let mut reach = Self::default();
        definitions.flat_map(|definition| &definition.branches).for_each(|branch| reach.add(branch));
        reach
    }
    fn add(&mut self, branch: &Branch) {
        self.sinks.extend(branch.sinks.iter().cloned());
        self.tables.extend(branch.tables.iter().cloned());
        self.awaits |= branch.awaits;
        self.commands |= branch.commands;
        self.calls.extend(branch.calls.iter().map(|call| call.text.clone()));
        self.keeps |= branch.keeps;
        self.delays |= branch.delays;
    }
}

/// What the trigger index refers to.
#[derive(Clone)]
struct Route {
    name: String,
    version: i64,
}

/// The workflows in force of one trigger.
#[derive(Clone, Default)]
struct Filed {
    routes: Vec<Route>,
    index: Arc<Index>,
}

#[derive(Clone)]
pub struct Definitions {
    codec: Codec,
    base: Known,
    versions: BTreeMap<String, BTreeMap<i64, Version>>,
    pointers: BTreeMap<String, Pointer>,
    /// Of those that are not in force any more: where they ran.
    left: BTreeMap<String, Placement>,
    sinks: BTreeMap<String, BTreeMap<i64, SinkFacts>>,
    sink_pointers: BTreeMap<String, i64>,
    tables: BTreeSet<String>,
    /// The sinks and tables in force, base included.
    known: Known,
    known_changed: bool,
    /// The index is to be made anew.
    workflows_changed: bool,
    filed: BTreeMap<Trigger, Filed>,
    since: BTreeMap<Trigger, Timestamp>,
}

impl Definitions {
    /// A stage's name for its table of definitions.
    pub const TABLE: &str = "workflows";

    /// The table of definitions, from the topic `<prefix>workflows`; the others as for [`Self::new`].
    #[must_use]
    pub fn table(prefix: &str, codec: &Codec, base: &Known) -> TableSpec {
        let (codec, base) = (codec.clone(), base.clone());
        TableSpec {
            name: TableName::new(Self::TABLE),
            topic: Arc::from(format!("{prefix}workflows")),
            make: Arc::new(move || Box::new(Self::new(codec.clone(), base.clone()))),
        }
    }

    #[must_use]
    pub fn new(codec: Codec, base: Known) -> Self {
        Self {
            codec,
            known: base.clone(),
            base,
            versions: BTreeMap::new(),
            pointers: BTreeMap::new(),
            left: BTreeMap::new(),
            sinks: BTreeMap::new(),
            sink_pointers: BTreeMap::new(),
            tables: BTreeSet::new(),
            known_changed: false,
            workflows_changed: false,
            filed: BTreeMap::new(),
            since: BTreeMap::new(),
        }
    }

    /// Workflows in force, by name; one whose version in force does not compile is not.
    pub fn live(&self) -> impl Iterator<Item = Live<'_>> {
        self.pointers.iter().filter_map(|(name, pointer)| {
            let versions = self.versions.get(name)?;
            let on = versions.get(&pointer.version)?.compiled.as_ref().ok()?.on;
            let branches = reaches(versions);
            let Pointer { version, paused, placement } = *pointer;
            Some(Live { name, version, on, paused, placement, branches })
        })
    }

    /// The version in force and where it runs, whether it compiles or not.
    #[must_use]
    pub fn in_force(&self, name: &str) -> Option<(i64, Placement)> {
        self.pointers.get(name).map(|pointer| (pointer.version, pointer.placement))
    }

    /// Whether this version is here, be it that it can't run.
    #[must_use]
    pub fn knows(&self, name: &str, version: i64) -> bool {
        self.versions.get(name).is_some_and(|versions| versions.contains_key(&version))
    }

    /// Where it runs, or did as long as it was in force; none: that is not known any more.
    #[must_use]
    pub fn placement(&self, name: &str) -> Option<Placement> {
        self.pointers.get(name).map(|pointer| pointer.placement).or_else(|| self.left.get(name).copied())
    }

    /// Workflows that routers do not write to a topic of their own, with where they run, or did: what is on its way is finished.
    pub fn shared(&self) -> impl Iterator<Item = (&str, Option<Placement>)> {
        let placed = self.versions.keys().map(|name| (name.as_str(), self.placement(name)));
        placed.filter(|(_, placement)| *placement != Some(Placement::Own))
    }

    /// Where these workflows may write, of all versions that are known here.
    #[must_use]
    pub fn reach_of<'n>(&self, names: impl Iterator<Item = &'n str>) -> Reach {
        Reach::of(compiled(names.filter_map(|name| self.versions.get(name))))
    }

    /// Where the workflows on `on` may write, of all versions that are known here, in force or not.
    #[must_use]
    pub fn reach(&self, on: Trigger) -> Reach {
        Reach::of(compiled(self.versions.values()).filter(|definition| definition.on == on))
    }

    /// A version of a workflow, in force or not.
    ///
    /// # Errors
    /// `unknown_version`: there is none here that can run.
    pub fn version(&self, name: &str, version: i64) -> Result<&Arc<Definition>, StageError> {
        let found = match self.versions.get(name).and_then(|versions| versions.get(&version)) {
            None => Err(format!("workflow {name}@{version} is not known here yet")),
            Some(found) => found.compiled.as_ref().map_err(|why| format!("workflow {name}@{version}: {why}")),
        };
        found.map_err(|message| StageError { code: Code::UnknownVersion, message })
    }

    /// Whether a workflow on `on` is in force.
    #[must_use]
    pub fn has(&self, on: Trigger) -> bool {
        self.filed.contains_key(&on)
    }

    /// Whether a workflow is in force and not paused.
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        self.pointers.get(name).is_some_and(|pointer| !pointer.paused)
    }

    /// Name and version of every workflow on `on` that this detection triggers, by name.
    pub fn matches<'d>(
        &'d self,
        on: Trigger,
        detection: &atio_schemas::Detection,
    ) -> impl Iterator<Item = (&'d str, i64)> + use<'d> {
        let filed = self.filed.get(&on);
        let found = filed.map(|filed| filed.index.matches(detection)).unwrap_or_default();
        let routes = found.into_iter().filter_map(move |at| filed?.routes.get(at));
        routes.map(|route| (route.name.as_str(), route.version))
    }

    /// The version of a workflow that is in force, where it can run.
    #[must_use]
    pub fn current(&self, name: &str) -> Option<(i64, &Definition)> {
        let version = self.pointers.get(name)?.version;
        let compiled = self.versions.get(name)?.get(&version)?.compiled.as_ref().ok()?;
        Some((version, compiled))
    }

    /// The key of an event's record on the topic of its workflow; none where that is the event's own.
    ///
    /// # Errors
    /// As for [`Self::version`].
    pub fn record_key(
        &self,
        name: &str,
        version: i64,
        detection: &atio_schemas::Detection,
    ) -> Result<Option<Vec<u8>>, StageError> {
        Ok(self.version(name, version)?.partition.key(detection))
    }

    /// When the first workflow on `on` was defined, of all that are known here; none = there never was one. What is older is nobody's.
    #[must_use]
    pub fn since(&self, on: Trigger) -> Option<Timestamp> {
        self.since.get(&on).copied()
    }

    /// Workflows whose version in force can't run, and why.
    pub fn broken(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pointers.iter().filter_map(|(name, pointer)| {
            match self.versions.get(name)?.get(&pointer.version) {
                None => Some((name.as_str(), "its version in force is missing")),
                Some(Version { compiled: Err(why), .. }) => Some((name, why)),
                Some(_) => None,
            }
        })
    }

    fn workflow(
        &mut self,
        name: &str,
        version: Option<i64>,
        stored: Option<Stored>,
    ) -> Result<(), StageError> {
        self.workflows_changed = true;
        match (version, stored) {
            (None, None) => {
                let gone = self.pointers.remove(name).map(|pointer| (name.to_owned(), pointer.placement));
                self.left.extend(gone);
            }
            (None, Some(stored)) => {
                self.left.remove(name);
                let (version, paused, placement) = (stored.version, stored.paused, stored.placed());
                let pointer = Pointer { version, paused, placement };
                self.pointers.insert(name.to_owned(), pointer);
            }
            (Some(version), None) => {
                if let Some(versions) = self.versions.get_mut(name) {
                    versions.remove(&version);
                }
            }
            (Some(version), Some(stored)) => {
                let compiled = build(name, &stored.definition, &self.known);
                let failed = compiled.as_ref().err().cloned();
                let created_at = stored.created_at;
                let entry = Version { text: Arc::from(stored.definition), created_at, compiled };
                self.versions.entry(name.to_owned()).or_default().insert(version, entry);
                if let Some(message) = failed {
                    return Err(StageError { code: Code::InvalidDefinition, message });
                }
            }
        }
        Ok(())
    }

    fn sink(&mut self, name: &str, version: Option<i64>, stored: Option<Stored>) -> Result<(), StageError> {
        self.known_changed = true;
        match (version, stored) {
            (None, None) => drop(self.sink_pointers.remove(name)),
            (None, Some(stored)) => drop(self.sink_pointers.insert(name.to_owned(), stored.version)),
            (Some(version), None) => {
                if let Some(versions) = self.sinks.get_mut(name) {
                    versions.remove(&version);
                }
            }
            (Some(version), Some(stored)) => match parse(name, &stored.definition) {
                Ok(Declaration::Sink(sink)) => {
                    self.sinks.entry(name.to_owned()).or_default().insert(version, SinkFacts::from(&sink));
                }
                Ok(_) => return Err(invalid(name, "is no sink")),
                Err(problem) => return Err(invalid(name, &problem.to_string())),
            },
        }
        Ok(())
    }

    /// Only that there is one matters: its rows are on a topic of their own.
    fn table_named(&mut self, name: &str, there: bool) {
        self.known_changed = true;
        if there {
            self.tables.insert(name.to_owned());
        } else {
            self.tables.remove(name);
        }
    }

    /// Sinks or tables have changed: what refers to them is read again.
    fn recompile(&mut self) {
        let mut known = self.base.clone();
        known.tables.extend(self.tables.iter().cloned());
        for (name, version) in &self.sink_pointers {
            if let Some(facts) = self.sinks.get(name).and_then(|versions| versions.get(version)) {
                known.sinks.insert(name.clone(), facts.clone());
            }
        }
        if known == self.known {
            return;
        }
        self.known = known;
        self.workflows_changed = true;
        for (name, versions) in &mut self.versions {
            for version in versions.values_mut() {
                version.compiled = build(name, &version.text, &self.known);
            }
        }
    }
}

/// All versions of these workflows that can run.
fn compiled<'d>(
    workflows: impl IntoIterator<Item = &'d BTreeMap<i64, Version>>,
) -> impl Iterator<Item = &'d Definition> {
    let versions = workflows.into_iter().flat_map(BTreeMap::values);
    versions.filter_map(|version| version.compiled.as_deref().ok())
}

/// The branches of all versions.
fn reaches(versions: &BTreeMap<i64, Version>) -> BTreeMap<&str, Reach> {
    let mut branches: BTreeMap<&str, Reach> = BTreeMap::new();
    for branch in compiled([versions]).flat_map(|definition| &definition.branches) {
        branches.entry(&branch.name).or_default().add(branch);
    }
    branches
}

fn invalid(name: &str, why: &str) -> StageError {
    StageError { code: Code::InvalidDefinition, message: format!("{name}: {why}") }
}

fn build(name: &str, text: &str, known: &Known) -> Result<Arc<Definition>, String> {
    let definition = compile(name, text, known).map_err(|problems| {
        problems.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join("; ")
    })?;
    if definition.name != name {
        return Err(format!("the definition under {name} names itself {}", definition.name));
    }
    Ok(Arc::new(definition))
}

impl View for Definitions {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        let key = std::str::from_utf8(key).map_err(|_| invalid("?", "its key is no text"))?;
        let (object, version) = match key.rsplit_once('@') {
            Some((object, version)) => {
                (object, Some(version.parse().map_err(|_| invalid(key, "has no version after `@`"))?))
            }
            None => (key, None),
        };
        let stored: Option<Stored> = match value {
            None => None,
            Some(value) => Some(
                self.codec
                    .decode(value)
                    .map_err(|e| StageError { code: e.code(), message: format!("{key}: {e}") })?,
            ),
        };
        let (kind, name) = match object.split_once('/') {
            None => (ObjectKind::Workflow, object),
            Some(("sink", name)) => (ObjectKind::Sink, name),
            Some(("table", name)) => (ObjectKind::Table, name),
            // Sources are no concern of branches.
            Some(_) => return Ok(()),
        };
        let fits = |s: &Stored| s.kind == kind && s.name == name && version.is_none_or(|v| v == s.version);
        if !stored.as_ref().is_none_or(fits) {
            return Err(invalid(key, "holds another object than its key says"));
        }
        match kind {
            ObjectKind::Workflow => self.workflow(name, version, stored),
            ObjectKind::Table if version.is_none() => {
                self.table_named(name, stored.is_some());
                Ok(())
            }
            ObjectKind::Sink => self.sink(name, version, stored),
            _ => Ok(()),
        }
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.known_changed) {
            self.recompile();
        }
        if !std::mem::take(&mut self.workflows_changed) {
            return;
        }
        let mut found: BTreeMap<Trigger, (Vec<Route>, Vec<_>)> = BTreeMap::new();
        for (name, pointer) in &self.pointers {
            let version = self.versions.get(name).and_then(|versions| versions.get(&pointer.version));
            if let Some(definition) = version.and_then(|v| v.compiled.as_ref().ok()) {
                let (routes, triggers) = found.entry(definition.on).or_default();
                routes.push(Route { name: name.clone(), version: pointer.version });
                triggers.push(definition.trigger.clone());
            }
        }
        let filed = found
            .into_iter()
            .map(|(on, (routes, triggers))| (on, Filed { routes, index: Arc::new(Index::new(triggers)) }));
        self.filed = filed.collect();
        self.since.clear();
        for version in self.versions.values().flat_map(BTreeMap::values) {
            if let Ok(definition) = &version.compiled {
                let since = self.since.entry(definition.on).or_insert(version.created_at);
                *since = version.created_at.min(*since);
            }
        }
    }
    fn fork(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}
