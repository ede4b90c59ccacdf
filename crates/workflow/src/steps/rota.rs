//! Of an `await`: `hours` (when its time counts) and `escalate` (who is asked next, and for how long). Owns how they are written; what they come
//! to is in [`crate::hours`]. Must not know: who keeps waits.
use super::{await_::ROLES, span, span_schema};
use crate::{
    check::Check,
    hours::{DAY, fits, is_zone, zones},
    spec::{self, field},
    suggest,
    yaml::{Node, Value, short},
};
use atio_schemas::incident::{Hours, Level};
use serde_json::json;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Levels of a rota.
pub(crate) const LEVELS_MAX: usize = 8;
const HOURS: &str = "`hours: {days: [mon-fri], from: \"08:00\", to: \"18:00\", zone: Europe/Berlin}`";
const LEVEL: &str = "`escalate: [{role: engineer, within: 30m}]`";

/// When time counts; none = always.
pub(super) fn hours(node: &Node, check: &mut Check<'_>) -> Option<Hours> {
    let Value::Map(entries) = &node.value else {
        let message = format!("`hours` must be a mapping, not {}", node.noun());
        check.problem(&node.place, message, Some(HOURS.to_owned()));
        return None;
    };
    spec::known(entries, &["days", "from", "to", "zone"], &[], "field of `hours`", &mut check.problems);
    let mut needed =
        |name: &str, example: &str| spec::needed(entries, &node.place, name, example, &mut check.problems);
    let days = needed("days", "days: [mon-fri]");
    let (from, to) = (needed("from", "from: \"08:00\""), needed("to", "to: \"18:00\""));
    let zone = needed("zone", "zone: Europe/Berlin");
    let days = days.and_then(|node| self::days(node, check));
    let (from, to) = (from.and_then(|n| minute(n, "from", check)), to.and_then(|n| minute(n, "to", check)));
    let zone = zone.and_then(|node| self::zone(node, check));
    let hours = Hours { days: days?, from_minute: from?, to_minute: to?, zone: zone? };
    let place = field(entries, "to").map_or(&node.place, |n| &n.place);
    if hours.from_minute == hours.to_minute {
        let help = "the whole day is `from: \"00:00\", to: \"24:00\"`".to_owned();
        check.problem(place, "`hours` end when they begin", Some(help));
        return None;
    }
    Some(hours)
}

fn days(node: &Node, check: &mut Check<'_>) -> Option<Vec<i32>> {
    let one = std::slice::from_ref(node);
    let items = if let Value::List(items) = &node.value { items.as_slice() } else { one };
    let mut found: Vec<i32> = vec![];
    let before = check.problems.len();
    for item in items {
        let Some(text) = spec::text(item, "a day", &mut check.problems) else { continue };
        let (first, last) = text.text.split_once('-').unwrap_or((&text.text, &text.text));
        let place = |day: &str| DAYS.iter().position(|d| *d == day);
        let (Some(first), Some(last)) = (place(first), place(last)) else {
            let message = format!("`{}` is no day of the week", short(&text.text));
            check.problem(&text.place, message, Some("`mon`, or `mon-fri`".to_owned()));
            continue;
        };
        let count = (last + 7 - first) % 7 + 1;
        for day in (0..count).map(|n| (first + n) % 7) {
            let number = i32::try_from(day + 1).unwrap_or_default();
            if found.contains(&number) {
                let message = format!("`{}` stands here twice", DAYS.get(day).unwrap_or(&""));
                check.problem(&text.place, message, Some("leave one out".to_owned()));
            } else {
                found.push(number);
            }
        }
    }
    if items.is_empty() {
        check.problem(&node.place, "`days` has no day", Some("`days: [mon-fri]`".to_owned()));
    }
    found.sort_unstable();
    (check.problems.len() == before).then_some(found)
}

/// `08:00` as minutes of the day; `24:00` as an end.
fn minute(node: &Node, name: &str, check: &mut Check<'_>) -> Option<i32> {
    let text = spec::text(node, &format!("`{name}`"), &mut check.problems)?;
    let number = |part: &str| part.parse::<i32>().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()));
    let parts = text.text.split_once(':').filter(|(hour, minute)| hour.len() <= 2 && minute.len() == 2);
    let found = parts.and_then(|(hour, minute)| {
        let minutes = number(minute).filter(|minute| *minute < 60)?;
        Some(number(hour)? * 60 + minutes)
    });
    let last = if name == "to" { DAY } else { DAY - 1 };
    let found = found.filter(|minute| (0..=last).contains(minute));
    if found.is_none() {
        let message = format!("`{}` is no time of the day", short(&text.text));
        check.problem(&text.place, message, Some(format!("`{name}: \"08:00\"`, in 24 hours")));
    }
    found
}

