//! Fields of triggers that bring events by time. Owns what may stand there. Must not know: when a schedule is due (`schedule` does).
use super::Check;
use crate::{
    index::Predicate,
    schedule::{CRON_MAX, Schedule, Unfit},
    silence::{self, Silence},
    spec,
    steps::{self, span, span_schema},
    yaml::{Key, Node, short},
};
use atio_schemas::column::{self, Column};
use atio_stix::pattern::Pattern;
use serde_json::{Value, json};

const FIELDS: &[&str] = &["cron", "zone", "every", "deadline"];
const CRON: &str = "`cron: \"0 8 * * mon-fri\"`: minute, hour, day of the month, month, day of the week";

/// `schedule: {cron: "0 8 * * mon-fri", zone: Europe/Berlin}` or `schedule: {every: 15m}`, and how late it may begin.
pub(super) fn schedule(node: &Node, check: &mut Check<'_>) -> Option<Schedule> {
    let entries = spec::mapping(node, "`schedule`", &mut check.problems)?;
    spec::known(entries, FIELDS, &["until", "from", "jitter"], "field of `schedule`", &mut check.problems);
    let deadline = spec::field(entries, "deadline");
    let read = deadline.map(|node| span(node, "deadline", "deadline: 10m", check));
    // It was refused.
    if read == Some(None) {
        return None;
    }
    let deadline = read.flatten();
    match (spec::field(entries, "cron"), spec::field(entries, "every")) {
        (Some(cron), None) => {
            let zone = spec::needed(entries, &node.place, "zone", "zone: Europe/Berlin", &mut check.problems);
            let zone = zone.and_then(|node| steps::zone(node, check));
            let cron = spec::text(cron, "`cron`", &mut check.problems)?;
            let found = Schedule::cron(&cron.text, &zone?, deadline);
            found.map_err(|unfit| refuse(&cron, &unfit, check)).ok()
        }
        (None, Some(every)) => {
            if let Some((key, _)) = entries.iter().find(|(key, _)| key.text == "zone") {
                let help = "leave it out: so much time is the same in every zone".to_owned();
                check.problem(&key.place, "`every` has no zone", Some(help));
            }
            Some(Schedule::every(span(every, "every", "every: 15m", check)?, deadline))
        }
        (Some(_), Some(every)) => {
            let help = "two schedules are two workflows".to_owned();
            check.problem(&every.place, "`cron` and `every` exclude each other", Some(help));
            None
        }
        (None, None) => {
            let help =
                "`schedule: {cron: \"0 8 * * mon-fri\", zone: Europe/Berlin}` or `schedule: {every: 15m}`";
            check.problem(&node.place, "`schedule` says no time", Some(help.to_owned()));
            None
        }
    }
}

fn refuse(cron: &Key, unfit: &Unfit, check: &mut Check<'_>) {
    let message = match unfit {
        Unfit::Never => format!("`{}` is never due: no such day ever comes", short(&cron.text)),
        Unfit::Syntax(_) | Unfit::Zone => format!("`{}` is {unfit}", short(&cron.text)),
    };
    check.problem(&cron.place, message, Some(CRON.to_owned()));
}

/// `silence: {after: 1h, key: source}`. `heard`: the conditions of `match`, and its pattern.
pub(super) fn silence(
    node: &Node,
    heard: (&[Predicate], Option<&Pattern>),
    check: &mut Check<'_>,
) -> Option<Silence> {
    let entries = spec::mapping(node, "`silence`", &mut check.problems)?;
    spec::known(entries, &["after", "key"], &["hours", "expect"], "field of `silence`", &mut check.problems);
    let after = spec::needed(entries, &node.place, "after", "after: 1h", &mut check.problems);
    let key = spec::field(entries, "key").map(|node| key(node, check));
    let after = span(after?, "after", "after: 1h", check)?;
    match key {
        None => Some(Silence::new(after, None, heard)),
        Some(key) => Some(Silence::new(after, Some(key?), heard)),
    }
}

fn key(node: &Node, check: &mut Check<'_>) -> Option<&'static Column> {
    let name = spec::text(node, "`key`", &mut check.problems)?;
    let found = column::column(&name.text).filter(|_| silence::KEYS.contains(&name.text.as_str()));
    if found.is_none() {
        check.problems.push(spec::unknown(&name, silence::KEYS, &[], "key"));
    }
    found
}

/// What may stand behind `silence`.
pub(crate) fn silence_schema() -> Value {
    json!({
        "type": "object",
        "description": "For how long nothing came that fulfils `match`, and from whom, where it is `on: silence`",
        "additionalProperties": false,
        "required": ["after"],
        "properties": {
            "after": span_schema("1s to 30d"),
            "key": {"enum": silence::KEYS, "description": "Whose silence it is; without one, everybody's"},
        },
    })
}

/// What may stand behind `schedule`.
pub(crate) fn schema() -> Value {
    let cron = "Minute, hour, day of the month, month, day of the week";
    let deadline = span_schema("How late it may still begin, 1s to 30d; without one, however late");
    let fields = |own: Value| {
        let mut fields = json!({"deadline": deadline.clone()});
        if let (Some(fields), Value::Object(own)) = (fields.as_object_mut(), own) {
            fields.extend(own);
        }
        fields
    };
    json!({
        "description": "When it is due, where it is `on: schedule`",
        "anyOf": [
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["cron", "zone"],
                "properties": fields(json!({
                    "cron": {"type": "string", "maxLength": CRON_MAX, "description": cron},
                    "zone": {"type": "string", "description": "A name of the IANA time zone database"},
                })),
            },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["every"],
                "properties": fields(json!({"every": span_schema("At its multiples, 1s to 30d")})),
            },
        ],
    })
}
