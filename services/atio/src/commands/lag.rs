//! `atio lag`: how far each consumer group of ours is behind. Owns the table; lag itself is the last stable offset minus the committed one.
use crate::{
    commands::look::{Look, look},
    endpoints::Target,
    exit::Exit,
    render::{self, Format},
    system::wanted::unreachable,
};
use atio_stream::admin::{Admin, Committed, Group, Marks};
use serde::Serialize;
use std::collections::BTreeMap;

/// Show how far each consumer group is behind
///
/// Lag is what is committed to a partition and not yet processed: the last stable offset minus the group's own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio lag --format json | jq 'select(.lag > 1000)'")]
pub struct Args {
    /// Only groups whose name contains this
    #[arg(long, value_name = "TEXT")]
    group: Option<String>,
    /// A table, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    group: String,
    state: String,
    members: usize,
    topic: String,
    partition: i32,
    /// None: nothing was committed yet.
    committed: Option<i64>,
    /// The last stable offset.
    end: i64,
    lag: i64,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let (wanted, format) = (args.group.clone(), args.format);
    look(target, move |look: &Look| {
        let rows = rows(look, wanted.as_deref())?;
        if format == Format::Json {
            rows.iter().try_for_each(render::json)?;
        } else {
            show(&rows)?;
        }
        Ok(Exit::Done)
    })
}

fn rows(look: &Look, wanted: Option<&str>) -> anyhow::Result<Vec<Row>> {
    let admin = look.admin()?;
    let topics = admin.topics().map_err(unreachable)?;
    let names: Vec<&str> = topics.keys().map(String::as_str).collect();
    let mut marks = Ends { admin: &admin, known: BTreeMap::new() };
    let mut rows = vec![];
    let mut groups = admin.groups().map_err(unreachable)?;
    groups.retain(|g| g.name.starts_with(&look.config.prefix) && wanted.is_none_or(|w| g.name.contains(w)));
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    for group in groups {
        let committed = admin.committed(&group.name, &names).map_err(unreachable)?;
        for topic in read_topics(&committed) {
            let ends = marks.of(topic)?;
            rows.extend(committed.iter().filter(|c| c.topic == topic).filter_map(|c| row(&group, c, ends)));
        }
    }
    Ok(rows)
}

/// Topics of which the group has committed something: those that it reads.
fn read_topics(committed: &[Committed]) -> Vec<&str> {
    let mut topics: Vec<&str> =
        committed.iter().filter(|c| c.offset.is_some()).map(|c| c.topic.as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// The ends of topics, each asked for once.
struct Ends<'a> {
    admin: &'a Admin,
    known: BTreeMap<String, Vec<Marks>>,
}

impl Ends<'_> {
    fn of(&mut self, topic: &str) -> anyhow::Result<&[Marks]> {
        if !self.known.contains_key(topic) {
            let marks = self.admin.watermarks(topic).map_err(unreachable)?;
            self.known.insert(topic.to_owned(), marks);
        }
        Ok(self.known.get(topic).map_or(&[], Vec::as_slice))
    }
}

/// None for a partition without records that nobody committed for either: nothing is there to read.
fn row(group: &Group, committed: &Committed, ends: &[Marks]) -> Option<Row> {
    let marks = ends.iter().find(|m| m.partition == committed.partition)?;
    if committed.offset.is_none() && marks.stable == marks.low {
        return None;
    }
    let lag = (marks.stable - committed.offset.unwrap_or(marks.low)).max(0);
    Some(Row {
        group: group.name.clone(),
        state: group.state.clone(),
        members: group.members,
        topic: committed.topic.clone(),
        partition: committed.partition,
        committed: committed.offset,
        end: marks.stable,
        lag,
    })
}

fn show(rows: &[Row]) -> anyhow::Result<()> {
    if rows.is_empty() {
        render::notice("no group of ours has committed anything yet");
        return Ok(());
    }
    let cells = |r: &Row| {
        let committed = r.committed.map_or_else(|| "-".to_owned(), |n| n.to_string());
        vec![
            r.group.clone(),
            r.state.clone(),
            r.topic.clone(),
            r.partition.to_string(),
            committed,
            r.end.to_string(),
            r.lag.to_string(),
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    render::table(&["GROUP", "STATE", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG"], &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(partition: i32, offset: Option<i64>) -> Committed {
        Committed { topic: "atio.t".into(), partition, offset, metadata: String::new() }
    }

    #[test]
    fn lag_is_what_is_stable_and_not_committed() {
        let group = Group { name: "atio.g".into(), state: "Stable".into(), members: 1 };
        let marks = [
            Marks { partition: 0, low: 5, high: 12, stable: 10 },
            Marks { partition: 1, low: 3, high: 3, stable: 3 },
        ];
        let lag = |c| row(&group, &c, &marks).map(|r| r.lag);
        assert_eq!(lag(committed(0, Some(7))), Some(3));
        assert_eq!(lag(committed(0, None)), Some(5), "all that is there");
        assert_eq!(lag(committed(0, Some(11))), Some(0), "never less than nothing");
        assert_eq!(lag(committed(1, None)), None);
        assert_eq!(lag(committed(2, Some(1))), None, "no such partition");
        assert_eq!(read_topics(&[committed(0, None), committed(1, Some(1))]), ["atio.t"]);
        assert!(read_topics(&[committed(0, None)]).is_empty());
    }
}
