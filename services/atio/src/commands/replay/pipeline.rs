//! `atio replay --pipeline`: the shipped pipeline run again, in memory, on what came in: normalization, enrichment, routing and the branches of the workflows
//! that were in force, each hop held against what lies on its topics. Each stage reads what it read then, in that order, with what differs by now in its
//! place. Owns the order of hops and how topics are read. Must not know: what a stage does, what counts as a difference.
mod bench;
mod hop;
mod log;
mod routing;
mod stand;
mod told;

use super::{
    CLIENT,
    compare::Comparison,
    epochs::{Epochs, Told},
    past,
    seen::Scope,
    shadow::Shadow,
};
use crate::{
    commands::look::Look,
    exit::{Exit, Failure},
    render::{self, Format},
    system::{declared, services, wanted::unreachable},
};
use atio_schemas::{Codec, Detection, delivery::Delivery, header};
use atio_stage::{Output, Stage, harness::Counts};
use atio_stream::{
    admin::Marks,
    read::{Entry, From, ReadSpec},
};
use atio_topics::Declarations;
use hop::{Fed, Hop, Id, Way};
use routing::Routing;
use stand::Stand;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    ops::ControlFlow,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two words on how far it is.
const WORD: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum First {
    /// What came in, as it was received
    #[default]
    Raw,
    /// What normalization made
    Detections,
    /// What enrichment made
    Enriched,
}

impl First {
    const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Detections => "detections",
            Self::Enriched => "enriched",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub first: First,
    pub scope: Scope,
    pub show: usize,
    pub format: Format,
}

/// What every stage is given.
pub struct Desk<'a> {
    pub look: &'a Look,
    /// Reads what is on topics, and writes for this process alone.
    pub codec: Codec,
    shadow: Option<Shadow<'a>>,
}

impl Desk<'_> {
    fn prefix(&self) -> &str {
        &self.look.config.prefix
    }
    fn topic(&self, name: &str) -> Arc<str> {
        Arc::from(format!("{}{name}", self.prefix()))
    }
    fn detection(&mut self, output: &Output) -> anyhow::Result<()> {
        let Some(shadow) = &mut self.shadow else { return Ok(()) };
        let name = output.topic.strip_prefix(&*self.look.config.prefix).unwrap_or_default();
        let detection: Detection = self.codec.decode(output.value.as_deref().unwrap_or_default())?;
        shadow.record(name, output, &detection)
    }
    fn delivery(&mut self, name: &str, output: &Output, delivery: &Delivery) -> anyhow::Result<()> {
        self.shadow.as_mut().map_or(Ok(()), |shadow| shadow.record(name, output, delivery))
    }
}

/// A stage that reads a topic, partition by partition.
trait Reader<'a> {
    fn name(&self) -> &str;
    /// Another partition begins.
    fn partition(&mut self);
    fn record(&mut self, fed: &Fed, desk: &mut Desk<'a>) -> anyhow::Result<()>;
    /// An event that was there then, and is not now.
    fn missing(&mut self, _event: &str) {}
    /// The partition is read.
    fn end(&mut self, _desk: &mut Desk<'a>) -> anyhow::Result<()> {
        Ok(())
    }
}

struct Pipeline<'a> {
    desk: Desk<'a>,
    declarations: Declarations,
    wanted: Wanted,
    epochs: Rc<Epochs>,
    topics: BTreeMap<String, u32>,
    /// Of what is replayed.
    origins: HashSet<Id>,
    read: u64,
    /// There is more than was read.
    cut: bool,
    unreadable: u64,
    stages: BTreeMap<String, Counts>,
    tables: Vec<(String, Told)>,
    word: Instant,
}

pub fn run<'a>(look: &'a Look, wanted: Wanted, shadow: Option<Shadow<'a>>) -> anyhow::Result<Exit> {
    let ours = [atio_normalization::SERVICE, atio_enrichment::SERVICE, atio_routing::SERVICE];
    let epochs = Epochs::read(look, |stage| ours.iter().any(|service| stage.starts_with(service)))?;
    let mut pipeline = Pipeline {
        declarations: declared::load(&look.config)?,
        desk: Desk { look, codec: look.decoder.private(), shadow },
        wanted,
        epochs: Rc::new(epochs),
        topics: look.topics()?,
        origins: HashSet::new(),
        read: 0,
        cut: false,
        unreadable: 0,
        stages: BTreeMap::new(),
        tables: vec![],
        word: Instant::now(),
    };
    let whole = pipeline.begins_at_the_beginning()?;
    let mut detections = (wanted.first == First::Raw).then(|| pipeline.normalized()).transpose()?;
    let mut enriched =
        (wanted.first < First::Enriched).then(|| pipeline.enriched(detections.as_mut())).transpose()?;
    let comparison = pipeline.routed(enriched.as_mut())?;
    let written = pipeline.desk.shadow.take().map(Shadow::end).transpose()?;
    let told = told::Told {
        first: wanted.first,
        read: pipeline.read,
        cut: pipeline.cut,
        stopped: look.is_stopped(),
        unreadable: pipeline.unreadable,
        whole,
        hops: [detections, enriched].into_iter().flatten().collect(),
        stages: pipeline.stages,
        tables: pipeline.tables,
        comparison,
        written,
    };
    told.tell(wanted.format)
}

