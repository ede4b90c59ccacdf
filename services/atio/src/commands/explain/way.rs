//! What one record says of an event's way: which stage wrote it, and how that ended. Pure but for the decoder's registry.
use crate::commands::{dlq::is_dlq, look::Decoder};
use atio_schemas::{Timestamp, header};
use atio_stage::Replay;
use atio_stream::read::Entry;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// One place that an event passed.
#[derive(Debug, Serialize)]
pub struct Hop {
    /// Empty: about the raw record as a whole.
    #[serde(serialize_with = "null_when_empty")]
    pub event_id: String,
    /// Who wrote it.
    pub stage: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    #[serde(rename = "timestamp")]
    pub at: Timestamp,
    /// `name@version`.
    pub workflow: Option<String>,
    /// Of what several workflows get: theirs.
    #[serde(skip)]
    pub matches: Vec<String>,
    /// In a few words.
    pub outcome: String,
    /// Order among hops of one millisecond.
    #[serde(skip)]
    pub rank: u8,
    /// Of deliveries and receipts: branch and sink.
    #[serde(skip)]
    pub leg: Option<(String, String)>,
    /// The topic/partition/offset of what it came from: of detections the raw record, of dead letters what could not be processed.
    #[serde(skip)]
    pub source: Option<String>,
}

impl Hop {
    pub fn place(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

fn null_when_empty<S: Serializer>(text: &str, s: S) -> Result<S::Ok, S::Error> {
    if text.is_empty() { s.serialize_none() } else { s.serialize_str(text) }
}

/// topic/partition/offset.
pub fn split_place(place: &str) -> Option<(&str, i32, i64)> {
    let (rest, offset) = place.rsplit_once('/')?;
    let (topic, partition) = rest.rsplit_once('/')?;
    Some((topic, partition.parse().ok()?, offset.parse().ok()?))
}

/// The raw record that a record came from. A dead letter of a raw record came from that.
pub fn origin(entry: &Entry) -> Option<String> {
    entry.headers.text(header::ORIGIN).map(str::to_owned).or_else(|| failed(entry))
}

/// What a dead letter is of.
fn failed(entry: &Entry) -> Option<String> {
    let of = |name: &str| entry.headers.text(&format!("{}{name}", header::ERRORS));
    is_dlq(&entry.topic).then_some(())?;
    Some(format!("{}/{}/{}", of("topic")?, of("partition")?, of("offset")?))
}

fn text_of<'e>(entry: &'e Entry, name: &str) -> &'e str {
    entry.headers.text(name).unwrap_or_default()
}

/// What the record tells; none for what is on no way. Without a registry the value stays unread, and the outcome short.
pub fn hop(entry: &Entry, prefix: &str, decoder: &Decoder) -> Option<Hop> {
    let name = entry.topic.strip_prefix(prefix).unwrap_or(&entry.topic);
    let value = || entry.value.as_deref().and_then(|v| decoder.avro(v).ok()).unwrap_or_default();
    let (mut leg, mut matches) = (None, vec![]);
    let header_id = text_of(entry, header::CE_ID).to_owned();
    let (stage, rank, event_id, outcome) = if is_dlq(name) {
        let of = |n: &str| entry.headers.text(&format!("{}{n}", header::ERRORS)).unwrap_or("?");
        // A raw record's own id is that of its request, not of an event.
        let id = if name.starts_with("raw.") { String::new() } else { header_id };
        (of("stage").to_owned(), 8, id, format!("dead letter: {}: {}", of("code"), of("message")))
    } else if name.starts_with("detections") || name.starts_with("logs") {
        ("normalization".into(), 1, header_id, detection(&value()))
    } else if name.starts_with("enriched") {
        ("enrichment".into(), 2, header_id, enriched(&value()))
    } else if name == "incident-events" {
        let incident = String::from_utf8_lossy(entry.key.as_deref().unwrap_or_default()).into_owned();
        // What happened to a definition is told by the router that saw it.
        let of_change = text_of(entry, header::CE_SOURCE).ends_with("/monitoring");
        let stage = if of_change { "routing" } else { "enrichment" };
        (stage.into(), 3, header_id, format!("told to incident {incident}"))
    } else if name.starts_with("workflow.") {
        ("routing".into(), 4, header_id, "matched".into())
    } else if name == "routed" {
        matches = matches_of(&value());
        ("routing".into(), 4, header_id, matched(&matches))
    } else if name.starts_with("delivery.") {
        let value = value();
        leg = Some(leg_of(&value));
        (format!("branch {}", text(&value, "branch")), 5, header_id, delivery(&value, entry))
    } else if name == "receipts" {
        let value = value();
        leg = Some(leg_of(&value));
        ("delivery".into(), 6, text(&value, "event_id").to_owned(), receipt(&value))
    } else if name == "commands" {
        let value = value();
        let asked = ["action", "kind", "name"].map(|field| text(&value, field)).join(" ");
        ("command".into(), 0, String::new(), format!("{asked}, by {}", text(&value, "actor")))
    } else {
        ("ingestion".into(), 0, String::new(), received(&value()))
    };
    let replay = Replay::of(&entry.headers).filter(|_| !is_dlq(name));
    let outcome = match replay {
        Some(replay) => format!("{outcome}, replayed from {}", replay.letter()),
        None => outcome,
    };
    Some(Hop {
        event_id,
        stage,
        topic: entry.topic.to_string(),
        partition: entry.partition,
        offset: entry.offset,
        at: entry.timestamp,
        workflow: entry.headers.text(header::WORKFLOW).map(str::to_owned),
        matches,
        outcome,
        rank,
        leg,
        source: failed(entry).or_else(|| origin(entry).filter(|_| rank == 1)),
    })
}

