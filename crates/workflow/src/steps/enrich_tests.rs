//! Rows brought into columns: what they change, and what becomes of an event without one.
use super::*;
use crate::{
    Known, SinkFacts, Site, compile,
    machine::End,
    rehearsal::{Rehearsal, Subject},
    tables::{self, Rows},
};
use atio_schemas::{
    Code, Codec, Timestamp,
    codec::StaticIds,
    detection::{Criticality, Kind, Tlp},
};
use atio_stage::{Headers, StageError, Tables};
use atio_topics::Audience;
use std::collections::BTreeMap;

fn event() -> Detection {
    let mut d = Detection::new("e1".into(), Kind::Threat, "default", "s");
    (d.asset, d.host, d.confidence) = (Some("host:web-1".into()), Some("web-1".into()), Some(50));
    d.labels = vec!["seen".into()];
    d
}

fn run_on(steps: &str, d: &Detection) -> End {
    let sink = SinkFacts { format: "report".into(), audience: Audience::Internal, clearance: Tlp::Red };
    let known = Known {
        sinks: [("siem".to_owned(), sink)].into(),
        tables: ["owners".to_owned(), "empty".to_owned()].into(),
    };
    let text = format!(
        "apiVersion: atio/v1\nkind: Workflow\nmetadata: {{name: w}}\non: detection\nmatch: {{}}\nbranches:\n  b: {steps}\n"
    );
    let definition = compile("w.yaml", &text, &known).unwrap_or_else(|p| panic!("{text} {p:?}"));
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let mut owners = Rows::new(codec.clone());
    let row = [
        ("team", "web-team"),
        ("criticality", "high"),
        ("weight", "75"),
        ("wrong", "hgih"),
        ("due date", "2026-12-01"),
    ];
    let row: BTreeMap<String, String> = row.map(|(name, cell)| (name.to_owned(), cell.to_owned())).into();
    owners.insert("host:web-1", row.clone());
    owners.insert("50", row);
    let all: [(_, Box<dyn atio_stage::View>); 2] =
        [(tables::name("owners"), Box::new(owners)), (tables::name("empty"), Box::new(Rows::new(codec)))];
    let mut rehearsal = Rehearsal::with(Arc::new(Tables(all.into())));
    let subject = Subject {
        definition: &definition,
        branch: &definition.branches[0],
        site: Site { version: 1, home_networks: &[] },
    };
    let mut ends = vec![];
    let mut told = |_: &Detection, _: &Headers, end: End| {
        ends.push(end);
        Ok::<(), StageError>(())
    };
    rehearsal.event(subject, Timestamp(0), (d, &Headers::default()), &mut told).unwrap();
    ends.remove(0)
}

/// The event as these steps leave it.
fn left_by(steps: &str) -> Detection {
    let mut end = run_on(&format!("[{steps}, {{delay: 1h}}, {{deliver: siem}}]"), &event());
    assert_eq!((end.rejected.len(), end.dropped), (0, None));
    end.delayed.take().unwrap().detection.unwrap_or_else(event)
}

fn enriched(set: &str) -> Detection {
    left_by(&format!("{{enrich: {{table: owners, key: asset, set: {set}}}}}"))
}

#[test]
fn a_row_is_brought_into_columns() {
    let found = enriched(
        "{labels: 'push(.labels, .row.team)', criticality: .row.criticality, host: '.row.\"due date\"'}",
    );
    assert_eq!(found.labels, ["seen", "web-team"]);
    assert_eq!((found.criticality, found.host.as_deref()), (Some(Criticality::High), Some("2026-12-01")));
    assert_eq!(found.quality, Vec::<String>::new());
    assert_eq!(enriched("{importance: 'to_float(.row.weight) ?? 10.0'}").importance, Some(75.0));
}

#[test]
fn cells_that_are_unknown_or_do_not_fit_leave_their_column() {
    let found =
        enriched("{labels: 'push(.labels, .row.nothing)', host: .row.nothing, criticality: .row.wrong}");
    assert_eq!(found.labels, ["seen"]);
    assert_eq!((found.host.as_deref(), found.criticality), (Some("web-1"), None));
    assert_eq!(found.quality, ["enrichment_invalid:owners.criticality"]);
}

#[test]
fn without_a_row_the_event_is_marked_and_goes_on() {
    for (table, key) in [("empty", ".asset"), ("owners", "src.ip"), ("owners", "'upcase(.asset)'")] {
        let step = format!("{{enrich: {{table: {table}, key: {key}, set: {{host: .row.team}}}}}}");
        let found = left_by(&format!("{step}, {step}"));
        assert_eq!(found.quality, [format!("enrichment_missing:{table}")], "once, by {key}");
        assert_eq!(found.host.as_deref(), Some("web-1"));
    }
    let by_number = left_by("{enrich: {table: owners, key: confidence, set: {host: .row.team}}}");
    assert_eq!(by_number.host.as_deref(), Some("web-team"));
}

/// A stage that does not read the table fails as a whole: no event is lost to that.
#[test]
fn a_table_that_the_stage_does_not_read_stops_it() {
    let sink = SinkFacts { format: "report".into(), audience: Audience::Internal, clearance: Tlp::Red };
    let known = Known { sinks: [("siem".to_owned(), sink)].into(), tables: ["owners".to_owned()].into() };
    let text = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: w}\non: detection\nmatch: {}\nbranches:\n  b: [{enrich: {table: owners, key: asset, set: {host: .row.team}}}, {deliver: siem}]\n";
    let definition = compile("w.yaml", text, &known).unwrap();
    let subject = Subject {
        definition: &definition,
        branch: &definition.branches[0],
        site: Site { version: 1, home_networks: &[] },
    };
    let mut told = |_: &Detection, _: &Headers, _: End| Ok::<(), StageError>(());
    let failed =
        Rehearsal::default().event(subject, Timestamp(0), (&event(), &Headers::default()), &mut told);
    assert_eq!(failed.unwrap_err().code, Code::Internal);
}
