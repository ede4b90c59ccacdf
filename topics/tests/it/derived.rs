//! Topics from topics.yaml and declarations: names, settings, rule 13, co-partitioning.
use atio_schemas::SUBJECTS;
use atio_topics::{
    Declarations, Fixed, Footprint, Layout, Ownership, StateTopic, Topic,
    acl::{Operation, Resource, Wiring, bindings},
    derive::derive,
    load::File,
    shipped, units, validate,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn fixed() -> Fixed {
    Fixed::shipped().expect("topics.yaml reads")
}

fn declared(texts: &[&str]) -> Declarations {
    let files: Vec<File> = texts
        .iter()
        .enumerate()
        .map(|(i, t)| File { name: format!("{i}.yaml"), text: format!("apiVersion: atio/v1\n{t}") })
        .collect();
    Declarations::load(&files).expect("good declarations")
}

fn topics(texts: &[&str]) -> BTreeMap<String, Topic> {
    let fixed = fixed();
    let derived =
        derive(&fixed, &declared(texts), &[], &Layout::new(&fixed, "atio.", false)).expect("derived");
    derived.into_iter().map(|t| (t.name.clone(), t)).collect()
}

#[test]
fn each_declaration_has_its_topics() {
    let all = topics(&[
        "kind: Sink\nmetadata: {name: siem}\ntype: kafka\ntopic: soc-alerts",
        "kind: Workflow\nmetadata: {name: tdr}\non: detection",
        "kind: Source\nmetadata: {name: theirs}\nfrom: {topic: {name: nids}}",
    ]);
    for name in [
        "raw.suricata",
        "raw.suricata.dlq",
        "workflow.tdr",
        "workflow-dlq",
        "delivery.siem",
        "delivery.siem.dlq",
        "reference.assets",
        "raw.theirs.dlq",
    ] {
        assert!(all.contains_key(&format!("atio.{name}")), "{name}");
    }
    assert_eq!((all["nids"].ownership, all["soc-alerts"].ownership), (Ownership::Adopted, Ownership::Target));
    assert!(!all.contains_key("atio.raw.theirs") && !all.contains_key("atio.reference.assets.dlq"));
    assert!(!all.contains_key("_schemas"), "the registry's");
    assert_eq!(all["atio.workflow.tdr"].dead_letters.as_deref(), Some("atio.workflow-dlq"));
}

#[test]
fn every_topic_of_ours_is_stamped_by_the_broker_and_its_dead_letters_fit() {
    let all = topics(&["kind: Workflow\nmetadata: {name: tdr}\non: detection"]);
    for topic in all.values() {
        assert_eq!(topic.configs["message.timestamp.type"], "LogAppendTime", "{}", topic.name);
        let Some(dead) = topic.dead_letters.as_ref().map(|d| &all[d]) else { continue };
        assert!(dead.max_bytes().expect("set") >= topic.max_bytes().expect("set") + 65_536, "{}", topic.name);
        assert!(dead.partitions >= topic.partitions && dead.dead_letters.is_none(), "{}", topic.name);
    }
    assert!(all["atio.raw.suricata"].max_bytes().expect("set") > 16 << 20);
    assert_eq!(all["atio.audit"].configs["min.compaction.lag.ms"], "31536000000");
    assert!(validate::groups(&all.into_values().collect::<Vec<_>>()).is_empty());
}

#[test]
fn schemas_exist_and_names_are_plain() {
    let fixed = fixed();
    for entry in fixed.topics.iter().chain(&fixed.families) {
        let known = entry.schema().is_none_or(|s| SUBJECTS.iter().any(|(subject, _)| *subject == s));
        assert!(known, "{}: {}", entry.name, entry.schema);
        assert!(entry.name.split('.').all(|p| units::is_name(p) || p.starts_with('<')), "{}", entry.name);
    }
    let names: BTreeSet<&str> = fixed.topics.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names.len(), fixed.topics.len());
}

#[test]
fn partitions_follow_the_layout() {
    let fixed = fixed();
    let mut layout = Layout::new(&fixed, "t1.", true);
    layout.replication = Some(3);
    let all = derive(&fixed, &declared(&[]), &[], &layout).expect("derived");
    let of = |name: &str| all.iter().find(|t| t.name == name).expect("there").clone();
    assert_eq!((of("t1.detections").partitions, of("t1.workflows").partitions), (3, 1));
    assert_eq!(of("t1.detections").configs["min.insync.replicas"], "2");
}