fn leg_of(value: &Value) -> (String, String) {
    (text(value, "branch").to_owned(), text(value, "sink").to_owned())
}

/// Of a routed record: `name@version` each.
fn matches_of(value: &Value) -> Vec<String> {
    let all = value["matches"].as_array().into_iter().flatten();
    all.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// So many are named; of more their number is told.
const NAMED: usize = 5;

fn matched(matches: &[String]) -> String {
    let named = matches.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match matches.len() {
        0 => "matched, for the pool".to_owned(),
        n if n > NAMED => format!("matched {named} and {} more, for the pool", n - NAMED),
        _ => format!("matched {named}, for the pool"),
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// `label value` of each column that has one.
fn columns(value: &Value, wanted: &[(&str, &str)]) -> String {
    let one = |(name, label): &(&str, &str)| {
        let shown = match &value[*name] {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(if label.is_empty() { shown } else { format!("{label} {shown}") })
    };
    wanted.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

fn received(value: &Value) -> String {
    columns(value, &[("transport", "by"), ("received_from", "from"), ("sensor", "sensor")])
}

fn detection(value: &Value) -> String {
    let rule = columns(&value["rule"], &[("name", "")]);
    let what = columns(value, &[("kind", ""), ("asset", "on")]);
    if rule.is_empty() { what } else { format!("{what}: {rule}") }
}

fn enriched(value: &Value) -> String {
    let wanted = [
        ("status", ""),
        ("importance", "importance"),
        ("criticality", "criticality"),
        ("incident_id", "incident"),
        ("count", "count"),
    ];
    columns(value, &wanted)
}

fn delivery(value: &Value, entry: &Entry) -> String {
    let what = columns(value, &[("sink", "for"), ("format", "as")]);
    let key = entry.headers.text(header::IDEMPOTENCY_KEY).unwrap_or_default();
    format!("{what}, key {key}")
}

fn receipt(value: &Value) -> String {
    let to = columns(value, &[("status", ""), ("sink", "to"), ("code", "answer"), ("external_id", "as")]);
    format!("{to}, attempts {}", value["attempts"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_stage::Headers;

    fn entry(topic: &str, headers: &[(&str, &str)]) -> Entry {
        let mut all = Headers::default();
        headers.iter().for_each(|(n, v)| all.set(n, v.as_bytes()));
        Entry {
            topic: topic.into(),
            partition: 1,
            offset: 7,
            timestamp: Timestamp(0),
            key: Some(b"k".to_vec()),
            value: None,
            headers: all,
        }
    }

    #[test]
    fn places() {
        assert_eq!(split_place("atio.raw.x/1/22"), Some(("atio.raw.x", 1, 22)));
        assert_eq!(split_place("8a68a639-45b3-54ac-bdea-2f4b82a4db78"), None);
        assert_eq!(split_place("a/b/c"), None);
    }

    #[test]
    fn records_tell_their_stage() {
        let decoder = Decoder::new(None).unwrap();
        let hop =
            |topic: &str, headers: &[(&str, &str)]| hop(&entry(topic, headers), "atio.", &decoder).unwrap();
        let routed = hop("atio.workflow.w", &[("ce_id", "e"), ("atio_workflow", "w@2")]);
        assert_eq!(
            (&*routed.stage, &*routed.event_id, routed.workflow.as_deref()),
            ("routing", "e", Some("w@2"))
        );
        assert_eq!(routed.place(), "atio.workflow.w/1/7");
        assert_eq!(hop("atio.enriched", &[("ce_id", "e")]).stage, "enrichment");
        assert_eq!(hop("atio.commands", &[]).stage, "command");
        let told = |source| hop("atio.incident-events", &[("ce_source", source)]).stage;
        assert_eq!(
            (&*told("/atio/default/eve"), &*told("/atio/default/monitoring")),
            ("enrichment", "routing")
        );
        assert_eq!(hop("atio.raw.x", &[("ce_id", "request")]).event_id, "");
        let replayed =
            hop("atio.workflow.w", &[("ce_id", "e"), ("atio.replay.letter", "atio.workflow-dlq/0/3")]);
        assert_eq!(&*replayed.outcome, "matched, replayed from atio.workflow-dlq/0/3");
        let letter = hop(
            "atio.enriched.dlq",
            &[("ce_id", "e"), ("atio.errors.stage", "routing"), ("atio.errors.code", "empty")],
        );
        assert_eq!(
            (&*letter.stage, &*letter.event_id, &*letter.outcome),
            ("routing", "e", "dead letter: empty: ?")
        );
    }

    #[test]
    fn a_dead_letter_of_a_raw_record_came_from_it() {
        let headers =
            [("atio.errors.topic", "eve"), ("atio.errors.partition", "0"), ("atio.errors.offset", "3")];
        assert_eq!(origin(&entry("atio.raw.x.dlq", &headers)).as_deref(), Some("eve/0/3"));
        assert_eq!(
            origin(&entry("atio.enriched", &[("atio_origin", "eve/0/4")])).as_deref(),
            Some("eve/0/4")
        );
        assert_eq!(origin(&entry("atio.enriched", &[])), None);
    }
}
