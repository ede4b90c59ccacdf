//! Judging detections of Suricata's events by what the upstream authors expect (`expect.json`): pure.
use serde_json::Value;
use std::net::IpAddr;

/// `alerts_total` and the checks.
#[derive(Debug)]
pub struct Expected {
    pub alerts: usize,
    pub checks: Vec<Check>,
}

#[derive(Debug)]
pub struct Check {
    pub count: usize,
    pub wanted: serde_json::Map<String, Value>,
}

impl Expected {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let all: Value = serde_json::from_slice(bytes).ok()?;
        let number = |v: &Value| usize::try_from(v.as_u64()?).ok();
        let check =
            |c: &Value| Some(Check { count: number(&c["count"])?, wanted: c["match"].as_object()?.clone() });
        let checks = all["checks"].as_array()?.iter().map(check).collect::<Option<_>>()?;
        Some(Self { alerts: number(&all["alerts_total"])?, checks })
    }
}

/// The value at a path of suricata-verify: `a.b[0].c`.
fn find<'e>(event: &'e Value, path: &str) -> Option<&'e Value> {
    path.split('.').try_fold(event, |at, part| match part.strip_suffix(']').and_then(|p| p.split_once('[')) {
        Some((name, index)) => at.get(name)?.get(index.parse::<usize>().ok()?),
        None => at.get(part),
    })
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.chars().count()),
        Value::Array(list) => Some(list.len()),
        Value::Object(map) => Some(map.len()),
        _ => None,
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map_or_else(
        || value.as_str().into_iter().collect(),
        |l| l.iter().filter_map(Value::as_str).collect(),
    )
}

/// Does a raw event satisfy a check? The rules are those of suricata-verify's own runner.
pub fn matches(event: &Value, wanted: &serde_json::Map<String, Value>) -> bool {
    wanted.iter().all(|(path, expected)| match path.as_str() {
        "has-key" => texts(expected).iter().all(|p| find(event, p).is_some()),
        "not-has-key" => texts(expected).iter().all(|p| find(event, p).is_none()),
        path => match path.strip_suffix(".__len") {
            Some(path) => find(event, path).and_then(length).map(Value::from).as_ref() == Some(expected),
            None => find(event, path) == Some(expected),
        },
    })
}

/// Does a detection's own column say so? None where no column has it.
pub fn column(detection: &Value, path: &str, expected: &Value) -> Option<bool> {
    let text = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
    let is = |at: &str| detection.pointer(at).and_then(Value::as_str) == Some(text.as_str());
    let rule = detection["rule"]["id"].as_str().and_then(|id| id.split_once(':'));
    match path {
        "event_type" => Some(is("/category")),
        "alert.gid" => Some(rule.is_some_and(|(gid, _)| gid == text)),
        "alert.signature_id" => Some(rule.is_some_and(|(_, sid)| sid == text)),
        "alert.rev" => Some(is("/rule/rev")),
        "alert.signature" if text.is_empty() => Some(detection["rule"]["name"].is_null()),
        "alert.signature" => Some(is("/rule/name")),
        "alert.category" => Some(text.is_empty() || has(&detection["labels"], &text)),
        "alert.action" => Some(is("/disposition")),
        "verdict.action" if text == "drop" => Some(detection["disposition"] == "blocked"),
        "src_ip" => Some(same_address(&detection["src"]["ip"], &text)),
        "dest_ip" => Some(same_address(&detection["dst"]["ip"], &text)),
        "src_port" => Some(&detection["src"]["port"] == expected),
        "dest_port" => Some(&detection["dst"]["port"] == expected),
        "proto" => Some(detection["proto"].as_str().is_some_and(|p| p.eq_ignore_ascii_case(&text))),
        "direction" => Some(is("/direction")),
        "community_id" => Some(is("/community_id")),
        "http.hostname" => Some(has(&detection["domains"], &text.to_ascii_lowercase())),
        _ => None,
    }
}