#[test]
fn a_changelog_has_the_partitions_of_its_input() {
    let fixed = fixed();
    let adopted = declared(&["kind: Source\nmetadata: {name: theirs}\nfrom: {topic: {name: nids}}"]);
    let mut layout = Layout::new(&fixed, "atio.", false);
    let state = |inputs: &[&str]| StateTopic {
        changelog: "atio.state.normalization.seen".into(),
        retention_ms: None,
        inputs: inputs.iter().map(|i| (*i).to_owned()).collect(),
    };
    let problems = derive(&fixed, &adopted, &[state(&["nids"])], &layout).expect_err("not known");
    assert!(problems[0].message.contains("nids"), "{problems:?}");
    layout.adopted.insert("nids".into(), 40);
    let all = derive(&fixed, &adopted, &[state(&["nids", "atio.raw.suricata"])], &layout).expect("derived");
    let of = |name: &str| all.iter().find(|t| t.name == name).expect("there").partitions;
    assert_eq!((of("atio.state.normalization.seen"), of("atio.raw.theirs.dlq")), (40, 40));
    let one = derive(&fixed, &adopted, &[state(&["atio.commands"])], &layout).expect("derived");
    assert_eq!(one.iter().find(|t| t.name.ends_with("seen")).expect("there").partitions, 1);
}

#[test]
fn topics_of_ours_are_neither_adopted_nor_written_by_sinks() {
    let fixed = fixed();
    let layout = Layout::new(&fixed, "atio.", false);
    for text in [
        "kind: Source\nmetadata: {name: n}\nfrom: {topic: {name: atio.detections}}",
        "kind: Sink\nmetadata: {name: n}\ntype: kafka\ntopic: atio.commands",
        "kind: Sink\nmetadata: {name: n}\ntype: kafka\ntopic: __consumer_offsets",
    ] {
        assert_eq!(derive(&fixed, &declared(&[text]), &[], &layout).expect_err("refused").len(), 1, "{text}");
    }
}

#[test]
fn what_a_stage_joins_is_co_partitioned() {
    let all: Vec<Topic> = topics(&[]).into_values().collect();
    let check = |inputs: &[&str], keeps_state| {
        let inputs: Vec<String> = inputs.iter().map(|i| format!("atio.{i}")).collect();
        validate::join(&all, &validate::Join { stage: "s", inputs: &inputs, keeps_state })
    };
    check(&["incident-events", "receipts", "acks", "waits"], true).expect("one group");
    check(&["raw.suricata", "raw.openvas"], true).expect("one family");
    check(&["incident-events", "detections"], true).expect_err("two groups");
    check(&["commands", "detections"], true).expect_err("two counts");
    check(&["commands", "detections"], false).expect("no state");
    check(&["nothing"], false).expect_err("not declared");
}

#[test]
fn a_workflows_sinks_and_tables_are_declared() {
    let all = declared(&[
        "kind: Workflow\nmetadata: {name: w}\non: detection",
        "kind: Sink\nmetadata: {name: siem}\ntype: file\npath: a",
    ]);
    let footprint = Footprint {
        sinks: ["siem".into(), "sime".into()].into(),
        tables: ["assets".into()].into(),
        ..Footprint::default()
    };
    let problems = validate::footprints(&all, &[("w".to_owned(), footprint)].into());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("did you mean `siem`?"), "{}", problems[0]);
}

#[test]
fn a_service_gets_no_more_than_it_needs() {
    let wiring = Wiring {
        service: "routing".into(),
        groups: ["atio.routing".into()].into(),
        reads: ["atio.enriched".into()].into(),
        writes: ["atio.workflow.w".into()].into(),
        transactional_prefix: "atio.routing.".into(),
    };
    let all = bindings(&wiring);
    assert_eq!(all.len(), 11);
    let writes: Vec<&str> = all
        .iter()
        .filter(|b| b.resource == Resource::Topic && b.operation == Operation::Write)
        .map(|b| b.name.as_str())
        .collect();
    assert_eq!(writes, ["atio.workflow.w"]);
    let reader = Wiring { writes: BTreeSet::new(), ..wiring };
    assert!(
        bindings(&reader)
            .iter()
            .all(|b| b.resource != Resource::TransactionalId && b.operation != Operation::Write)
    );
}

#[test]
fn the_shipped_table_is_the_folder() {
    let folders = [
        ("sources", shipped::SOURCES),
        ("workflows", shipped::WORKFLOWS),
        ("sinks", shipped::SINKS),
        ("tables", shipped::TABLES),
    ];
    for (folder, table) in folders {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut files: Vec<String> = std::fs::read_dir(path)
            .expect("the folder")
            .filter_map(|e| {
                e.expect("an entry")
                    .file_name()
                    .to_str()
                    .and_then(|n| n.strip_suffix(".yaml"))
                    .map(str::to_owned)
            })
            .collect();
        files.sort();
        let listed: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, files, "{folder}: the table in shipped.rs is alphabetical and whole");
        for (name, text) in table {
            let read = atio_topics::load::parse(name, text).expect("reads");
            assert_eq!(read.name(), *name, "file and name agree");
        }
    }
}

#[test]
fn shipped_workflows_deliver_to_shipped_sinks() {
    let mut seen = 0;
    for (name, text) in shipped::WORKFLOWS {
        for sink in text.lines().filter_map(|l| l.trim().strip_prefix("- deliver: ")) {
            assert!(shipped::SINKS.iter().any(|(s, _)| *s == sink), "{name} delivers to {sink}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}
