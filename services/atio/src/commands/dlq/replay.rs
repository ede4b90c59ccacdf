//! `atio dlq replay`, `drop`: what is meant, looked at, and, with --yes, done. Owns the order of things, the pace and the stop by a signal.
use super::{
    dead_letters_of,
    edit::{Edit, EditArgs},
    letter::{At, Letter},
    marks::Marks,
    pen::{Act, Order, Pen},
    restore::{Restored, Site},
    select::{Chosen, Seen, Unit, Which},
    told::{Line, Mode, Told},
};
use crate::{
    commands::{
        block_on,
        look::{self, Decoder, Look, read_error},
    },
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
    system::{self, wanted::unreachable},
};
use atio_runtime::lifecycle::pause;
use atio_schemas::{letter::LetterAction, raw::RawEvent};
use atio_stream::read::{Entry, From, Next, ReadSpec, TopicReader, Until};
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

const CLIENT: &str = "atio-dlq";
/// Of one transaction at most: records, and their bytes.
const BATCH: u32 = 200;
const BATCH_BYTES: usize = 4 << 20;
/// A fifth of a second's share in one transaction: marks and audit entries cost a transaction each.
const SHARE: u32 = 5;
const PROGRESS: Duration = Duration::from_secs(1);
const REASON_MAX: usize = 4096;
const ACTOR_MAX: usize = 256;
const ORIGINAL: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    edit: EditArgs,
    /// Records a second at most
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    rate: NonZeroU32,
    /// Also to topics of others, which a source has adopted
    #[arg(long)]
    adopted: bool,
    #[command(flatten)]
    by: By,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct DropArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    by: By,
    /// Why nobody needs them
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct By {
    /// Do it; without this it is only shown
    #[arg(long)]
    yes: bool,
    /// Who does it
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
    /// For people, or one JSON object a letter
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    text.trim_end_matches("/s").parse().map_err(|_| "a number of records a second, from 1 on".to_owned())
}

fn order(action: LetterAction, by: &By, reason: Option<String>, again: bool) -> anyhow::Result<Order> {
    let actor = by.actor.clone().filter(|a| !a.is_empty());
    let actor = match actor {
        Some(actor) if actor.len() > ACTOR_MAX => {
            return Err(Failure::usage(format!("--as: at most {ACTOR_MAX} bytes")));
        }
        Some(actor) => actor,
        None if by.yes => return Err(Failure::usage("who does it? give --as NAME")),
        None => String::new(),
    };
    if reason.as_ref().is_some_and(|r| r.len() > REASON_MAX) {
        return Err(Failure::usage(format!("--reason: at most {REASON_MAX} bytes")));
    }
    let run_id = uuid::Uuid::new_v4().to_string();
    Ok(Order { action, actor, reason, run_id, again })
}

pub fn replay(target: &Target, args: ReplayArgs) -> anyhow::Result<Exit> {
    let edit = args.edit.read()?;
    if args.edit.set_value.is_some() && args.which.at.len() != 1 {
        return Err(Failure::usage("--set-value is for one letter: name it by --at PARTITION/OFFSET"));
    }
    let order = order(LetterAction::Replayed, &args.by, args.reason.clone(), args.which.again)?;
    let words = words(target)?;
    look::finish(target, move |look| {
        let plan = Plan::of(look, &args.which)?;
        let site = site(look, &plan.seen, edit, &args)?;
        Run { look, words: &words, plan, order, by: &args.by }.replay(&args, &site)
    })
}

pub fn drop(target: &Target, args: DropArgs) -> anyhow::Result<Exit> {
    let order = order(LetterAction::Dropped, &args.by, Some(args.reason.clone()), args.which.again)?;
    let words = words(target)?;
    look::finish(target, move |look| {
        let plan = Plan::of(look, &args.which)?;
        Run { look, words: &words, plan, order, by: &args.by }.drop(&args)
    })
}

