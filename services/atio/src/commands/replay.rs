//! `atio replay`: a version of a workflow, or a draft, run again on what was enriched, and compared with what was delivered then. Sinks get nothing.
//! Owns what is read and in which order; what counts as a difference is `compare`'s.
mod compare;
mod epochs;
mod pipeline;
mod seen;
mod shadow;
mod source;

use crate::{
    commands::{
        block_on,
        look::{Look, Unreadable, look},
        tap::from,
    },
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
    system::{self, declared},
};
use anyhow::Context;
use atio_schemas::{
    Code, Detection, Timestamp,
    definition::{Definition as Stored, Placement},
    delivery::Delivery,
    header,
    incident::{Answer, Wait},
    routed::{Routed, parsed},
};
use atio_stage::Headers;
use atio_stream::read::{Entry, From, Next, ReadSpec, Until};
use atio_workflow::{
    Definition, End, Heard, Known, Site, Trigger, compile,
    rehearsal::{Rehearsal, Subject},
    resume,
};
use compare::{Comparison, Made};
use epochs::{Epochs, Which};
use pipeline::{First, Wanted};
use seen::{Past, Scope};
use serde_json::json;
use shadow::Shadow;
use source::Source;
use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf, rc::Rc, time::Duration};

const CLIENT: &str = "atio-replay";

/// Run a workflow again on past events and compare with what was delivered then; sinks get nothing
///
/// Reads what was enriched (of a workflow that is not `on: detection`: what came to its topic, or the pool's), runs every branch of the version or draft on what its trigger takes, and holds the deliveries against those on the delivery topics, by their idempotency keys.
/// Exit code 4 where they differ.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: atio replay threat-detection-response --file new.yaml --from 2026-11-01T00:00:00Z"
)]
pub struct Args {
    /// The workflow, in the version in force or another
    #[arg(value_name = "NAME[@VERSION]", required_unless_present = "pipeline")]
    workflow: Option<String>,
    /// A draft of it instead: a workflow file that is not applied
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Instead of one workflow: everything, from what came in to the deliveries of all workflows on detections, in the versions that were in force
    #[arg(long, conflicts_with_all = ["workflow", "file"])]
    pipeline: bool,
    /// Where the pipeline is entered: raw events, detections or enriched ones
    #[arg(long, value_enum, default_value_t, value_name = "HOP", requires = "pipeline")]
    from_topic: First,
    /// Where to start: beginning, a time such as 2026-01-02T03:04:05Z, or an offset, the same on each partition
    #[arg(long, default_value = "beginning", value_name = "PLACE", value_parser = place)]
    from: From,
    /// Reference tables as each event saw them, or as they are now
    #[arg(long, value_enum, default_value_t)]
    tables: Which,
    /// Events that are read at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    limit: u64,
    /// Differences that are told one by one
    #[arg(long, value_name = "N", default_value_t = 10)]
    show: usize,
    /// Also write the deliveries to topics `replay.<ID>.delivery.<sink>`, for a week; of the pipeline what each stage makes, too
    #[arg(long, value_name = "ID", value_parser = shadow::id)]
    shadow: Option<String>,
    /// Text, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn place(text: &str) -> Result<From, String> {
    if let Ok(offset) = text.parse::<i64>() {
        return if offset >= 0 { Ok(From::Offset(offset)) } else { Err("offsets begin at 0".to_owned()) };
    }
    match from(text)? {
        From::End => Err("beginning, a time, or an offset: nothing is behind the end".to_owned()),
        place => Ok(place),
    }
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    // Only who writes needs ids of the registry to write with.
    let codec = if args.shadow.is_some() {
        let config = target.configuration(json!({}))?;
        Some(block_on(system::codec(&target.registry(&config)?))?.0)
    } else {
        None
    };
    look(target, move |look: &Look| {
        let shadow = args.shadow.as_deref().zip(codec);
        let shadow = shadow.map(|(id, codec)| Shadow::new(look, id, codec)).transpose()?;
        let scope = Scope { from: args.from, limit: args.limit, which: args.tables };
        if args.pipeline {
            let (first, show, format) = (args.from_topic, args.show, args.format);
            return pipeline::run(look, Wanted { first, scope, show, format }, shadow);
        }
        let declarations = declared::load(&look.config)?;
        let known = Known::of(&declarations);
        let (definition, version) = definition(look, &args, &known)?;
        let start = format!("{}.{}.", atio_routing::SERVICE, definition.name);
        let epochs = Rc::new(Epochs::read(look, |stage| stage.starts_with(&start))?);
        let routed = definition.on == Trigger::Detection && !definition.footprint().tables.is_empty();
        let seen = Past::open(look, &epochs, &definition.name, routed, scope)?;
        let mut replay = Replay {
            look,
            site: Site { version, home_networks: &look.config.home_networks },
            definition,
            sum: Sum {
                comparison: Comparison::new(args.show),
                shadow,
                dropped: BTreeMap::new(),
                rejected: BTreeMap::new(),
            },
            read: 0,
            matched: 0,
            unreadable: 0,
            rehearsals: BTreeMap::new(),
            seen,
        };
        let topics = topics(look, &replay.definition)?;
        for topic in topics {
            replay.topic(&topic, args.from, args.limit)?;
            replay.finish()?;
        }
        let (ours, comparison) = (replay.definition.name.as_str(), &mut replay.sum.comparison);
        // Offsets are those of other topics.
        let from = if matches!(args.from, From::Time(_)) { args.from } else { From::Beginning };
        past(
            look,
            from,
            |name| name == ours,
            |delivery| {
                let key = delivery.idempotency_key.clone();
                comparison.then(&key, of(delivery));
            },
        )?;
        replay.told(args.format)
    })
}

