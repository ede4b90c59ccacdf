//! The difference between the topics that should be and those that are. Pure; applying the plan twice changes nothing the second time.
use crate::derive::{Ownership, Topic};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A topic as it is on the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    pub partitions: u32,
    /// Every setting with its value, also those that are at their default.
    pub configs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    pub topics: BTreeMap<String, TopicState>,
}

/// What may be destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Topics under our prefix that nothing declares.
    pub delete: bool,
    /// Settings that make records vanish or stop fitting: shorter retention, smaller records, another cleanup policy.
    pub shrink: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Create {
        topic: String,
        partitions: u32,
        replication: Option<u16>,
        configs: BTreeMap<String, String>,
    },
    Partitions {
        topic: String,
        from: u32,
        to: u32,
    },
    /// Setting → (value now, value wanted).
    Configs {
        topic: String,
        set: BTreeMap<String, (Option<String>, String)>,
    },
    Delete {
        topic: String,
    },
}

/// What would be needed and is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A key would move to another partition.
    KeyedPartitions {
        topic: String,
        now: u32,
        wanted: u32,
    },
    Shrink {
        topic: String,
        setting: String,
        now: String,
        wanted: String,
    },
    /// Declared nowhere, under our prefix.
    Delete {
        topic: String,
    },
    /// Somebody else's topic that a source adopts.
    Missing {
        topic: String,
    },
}

/// Changes in the order in which they are to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub changes: Vec<Change>,
    pub refused: Vec<Refusal>,
}

impl Plan {
    /// Nothing to do, and nothing left undone but what no flag was given for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
    /// Refused for good: no flag helps.
    #[must_use]
    pub fn impossible(&self) -> bool {
        self.refused.iter().any(|r| matches!(r, Refusal::KeyedPartitions { .. } | Refusal::Missing { .. }))
    }
}

/// What has to change, so that `state` is as `wanted`. Topics outside `prefix` are never deleted.
#[must_use]
pub fn plan(wanted: &[Topic], state: &ClusterState, prefix: &str, flags: Flags) -> Plan {
    let mut plan = Plan::default();
    for topic in wanted {
        match state.topics.get(&topic.name) {
            None if topic.ownership == Ownership::Adopted => {
                plan.refused.push(Refusal::Missing { topic: topic.name.clone() })
            }
            None => plan.changes.push(create(topic)),
            Some(now) if topic.ownership == Ownership::Ours => compare(topic, now, flags, &mut plan),
            Some(_) => {}
        }
    }
    let known: BTreeSet<&str> = wanted.iter().map(|t| t.name.as_str()).collect();
    for name in state
        .topics
        .keys()
        .filter(|n| n.starts_with(prefix) && !prefix.is_empty() && !known.contains(n.as_str()))
    {
        if flags.delete {
            plan.changes.push(Change::Delete { topic: name.clone() });
        } else {
            plan.refused.push(Refusal::Delete { topic: name.clone() });
        }
    }
    plan.changes.sort_by_key(order);
    plan
}

/// Creations first, deletions last.
const fn order(change: &Change) -> u8 {
    match change {
        Change::Create { .. } => 0,
        Change::Partitions { .. } => 1,
        Change::Configs { .. } => 2,
        Change::Delete { .. } => 3,
    }
}

fn create(topic: &Topic) -> Change {
    Change::Create {
        topic: topic.name.clone(),
        partitions: topic.partitions,
        replication: topic.replication,
        configs: topic.configs.clone(),
    }
}

fn compare(topic: &Topic, now: &TopicState, flags: Flags, plan: &mut Plan) {
    if topic.keyed && now.partitions != topic.partitions {
        plan.refused.push(Refusal::KeyedPartitions {
            topic: topic.name.clone(),
            now: now.partitions,
            wanted: topic.partitions,
        });
    } else if now.partitions < topic.partitions {
        plan.changes.push(Change::Partitions {
            topic: topic.name.clone(),
            from: now.partitions,
            to: topic.partitions,
        });
    }
    let mut set = BTreeMap::new();
    for (setting, value) in &topic.configs {
        let is = now.configs.get(setting);
        if is == Some(value) {
            continue;
        }
        match is.filter(|is| !flags.shrink && shrinks(setting, is, value)) {
            Some(is) => plan.refused.push(Refusal::Shrink {
                topic: topic.name.clone(),
                setting: setting.clone(),
                now: is.clone(),
                wanted: value.clone(),
            }),
            None => {
                set.insert(setting.clone(), (is.cloned(), value.clone()));
            }
        }
    }
    if !set.is_empty() {
        plan.changes.push(Change::Configs { topic: topic.name.clone(), set });
    }
}

/// Whether records vanish, or stop fitting, by this.
fn shrinks(setting: &str, now: &str, wanted: &str) -> bool {
    let below = || match (now.parse::<i64>(), wanted.parse::<i64>()) {
        // −1 = without limit
        (Ok(now), Ok(wanted)) => wanted >= 0 && (now < 0 || wanted < now),
        _ => true,
    };
    match setting {
        "retention.ms"
        | "retention.bytes"
        | "max.message.bytes"
        | "min.compaction.lag.ms"
        | "delete.retention.ms" => below(),
        "cleanup.policy" => true,
        _ => false,
    }
}

/// The state after the plan: what tests and `plan --explain` compare with.
#[must_use]
pub fn apply(plan: &Plan, state: &ClusterState) -> ClusterState {
    let mut state = state.clone();
    for change in &plan.changes {
        match change {
            Change::Create { topic, partitions, configs, .. } => {
                state
                    .topics
                    .insert(topic.clone(), TopicState { partitions: *partitions, configs: configs.clone() });
            }
            Change::Partitions { topic, to, .. } => {
                if let Some(t) = state.topics.get_mut(topic) {
                    t.partitions = *to;
                }
            }
            Change::Configs { topic, set } => {
                if let Some(t) = state.topics.get_mut(topic) {
                    t.configs.extend(set.iter().map(|(name, (_, value))| (name.clone(), value.clone())));
                }
            }
            Change::Delete { topic } => {
                state.topics.remove(topic);
            }
        }
    }
    state
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { topic, partitions, configs, .. } => {
                let configs: Vec<String> = configs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "create {topic} ({partitions} partitions; {})", configs.join(", "))
            }
            Self::Partitions { topic, from, to } => {
                write!(f, "raise partitions of {topic} from {from} to {to}")
            }
            Self::Configs { topic, set } => {
                let set: Vec<String> = set
                    .iter()
                    .map(|(k, (from, to))| format!("{k}: {} -> {to}", from.as_deref().unwrap_or("unset")))
                    .collect();
                write!(f, "set {topic} ({})", set.join(", "))
            }
            Self::Delete { topic } => write!(f, "delete {topic}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyedPartitions { topic, now, wanted } => write!(
                f,
                "{topic} has {now} partitions, {wanted} are wanted: the count of a keyed topic never changes; set `partitions` to {now}"
            ),
            Self::Shrink { topic, setting, now, wanted } => {
                write!(
                    f,
                    "{topic}: {setting} {now} -> {wanted} loses records or refuses them; give --allow-shrink"
                )
            }
            Self::Delete { topic } => {
                write!(f, "{topic} is declared nowhere; give --allow-delete to delete it")
            }
            Self::Missing { topic } => {
                write!(f, "{topic} does not exist, and it is not ours to create: a source adopts it")
            }
        }
    }
}
