//! The main trial: both corpora through the running pipeline on a real Kafka, every service a process of its own. What is on the topics is
//! read by Confluent's Python client through our registry; counts are upstream's; bundles that leave are judged by the validator.
use super::{
    openvas,
    samples::{self, Sample},
    stix, suricata, verdict,
};
use crate::support::{Broker, Deadline, Fleet, Need, On, brief, http, oracle, topic, trial};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

const TOPICS: [&str; 4] = ["detections", "logs", "enriched", "enriched-logs"];

pub fn trials() -> Vec<Trial> {
    vec![trial("corpus::pipeline", &[Need::Data, Need::Kafka, Need::Oracles], pipeline)]
}

/// Everything that someone must see goes through a workflow to a sink, as STIX.
fn declarations(file: &std::path::Path) -> Vec<(&'static str, String)> {
    let workflow = json!({
        "apiVersion": "atio/v1", "kind": "Workflow", "metadata": {"name": "judged"}, "on": "detection",
        "match": {"kind": ["threat", "vulnerability"]}, "branches": {"stix": [{"deliver": "judged"}]},
    });
    let sink = json!({
        "apiVersion": "atio/v1", "kind": "Sink", "metadata": {"name": "judged"}, "type": "file", "path": file,
        "format": "stix", "clearance": "red",
    });
    vec![("workflows/judged.yaml", workflow.to_string()), ("sinks/judged.yaml", sink.to_string())]
}

fn pipeline() -> Result<(), Failed> {
    let started = Instant::now();
    let step = |what: &str| println!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    let out = tempfile::tempdir()?;
    let delivered = out.path().join("judged.ndjson");
    // A broker of its own: there is one registry a cluster, and other trials bring theirs.
    let kafka = Broker::start(On::Kafka);
    step(&format!("Kafka {} listens", kafka.pid()));
    let fleet = Fleet::start(&kafka.bootstrap, &declarations(&delivered));
    fleet.runs("routing", "routing.judged.stix");
    // What was applied is what was declared: differences would end with 4.
    fleet.client(&["plan"]);
    step(&format!("services run: {:?}", fleet.pids()));

    let fed = Fed::feed(&fleet)?;
    step(&format!("{} raw events are in", fed.events()));
    let counts = through(&fleet, fed.events());
    step(&format!("all through: {counts:?}"));

    let records = read(&fleet, out.path())?;
    step("topics are read from outside");
    let mut wrong = fed.judge(&records)?;
    step("records are judged");
    for name in TOPICS {
        if records.of(name).len() != counts[name] {
            wrong.push(format!("{name}: {} records read, {} settled", records.of(name).len(), counts[name]));
        }
    }
    wrong.extend(nothing_dead(&fleet));
    wrong.extend(receipts(&records));
    let bundles = leave(&records, &std::fs::read_to_string(&delivered)?, &mut wrong)?;
    step(&format!("{} bundles left", bundles.len()));
    fleet.stop();
    if !wrong.is_empty() {
        return Err(brief(&wrong).into());
    }
    stix::judge("sco_ids", &bundles.concat())?;
    stix::judge("validate", &bundles.concat())?;
    step("judged");
    Ok(())
}

/// What was posted: of each sample the ids that ingestion answered, one an event.
struct Fed {
    suricata: Vec<(Sample, Vec<(Value, String)>)>,
    openvas: Vec<(Sample, String)>,
}

impl Fed {
    fn feed(fleet: &Fleet) -> Result<Self, Failed> {
        let key = fleet.ingest_key();
        let bearer = format!("Bearer {key}");
        let post = |source: &str, kind: &str, body: &[u8]| -> Result<Vec<String>, Failed> {
            let url = format!("{}/v1/sources/{source}/events", fleet.http("ingestion"));
            let answer = http::post(&url, &[("authorization", &bearer), ("content-type", kind)], body);
            let ids: Vec<String> = match answer.json()["ids"].as_array() {
                Some(ids) => ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
                None => vec![],
            };
            let clean = answer.json()["rejected"].as_array().is_some_and(Vec::is_empty);
            if answer.status == 202 && clean { Ok(ids) } else { Err(answer.text().into()) }
        };
        let mut fed = Self { suricata: vec![], openvas: vec![] };
        for sample in samples::suricata() {
            let bytes = sample.read()?;
            let ids = post("suricata", "application/x-ndjson", &bytes)?;
            let events: Vec<Value> = verdict::events(&bytes).into_iter().map(|(_, event)| event).collect();
            assert_eq!(ids.len(), events.len(), "{}: an id an event", sample.path);
            fed.suricata.push((sample, events.into_iter().zip(ids).collect()));
        }
        for sample in samples::openvas() {
            let kind = if sample.path.ends_with(".csv") { "text/csv" } else { "application/xml" };
            let ids = post("openvas", kind, &sample.read()?)?;
            assert_eq!(ids.len(), 1, "{}: a report is one event", sample.path);
            fed.openvas.push((sample, ids[0].clone()));
        }
        Ok(fed)
    }