impl<'a> Pipeline<'a> {
    fn normalized(&mut self) -> anyhow::Result<Hop> {
        let mut hop = self.hop("detections", ["detections", "logs"])?;
        let stages = services::normalization(&self.desk.look.config, &self.declarations, &self.desk.codec);
        for stage in stages {
            let inputs: Vec<Arc<str>> = stage.inputs.iter().map(|input| Arc::clone(&input.topic)).collect();
            self.stand(stage, &inputs, None, &mut hop)?;
        }
        Ok(hop)
    }

    fn enriched(&mut self, mut before: Option<&mut Hop>) -> anyhow::Result<Hop> {
        let mut hop = self.hop("enriched", ["enriched", "enriched-logs"])?;
        for stage in services::enrichment(&self.desk.look.config, &self.desk.codec) {
            let inputs: Vec<Arc<str>> = stage.inputs.iter().map(|input| Arc::clone(&input.topic)).collect();
            self.stand(stage, &inputs, before.as_deref_mut(), &mut hop)?;
        }
        Ok(hop)
    }

    fn stand(
        &mut self,
        stage: Stage,
        inputs: &[Arc<str>],
        mut before: Option<&mut Hop>,
        hop: &mut Hop,
    ) -> anyhow::Result<()> {
        let mut stand = Stand::new(&self.desk, stage, &self.epochs, self.wanted.scope.which, hop)?;
        for topic in inputs {
            self.feed(topic, before.as_deref_mut(), &mut stand)?;
        }
        let (name, counts, tables) = stand.told();
        self.tables.extend(tables.into_iter().map(|told| (name.clone(), told)));
        self.stages.insert(name, counts);
        Ok(())
    }

    /// Deliveries, against those of then.
    fn routed(&mut self, mut before: Option<&mut Hop>) -> anyhow::Result<Comparison> {
        let look = self.desk.look;
        let deps = services::routing(&look.config, &self.declarations, &self.desk.codec);
        let mut comparison = Comparison::new(self.wanted.show);
        let mut names = std::collections::BTreeSet::new();
        for router in atio_routing::router_stages(&deps, &deps.definitions()) {
            let Some(input) = router.inputs.first().map(|input| Arc::clone(&input.topic)) else { continue };
            let scope = self.wanted.scope;
            let mut routing =
                Routing::new(&self.desk, deps.clone(), router, &self.epochs, scope, comparison)?;
            self.feed(&input, before.as_deref_mut(), &mut routing)?;
            let routed = routing.told();
            comparison = routed.comparison;
            self.tables.extend(routed.tables);
            names.extend(routed.names);
            for (name, counts) in routed.counts {
                merge(self.stages.entry(name).or_default(), counts);
            }
        }
        past(
            look,
            self.later(),
            |workflow| names.contains(workflow),
            |delivery| {
                let key = delivery.idempotency_key.clone();
                comparison.then(&key, routing::of(delivery));
            },
        )?;
        Ok(comparison)
    }

