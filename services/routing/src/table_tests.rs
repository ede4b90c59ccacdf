//! Branches that look into reference tables: what a stage reads, and what its events get.
use super::*;
use atio_schemas::reference::ReferenceRow;
use atio_workflow::tables::name as table;
use std::collections::BTreeSet;

const OWNED: &str = "apiVersion: atio/v1\nkind: Workflow\nmetadata: {name: threats}\non: detection\nmatch: {kind: threat}\n\
    branches:\n  owned:\n    - enrich: {table: owners, key: asset, set: {labels: 'push(.labels, .row.team)'}}\n    - deliver: siem\n\
    \x20 plain:\n    - deliver: siem\n";

fn row(team: &str) -> Vec<u8> {
    let columns = [("team".to_owned(), team.to_owned())].into();
    let row = ReferenceRow { table: "owners".into(), id: "host:web-1".into(), columns };
    deps().codec.encode(&row).unwrap()
}

fn payloads<P: Processor>(harness: &Harness<P>) -> Vec<String> {
    let payload = |output: &atio_stage::Output| {
        let delivery: Delivery = deps().codec.decode(output.value.as_ref().unwrap()).unwrap();
        String::from_utf8(delivery.payload).unwrap()
    };
    harness.outputs.iter().map(payload).collect()
}

#[test]
fn each_event_sees_the_row_of_its_time() {
    let mut harness = branch("owned");
    apply(&mut harness, "threats", 1, OWNED);
    let event = || routed(&["threats@1"], detection());
    harness.commit(&[event()]);
    harness.table(&table("owners").0, b"host:web-1", Some(&row("web-team"))).unwrap();
    harness.commit(&[event()]);
    harness.table(&table("owners").0, b"host:web-1", Some(&row("platform"))).unwrap();
    harness.commit(&[event()]);
    harness.table(&table("owners").0, b"host:web-1", None).unwrap();
    harness.commit(&[event()]);
    let found = payloads(&harness);
    let has = |at: usize, part: &str| found[at].contains(part);
    for (at, team) in [(1, "web-team"), (2, "platform")] {
        assert!(has(at, team) && !has(at, "enrichment_missing"), "{}", found[at]);
    }
    for at in [0, 3] {
        assert!(has(at, "enrichment_missing:owners"), "{}", found[at]);
    }
    assert!(harness.counts.balanced());
}

/// A version that looks into a table may be here before the stage reads it: its events wait until it does.
#[test]
fn a_stage_reads_the_tables_of_its_branch() {
    let deps = deps();
    let mut definitions = deps.definitions();
    let put = |definitions: &mut Definitions, version: i64, text: &str| {
        let value = stored(ObjectKind::Workflow, "threats", version, Some(text));
        let key = format!("threats@{version}");
        atio_stage::View::apply(definitions, key.as_bytes(), Some(&value)).unwrap();
        let pointer = stored(ObjectKind::Workflow, "threats", version, None);
        atio_stage::View::apply(definitions, b"threats", Some(&pointer)).unwrap();
        atio_stage::View::settle(definitions);
    };
    let read = |definitions: &Definitions, name: &str| -> Vec<String> {
        let stages = branch_stages(&deps, definitions, &|_| true);
        let stage = stages.iter().find(|s| s.name == format!("routing.threats.{name}")).unwrap();
        stage.tables.iter().map(|t| format!("{} {}", t.name.0, t.topic)).collect()
    };
    put(&mut definitions, 1, OWNED);
    assert_eq!(read(&definitions, "plain"), ["workflows t.workflows"]);
    assert_eq!(read(&definitions, "owned"), ["workflows t.workflows", "reference.owners t.reference.owners"]);
    let (one, other) =
        (branch_stages(&deps, &definitions, &|_| true), branch_stages(&deps, &definitions, &|_| true));
    assert!(one.iter().zip(&other).all(|(a, b)| a.is_wired_as(b)), "nothing is started anew without need");
    // What an older version needs is still read.
    put(
        &mut definitions,
        2,
        &OWNED.replace(
            "    - enrich: {table: owners, key: asset, set: {labels: 'push(.labels, .row.team)'}}\n",
            "",
        ),
    );
    assert_eq!(read(&definitions, "owned").len(), 2);

    let runner = branch::Runner {
        codec: deps.codec.clone(),
        workflow: "threats".into(),
        branch: "owned".into(),
        home_networks: vec![],
        prefix: "t.".into(),
        keeps: false,
        delays: false,
        tables: BTreeSet::new(),
    };
    let mut harness = Harness::new(runner, std::slice::from_ref(&deps.table), Timestamp(0));
    apply(&mut harness, "threats", 1, OWNED);
    harness.commit(&[routed(&["threats@1"], detection())]);
    assert_eq!(harness.failures[0].code, Code::UnknownVersion);
}

/// Tables that were applied count as those that are declared here.
#[test]
fn tables_on_the_topic_of_definitions_are_known() {
    let deps = deps();
    let mut definitions = deps.definitions();
    let text = OWNED.replace("owners", "sites");
    let value = stored(ObjectKind::Workflow, "threats", 1, Some(&text));
    assert!(atio_stage::View::apply(&mut definitions, b"threats@1", Some(&value)).is_err());
    let pointer = stored(ObjectKind::Workflow, "threats", 1, None);
    atio_stage::View::apply(&mut definitions, b"threats", Some(&pointer)).unwrap();
    atio_stage::View::settle(&mut definitions);
    assert_eq!(branch_stages(&deps, &definitions, &|_| true).len(), 0);
    let table = stored(ObjectKind::Table, "sites", 1, None);
    atio_stage::View::apply(&mut definitions, b"table/sites", Some(&table)).unwrap();
    atio_stage::View::settle(&mut definitions);
    assert_eq!(branch_stages(&deps, &definitions, &|_| true).len(), 2);
}
