//! What only shows across declarations: sinks and tables that a workflow names, and topics that a stage joins.
use crate::{
    derive::{Footprint, Topic},
    load::Declarations,
    place::{Place, Problem},
    suggest,
};
use std::collections::{BTreeMap, BTreeSet};

/// Checks each workflow's footprint against what is declared.
#[must_use]
pub fn footprints(declared: &Declarations, footprints: &BTreeMap<String, Footprint>) -> Vec<Problem> {
    let sinks: Vec<&String> = declared.sinks.keys().collect();
    let tables: Vec<&String> = declared.tables.keys().collect();
    let mut problems = vec![];
    for (workflow, footprint) in footprints {
        let place =
            declared.workflows.get(workflow).map_or_else(|| Place::file(workflow), |w| w.place.clone());
        let mut absent = |what: &str, names: &BTreeSet<String>, known: &[&String]| {
            for name in names.iter().filter(|n| !known.contains(n)) {
                let problem = Problem::new(
                    &place,
                    format!("workflow `{workflow}` names {what} `{name}`, which is not declared"),
                );
                problems.push(problem.help(suggest::help(name, known)));
            }
        };
        absent("sink", &footprint.sinks, &sinks);
        absent("table", &footprint.tables, &tables);
    }
    problems
}

/// What a stage reads, as far as rule 17 of exactly-once goes.
#[derive(Clone, Copy, Debug)]
pub struct Join<'a> {
    pub stage: &'a str,
    pub inputs: &'a [String],
    /// It has stores, so what it joins must be co-partitioned.
    pub keeps_state: bool,
}

/// A stage that keeps state joins only topics of one co-partition group, or of the same key, all with the same partition count.
///
/// # Errors
/// An input that is not declared, or inputs that can't be joined.
pub fn join(topics: &[Topic], join: &Join<'_>) -> Result<(), Problem> {
    let place = Place::file(join.stage);
    let mut found = vec![];
    for input in join.inputs {
        match topics.iter().find(|t| t.name == *input) {
            Some(topic) => found.push(topic),
            None => {
                return Err(Problem::new(
                    &place,
                    format!("stage `{}` reads `{input}`, which is not declared", join.stage),
                ));
            }
        }
    }
    if !join.keeps_state || found.len() < 2 {
        return Ok(());
    }
    let counts: BTreeSet<u32> = found.iter().map(|t| t.partitions).collect();
    if counts.len() > 1 {
        return Err(Problem::new(
            &place,
            format!("stage `{}` keeps state over topics with {counts:?} partitions", join.stage),
        ));
    }
    let groups: BTreeSet<Option<&str>> = found.iter().map(|t| t.group.as_deref()).collect();
    if groups.len() > 1 {
        let names: Vec<&str> = found.iter().map(|t| t.name.as_str()).collect();
        return Err(Problem::new(
            &place,
            format!(
                "stage `{}` joins {}, which are not in one co-partition group",
                join.stage,
                names.join(", ")
            ),
        ));
    }
    Ok(())
}

/// Topics of one co-partition group have one partition count.
#[must_use]
pub fn groups(topics: &[Topic]) -> Vec<Problem> {
    let mut counts: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for topic in topics {
        if let Some(group) = &topic.group {
            counts.entry(group).or_default().insert(topic.partitions);
        }
    }
    let mixed = counts.into_iter().filter(|(_, c)| c.len() > 1);
    mixed
        .map(|(group, c)| {
            Problem::new(
                &Place::file("topics.yaml"),
                format!("co-partition group `{group}` has {c:?} partitions"),
            )
        })
        .collect()
}
