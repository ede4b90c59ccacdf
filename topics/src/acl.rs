//! Who may do what on the cluster, derived from what stages read and write. Data only: whoever has the rights applies it.
use std::collections::BTreeSet;

/// What one service's stages touch: full names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    pub service: String,
    pub groups: BTreeSet<String>,
    pub reads: BTreeSet<String>,
    pub writes: BTreeSet<String>,
    /// Its transactional ids start with this (`<prefix><service>.`).
    pub transactional_prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Topic,
    Group,
    TransactionalId,
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Read,
    Write,
    Describe,
    DescribeConfigs,
    IdempotentWrite,
}

/// `name` is a prefix, or the whole name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// Kafka user, `<service>`; whoever applies it puts `User:` before.
    pub user: String,
    pub resource: Resource,
    pub name: String,
    pub prefixed: bool,
    pub operation: Operation,
}

/// The least that a service needs.
#[must_use]
pub fn bindings(wiring: &Wiring) -> BTreeSet<Binding> {
    let bind = |resource, name: &str, prefixed, operation| Binding {
        user: wiring.service.clone(),
        resource,
        name: name.to_owned(),
        prefixed,
        operation,
    };
    let mut all = BTreeSet::new();
    for topic in &wiring.reads {
        all.insert(bind(Resource::Topic, topic, false, Operation::Read));
    }
    for topic in &wiring.writes {
        all.insert(bind(Resource::Topic, topic, false, Operation::Write));
    }
    for topic in wiring.reads.union(&wiring.writes) {
        all.insert(bind(Resource::Topic, topic, false, Operation::Describe));
        // Limits of size are checked against the topic's own setting.
        all.insert(bind(Resource::Topic, topic, false, Operation::DescribeConfigs));
    }
    for group in &wiring.groups {
        all.insert(bind(Resource::Group, group, false, Operation::Read));
        all.insert(bind(Resource::Group, group, false, Operation::Describe));
    }
    if !wiring.writes.is_empty() {
        for operation in [Operation::Write, Operation::Describe] {
            all.insert(bind(Resource::TransactionalId, &wiring.transactional_prefix, true, operation));
        }
        all.insert(bind(Resource::Cluster, "kafka-cluster", false, Operation::IdempotentWrite));
    }
    all
}
