//! From topics.yaml, declarations and stores to the full list of topics with their settings. Pure.
use crate::{
    fixed::{Dead, Entry, Fixed, Policy},
    load::Declarations,
    place::{Place, Problem},
    sink::Target,
    spec::From,
    units::is_topic,
};
use std::collections::{BTreeMap, BTreeSet};

/// A dead letter holds its source's record and why: so much more must fit (exactly-once, rule 13).
pub const DEAD_LETTER_MORE: u64 = 64 * 1024;
/// An adopted topic's limit is not ours to know; its dead letters hold up to this, and more where the cluster shows more.
const ADOPTED_MAX: u64 = (16 << 20) + (64 << 10);

/// How names and counts are chosen in one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of every topic, group and transactional id of ours: `atio.`.
    pub prefix: String,
    pub partitions: u32,
    /// Copies of each partition; None = the broker's default.
    pub replication: Option<u16>,
    /// Partition counts of topics that are not ours (adopted ones), where known.
    pub adopted: BTreeMap<String, u32>,
    /// Workflows that are pooled: they need no topic of their own.
    pub pooled: BTreeSet<String>,
}

impl Layout {
    /// Twelve partitions, three on the embedded broker.
    #[must_use]
    pub fn new(fixed: &Fixed, prefix: &str, embedded: bool) -> Self {
        let defaults = &fixed.defaults;
        Self {
            prefix: prefix.to_owned(),
            partitions: if embedded { defaults.embedded_partitions } else { defaults.partitions },
            replication: None,
            adopted: BTreeMap::new(),
            pooled: BTreeSet::new(),
        }
    }
}

/// What a workflow touches, derived from its spec by `crates/workflow`. Names without the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub topics: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    pub sinks: BTreeSet<String>,
    pub tables: BTreeSet<String>,
}

/// A stage's changelog: full names, since stages carry them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTopic {
    pub changelog: String,
    /// Of the store; None = entries stay until deleted.
    pub retention_ms: Option<i64>,
    /// The stage's inputs: the changelog has the partition count of the widest.
    pub inputs: Vec<String>,
}

/// Whose a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Created, and kept as declared.
    Ours,
    /// A sink's: created when absent, never altered nor deleted.
    Target,
    /// A source's: must exist, never touched.
    Adopted,
}

/// One topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Prefix included.
    pub name: String,
    pub ownership: Ownership,
    /// 0 = not ours to say.
    pub partitions: u32,
    /// Its partition count never changes.
    pub keyed: bool,
    pub replication: Option<u16>,
    /// Kafka's names and values.
    pub configs: BTreeMap<String, String>,
    /// Subject of its values.
    pub schema: Option<String>,
    pub dead_letters: Option<String>,
    pub group: Option<String>,
}

impl Topic {
    /// max.message.bytes, where it is set.
    #[must_use]
    pub fn max_bytes(&self) -> Option<u64> {
        self.configs.get("max.message.bytes").and_then(|v| v.parse().ok())
    }
}

/// With three copies or more, two have a record before it is acknowledged: no single machine loses it, and one may be away.
#[must_use]
pub fn in_sync(replication: Option<u16>) -> Option<(String, String)> {
    let enough = replication.is_some_and(|copies| copies >= 3);
    enough.then(|| ("min.insync.replicas".to_owned(), "2".to_owned()))
}

struct Build<'a> {
    fixed: &'a Fixed,
    layout: &'a Layout,
    topics: BTreeMap<String, Topic>,
    problems: Vec<Problem>,
}