    /// A hop with what lies on its topics.
    fn hop(&mut self, name: &'static str, topics: [&str; 2]) -> anyhow::Result<Hop> {
        let topics: Vec<Arc<str>> = topics.iter().map(|name| self.desk.topic(name)).collect();
        let mut hop = Hop::new(name, topics.clone(), &self.desk.codec, self.wanted.show);
        let (look, from) = (self.desk.look, self.later());
        for topic in &topics {
            if !self.topics.contains_key(&**topic) {
                continue;
            }
            let spec = ReadSpec { from, ..ReadSpec::whole(&look.kafka, CLIENT, topic) };
            look.read(&spec, |entry| {
                if hop.is_full() {
                    let many = "has more events than are compared at once: begin later (--from TIME)";
                    return Err(Failure::usage(format!("{topic} {many}")));
                }
                if self.readable(&entry) {
                    self.unreadable += u64::from(hop.then(&entry).is_none());
                }
                self.word(name, "what was there", &entry);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(hop)
    }

    /// Where topics behind the first are read from: offsets are those of the first.
    const fn later(&self) -> From {
        if matches!(self.wanted.scope.from, From::Time(_)) { self.wanted.scope.from } else { From::Beginning }
    }

    /// Whether a record is of the live pipeline; its schema is at hand then.
    fn readable(&self, entry: &Entry) -> bool {
        if !entry.headers.is_live() {
            return false;
        }
        // What has no schema of the registry is the stage's to judge.
        if let Some(Err(why)) = entry.value.as_deref().map(|value| self.desk.look.decoder.codec(value)) {
            tracing::debug!(error_code = "unknown_schema", topic = &*entry.topic, why, "a record as it is");
        }
        true
    }

    /// All that a stage reads of a topic: what lies there, `before` says with what in its place; or, at the first hop, all from where the replay begins.
    fn feed(
        &mut self,
        topic: &Arc<str>,
        mut before: Option<&mut Hop>,
        reader: &mut dyn Reader<'a>,
    ) -> anyhow::Result<()> {
        if !self.topics.contains_key(&**topic) {
            return Ok(());
        }
        let look = self.desk.look;
        let admin = look.admin()?;
        let marks = admin.watermarks(topic);
        admin.retire();
        let from = if before.is_some() { self.later() } else { self.wanted.scope.from };
        for Marks { partition, low, stable, .. } in marks.map_err(unreachable)? {
            let coming = before.as_deref_mut().map(|hop| hop.coming(topic, partition));
            let mut coming = VecDeque::from(coming.unwrap_or_default());
            if low >= stable && coming.is_empty() {
                continue;
            }
            reader.partition();
            let spec = ReadSpec {
                from,
                partitions: Some(vec![partition]),
                ..ReadSpec::whole(&look.kafka, CLIENT, topic)
            };
            look.read(&spec, |entry| {
                if self.is_enough(before.is_none()) {
                    return Ok(ControlFlow::Break(()));
                }
                self.word(reader.name(), "replayed", &entry);
                if !self.readable(&entry) {
                    return Ok(ControlFlow::Continue(()));
                }
                while let Some(fed) = coming.front().filter(|fed| fed.at <= entry.timestamp) {
                    reader.record(fed, &mut self.desk)?;
                    coming.pop_front();
                }
                if let Some(fed) = self.fed(entry, before.as_deref_mut(), reader) {
                    reader.record(&fed, &mut self.desk)?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
            coming.iter().try_for_each(|fed| reader.record(fed, &mut self.desk))?;
            reader.end(&mut self.desk)?;
        }
        Ok(())
    }

    /// Whether as much of the first topics was read as may be.
    fn is_enough(&mut self, first: bool) -> bool {
        let enough = first && self.read >= self.wanted.scope.limit;
        self.cut |= enough;
        enough
    }

    /// What the stage reads where this record lies.
    fn fed(&mut self, entry: Entry, before: Option<&mut Hop>, reader: &mut dyn Reader<'a>) -> Option<Fed> {
        let Some(hop) = before else {
            self.read += 1;
            self.begin(&entry);
            return Some(Fed::from(entry));
        };
        match hop.way(&entry, &self.origins) {
            Way::Not => None,
            Way::AsItWas => Some(Fed::from(entry)),
            Way::Instead(fed) => Some(*fed),
            Way::Missing => {
                let detection: Option<Detection> =
                    entry.value.as_deref().and_then(|value| self.desk.codec.decode(value).ok());
                detection.iter().for_each(|d| reader.missing(&d.event_id));
                None
            }
        }
    }

    /// What comes of this record is replayed.
    fn begin(&mut self, entry: &Entry) {
        if self.wanted.first == First::Raw {
            self.origins.insert(hop::id(format!("{}/{}/{}", entry.topic, entry.partition, entry.offset)));
            if let Some(first) = entry.headers.get(header::REPLAY_PLACE) {
                self.origins.insert(hop::id(first));
            }
            return;
        }
        let event = || {
            let detection = entry.value.as_deref().map(|value| self.desk.codec.decode::<Detection>(value));
            detection.and_then(Result::ok).map(|d| d.event_id).unwrap_or_default()
        };
        let origin = match entry.headers.get(header::ORIGIN) {
            Some(origin) => hop::id(origin),
            None => hop::id(event()),
        };
        self.origins.insert(origin);
    }

    /// Whether nothing lies before where it begins: then stages begin with nothing, as they did then.
    fn begins_at_the_beginning(&self) -> anyhow::Result<bool> {
        if self.wanted.scope.from != From::Beginning {
            return Ok(false);
        }
        let admin = self.desk.look.admin()?;
        let first: Vec<Arc<str>> = match self.wanted.first {
            First::Raw => {
                let sources = self.declarations.sources.values();
                sources.map(|source| Arc::from(source.topic(self.desk.prefix()))).collect()
            }
            First::Detections => vec![self.desk.topic("detections")],
            First::Enriched => vec![self.desk.topic("enriched")],
        };
        for topic in first.iter().filter(|topic| self.topics.contains_key(&***topic)) {
            let marks = admin.watermarks(topic).map_err(unreachable)?;
            if marks.iter().any(|mark| mark.low > 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn word(&mut self, who: &str, what: &str, entry: &Entry) {
        if self.word.elapsed() >= WORD {
            self.word = Instant::now();
            let Entry { topic, partition, offset, .. } = entry;
            render::notice(&format!("{who}: {what}, now {topic}/{partition}/{offset}"));
        }
    }
}

/// Both together.
fn merge(sum: &mut Counts, other: Counts) {
    sum.read += other.read;
    sum.emitted += other.emitted;
    sum.held += other.held;
    sum.failed += other.failed;
    other.dropped.into_iter().for_each(|(code, n)| *sum.dropped.entry(code).or_default() += n);
    other.dead_lettered.into_iter().for_each(|(code, n)| *sum.dead_lettered.entry(code).or_default() += n);
}
