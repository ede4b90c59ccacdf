//! Branches that look into tables, on a broker: rows come from a file of the user's, change while the branch runs, and a version that looks into a
//! second table comes to a branch that runs already. Beside it, deliveries of elements and of a path for what fails.
use crate::support::{Author, Broker, Deadline, Fleet, On, topic, topic_sink, trial};
use atio_schemas::{Detection, detection::Kind};
use libtest_mimic::{Failed, Trial};
use rdkafka::Message;
use serde_json::{Value, json};
use std::time::Duration;

pub fn trials() -> Vec<Trial> {
    let run = || looked_into(&Broker::start(On::Embedded).bootstrap);
    vec![trial("pipeline::tables::branches_look_into_tables", On::Embedded.needs(), run)]
}

fn table(name: &str, refresh: &str) -> String {
    json!({
        "apiVersion": "atio/v1", "kind": "Table", "metadata": {"name": name}, "file": format!("{name}.csv"), "format": "csv", "key": "id",
        "refresh": refresh,
    })
    .to_string()
}

/// `sites` is a second table, where it is wanted.
fn workflow(sites: bool) -> String {
    let look = |table: &str, set: Value| json!({"enrich": {"table": table, "key": "asset", "set": set}});
    let mut owned = vec![look("owners", json!({"labels": "push(.labels, .row.team)"}))];
    if sites {
        owned.push(look("sites", json!({"policies": "push(.policies, .row.city)"})));
    }
    owned.push(json!({
        "set": {"labels": "if .kev { push(.labels, downcase(.process)) } else { .labels }"},
        "on_error": [{"set": {"policies": "[.error.code]"}}, {"deliver": "owned"}],
    }));
    owned.push(json!({"deliver": "owned"}));
    let each = json!([{"each": ".cves", "do": [{"set": {"cves": "[.item]"}}, {"deliver": "each"}]}]);
    json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "tables"}, "on": "detection", "match": {"kind": "threat"},
        "branches": {"owned": owned, "each": each},
    })
    .to_string()
}

fn event(id: &str, kev: bool) -> (String, Detection) {
    let mut detection = Detection::new(id.to_owned(), Kind::Threat, "default", "trial");
    detection.asset = Some("host:web-1".to_owned());
    detection.kev = Some(kev);
    detection.cves = ["CVE-2024-1", "CVE-2024-2"].map(str::to_owned).into();
    ("host:web-1".to_owned(), detection)
}

/// What was delivered, as text, in the order in which it came.
fn delivered(fleet: &Fleet, bootstrap: &str, sink: &str) -> Vec<String> {
    let mut all = vec![];
    topic::each(bootstrap, &fleet.topic(&format!("delivery.{sink}")), |message| {
        all.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
    });
    all
}

fn looked_into(bootstrap: &str) -> Result<(), Failed> {
    let declarations = vec![
        ("tables/owners.yaml", table("owners", "1s")),
        ("tables/sites.yaml", table("sites", "1s")),
        ("tables/owners.csv", "id,team\nhost:web-1,web-team\n".to_owned()),
        ("tables/sites.csv", "id,city\nhost:web-1,oslo\n".to_owned()),
        ("sinks/owned.yaml", topic_sink("owned", "tables-owned")),
        ("sinks/each.yaml", topic_sink("each", "tables-each")),
        ("workflows/tables.yaml", workflow(false)),
    ];
    let fleet = Fleet::only(bootstrap, &declarations, &["ingestion", "monitoring", "routing"]);
    let author = Author::open(bootstrap, &fleet.registry, &fleet.prefix, &["enriched"]);
    ["owned", "each"].iter().for_each(|b| fleet.runs("routing", &format!("routing.tables.{b}")));

    // An event after the other, until one sees what the table says by then.
    let sees = |name: &str, kev: bool, parts: &[&str]| -> Result<(), Failed> {
        let mut sent = delivered(&fleet, bootstrap, "owned").len();
        let seen = Deadline::after(60).every(Duration::from_millis(300), || {
            author.send("enriched", &[event(&format!("{name}-{sent}"), kev)]);
            sent += 1;
            let came = Deadline::after(30).every(Duration::from_millis(50), || {
                let all = delivered(&fleet, bootstrap, "owned");
                (all.len() >= sent).then_some(all)
            });
            let last = came.and_then(|all| all.last().cloned()).unwrap_or_default();
            parts.iter().all(|part| last.contains(part)).then_some(())
        });
        seen.ok_or_else(|| format!("{name}: no event with {parts:?}").into())
    };
    sees("first", false, &["web-team"])?;
    fleet.declare("tables/owners.csv", "id,team\nhost:web-1,platform\n");
    sees("changed", false, &["platform"])?;
    fleet.declare("tables/owners.csv", "id,team\nhost:web-2,platform\n");
    sees("gone", false, &["enrichment_missing:owners"])?;
    fleet.declare("workflows/tables.yaml", &workflow(true));
    fleet.client(&["apply"]);
    sees("second", false, &["oslo", "enrichment_missing:owners"])?;
    sees("failing", true, &["step_failed"])?;

    // Each event once, and each of its elements once.
    let events = delivered(&fleet, bootstrap, "owned").len();
    let elements = Deadline::after(60).every(Duration::from_millis(100), || {
        let keys = topic::by_header(bootstrap, &fleet.topic("delivery.each"), "atio_idempotency_key");
        (keys.len() >= 2 * events).then_some(keys)
    });
    let elements = elements.ok_or("not all elements are delivered")?;
    if elements.len() != 2 * events || elements.values().any(|n| *n != 1) {
        return Err(format!("{} elements of {events} events: {elements:?}", elements.len()).into());
    }
    let ledger = fleet.settled("routing", "routing.tables.owned", events, Deadline::after(30));
    if ledger.dead_lettered != 0 {
        return Err(format!("dead letters: {}", ledger.dead_lettered).into());
    }
    fleet.stop();
    Ok(())
}