/// Every topic of this installation, by name.
///
/// # Errors
/// Names that Kafka does not take, topics that two declarations claim, and changelogs whose inputs are unknown.
pub fn derive(
    fixed: &Fixed,
    declared: &Declarations,
    states: &[StateTopic],
    layout: &Layout,
) -> Result<Vec<Topic>, Vec<Problem>> {
    let mut build = Build { fixed, layout, topics: BTreeMap::new(), problems: vec![] };
    let file = Place::file("topics.yaml");
    for entry in &fixed.topics {
        build.entry(&file, entry, &entry.name);
    }
    for source in declared.sources.values() {
        if let From::Topic { name, .. } = &source.from {
            build.adopted(&source.meta.place, &source.meta.name, name);
        } else {
            build.member(&source.meta.place, "raw", &source.meta.name);
        }
    }
    for workflow in declared.workflows.values().filter(|workflow| !layout.pooled.contains(&workflow.name)) {
        build.member(&workflow.place, "workflow", &workflow.name);
    }
    for sink in declared.sinks.values() {
        build.member(&sink.meta.place, "delivery", &sink.meta.name);
        if let Target::Kafka { topic } = &sink.target {
            build.target(&sink.meta.place, topic);
        }
    }
    for table in declared.tables.values() {
        build.member(&table.meta.place, "reference", &table.meta.name);
    }
    for state in states {
        build.state(state);
    }
    if build.problems.is_empty() { Ok(build.topics.into_values().collect()) } else { Err(build.problems) }
}

/// The topic of a workflow's own.
///
/// # Errors
/// As for [`derive()`].
pub fn workflow_topic(fixed: &Fixed, name: &str, layout: &Layout) -> Result<Topic, Vec<Problem>> {
    let mut build = Build { fixed, layout, topics: BTreeMap::new(), problems: vec![] };
    build.member(&Place::file("topics.yaml"), "workflow", name);
    let found = build.topics.remove(&build.name(&format!("workflow.{name}")));
    found.filter(|_| build.problems.is_empty()).ok_or(build.problems)
}