/// A time zone, by its name.
pub(crate) fn zone(node: &Node, check: &mut Check<'_>) -> Option<String> {
    let text = spec::text(node, "`zone`", &mut check.problems)?;
    if is_zone(&text.text) {
        return Some(text.text);
    }
    let names: Vec<String> = zones().collect();
    let near = suggest::near(&text.text, names.iter().map(String::as_str));
    let help = near.map_or_else(
        || "a name of the IANA time zone database, like `Europe/Berlin`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    check.problem(&text.place, format!("unknown time zone `{}`", short(&text.text)), Some(help));
    None
}

/// Refuses a time that would take more than a year of such hours.
pub(super) fn reachable(place: &Node, within_ms: i64, hours: Option<&Hours>, check: &mut Check<'_>) {
    if hours.is_some_and(|hours| !fits(hours, within_ms)) {
        let help = "longer `hours`, or a shorter time".to_owned();
        check.problem(&place.place, "with these `hours` that takes more than a year", Some(help));
    }
}

/// Who is asked next, one after the other. `role`: who is asked first; `hours`: those of whoever says nothing of their own.
pub(super) fn levels(
    node: &Node,
    role: Option<&str>,
    hours: Option<&Hours>,
    check: &mut Check<'_>,
) -> Vec<Level> {
    let Value::List(items) = &node.value else {
        let message = format!("`escalate` is a list of levels, not {}", node.noun());
        check.problem(&node.place, message, Some(LEVEL.to_owned()));
        return vec![];
    };
    if items.is_empty() || items.len() > LEVELS_MAX {
        let message = format!("1 to {LEVELS_MAX} levels, here are {}", items.len());
        check.problem(&node.place, message, Some(LEVEL.to_owned()));
    }
    items.iter().filter_map(|item| level(item, role, hours, check)).collect()
}

fn level(node: &Node, first: Option<&str>, hours: Option<&Hours>, check: &mut Check<'_>) -> Option<Level> {
    let entries = spec::mapping(node, "a level of `escalate`", &mut check.problems)?;
    spec::known(entries, &["role", "within", "hours"], &[], "field of a level", &mut check.problems);
    let role = spec::needed(entries, &node.place, "role", "role: engineer", &mut check.problems);
    let within = spec::needed(entries, &node.place, "within", "within: 30m", &mut check.problems);
    let role = role.and_then(|node| super::await_::role(node, "`role`", check));
    let rank = |role: &str| ROLES.iter().position(|r| *r == role);
    if let (Some(role), Some(first)) = (role.as_deref(), first)
        && rank(role) < rank(first)
    {
        let message = format!("`{role}` may not answer what `{first}` is asked for");
        check.problem(&node.place, message, Some(format!("`role: {first}`, or a higher one")));
    }
    let own = field(entries, "hours");
    let hours = match own {
        Some(node) if node.text() == Some("always") => None,
        Some(node) => self::hours(node, check),
        None => hours.cloned(),
    };
    let time = within?;
    let within = span(time, "within", "within: 30m", check)?;
    reachable(time, within.millis(), hours.as_ref(), check);
    Some(Level { role: role?, within_ms: within.millis(), hours })
}

pub(super) fn hours_schema(description: &str) -> serde_json::Value {
    let days = "^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$";
    let time = json!({"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$"});
    let day = json!({"type": "string", "pattern": days});
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "required": ["days", "from", "to", "zone"],
        "properties": {
            "days": crate::schema::one_or_many(day, 1),
            "from": time,
            "to": time,
            "zone": {"type": "string", "description": "A name of the IANA time zone database"},
        },
    })
}

pub(super) fn levels_schema() -> serde_json::Value {
    json!({
        "type": "array",
        "description": "Who is asked next when nobody answered in time, one after the other",
        "minItems": 1,
        "maxItems": LEVELS_MAX,
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["role", "within"],
            "properties": {
                "role": {"enum": ROLES},
                "within": span_schema("Time for the answer, 1s to 30d, from when they are asked"),
                "hours": {"anyOf": [{"const": "always"}, hours_schema("When the time counts")]},
            },
        },
    })
}