/// Where its events lie, without the prefix. What came of another trigger lies where a router wrote it for the workflow: as far as a version matched
/// it, on its own topic, or on the one that those share which are, or were, in the pool.
fn topics(look: &Look, definition: &Definition) -> anyhow::Result<Vec<String>> {
    if definition.on == Trigger::Detection {
        return Ok(vec!["enriched".to_owned(), "enriched-logs".to_owned()]);
    }
    let own = format!("workflow.{}", definition.name);
    let placement = look.definitions(Unreadable::LeftOut)?.get(&definition.name).map(Stored::placed);
    let is_own = match placement {
        Some(placement) => placement == Placement::Own,
        None => look.topics()?.contains_key(&format!("{}{own}", look.config.prefix)),
    };
    Ok(vec![if is_own { own } else { "routed".to_owned() }])
}

/// What is run, and under which version.
fn definition(look: &Look, args: &Args, known: &Known) -> anyhow::Result<(Definition, i64)> {
    let workflow = args.workflow.as_deref().unwrap_or_default();
    let (name, version) = match workflow.rsplit_once('@') {
        Some((name, version)) => {
            let version = version.parse().map_err(|_| Failure::usage("a version is a number: `name@3`"))?;
            (name, Some(version))
        }
        None => (workflow, None),
    };
    let all = look.definitions(Unreadable::LeftOut)?;
    let pointer = all.get(name).filter(|d| d.pointer).map(|d| d.version);
    let (file, text, version) = if let Some(file) = &args.file {
        if version.is_some() {
            return Err(Failure::usage("a draft has no version: give NAME alone, or leave --file out"));
        }
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        (file.display().to_string(), text, pointer.map_or(1, |v| v + 1))
    } else {
        let Some(version) = version.or(pointer) else {
            let message = format!("no workflow `{name}` is in force; give a version, or a draft with --file");
            return Err(Failure::usage(message));
        };
        let key = format!("{name}@{version}");
        let Some(found) = all.get(&key).filter(|d| !d.pointer) else {
            return Err(Failure::usage(format!(
                "no `{key}`; `atio workflow history {name}` shows what there was"
            )));
        };
        (key, found.definition.clone(), version)
    };
    let definition = compile(&file, &text, known).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::with(Exit::Refused, problems.join("\n"))
    })?;
    if definition.name != name {
        let message = format!("{file} is the workflow `{}`, not `{name}`", definition.name);
        return Err(Failure::usage(message));
    }
    Ok((definition, version))
}

struct Replay<'a> {
    look: &'a Look,
    definition: Definition,
    site: Site<'a>,
    sum: Sum<'a>,
    read: u64,
    matched: u64,
    /// Records that are no detection: the router made dead letters of them.
    unreadable: u64,
    /// By branch and partition of the topic that is read.
    rehearsals: BTreeMap<(usize, i32), Rehearsal>,
    seen: Past<'a>,
}

/// What the ends of branches come to.
struct Sum<'a> {
    comparison: Comparison,
    shadow: Option<Shadow<'a>>,
    dropped: BTreeMap<Code, u64>,
    rejected: BTreeMap<Code, u64>,
}

