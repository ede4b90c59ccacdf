//! `atio explain`: the whole way of an event, from the raw record to what each sink answered, with every place on a topic. Owns which topics are
//! looked through and how the way is shown; what a record says of it is in `way`.
mod picture;
mod way;

use crate::{
    commands::{
        dlq::{self, Marks, is_dlq},
        look::{Look, look, read_error},
    },
    endpoints::Target,
    exit::{Exit, Failure},
    render,
};
use atio_schemas::{header, routed::Routed};
use atio_stream::read::{Entry, From, Next, ReadSpec, TopicReader, Until};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use way::{Hop, hop, origin, split_place};

/// Places that are shown at most.
const MAX_HOPS: usize = 10_000;

/// Show the whole way of an event, with every place on a topic
///
/// Raw record, detection, enrichment, workflows, deliveries, receipts and dead letters, each with its topic/partition/offset.
/// Topics are read from their beginning: what retention has removed is not found.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: atio explain \"$(atio tap enriched --from beginning --limit 1 | jq -r .value.event_id)\""
)]
pub struct Args {
    /// An event id, an incident id, an idempotency key of a delivery, or the topic/partition/offset of a raw record
    id: String,
    /// A tree, one JSON object a place, or Mermaid for Markdown
    #[arg(long, value_enum, default_value_t)]
    format: ExplainFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ExplainFormat {
    #[default]
    Human,
    Json,
    Mermaid,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let (id, format) = (args.id.clone(), args.format);
    look(target, move |look: &Look| {
        let topics = Topics::of(look)?;
        let mut wanted = wanted(look, &topics, &id)?;
        let mut hops = collect(look, &topics, &mut wanted)?;
        if hops.is_empty() {
            let hint = "is it an event id, incident id, idempotency key or topic/partition/offset? retention may have removed it";
            return Err(Failure::with(Exit::Failed, format!("nothing is known of `{id}`; {hint}")));
        }
        hops.extend(raw(look, &wanted)?);
        hops.sort_by(|a, b| (&a.event_id, a.at, a.rank).cmp(&(&b.event_id, b.at, b.rank)));
        match format {
            ExplainFormat::Json => hops.iter().try_for_each(render::json)?,
            ExplainFormat::Human => tree(&hops)?,
            ExplainFormat::Mermaid => render::line(picture::mermaid(&hops).trim_end())?,
        }
        Ok(Exit::Done)
    })
}

/// The topics of the pipeline that exist, by what is on them.
struct Topics {
    incident_events: Option<String>,
    deliveries: Vec<String>,
    workflows: Vec<String>,
    /// From detections to dead letters.
    all: Vec<String>,
}

impl Topics {
    fn of(look: &Look) -> anyhow::Result<Self> {
        let prefix = &look.config.prefix;
        let ours = look.topics()?;
        let ours: Vec<&String> = ours.keys().filter(|t| t.starts_with(prefix.as_str())).collect();
        let starts =
            |t: &str, name: &str| t.strip_prefix(prefix.as_str()).is_some_and(|t| t.starts_with(name));
        let names = [
            "detections",
            "logs",
            "enriched",
            "incident-events",
            "workflow.",
            "routed",
            "delivery.",
            "receipts",
        ];
        let on_the_way = |t: &str| is_dlq(t) || names.iter().any(|name| starts(t, name));
        Ok(Self {
            incident_events: ours
                .iter()
                .find(|t| ***t == format!("{prefix}incident-events"))
                .map(|t| (*t).clone()),
            deliveries: ours
                .iter()
                .filter(|t| starts(t, "delivery.") && !is_dlq(t))
                .map(|t| (*t).clone())
                .collect(),
            workflows: ours
                .iter()
                .filter(|t| starts(t, "workflow.") || starts(t, "routed"))
                .map(|t| (*t).clone())
                .collect(),
            all: ours.into_iter().filter(|t| on_the_way(t)).cloned().collect(),
        })
    }
}

/// What is looked for.
#[derive(Default)]
struct Wanted {
    events: BTreeSet<String>,
    /// topic/partition/offset of raw records.
    origins: BTreeSet<String>,
}

/// Which events an id stands for: those of an incident, of a delivery, of a raw record, else the event of that id.
fn wanted(look: &Look, topics: &Topics, id: &str) -> anyhow::Result<Wanted> {
    if split_place(id).is_some() {
        return Ok(Wanted { events: BTreeSet::new(), origins: [id.to_owned()].into() });
    }
    let mut events = BTreeSet::new();
    let mut add = |entry: &Entry| events.extend(entry.headers.text(header::CE_ID).map(str::to_owned));
    if let Some(topic) = &topics.incident_events {
        look.scan(topic, |entry| {
            if entry.key.as_deref() == Some(id.as_bytes()) {
                add(&entry)
            }
        })?;
    }
    for topic in &topics.deliveries {
        let is_it = |entry: &Entry| entry.headers.text(header::IDEMPOTENCY_KEY) == Some(id);
        look.scan(topic, |entry| {
            if is_it(&entry) {
                add(&entry)
            }
        })?;
    }
    if events.is_empty() {
        events.insert(id.to_owned());
    }
    called(look, topics, &mut events)?;
    Ok(Wanted { events, origins: BTreeSet::new() })
}

/// Adds the events that workflows made of these when they called others.
fn called(look: &Look, topics: &Topics, events: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let mut all: Vec<(String, BTreeSet<String>)> = vec![];
    for topic in &topics.workflows {
        look.scan(topic, |entry| {
            if entry.headers.text(header::CALLS).is_none() {
                return;
            }
            let Some(bytes) = entry.value.as_deref() else { return };
            if let Ok(routed) = look.decoder.decode::<Routed>(bytes) {
                let detection = routed.detection;
                all.push((detection.event_id, detection.external_ids.into_iter().collect()));
            }
        })?;
    }
    // One that was called may have called others.
    while let Some((new, _)) = all.iter().find(|(id, of)| !events.contains(id) && !of.is_disjoint(events)) {
        events.insert(new.clone());
    }
    Ok(())
}

/// Everything that is told of these events; the raw records that they came from are added to what is wanted.
fn collect(look: &Look, topics: &Topics, wanted: &mut Wanted) -> anyhow::Result<Vec<Hop>> {
    let mut hops = vec![];
    let given = wanted.origins.clone();
    let marks = Marks::read(look)?;
    // Detections come first: they tell where the raw records are, which dead letters of parts name.
    let (letters, rest): (Vec<&String>, Vec<&String>) = topics.all.iter().partition(|t| is_dlq(t));
    for topic in rest.into_iter().chain(letters) {
        look.scan(topic, |entry| {
            let Some(mut found) = hop(&entry, &look.config.prefix, &look.decoder) else { return };
            let by_id = wanted.events.contains(&found.event_id);
            let from = origin(&entry);
            let by_origin = from.as_ref().is_some_and(|o| given.contains(o));
            let letter = is_dlq(&entry.topic) && from.as_ref().is_some_and(|o| wanted.origins.contains(o));
            if (by_id || by_origin || letter) && hops.len() < MAX_HOPS {
                if by_id || by_origin {
                    wanted.origins.extend(from);
                }
                if let Some(done) = dlq::done(&marks, &entry) {
                    found.outcome.push_str(&format!("; {done}"));
                }
                hops.push(found);
            }
        })?;
    }
    if hops.len() == MAX_HOPS {
        render::notice(&format!("only the first {MAX_HOPS} places are shown"));
    }
    Ok(hops)
}

/// The raw records themselves, where they are still there.
fn raw(look: &Look, wanted: &Wanted) -> anyhow::Result<Vec<Hop>> {
    let mut hops = vec![];
    for place in &wanted.origins {
        let Some((topic, partition, offset)) = split_place(place) else { continue };
        let spec = ReadSpec {
            partitions: Some(vec![partition]),
            from: From::Offset(offset),
            until: Until::End,
            ..ReadSpec::whole(&look.kafka, "atio-explain", topic)
        };
        // Files have no topic: their origin is told by the detection.
        let Ok(mut reader) = TopicReader::open(&spec) else { continue };
        if let Next::Record(entry) = reader.next(Duration::from_secs(30)).map_err(read_error)?
            && entry.offset == offset
        {
            hops.extend(hop(&entry, &look.config.prefix, &look.decoder));
        }
    }
    Ok(hops)
}

fn tree(hops: &[Hop]) -> anyhow::Result<()> {
    let mut by_event: BTreeMap<&str, Vec<&Hop>> = BTreeMap::new();
    for hop in hops {
        by_event.entry(&hop.event_id).or_default().push(hop);
    }
    // What is about a raw record as a whole comes first.
    for (event, hops) in by_event {
        render::line(if event.is_empty() { "raw records" } else { event })?;
        let routed = hops.iter().any(|h| h.stage == "routing");
        let unmatched = !routed && hops.iter().any(|h| h.stage == "enrichment");
        let places: Vec<String> = hops.iter().map(|h| h.place()).collect();
        let width = places.iter().map(String::len).max().unwrap_or(0);
        for (i, (hop, place)) in hops.iter().zip(&places).enumerate() {
            let branch = if i + 1 == hops.len() && !unmatched { "└─" } else { "├─" };
            let workflow = hop.workflow.as_ref().map(|w| format!("{w}  ")).unwrap_or_default();
            let line = format!(
                "{branch} {}  {:<14}  {place:<width$}  {workflow}{}",
                hop.at.rfc3339_millis(),
                hop.stage,
                hop.outcome
            );
            render::line(line.trim_end())?;
        }
        if unmatched {
            render::line("└─ no workflow has taken it")?;
        }
    }
    Ok(())
}