fn words(target: &Target) -> anyhow::Result<Decoder> {
    let config = target.configuration(serde_json::json!({}))?;
    let (codec, ids) = block_on(system::codec(&target.registry(&config)?))?;
    Ok(Decoder::of(codec, ids))
}

fn site(look: &Look, seen: &Seen, edit: Edit, args: &ReplayArgs) -> anyhow::Result<Site> {
    let admin = look.admin()?;
    let topics = admin.topics().map_err(unreachable)?;
    let there: Vec<Arc<str>> =
        seen.sources().filter(|t| topics.contains_key(*t)).map(|t| Arc::from(t.as_str())).collect();
    let limits = admin.max_message_bytes(&there).map_err(unreachable)?;
    let groups = admin.groups().map_err(unreachable)?.into_iter().map(|g| g.name).collect();
    let prefix = look.config.prefix.clone();
    Ok(Site { prefix, topics, limits, groups, edit, adopted: args.adopted, again: args.which.again })
}

/// The letters of a topic, looked through once.
struct Plan {
    topic: String,
    seen: Seen,
}

impl Plan {
    fn of(look: &Look, which: &Which) -> anyhow::Result<Self> {
        let topic = dead_letters_of(look, &which.topic)?;
        let seen = Seen::read(look, &topic, which)?;
        Ok(Self { topic, seen })
    }
}

struct Run<'a> {
    look: &'a Look,
    words: &'a Decoder,
    plan: Plan,
    order: Order,
    by: &'a By,
}

impl<'a> Run<'a> {
    /// The pen, where something is to be written, and what is left to do by marks that stay true.
    fn begin(&mut self, which: &Which, to: &BTreeSet<String>) -> anyhow::Result<(Option<Pen<'a>>, Chosen)> {
        let codec = self.words.any().clone();
        let topic = &self.plan.topic;
        let pen = if self.by.yes {
            Some(Pen::open(self.look, codec, topic, to, self.order.clone())?)
        } else {
            None
        };
        let seen = std::mem::take(&mut self.plan.seen);
        let chosen = match &pen {
            Some(pen) => seen.units(which, |at| pen.marks().of(topic, at)),
            None => {
                let marks = Marks::read(self.look)?;
                seen.units(which, |at| marks.of(topic, at))
            }
        };
        chosen.refuse_what_is_done()?;
        Ok((pen, chosen))
    }

    fn mode(&self) -> Mode {
        if self.by.yes { Mode::Written } else { Mode::Dry }
    }