impl Replay<'_> {
    fn topic(&mut self, name: &str, from: From, limit: u64) -> anyhow::Result<()> {
        let topic = format!("{}{name}", self.look.config.prefix);
        let spec = ReadSpec { from, until: Until::End, ..ReadSpec::whole(&self.look.kafka, CLIENT, &topic) };
        let by_asset = self.definition.partition.is_default();
        let mut reader =
            if by_asset { Source::as_it_comes(&spec)? } else { Source::by_time(self.look, &spec)? };
        while !self.look.is_stopped() {
            match reader.next(Duration::from_millis(200))? {
                Next::Record(entry) if self.read < limit => self.event(&entry)?,
                Next::Record(_) => {
                    render::notice(&format!("only the first {limit} events are read; --limit reads more"));
                    break;
                }
                Next::Idle => {}
                Next::End => break,
            }
        }
        Ok(())
    }

    fn event(&mut self, entry: &Entry) -> anyhow::Result<()> {
        if !entry.headers.is_live() {
            return Ok(());
        }
        let mut others = false;
        let value = entry.value.as_deref().unwrap_or_default();
        let decoder = &self.look.decoder;
        let decoded = match self.definition.on {
            Trigger::Detection => decoder.decode::<Detection>(value),
            _ => decoder.decode::<Routed>(value).map(|routed| {
                others = !routed.workflows().any(|(name, _)| name == self.definition.name);
                routed.detection
            }),
        };
        if others {
            return Ok(());
        }
        self.read += 1;
        let Ok(detection) = decoded else {
            self.unreadable += 1;
            return Ok(());
        };
        self.sum.comparison.event(&detection.event_id);
        if !self.definition.triggers(&detection) {
            return Ok(());
        }
        self.matched += 1;
        for (number, branch) in self.definition.branches.iter().enumerate() {
            let lies = ((entry.partition, entry.offset), entry.timestamp);
            // What comes together by something else than the asset does so over all partitions.
            let place = if self.definition.partition.is_default() { entry.partition } else { 0 };
            let rehearsal = self.rehearsals.entry((number, place)).or_default();
            rehearsal.see(self.seen.seen(&branch.name, &branch.tables, &detection.event_id, lies)?);
            let subject = Subject { definition: &self.definition, branch, site: self.site };
            let mut told = |d: &Detection, h: &Headers, end: End| self.sum.end(subject, d, h, end);
            rehearsal.event(subject, entry.timestamp, (&detection, &entry.headers), &mut told)?;
        }
        Ok(())
    }

    /// A topic is read: what is held goes on.
    fn finish(&mut self) -> anyhow::Result<()> {
        for ((number, _), mut rehearsal) in std::mem::take(&mut self.rehearsals) {
            let Some(branch) = self.definition.branches.get(number) else { continue };
            let subject = Subject { definition: &self.definition, branch, site: self.site };
            let mut told = |d: &Detection, h: &Headers, end: End| self.sum.end(subject, d, h, end);
            rehearsal.finish(subject, &mut told)?;
        }
        Ok(())
    }

    fn told(self, format: Format) -> anyhow::Result<Exit> {
        let workflow = format!("{}@{}", self.definition.name, self.site.version);
        let (read, matched, unreadable) = (self.read, self.matched, self.unreadable);
        let tables = self.seen.told();
        let Sum { comparison, shadow, dropped, rejected } = self.sum;
        let written = shadow.map(Shadow::end).transpose()?;
        let (counts, examples) = comparison.end();
        let differs = counts.values().any(compare::Counts::differs);
        if format == Format::Json {
            for e in &examples {
                render::json(&json!({
                    "difference": e.what, "event_id": e.event, "branch": e.leg.0, "sink": e.leg.1,
                    "idempotency_key": e.idempotency_key, "places": e.places,
                }))?;
            }
            let legs: Vec<_> = counts
                .iter()
                .map(|((branch, sink), n)| json!({"branch": branch, "sink": sink, "deliveries": n}))
                .collect();
            render::json(&json!({
                "workflow": workflow, "read": read, "matched": matched, "unreadable": unreadable, "legs": legs,
                "dropped": dropped, "rejected": rejected, "written": written, "tables": tables,
            }))?;
        } else {
            let cells = |((branch, sink), n): (&compare::Leg, &compare::Counts)| {
                let mut cells = vec![branch.clone(), sink.clone()];
                cells.extend([n.same, n.changed, n.new, n.missing, n.waiting].map(|n| n.to_string()));
                cells
            };
            let cells: Vec<Vec<String>> = counts.iter().map(cells).collect();
            render::table(&["BRANCH", "SINK", "SAME", "CHANGED", "NEW", "MISSING", "WAITING"], &cells)?;
            for e in &examples {
                let places =
                    if e.places.is_empty() { String::new() } else { format!(": {}", e.places.join(", ")) };
                render::line(&format!("{:<7} {} {}, event {}{places}", e.what, e.leg.0, e.leg.1, e.event))?;
            }
            let mut said = format!("{workflow}: {read} events read, {matched} matched");
            let ends = dropped.iter().chain(&rejected);
            ends.for_each(|(code, n)| said += &format!(", {n} {code}"));
            render::notice(&said);
            tables.iter().for_each(|told| render::notice(&told.sentence()));
            if let Some(written) = written {
                render::notice(&format!("{written} deliveries are on replay topics"));
            }
        }
        Ok(if differs { Exit::Differs } else { Exit::Done })
    }
}

