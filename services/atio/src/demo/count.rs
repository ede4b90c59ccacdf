//! Counting from topics and receipts: what came in, what became of it, what still waits. Reads like anyone could: read_committed.
use crate::system::wanted::unreachable;
use atio_runtime::Config;
use atio_schemas::{Codec, Detection, Timestamp, delivery::ReceiptRecord, detection::Kind};
use atio_stream::{
    Kafka,
    admin::Admin,
    read::{Entry, ReadSpec, TopicReader},
};
use atio_topics::Declarations;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Raw events.
    pub events: u64,
    pub detections: u64,
    pub logs: u64,
    pub dead_letters: u64,
    /// Receipts by the type of their sink.
    pub receipts: BTreeMap<&'static str, u64>,
    /// Median of delivered − received.
    pub p50_ms: i64,
    /// Records that some group has not read yet.
    pub waiting: i64,
    /// One line an event of interest.
    pub story: Vec<String>,
    /// What does not add up.
    pub wrong: Vec<String>,
}

impl Counted {
    pub fn delivered(&self, kind: &str) -> u64 {
        self.receipts.get(kind).copied().unwrap_or(0)
    }
}

struct Count<'a> {
    kafka: &'a Kafka,
    prefix: &'a str,
    admin: Admin,
    /// Topics that are there.
    topics: BTreeMap<String, u32>,
}

/// Counts everything of an installation. Blocks.
pub fn count(
    kafka: &Kafka,
    config: &Config,
    declarations: &Declarations,
    codec: &Codec,
) -> anyhow::Result<Counted> {
    let admin = Admin::connect(kafka, "atio-count").map_err(unreachable)?;
    let topics = admin.topics().map_err(unreachable)?;
    let count = Count { kafka, prefix: &config.prefix, admin, topics };
    // What waits is asked from the front to the end: a record that moves on in between is seen further down.
    let mut counted = Counted { waiting: count.waiting(declarations)?, ..Counted::default() };
    if counted.waiting > 0 {
        return Ok(counted);
    }
    for source in declarations.sources.values() {
        counted.events += count.read(&source.topic(&config.prefix))?.len() as u64;
    }
    counted.detections = count.read(&count.name("detections"))?.len() as u64;
    counted.logs = count.read(&count.name("logs"))?.len() as u64;
    let dead: Vec<&String> =
        count.topics.keys().filter(|t| t.starts_with(count.prefix) && t.ends_with("dlq")).collect();
    for topic in dead {
        for entry in count.read(topic)? {
            counted.dead_letters += 1;
            let of = |name: &str| {
                entry
                    .headers
                    .text(&format!("{}{name}", atio_schemas::header::ERRORS))
                    .unwrap_or("?")
                    .to_owned()
            };
            counted.story.push(format!("dead letter  {}: {} ({topic})", of("code"), of("message")));
        }
    }
    let mut received = BTreeMap::new();
    for entry in count.read(&count.name("enriched"))? {
        let Some(d) = entry.value.as_deref().map(|v| codec.decode::<Detection>(v)).transpose()? else {
            continue;
        };
        received.insert(d.event_id.clone(), d.received_at);
        if d.kind == Kind::Threat
            || (d.kind == Kind::Vulnerability && d.category.as_deref() == Some("result"))
        {
            counted.story.push(story(&d));
        }
    }
    receipts(&count, declarations, codec, &received, &mut counted)?;
    Ok(counted)
}

fn story(d: &Detection) -> String {
    let score = d.importance.map_or_else(|| " –".into(), |i| format!("{i:>2.0}"));
    let name = d.rule.name.as_deref().or(d.rule.id.as_deref()).unwrap_or("?");
    let why: Vec<&str> = d
        .reasons
        .iter()
        .filter(|r| matches!(r.code.as_str(), "asset_has_cve" | "blocked"))
        .map(|r| r.text.as_str())
        .collect();
    let why = if why.is_empty() { String::new() } else { format!(" — {}", why.join("; ")) };
    format!("{:<13} {score}  {} on {}{why}", d.kind, name, d.asset.as_deref().unwrap_or("?"))
}

/// Receipts against deliveries: every delivery has exactly one.
fn receipts(
    count: &Count<'_>,
    declarations: &Declarations,
    codec: &Codec,
    received: &BTreeMap<String, Option<Timestamp>>,
    counted: &mut Counted,
) -> anyhow::Result<()> {
    let mut by_sink = BTreeMap::<String, u64>::new();
    let mut times = vec![];
    for entry in count.read(&count.name("receipts"))? {
        let Some(receipt) = entry.value.as_deref().map(|v| codec.decode::<ReceiptRecord>(v)).transpose()?
        else {
            continue;
        };
        *by_sink.entry(receipt.sink.clone()).or_default() += 1;
        if let Some(Some(at)) = received.get(&receipt.event_id) {
            times.push(receipt.delivered_at.millis() - at.millis());
        }
    }
    for (name, sink) in &declarations.sinks {
        let deliveries = count.read(&sink.topic(count.prefix))?.len() as u64;
        let got = by_sink.get(name).copied().unwrap_or(0);
        if deliveries != got {
            counted.wrong.push(format!("sink {name}: {deliveries} deliveries, {got} receipts"));
        }
        *counted.receipts.entry(sink.target.kind()).or_default() += got;
    }
    times.sort_unstable();
    counted.p50_ms = times.get(times.len() / 2).copied().unwrap_or(0);
    Ok(())
}

impl Count<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn read(&self, topic: &str) -> anyhow::Result<Vec<Entry>> {
        if !self.topics.contains_key(topic) {
            return Ok(vec![]);
        }
        let reader = TopicReader::open(&ReadSpec::whole(self.kafka, "atio-count", topic))?;
        reader.map(|entry| entry.map_err(Into::into)).collect()
    }

    /// Lag of every group of the way, from raw topics to sinks.
    fn waiting(&self, declarations: &Declarations) -> anyhow::Result<i64> {
        let groups = self.admin.groups().map_err(unreachable)?;
        let raw: Vec<String> = declarations.sources.values().map(|s| s.topic(self.prefix)).collect();
        let mut ways: Vec<(String, Vec<String>)> = vec![
            (self.name("normalization"), raw),
            (self.name("enrichment"), vec![self.name("detections")]),
            (self.name("enrichment-logs"), vec![self.name("logs")]),
            (self.name("routing"), vec![self.name("enriched")]),
            (self.name("routing-logs"), vec![self.name("enriched-logs")]),
            (self.name(atio_routing::POOL), vec![self.name("routed")]),
            (
                self.name("incidents"),
                ["incident-events", "waits", "acks", "receipts"].map(|t| self.name(t)).to_vec(),
            ),
        ];
        for workflow in declarations.workflows.keys() {
            let of = self.name(&format!("routing.{workflow}."));
            let branches = groups.iter().filter(|g| g.name.starts_with(&of));
            ways.extend(branches.map(|g| (g.name.clone(), vec![self.name(&format!("workflow.{workflow}"))])));
        }
        for (name, sink) in &declarations.sinks {
            ways.push((self.name(&format!("delivery.{name}")), vec![sink.topic(self.prefix)]));
        }
        let mut waiting = 0;
        for (group, topics) in ways {
            let there: Vec<&str> =
                topics.iter().filter(|t| self.topics.contains_key(*t)).map(String::as_str).collect();
            let lags = self.admin.lag(&group, &there).map_err(unreachable)?;
            waiting += lags.iter().map(|l| l.lag).sum::<i64>();
        }
        Ok(waiting)
    }
}
