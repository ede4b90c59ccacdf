//! What moves: rates and lag of a graph's topics and stages, looked at twice; and the workflows that are in force. Owns the looks; must not
//! know how they are drawn.
use super::{Graph, Kind, Node};
use crate::{
    commands::look::{Look, Unreadable},
    system::wanted::unreachable,
};
use atio_runtime::lifecycle::pause;
use atio_schemas::definition::Definition;
use atio_stream::admin::Admin;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

/// What was seen of a node.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Offsets a second: written, of a topic; committed, of a stage. The marker that ends a transaction is one.
    pub(super) rate: f64,
    /// Of a stage: what is committed to its topics and not yet processed.
    pub(super) lag: Option<i64>,
    /// Of a stage: of its consumer group.
    pub(super) members: Option<usize>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.members == Some(0) {
            f.write_str("nobody reads")?;
        } else {
            write!(f, "{:.1}/s", self.rate)?;
        }
        self.lag.map_or(Ok(()), |lag| write!(f, ", {lag} behind"))
    }
}

/// By key; what does not read is told elsewhere (`atio workflow ls`, monitoring).
pub(super) fn in_force(look: &Look) -> anyhow::Result<BTreeMap<String, Definition>> {
    let mut all = look.definitions(Unreadable::LeftOut)?;
    // What is paused is drawn too: nobody reads it.
    all.values_mut().for_each(|definition| definition.paused = false);
    Ok(all)
}

/// Where something stood, and when.
type Point = (Instant, i64);

#[derive(Default)]
struct Sample {
    /// Sums over partitions.
    topics: BTreeMap<String, Point>,
    groups: BTreeMap<String, Point>,
    lags: BTreeMap<String, i64>,
}

/// Two looks, so far apart.
pub(super) fn seen(look: &Look, graph: &Graph, over: Duration) -> anyhow::Result<BTreeMap<Node, Seen>> {
    let admin = look.admin()?;
    let there: BTreeSet<String> = admin.topics().map_err(unreachable)?.into_keys().collect();
    let start = Instant::now();
    let before = sample(&admin, graph, &there)?;
    pause(over.saturating_sub(start.elapsed()), || look.is_stopped());
    let after = sample(&admin, graph, &there)?;
    let members: BTreeMap<String, usize> =
        admin.groups().map_err(unreachable)?.into_iter().map(|g| (g.name, g.members)).collect();
    let of = |node: &Node| match node.0 {
        Kind::Topic => Some(Seen {
            rate: rate(before.topics.get(&node.1)?, after.topics.get(&node.1)?),
            lag: None,
            members: None,
        }),
        Kind::Stage => {
            let group = &graph.readers.get(node)?.group;
            Some(Seen {
                rate: rate(before.groups.get(group)?, after.groups.get(group)?),
                lag: after.lags.get(group).copied(),
                members: Some(members.get(group).copied().unwrap_or(0)),
            })
        }
        Kind::Source | Kind::Sink => None,
    };
    Ok(graph.nodes.iter().filter_map(|node| Some((node.clone(), of(node)?))).collect())
}

fn sample(admin: &Admin, graph: &Graph, there: &BTreeSet<String>) -> anyhow::Result<Sample> {
    let mut sample = Sample::default();
    for (_, topic) in graph.nodes.iter().filter(|(kind, name)| *kind == Kind::Topic && there.contains(name)) {
        let marks = admin.watermarks(topic).map_err(unreachable)?;
        let end = marks.iter().map(|m| m.stable).sum();
        sample.topics.insert(topic.clone(), (Instant::now(), end));
    }
    for (node, reader) in &graph.readers {
        let topics: Vec<&str> =
            reader.topics.iter().map(String::as_str).filter(|t| there.contains(*t)).collect();
        if !graph.nodes.contains(node) || topics.is_empty() {
            continue;
        }
        let lags = admin.lag(&reader.group, &topics).map_err(unreachable)?;
        let place = lags.iter().filter_map(|l| l.committed).sum();
        sample.groups.insert(reader.group.clone(), (Instant::now(), place));
        sample.lags.insert(reader.group.clone(), lags.iter().map(|l| l.lag).sum());
    }
    Ok(sample)
}

fn rate(before: &Point, after: &Point) -> f64 {
    let seconds = after.0.duration_since(before.0).as_secs_f64();
    let moved = (after.1 - before.1).max(0);
    if seconds > 0.0 { moved as f64 / seconds } else { 0.0 }
}
