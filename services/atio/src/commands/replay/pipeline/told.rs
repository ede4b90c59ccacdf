//! What a replay of the pipeline says: hops, deliveries, how records ended, how tables were seen. Owns that form, and the exit code.
use super::{First, hop::Hop};
use crate::{
    commands::replay::{compare, compare::Comparison, epochs},
    exit::Exit,
    render::{self, Format},
};
use atio_stage::harness::Counts;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub struct Told {
    pub first: First,
    /// Records of the first topics.
    pub read: u64,
    /// There are more.
    pub cut: bool,
    pub stopped: bool,
    /// What lies on later topics and is no detection.
    pub unreadable: u64,
    /// Nothing lies before where it began.
    pub whole: bool,
    pub hops: Vec<Hop>,
    pub stages: BTreeMap<String, Counts>,
    pub tables: Vec<(String, epochs::Told)>,
    pub comparison: Comparison,
    pub written: Option<u64>,
}

const STATE: &str = "stages began with nothing: what they had seen before the place where this begins (repeats, open incidents, findings, what branches count or hold) is not known, and \
    events differ by it";
const OTHERS: &str = "not replayed: workflows that are not `on: detection`, incidents, what sinks answered";

impl Told {
    pub fn tell(self, format: Format) -> anyhow::Result<Exit> {
        let Self { first, read, cut, stopped, unreadable, whole, hops, stages, tables, comparison, written } =
            self;
        let (legs, examples) = comparison.end();
        let differs =
            hops.iter().any(|hop| hop.counts.differs()) || legs.values().any(compare::Counts::differs);
        if format == Format::Json {
            for e in hops.iter().flat_map(|hop| &hop.examples) {
                render::json(
                    &json!({"hop": e.hop, "difference": e.what, "event_id": e.event, "places": e.places}),
                )?;
            }
            for e in &examples {
                render::json(&json!({
                    "hop": "deliveries", "difference": e.what, "event_id": e.event, "branch": e.leg.0, "sink": e.leg.1,
                    "idempotency_key": e.idempotency_key, "places": e.places,
                }))?;
            }
            let hops: Vec<Value> =
                hops.iter().map(|hop| json!({"hop": hop.name, "events": hop.counts})).collect();
            let legs: Vec<Value> = legs
                .iter()
                .map(|((branch, sink), n)| json!({"branch": branch, "sink": sink, "deliveries": n}))
                .collect();
            let stages: Vec<Value> = stages.iter().map(stage).collect();
            let tables: Vec<Value> =
                tables.iter().map(|(stage, told)| json!({"stage": stage, "seen": told})).collect();
            render::json(&json!({
                "pipeline": first.name(), "read": read, "cut": cut, "stopped": stopped, "unreadable": unreadable,
                "state": if whole { "as_then" } else { "empty" }, "hops": hops, "legs": legs, "stages": stages, "tables": tables,
                "written": written,
            }))?;
        } else {
            human(&hops, &legs, &examples)?;
            let ran = stages.iter().filter(|(_, counts)| counts.read > 0);
            ran.for_each(|(name, counts)| render::notice(&ended(name, counts)));
            for (stage, told) in tables.iter().filter(|(_, told)| told.runs() > 0) {
                render::notice(&format!("{stage}: {}", told.sentence()));
            }
            let notes = [
                (!whole, STATE.to_owned()),
                (
                    cut,
                    format!(
                        "only the first {read} records are replayed, of partitions one after the other; --limit reads more"
                    ),
                ),
                (stopped, "stopped: what is said is of what was replayed until then".to_owned()),
                (
                    unreadable > 0,
                    format!("{unreadable} records on later topics are no detections; they are left out"),
                ),
                (true, OTHERS.to_owned()),
            ];
            notes.iter().filter(|(holds, _)| *holds).for_each(|(_, note)| render::notice(note));
            if let Some(written) = written {
                render::notice(&format!("{written} records are on replay topics"));
            }
        }
        Ok(if differs { Exit::Differs } else { Exit::Done })
    }
}

fn human(
    hops: &[Hop],
    legs: &BTreeMap<compare::Leg, compare::Counts>,
    examples: &[compare::Difference],
) -> anyhow::Result<()> {
    let numbers = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>();
    let mut rows = vec![];
    for hop in hops {
        let n = &hop.counts;
        let mut row = vec![hop.name.to_owned(), "-".to_owned()];
        row.extend(numbers(&[n.same, n.changed, n.new, n.missing]));
        row.push("-".to_owned());
        rows.push(row);
    }
    for ((branch, sink), n) in legs {
        let mut row = vec![branch.clone(), sink.clone()];
        row.extend(numbers(&[n.same, n.changed, n.new, n.missing, n.waiting]));
        rows.push(row);
    }
    render::table(&["HOP", "SINK", "SAME", "CHANGED", "NEW", "MISSING", "WAITING"], &rows)?;
    let places = |places: &[String]| {
        if places.is_empty() { String::new() } else { format!(": {}", places.join(", ")) }
    };
    for e in hops.iter().flat_map(|hop| &hop.examples) {
        render::line(&format!("{:<7} {}, event {}{}", e.what, e.hop, e.event, places(&e.places)))?;
    }
    for e in examples {
        render::line(&format!(
            "{:<7} {} {}, event {}{}",
            e.what,
            e.leg.0,
            e.leg.1,
            e.event,
            places(&e.places)
        ))?;
    }
    for hop in hops.iter().filter(|hop| !hop.counts.columns.is_empty()) {
        let columns: Vec<String> = hop.counts.columns.iter().map(|(name, n)| format!("{n} {name}")).collect();
        render::notice(&format!("{}, columns that changed: {}", hop.name, columns.join(", ")));
    }
    Ok(())
}

fn stage((name, counts): (&String, &Counts)) -> Value {
    json!({
        "stage": name, "read": counts.read, "emitted": counts.emitted, "held": counts.held, "failed": counts.failed, "dropped": counts.dropped,
        "dead_lettered": counts.dead_lettered,
    })
}

fn ended(name: &str, counts: &Counts) -> String {
    let mut said = format!("{name}: {} read, {} emitted", counts.read, counts.emitted);
    counts.dropped.iter().for_each(|(code, n)| said += &format!(", {n} dropped as {code}"));
    counts.dead_lettered.iter().for_each(|(code, n)| said += &format!(", {n} dead letters {code}"));
    for (n, what) in [(counts.held, "held"), (counts.failed, "failed")] {
        if n > 0 {
            said += &format!(", {n} {what}");
        }
    }
    said
}