/// What these workflows delivered then, whichever version did it.
fn past(
    look: &Look,
    from: From,
    ours: impl Fn(&str) -> bool,
    mut then: impl FnMut(Delivery),
) -> anyhow::Result<()> {
    let start = format!("{}delivery.", look.config.prefix);
    let topics = look.topics()?;
    for topic in topics.into_keys().filter(|t| t.starts_with(&start) && !t.ends_with(".dlq")) {
        let spec = ReadSpec { from, ..ReadSpec::whole(&look.kafka, CLIENT, &topic) };
        look.read(&spec, |entry| {
            let workflow = entry.headers.text(header::WORKFLOW).and_then(parsed);
            if entry.headers.is_live() && workflow.is_some_and(|(name, _)| ours(name)) {
                let value = entry.value.as_deref().unwrap_or_default();
                then(look.decoder.decode(value).map_err(|e| anyhow::anyhow!("{topic}: {e}"))?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}

/// One more of each code.
fn count(counts: &mut BTreeMap<Code, u64>, codes: impl IntoIterator<Item = Code>) {
    codes.into_iter().for_each(|code| *counts.entry(code).or_default() += 1);
}

impl Sum<'_> {
    fn end(
        &mut self,
        subject: Subject<'_>,
        detection: &Detection,
        headers: &Headers,
        end: End,
    ) -> anyhow::Result<()> {
        self.made(headers, detection, end.outputs, false)?;
        count(&mut self.dropped, end.dropped);
        count(&mut self.rejected, end.rejected.iter().map(|r| r.code));
        // Whether somebody answers is open, and what they choose: what would be delivered then is held against what was.
        for wait in &end.waits {
            self.made(headers, detection, behind(subject, wait), true)?;
        }
        Ok(())
    }

    fn made(
        &mut self,
        headers: &Headers,
        detection: &Detection,
        outputs: Vec<Delivery>,
        behind_wait: bool,
    ) -> anyhow::Result<()> {
        if let Some(shadow) = &mut self.shadow {
            shadow.write(headers, detection, outputs.clone())?;
        }
        for delivery in outputs {
            let key = delivery.idempotency_key.clone();
            self.comparison.now(key, of(delivery), behind_wait);
        }
        Ok(())
    }
}

/// What would be delivered after a yes, whatever is chosen.
fn behind(subject: Subject<'_>, wait: &Wait) -> Vec<Delivery> {
    let choices: Vec<Option<&str>> = match wait.choices.as_slice() {
        [] => vec![None],
        choices => choices.iter().map(|choice| Some(choice.as_str())).collect(),
    };
    let mut found: Vec<Delivery> = vec![];
    for choice in choices {
        let heard = Heard::of(wait, Answer::Acknowledged, choice, Timestamp::default());
        let end = resume(subject.definition, subject.branch, wait, heard, subject.site);
        for delivery in end.outputs {
            if !found.iter().any(|d| d.idempotency_key == delivery.idempotency_key) {
                found.push(delivery);
            }
        }
    }
    found
}

fn of(delivery: Delivery) -> Made {
    let Delivery { event_id: event, branch, sink, format, payload, .. } = delivery;
    Made { event, branch, sink, format, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_times_offsets_or_the_beginning() {
        assert_eq!(place("beginning"), Ok(From::Beginning));
        assert_eq!(place("17"), Ok(From::Offset(17)));
        assert!(matches!(place("2026-11-24T00:00:00Z"), Ok(From::Time(_))));
        assert!(place("end").is_err() && place("-1").is_err() && place("yesterday").is_err());
    }
}