    fn replay(mut self, args: &ReplayArgs, site: &Site) -> anyhow::Result<Exit> {
        let to: BTreeSet<String> = site.limits.keys().map(ToString::to_string).collect();
        let (pen, mut chosen) = self.begin(&args.which, &to)?;
        let before = chosen.done.len();
        let mut writing = Writing {
            look: self.look,
            topic: self.plan.topic.clone(),
            pen,
            told: Told::new(self.by.format, self.mode(), "replayed"),
            pace: Pace::new(args.rate),
            all: chosen.units.len(),
            batch: vec![],
            bytes: 0,
            lines: vec![],
        };
        let mut originals = Originals { look: self.look, words: self.words, last: None };
        let spec = ReadSpec::whole(&self.look.kafka, CLIENT, &self.plan.topic);
        let mut result = Ok(());
        let each = |entry: Entry| {
            if let Some(unit) = chosen.units.remove(&Letter(&entry).at()) {
                let codec = self.words.known(entry.value.as_deref().unwrap_or_default());
                let restored = site.restore(&entry, codec, &mut |topic, at| originals.read(topic, at));
                result = writing.take(Letter(&entry), unit, restored);
            }
            if result.is_err() || chosen.units.is_empty() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        TopicReader::open(&spec)
            .map_err(read_error)?
            .for_each(|| self.look.is_stopped(), each)
            .map_err(read_error)?;
        result?;
        writing.end(before, &self.order.run_id)
    }

    fn drop(mut self, args: &DropArgs) -> anyhow::Result<Exit> {
        let (mut pen, chosen) = self.begin(&args.which, &BTreeSet::new())?;
        let before = chosen.done.len();
        let mut told = Told::new(self.by.format, self.mode(), "dropped");
        let reasons = &chosen.reasons;
        let mut acts: Vec<Act> = vec![];
        for unit in chosen.units.into_values() {
            let (stage, code) = reasons.get(&unit.at).cloned().unwrap_or_default();
            acts.push(Act { unit, stage, code, restored: None });
        }
        let mut rest = acts.into_iter().peekable();
        while rest.peek().is_some() && !self.look.is_stopped() {
            let batch: Vec<Act> = rest.by_ref().take(BATCH as usize).collect();
            let written = match &mut pen {
                Some(pen) => pen.write(batch)?,
                None => batch,
            };
            for act in written {
                told.letter(Line::new(&self.plan.topic, &act.unit, &act.stage, &act.code, 1), &[])?;
            }
        }
        let left = rest.count();
        if self.by.yes {
            render::notice(
                "the letters stay on their topic until retention takes them; `atio dlq ls` shows them as dropped",
            );
        }
        stopped(left, told.end(before, &self.order.run_id)?)
    }
}

/// A signal leaves the rest undone.
fn stopped(left: usize, exit: Exit) -> anyhow::Result<Exit> {
    if left == 0 {
        return Ok(exit);
    }
    render::notice(&format!("stopped: {left} records are left; the same command goes on"));
    Ok(Exit::Failed)
}

/// Records on their way: gathered, then written together at the pace that was asked for.
struct Writing<'a> {
    look: &'a Look,
    topic: String,
    pen: Option<Pen<'a>>,
    told: Told,
    pace: Pace,
    /// Records that were chosen.
    all: usize,
    batch: Vec<Act>,
    bytes: usize,
    /// Of the batch.
    lines: Vec<(At, Line)>,
}

impl Writing<'_> {
    fn take(
        &mut self,
        letter: Letter<'_>,
        unit: Unit,
        restored: Result<Restored, super::restore::Refused>,
    ) -> anyhow::Result<()> {
        let mut line = Line::new(&self.topic, &unit, letter.stage(), letter.code(), letter.attempt());
        self.all = self.all.saturating_sub(1);
        let restored = match restored {
            Ok(restored) => restored,
            Err(refused) => {
                line.refused(&refused);
                return self.told.letter(line, &[]);
            }
        };
        line.restored(&restored);
        if self.pen.is_none() {
            return self.told.letter(line, &restored.warnings);
        }
        let size = restored.output.size();
        if !self.batch.is_empty() && self.bytes + size > BATCH_BYTES {
            self.flush()?;
        }
        self.bytes += size;
        self.lines.push((unit.at, line));
        let (stage, code) = (letter.stage().to_owned(), letter.code().to_owned());
        self.batch.push(Act { unit, stage, code, restored: Some(restored) });
        if self.batch.len() >= self.pace.batch { self.flush() } else { Ok(()) }
    }

    /// Waits for its turn, then writes: nothing is open while it waits.
    fn flush(&mut self) -> anyhow::Result<()> {
        let Some(pen) = self.pen.as_mut().filter(|_| !self.batch.is_empty()) else { return Ok(()) };
        self.pace.wait(self.batch.len(), || self.look.is_stopped());
        if self.look.is_stopped() {
            self.all += self.batch.len();
            self.batch.clear();
            self.lines.clear();
            return Ok(());
        }
        let written = pen.write(std::mem::take(&mut self.batch))?;
        self.bytes = 0;
        let lines = std::mem::take(&mut self.lines);
        for (at, line) in lines {
            if let Some(act) = written.iter().find(|act| act.unit.at == at) {
                let warnings = act.restored.as_ref().map_or(&[][..], |r| &r.warnings);
                self.told.letter(line, warnings)?;
            }
        }
        if self.pace.is_time_to_tell() {
            render::notice(&format!("{} replayed, {} to go", self.told.records, self.all));
        }
        Ok(())
    }

    fn end(mut self, before: usize, run_id: &str) -> anyhow::Result<Exit> {
        self.flush()?;
        stopped(self.all, self.told.end(before, run_id)?)
    }
}