fn has(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|l| l.iter().any(|one| one == text))
}

fn same_address(column: &Value, text: &str) -> bool {
    let address = |t: &str| t.parse::<IpAddr>().ok();
    column.as_str().is_some_and(|c| address(c).is_some() && address(c) == address(text))
}

/// The events of an `eve.json`, each with its byte offset.
pub fn events(eve: &[u8]) -> Vec<(u64, Value)> {
    let mut found = vec![];
    let mut offset = 0;
    for line in eve.split_inclusive(|b| *b == b'\n') {
        if !line.trim_ascii().is_empty() {
            found.push((offset, serde_json::from_slice(line).expect("an event a line")));
        }
        offset += line.len() as u64;
    }
    found
}

/// Complaints about the threats that became of one test's events, and how many checks could be counted over columns alone.
/// `threats`: each with the event that it was made from.
pub fn judge(expected: &Expected, threats: &[(&Value, &Value)]) -> (Vec<String>, usize) {
    let mut wrong = vec![];
    if threats.len() != expected.alerts {
        wrong.push(format!("{} threats, {} alerts expected", threats.len(), expected.alerts));
    }
    let mut by_columns = 0;
    for Check { count, wanted } in &expected.checks {
        let of_events = threats.iter().filter(|(event, _)| matches(event, wanted)).count();
        if of_events != *count {
            wrong.push(format!("{of_events} instead of {count} of {wanted:?}"));
        }
        let said = |d: &Value| wanted.iter().map(|(p, e)| column(d, p, e)).collect::<Vec<_>>();
        for (event, detection) in threats.iter().filter(|(event, _)| matches(event, wanted)) {
            let bad = wanted.iter().filter(|(p, e)| column(detection, p, e) == Some(false));
            wrong
                .extend(bad.map(|(p, e)| format!("a column disagrees: {p} = {e}: {event} gave {detection}")));
        }
        if threats.iter().all(|(_, d)| said(d).iter().all(Option::is_some)) {
            by_columns += 1;
            let of_columns = threats.iter().filter(|(_, d)| !said(d).contains(&Some(false))).count();
            if of_columns != *count {
                wrong.push(format!("by columns {of_columns} instead of {count} of {wanted:?}"));
            }
        }
    }
    (wrong, by_columns)
}

/// The judge itself: what is lost, doubled or changed must not pass.
pub fn judge_complains() {
    let event = |sid: u64| serde_json::json!({"event_type": "alert", "src_ip": "2001:db8::1", "alert": {"signature_id": sid, "gid": 1}});
    let made = |sid: u64| serde_json::json!({"category": "alert", "rule": {"id": format!("1:{sid}")}, "src": {"ip": "2001:0db8::0001"}});
    let expected = Expected::parse(
        br#"{"alerts_total": 2, "checks": [
            {"count": 1, "match": {"event_type": "alert", "alert.signature_id": 7, "src_ip": "2001:db8::1"}},
            {"count": 0, "match": {"has-key": "http"}}, {"count": 2, "match": {"not-has-key": ["http", "dns"]}}]}"#,
    )
    .expect("it parses");
    let (events, detections) = ([event(7), event(8)], [made(7), made(8)]);
    let good = [(&events[0], &detections[0]), (&events[1], &detections[1])];
    assert_eq!(judge(&expected, &good), (vec![], 1));
    let lost = judge(&expected, &good[1..]).0;
    assert_eq!(lost.len(), 4, "one threat too few, and no check holds: {lost:?}");
    let doubled = judge(&expected, &[good[0], good[0], good[1]]).0;
    assert_eq!(doubled.len(), 4, "one threat too many, and no check holds: {doubled:?}");
    let changed = judge(&expected, &[good[0], (&events[1], &detections[0])]).0;
    assert_eq!(changed.len(), 1, "counted over columns, rule 7 is there twice: {changed:?}");
}
