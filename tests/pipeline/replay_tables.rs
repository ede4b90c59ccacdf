//! A replay sees tables as they were: each event the rows that its branch saw then, by what the stage noted; by time where it noted nothing; as they
//! are now where compaction may have taken what was there. On both brokers.
use crate::support::{Author, Broker, Deadline, Fleet, On, both, topic, topic_sink};
use atio_schemas::{Detection, detection::Kind};
use atio_stream::{Kafka, admin::Admin};
use atio_topics::plan::{Change, Plan};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

pub fn trials() -> Vec<Trial> {
    both("pipeline::replay_tables::", as_they_were).into()
}

fn table(name: &str) -> String {
    json!({
        "apiVersion": "atio/v1", "kind": "Table", "metadata": {"name": name}, "file": format!("{name}.csv"), "format": "csv", "key": "id",
        "refresh": "1s",
    })
    .to_string()
}

/// With a branch that looks into these tables.
fn workflow(tables: &[&str]) -> String {
    let look = |table: &&str| json!({"enrich": {"table": table, "key": "asset", "set": {"labels": "push(.labels, .row.team)"}}});
    let steps: Vec<Value> = tables.iter().map(look).chain([json!({"deliver": "owned"})]).collect();
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "tell"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {"owned": steps},
    })
    .to_string()
}

fn event(id: &str) -> (String, Detection) {
    let mut detection = Detection::new(id.to_owned(), Kind::Threat, "default", "trial");
    detection.asset = Some("host:web-1".to_owned());
    ("host:web-1".to_owned(), detection)
}

/// Exit code, what it says of tables, and of the one leg that there is.
fn replay(fleet: &Fleet, args: &[&str]) -> (Option<i32>, Value, Value) {
    let ended = fleet.ask(&[&["replay", "tell", "--format", "json"], args].concat());
    let last = ended.stdout.last().unwrap_or_else(|| panic!("{}", ended.told()));
    let last: Value = serde_json::from_str(last).expect("JSON");
    (ended.status.code(), last["tables"].clone(), last["legs"][0]["deliveries"].clone())
}

/// Nothing of this topic is kept longer than it must be.
fn compactable(fleet: &Fleet, topic: &str) {
    let kafka = Kafka { bootstrap: fleet.kafka.clone(), properties: BTreeMap::new() };
    let set = [("min.compaction.lag.ms".to_owned(), (Some("691200000".to_owned()), "0".to_owned()))].into();
    let changes = vec![Change::Configs { topic: topic.to_owned(), set }];
    let admin = Admin::connect(&kafka, "trial").expect("a client");
    let done = admin.apply(&Plan { changes, refused: vec![] }).expect("an answer");
    assert!(done.iter().all(|d| d.result.is_ok()), "{done:?}");
}

fn as_they_were(on: On) -> Result<(), Failed> {
    let broker = Broker::start(on);
    let bootstrap = &broker.bootstrap;
    let declarations = vec![
        ("tables/owners.yaml", table("owners")),
        ("tables/sites.yaml", table("sites")),
        ("tables/owners.csv", "id,team\nhost:web-1,web-team\n".to_owned()),
        ("tables/sites.csv", "id,team\nhost:web-1,oslo\n".to_owned()),
        ("sinks/owned.yaml", topic_sink("owned", "replay-owned")),
        ("workflows/tell.yaml", workflow(&["owners"])),
    ];
    let fleet = Fleet::only(bootstrap, &declarations, &["ingestion", "monitoring", "routing"]);
    let author = Author::open(bootstrap, &fleet.registry, &fleet.prefix, &["enriched"]);
    fleet.runs("routing", "routing.tell.owned");
    // An event after the other, until one sees what the table says by then; how many there are in all.
    let mut sent = 0_u64;
    let mut sees = |team: &str| -> Result<u64, Failed> {
        let seen = Deadline::after(60).every(Duration::from_millis(300), || {
            author.send("enriched", &[event(&format!("e{sent}"))]);
            sent += 1;
            let came = Deadline::after(30).every(Duration::from_millis(50), || {
                let mut all = vec![];
                topic::each(bootstrap, &fleet.topic("delivery.owned"), |m| {
                    all.push(
                        String::from_utf8_lossy(rdkafka::Message::payload(m).unwrap_or_default())
                            .into_owned(),
                    );
                });
                (all.len() as u64 >= sent).then_some(all)
            });
            came.and_then(|all| all.last().cloned()).filter(|last| last.contains(team)).map(drop)
        });
        seen.ok_or(format!("no event of {team}"))?;
        Ok(sent)
    };
    let before = sees("web-team")?;
    fleet.declare("tables/owners.csv", "id,team\nhost:web-1,platform\n");
    let all = sees("platform")?;

    let same = |n: u64| json!({"same": n, "changed": 0, "new": 0, "missing": 0, "waiting": 0});
    let noted = json!([{"table": "owners", "noted": all, "by_time": 0, "now": 0, "why": {}}]);
    assert_eq!(replay(&fleet, &[]), (Some(0), noted, same(all)), "as it was");

    let (code, tables, leg) = replay(&fleet, &["--tables", "now"]);
    assert_eq!((code, &tables[0]["now"], &tables[0]["why"]), (Some(4), &all.into(), &json!({"asked": all})));
    assert!(leg["changed"].as_u64() >= Some(before), "what came before the change: {leg}");

    let draft = fleet.data("client").join("draft.yaml");
    std::fs::create_dir_all(fleet.data("client"))?;
    std::fs::write(&draft, workflow(&["owners", "sites"]))?;
    let (_, tables, leg) = replay(&fleet, &["--file", draft.to_str().ok_or("text")?]);
    assert_eq!((&tables[0]["noted"], &tables[1]["noted"]), (&all.into(), &0.into()), "{tables}");
    assert_eq!((&tables[1]["by_time"], &tables[1]["why"]), (&all.into(), &json!({"not_noted": all})));
    assert_eq!(leg["changed"], all, "another label on each");

    compactable(&fleet, &fleet.topic("reference.owners"));
    let (code, tables, _) = replay(&fleet, &[]);
    let now = tables[0]["now"].as_u64().unwrap_or_default();
    assert_eq!((code, &tables[0]["why"]), (Some(4), &json!({"compacted": now})), "{tables}");
    assert!(now >= before && now < all, "what came after the last change saw all that is there: {tables}");
    fleet.stop();
    Ok(())
}