    fn events(&self) -> usize {
        self.suricata.iter().map(|(_, events)| events.len()).sum::<usize>() + self.openvas.len()
    }

    /// What is wrong with what is on the topics.
    fn judge(&self, records: &Records) -> Result<Vec<String>, Failed> {
        let mut wrong = vec![];
        for (made, bulk) in [("detections", "logs"), ("enriched", "enriched-logs")] {
            let mut used = 0;
            for (sample, events) in &self.suricata {
                let mut threats = vec![];
                for (event, id) in events {
                    let place = if event["event_type"] == "alert" { made } else { bulk };
                    let all: Vec<_> = [made, bulk].iter().flat_map(|t| records.by_id(t, id)).collect();
                    match all.as_slice() {
                        [one] if one["topic"] == place => used += 1,
                        other => wrong.push(format!(
                            "{}: {place}: {id} is there {} times",
                            sample.path,
                            other.len()
                        )),
                    }
                    if place == made {
                        threats.extend(all.iter().map(|r| (event, &r["value"])));
                    }
                }
                if threats.iter().any(|(_, d)| d["kind"] != "threat") {
                    wrong.push(format!("{}: {made}: an alert is a threat", sample.path));
                }
                let judged = verdict::judge(&suricata::expected(*sample), &threats).0;
                wrong.extend(judged.into_iter().map(|w| format!("{}: {made}: {w}", sample.path)));
            }
            for (sample, id) in &self.openvas {
                // All of one report name the same raw record.
                let first = records.by_id(made, id).next().map(|r| r["value"]["raw_ref"].clone());
                let of_report = |r: &&Value| {
                    Some(&r["value"]["raw_ref"]) == first.as_ref() && r["value"]["status"] != "fixed"
                };
                let detections: Vec<&Value> =
                    records.of(made).iter().filter(of_report).map(|r| &r["value"]).collect();
                used += detections.len();
                if let Err(error) = openvas::judge(*sample, &detections) {
                    wrong.push(format!("{}: {made}: {}", sample.path, error.message().unwrap_or_default()));
                }
            }
            // Nothing else is there, but what enrichment says is fixed.
            let fixed = records.of(made).iter().filter(|r| r["value"]["status"] == "fixed").count();
            let all = records.of(made).len() + records.of(bulk).len();
            if all != used + fixed {
                wrong.push(format!("{made}: {all} records, {used} known, {fixed} fixed"));
            }
        }
        Ok(wrong)
    }
}

/// Follows everything from the front to the end by the ledgers, which balance; records by topic.
fn through(fleet: &Fleet, events: usize) -> BTreeMap<&'static str, usize> {
    let deadline = Deadline::after(300);
    let count = |name: &str| topic::count(&fleet.kafka, &fleet.topic(name));
    let raw = count("raw.suricata") + count("raw.openvas");
    assert_eq!(raw, events, "a raw record an event");
    fleet.settled("normalization", "normalization", raw, deadline);
    let mut counts = BTreeMap::from([("detections", count("detections")), ("logs", count("logs"))]);
    fleet.settled("enrichment", "enrichment", counts["detections"], deadline);
    fleet.settled("enrichment", "enrichment-logs", counts["logs"], deadline);
    counts.extend([("enriched", count("enriched")), ("enriched-logs", count("enriched-logs"))]);
    fleet.settled("routing", "routing", counts["enriched"], deadline);
    fleet.settled("routing", "routing-logs", counts["enriched-logs"], deadline);
    counts.insert("workflow", count("workflow.judged"));
    fleet.settled("routing", "routing.judged.stix", counts["workflow"], deadline);
    counts.insert("delivery", count("delivery.judged"));
    fleet.settled("delivery", "delivery.judged", counts["delivery"], deadline);
    counts
}

/// Records as Confluent's client decoded them.
struct Records {
    prefix: String,
    by_topic: HashMap<String, Vec<Value>>,
    /// Topic and event id to places in `by_topic`.
    index: HashMap<(String, String), Vec<usize>>,
}