/// So many records a second.
struct Pace {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    batch: usize,
    told: Instant,
}

impl Pace {
    fn new(rate: NonZeroU32) -> Self {
        let batch = NonZeroU32::new((rate.get() / SHARE).clamp(1, BATCH)).unwrap_or(NonZeroU32::MIN);
        let limiter = RateLimiter::direct(Quota::per_second(rate).allow_burst(batch));
        Self { limiter, clock: DefaultClock::default(), batch: batch.get() as usize, told: Instant::now() }
    }
    fn wait(&self, records: usize, stop: impl Fn() -> bool) {
        let Some(records) = u32::try_from(records).ok().and_then(NonZeroU32::new) else { return };
        // A batch is never more than the burst.
        while let Ok(Err(not_yet)) = self.limiter.check_n(records) {
            pause(not_yet.wait_time_from(self.clock.now()), &stop);
            if stop() {
                return;
            }
        }
    }
    fn is_time_to_tell(&mut self) -> bool {
        let is_time = self.told.elapsed() >= PROGRESS;
        if is_time {
            self.told = Instant::now();
        }
        is_time
    }
}

/// Records that parts were cut from: several of them in a row are of one.
struct Originals<'a> {
    look: &'a Look,
    words: &'a Decoder,
    last: Option<(String, At, Option<RawEvent>)>,
}

impl Originals<'_> {
    fn read(&mut self, topic: &str, at: At) -> Option<RawEvent> {
        if let Some((_, _, event)) = self.last.as_ref().filter(|(t, a, _)| t == topic && *a == at) {
            return event.clone();
        }
        let event = self.fetched(topic, at);
        self.last = Some((topic.to_owned(), at, event.clone()));
        event
    }

    fn fetched(&self, topic: &str, at: At) -> Option<RawEvent> {
        let spec = ReadSpec {
            partitions: Some(vec![at.partition]),
            from: From::Offset(at.offset),
            until: Until::End,
            ..ReadSpec::whole(&self.look.kafka, CLIENT, topic)
        };
        match TopicReader::open(&spec).ok()?.next(ORIGINAL).ok()? {
            Next::Record(entry) if entry.offset == at.offset => {
                self.words.decode(entry.value.as_deref().unwrap_or_default()).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces() {
        assert_eq!(rate("250/s").map(NonZeroU32::get), Ok(250));
        assert_eq!(rate("1").map(NonZeroU32::get), Ok(1));
        assert!(rate("0").is_err() && rate("fast").is_err());
        let batch = |n| Pace::new(NonZeroU32::new(n).unwrap()).batch;
        assert_eq!((batch(1), batch(100), batch(1_000_000)), (1, 20, 200));
        // A batch is within the burst, so that it ever goes.
        for n in [1, 4, 7, 100, 5000] {
            let pace = Pace::new(NonZeroU32::new(n).unwrap());
            let batch = NonZeroU32::new(pace.batch as u32).unwrap();
            assert!(pace.limiter.check_n(batch).is_ok(), "{n}");
        }
    }

    #[test]
    fn nobody_does_it_without_a_name() {
        let by =
            |yes, actor: Option<&str>| By { yes, actor: actor.map(str::to_owned), format: Format::Human };
        let of = |by: &By| order(LetterAction::Dropped, by, None, false).map(|o| o.actor);
        assert_eq!(of(&by(true, Some("carol"))).unwrap(), "carol");
        assert!(of(&by(true, None)).is_err() && of(&by(true, Some(""))).is_err());
        assert!(of(&by(false, None)).is_ok(), "looking is free");
        assert!(of(&by(true, Some(&"x".repeat(300)))).is_err());
        assert!(order(LetterAction::Dropped, &by(true, Some("c")), Some("x".repeat(5000)), false).is_err());
    }
}