impl Build<'_> {
    fn name(&self, bare: &str) -> String {
        format!("{}{bare}", self.layout.prefix)
    }

    fn member(&mut self, place: &Place, family: &str, name: &str) {
        match self.fixed.family(family) {
            Some(entry) => self.entry(place, entry, &format!("{family}.{name}")),
            None => self.problems.push(Problem::new(place, format!("topics.yaml has no family `{family}`"))),
        }
    }

    fn entry(&mut self, place: &Place, entry: &Entry, bare: &str) {
        let dead_letters = match entry.dead() {
            Dead::None => None,
            Dead::Own => Some(self.name(&format!("{bare}.dlq"))),
            Dead::Shared(shared) => Some(self.name(shared)),
        };
        let partitions = entry.partitions.unwrap_or(self.layout.partitions);
        if let Some(name) = &dead_letters {
            self.dead_letters(name, partitions, entry.max.0);
        }
        let topic = Topic {
            name: self.name(bare),
            ownership: Ownership::Ours,
            partitions,
            keyed: true,
            replication: self.layout.replication,
            configs: self.configs(entry),
            schema: entry.schema().map(str::to_owned),
            dead_letters,
            group: entry.group.clone(),
        };
        self.put(place, topic);
    }

    fn configs(&self, entry: &Entry) -> BTreeMap<String, String> {
        let mut configs = self.common(entry.policy, entry.max.0);
        if let Some(retention) = entry.retention {
            configs.insert("retention.ms".to_owned(), retention.millis().to_string());
        }
        if let Some(lag) = entry.min_compaction_lag {
            configs.insert("min.compaction.lag.ms".to_owned(), lag.millis().to_string());
        }
        configs
    }

    fn common(&self, policy: Policy, max: u64) -> BTreeMap<String, String> {
        let mut configs = BTreeMap::from([
            ("cleanup.policy".to_owned(), policy.as_str().to_owned()),
            ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned()),
            ("max.message.bytes".to_owned(), max.to_string()),
        ]);
        if policy == Policy::Compact {
            let tombstones = self.fixed.defaults.tombstone_retention.millis();
            configs.insert("delete.retention.ms".to_owned(), tombstones.to_string());
        }
        configs.extend(in_sync(self.layout.replication));
        configs
    }

    /// A dead-letter topic takes what its widest and largest source holds, and the reason.
    fn dead_letters(&mut self, name: &str, partitions: u32, source_max: u64) {
        let max = source_max + DEAD_LETTER_MORE;
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions = topic.partitions.max(partitions);
            let larger = topic.max_bytes().map_or(max, |m| m.max(max));
            topic.configs.insert("max.message.bytes".to_owned(), larger.to_string());
            return;
        }
        let mut configs = self.common(Policy::Delete, max);
        configs.insert(
            "retention.ms".to_owned(),
            self.fixed.defaults.dead_letter_retention.millis().to_string(),
        );
        let topic = Topic {
            name: name.to_owned(),
            ownership: Ownership::Ours,
            partitions,
            keyed: false,
            replication: self.layout.replication,
            configs,
            schema: None,
            dead_letters: None,
            group: None,
        };
        self.put(&Place::file("topics.yaml"), topic);
    }

    fn adopted(&mut self, place: &Place, source: &str, topic: &str) {
        if topic.starts_with(&self.layout.prefix) || topic.starts_with("__") {
            let message = format!("`{topic}` is not somebody else's topic");
            self.problems
                .push(Problem::new(place, message).help(Some("adopt a topic outside our prefix".to_owned())));
            return;
        }
        let known = self.layout.adopted.get(topic).copied();
        let dead = self.name(&format!("raw.{source}.dlq"));
        self.dead_letters(&dead, known.unwrap_or(self.layout.partitions), ADOPTED_MAX);
        let topic = foreign(topic, Ownership::Adopted, known.unwrap_or(0), Some(dead));
        self.put(place, topic);
    }

    fn target(&mut self, place: &Place, topic: &str) {
        if topic.starts_with(&self.layout.prefix) || topic.starts_with("__") {
            let message = format!("`{topic}` is a topic of ours, a sink can't write there");
            self.problems
                .push(Problem::new(place, message).help(Some("name a topic outside our prefix".to_owned())));
            return;
        }
        // Two sinks may share a target.
        if self.topics.get(topic).is_some_and(|t| t.ownership == Ownership::Target) {
            return;
        }
        let mut target = foreign(topic, Ownership::Target, self.layout.partitions, None);
        let max = self.fixed.family("delivery").map_or(ADOPTED_MAX, |e| e.max.0);
        target.configs = BTreeMap::from([("max.message.bytes".to_owned(), max.to_string())]);
        target.replication = self.layout.replication;
        self.put(place, target);
    }

    fn state(&mut self, state: &StateTopic) {
        let place = Place::file(&state.changelog);
        let Some(entry) = self.fixed.family("state") else {
            self.problems.push(Problem::new(&place, "topics.yaml has no family `state`"));
            return;
        };
        let widths = state.inputs.iter().map(|i| self.topics.get(i).map_or(0, |t| t.partitions));
        let partitions = widths.max().unwrap_or(0);
        if partitions == 0 {
            self.problems.push(Problem::new(
                &place,
                format!("the partitions of {} are not known", state.inputs.join(", ")),
            ));
            return;
        }
        let topic = Topic {
            name: state.changelog.clone(),
            ownership: Ownership::Ours,
            partitions,
            keyed: true,
            replication: self.layout.replication,
            configs: self.configs(entry),
            schema: entry.schema().map(str::to_owned),
            dead_letters: None,
            group: None,
        };
        self.put(&place, topic);
    }

    fn put(&mut self, place: &Place, topic: Topic) {
        if !is_topic(&topic.name) {
            self.problems.push(Problem::new(place, format!("`{}` is no name that Kafka takes", topic.name)));
        } else if self.topics.contains_key(&topic.name) {
            self.problems.push(Problem::new(place, format!("topic `{}` is claimed twice", topic.name)));
        } else {
            self.topics.insert(topic.name.clone(), topic);
        }
    }
}

fn foreign(name: &str, ownership: Ownership, partitions: u32, dead_letters: Option<String>) -> Topic {
    Topic {
        name: name.to_owned(),
        ownership,
        partitions,
        keyed: false,
        replication: None,
        configs: BTreeMap::new(),
        schema: None,
        dead_letters,
        group: None,
    }
}
