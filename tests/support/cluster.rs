//! Looking at a broker of several nodes from outside: who leads what, who is whose coordinator, whether all copies are there.
use super::{
    Deadline,
    broker::NODES,
    topic::{CALL, reader},
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    metadata::Metadata,
};

/// What a node can be for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The coordinator of a transactional id.
    Transactions(&'a str),
    /// The coordinator of a group.
    Group(&'a str),
    /// The leader of a partition.
    Leader(&'a str, i32),
}

pub struct Cluster(BaseConsumer);

impl Cluster {
    pub fn of(bootstrap: &str) -> Self {
        Self(reader(bootstrap, "cluster", "read_uncommitted"))
    }

    /// Which of its nodes it is, counted from 0; waited for while nobody is.
    pub fn node(&self, part: Part<'_>) -> usize {
        let found = || match part {
            Part::Leader(topic, partition) => self.leader(topic, |_| partition),
            Part::Group(name) => self.leader("__consumer_offsets", |partitions| place(name, partitions)),
            Part::Transactions(id) => self.leader("__transaction_state", |partitions| place(id, partitions)),
        };
        Deadline::after(60).until(&format!("somebody is {part:?}"), found)
    }

    /// Who leads the partition that is chosen by their number.
    fn leader(&self, topic: &str, choose: impl FnOnce(i32) -> i32) -> Option<usize> {
        let metadata = self.0.fetch_metadata(Some(topic), CALL).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let chosen = choose(i32::try_from(partitions.len()).ok().filter(|n| *n > 0)?);
        let id = partitions.iter().find(|p| p.id() == chosen)?.leader();
        // Node 1 is the first.
        usize::try_from(id).ok()?.checked_sub(1)
    }

    /// Waits until every copy of every partition is in sync.
    pub fn whole(&self) {
        let mut last = String::new();
        let whole = Deadline::after(120).every(std::time::Duration::from_millis(100), || {
            let metadata = self.0.fetch_metadata(None, CALL).ok()?;
            last = missing(&metadata);
            last.is_empty().then_some(())
        });
        assert!(whole.is_some(), "every copy is in sync, in time: {last}");
    }
}

/// Partitions with a copy that is not in sync, or that never had three.
fn missing(metadata: &Metadata) -> String {
    let all = metadata.topics().iter().flat_map(|t| t.partitions().iter().map(|p| (t.name(), p)));
    let missing = all.filter(|(_, p)| p.leader() < 0 || p.isr().len() < NODES);
    let told = missing.map(|(topic, p)| {
        format!("{topic}/{}: led by {}, in sync {:?} of {:?}", p.id(), p.leader(), p.isr(), p.replicas())
    });
    told.take(5).collect::<Vec<_>>().join("; ")
}

/// The partition of a coordinator's topic that holds a name: Kafka takes Java's hash of a text.
fn place(name: &str, partitions: i32) -> i32 {
    let hash = name.encode_utf16().fold(0_i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions
}
