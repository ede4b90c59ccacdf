//! docs/topics.md is generated where it can be, and its examples read.
use crate::derived::fixed;
use atio_topics::{fixed::Dead, load::parse};
use std::fmt::Write;

const PAGE: &str = include_str!("../../../docs/topics.md");

fn table() -> String {
    let fixed = fixed();
    let mut out = String::from(
        "| topic | key | partitions | policy | kept | largest | schema | dead letters | co-partitioned | written by | holds |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for e in fixed.topics.iter().chain(&fixed.families) {
        let partitions = match (e.partitions, e.name.starts_with("state.")) {
            (_, true) => "as the input".to_owned(),
            (Some(n), _) => n.to_string(),
            (None, _) => "default".to_owned(),
        };
        let kept = match (e.retention, e.min_compaction_lag) {
            (Some(r), _) => r.to_string(),
            (None, Some(lag)) => format!("newest of a key; all for {lag}"),
            (None, None) => "newest of a key".to_owned(),
        };
        let dead = match e.dead() {
            Dead::None => "none".to_owned(),
            Dead::Own => format!("`atio.{}.dlq`", e.name),
            Dead::Shared(name) => format!("`atio.{name}`"),
        };
        let schema = e.schema().map_or_else(|| "not yet".to_owned(), |s| format!("`{s}`"));
        let group = e.group.as_deref().unwrap_or("");
        let (name, key, policy, max, writers, holds) =
            (&e.name, &e.key, e.policy.as_str(), e.max, &e.writers, &e.holds);
        writeln!(out, "| `atio.{name}` | {key} | {partitions} | {policy} | {kept} | {max} | {schema} | {dead} | {group} | {writers} | {holds} |")
            .expect("text");
    }
    out
}

#[test]
fn the_table_is_topics_yaml() {
    let marks = ("<!-- topics.yaml -->\n", "<!-- /topics.yaml -->");
    let start = PAGE.find(marks.0).expect("a mark") + marks.0.len();
    let end = PAGE.find(marks.1).expect("a mark");
    assert!(
        PAGE[start..end] == table(),
        "docs/topics.md has drifted; between the marks belongs:\n{}",
        table()
    );
}

#[test]
fn the_examples_read() {
    let examples: Vec<&str> =
        PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 6, "{} examples", examples.len());
    for example in examples {
        parse("docs/topics.md", example).unwrap_or_else(|p| panic!("{p}\n{example}"));
    }
}
