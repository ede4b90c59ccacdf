//! Confluent's Python client against the whole system on its own broker: our registry as a registry, our topics as Avro.
use crate::support::{Deadline, Need, Running, atio, http, oracle, root, topic, trial, unique};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

pub fn trials() -> Vec<Trial> {
    vec![trial("peers::confluent", &[Need::Oracles], confluent)]
}

fn confluent() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut command = atio();
    command.args(["up", "--http", "127.0.0.1:0", "--data"]).arg(dir.path());
    let system = Running::start("the system", &mut command);
    let (kafka, registry) = (system.said("kafka"), system.said("registry"));

    let ended = oracle("registry_peer", &[&kafka, &registry, &unique("peer")], 120);
    println!("{}", ended.stdout.join("\n"));
    if !ended.status.success() {
        return Err(ended.told().into());
    }

    // Two alerts of our own go in; a foreign client reads what came of them.
    let alerts = std::fs::read(root().join("crates/formats/samples/suricata/alert-cve.ndjson"))?;
    let lines = alerts.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()).count();
    let key = std::fs::read_to_string(dir.path().join("admin.key"))?;
    let url = format!("{}/v1/sources/suricata/events", system.said("http"));
    let answer = http::post(&url, &[("authorization", &format!("Bearer {}", key.trim()))], &alerts);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["accepted"], lines, "{}", answer.text());
    let enriched = Deadline::after(60).until("the alerts are enriched", || {
        let all = topic::count(&kafka, "atio.enriched");
        (all >= lines).then_some(all)
    });
    let out = dir.path().join("read.ndjson");
    let args = [&kafka, &registry, out.to_str().ok_or("a path")?, "atio.enriched", "atio.raw.suricata"];
    let ended = oracle("read_topics", &args, 120);
    if !ended.status.success() {
        return Err(ended.told().into());
    }
    let text = std::fs::read_to_string(out)?;
    let records: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let of = |topic: &str| records.iter().filter(|r| r["topic"] == topic).collect::<Vec<_>>();
    assert_eq!(of("atio.enriched").len(), enriched, "as many as any client sees");
    assert_eq!(of("atio.raw.suricata").len(), lines, "a raw event a line");
    for record in of("atio.enriched") {
        let (value, headers) = (&record["value"], &record["headers"]);
        assert_eq!(value["kind"], "threat", "{value}");
        assert_eq!(value["event_id"], headers["ce_id"], "the header names the event: {record}");
        assert_eq!(record["key"], value["asset"], "keyed by the asset");
        assert_eq!(value["bundle"]["type"], "bundle", "{value}");
        assert!(value["importance"].is_number(), "enriched: {value}");
    }
    system.stop("the system");
    Ok(())
}