impl Records {
    fn of(&self, name: &str) -> &[Value] {
        self.by_topic.get(name).map_or(&[], Vec::as_slice)
    }
    fn by_id<'r>(&'r self, name: &str, id: &str) -> impl Iterator<Item = &'r Value> {
        let places = self.index.get(&(name.to_owned(), id.to_owned()));
        let all = self.of(name);
        places.into_iter().flatten().map(move |at| &all[*at])
    }
    fn add(&mut self, mut record: Value) {
        let name = record["topic"]
            .as_str()
            .and_then(|t| t.strip_prefix(&self.prefix))
            .expect("our topic")
            .to_owned();
        record["topic"] = json!(name);
        let id = record["value"]["event_id"].as_str().expect("an event id").to_owned();
        let all = self.by_topic.entry(name.clone()).or_default();
        self.index.entry((name, id)).or_default().push(all.len());
        all.push(record);
    }
}

fn read(fleet: &Fleet, dir: &std::path::Path) -> Result<Records, Failed> {
    let out = dir.join("read.ndjson");
    let topics: Vec<String> = TOPICS.iter().chain(&["receipts"]).map(|t| fleet.topic(t)).collect();
    let mut args = vec![fleet.kafka.as_str(), fleet.registry.as_str(), out.to_str().ok_or("a path")?];
    args.extend(topics.iter().map(String::as_str));
    let ended = oracle("read_topics", &args, 180);
    println!("          read from outside: {}", ended.stdout.concat());
    if !ended.status.success() {
        return Err(ended.told().into());
    }
    let mut records =
        Records { prefix: fleet.prefix.clone(), by_topic: HashMap::new(), index: HashMap::new() };
    for line in std::fs::read_to_string(out)?.lines() {
        records.add(serde_json::from_str(line)?);
    }
    Ok(records)
}

/// Every event that someone must see has one receipt of its delivery.
fn receipts(records: &Records) -> Vec<String> {
    let ours = records.of("receipts").iter().filter(|r| r["value"]["sink"] == "judged");
    let ours: Vec<&Value> = ours.map(|r| &r["value"]).collect();
    let delivered = |r: &&Value| {
        r["status"] == "delivered" && r["workflow"].as_str().is_some_and(|w| w.starts_with("judged@"))
    };
    let mut events: Vec<&str> =
        ours.iter().filter(|r| delivered(r)).filter_map(|r| r["event_id"].as_str()).collect();
    let mut enriched: Vec<&str> =
        records.of("enriched").iter().filter_map(|r| r["value"]["event_id"].as_str()).collect();
    events.sort_unstable();
    enriched.sort_unstable();
    if events == enriched && ours.len() == events.len() {
        return vec![];
    }
    vec![format!("{} receipts, {} of them delivered, {} enriched", ours.len(), events.len(), enriched.len())]
}

/// No topic of dead letters has anything.
fn nothing_dead(fleet: &Fleet) -> Vec<String> {
    let ours = topic::names(&fleet.kafka).into_iter().filter(|t| t.starts_with(&fleet.prefix));
    let dead: Vec<String> = ours.filter(|t| t.ends_with("dlq")).collect();
    assert!(dead.len() > 5, "topics of dead letters are there: {dead:?}");
    let letters = dead.into_iter().map(|t| (topic::count(&fleet.kafka, &t), t));
    letters.filter(|(n, _)| *n > 0).map(|(n, t)| format!("{n} dead letters on {t}")).collect()
}

/// The bundles that left, as the oracles read them: each enriched detection's, once.
fn leave(records: &Records, delivered: &str, wrong: &mut Vec<String>) -> Result<Vec<String>, Failed> {
    let expected: BTreeSet<&str> =
        records.of("enriched").iter().filter_map(|r| r["value"]["bundle"]["id"].as_str()).collect();
    let (mut lines, mut ids) = (vec![], BTreeSet::new());
    for line in delivered.lines() {
        let bundle: Value = serde_json::from_str(line)?;
        let id = bundle["id"].as_str().ok_or("a bundle's id")?.to_owned();
        lines.push(format!("{}\n", json!({"file": id, "bundle": bundle})));
        if !ids.insert(id.clone()) {
            wrong.push(format!("{id} left twice"));
        }
    }
    let (enriched, left) = (expected.len(), ids.len());
    if records.of("enriched").len() != enriched || ids.iter().map(String::as_str).ne(expected.iter().copied())
    {
        wrong.push(format!("{enriched} bundles of {} enriched, {left} left", records.of("enriched").len()));
    }
    Ok(lines)
}
