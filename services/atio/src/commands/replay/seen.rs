//! The reference tables that a replayed branch looks into: as the branch saw them then, by what it noted on `epochs`. Owns how that is found out, and
//! what is told where it can't be. Must not know: what a branch makes of a row.
use super::CLIENT;
use crate::{
    commands::look::{Look, read_error},
    render,
};
use atio_runtime::clock;
use atio_schemas::{Timestamp, header, reference::ReferenceRow, state::Epoch};
use atio_stage::Tables;
use atio_stream::read::{Entry, From, ReadSpec, TopicReader};
use atio_workflow::{
    Branch, Definition, Trigger,
    tables::{self, History, Place, Rows, Seen},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Versions of a table's rows at most.
const MAX_VERSIONS: usize = 4_000_000;
/// What a broker keeps where a topic says nothing else: no time at all.
const LAG: &str = "min.compaction.lag.ms";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// As each event saw them, as far as that is known
    #[default]
    Then,
    /// As they are now
    Now,
}

/// How branches saw a table: a run is one event in one branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Told {
    pub table: String,
    /// Exactly as the branch saw it then.
    pub noted: u64,
    /// As it was when the event came; for the reason in `why`.
    pub by_time: u64,
    /// As it is now; for the reason in `why`.
    pub now: u64,
    pub why: BTreeMap<&'static str, u64>,
}

impl Told {
    /// For people.
    pub fn sentence(&self) -> String {
        let why: Vec<String> = self.why.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        format!(
            "table {}: {} runs with its rows as they were noted then, {} as they were by time, {} as they are now{why}",
            self.table, self.noted, self.by_time, self.now
        )
    }
}

/// By table, where its partitions were.
type Offsets = BTreeMap<String, Seen>;

pub struct Past<'a> {
    look: &'a Look,
    which: Which,
    tables: BTreeMap<String, (Arc<History>, Told)>,
    /// By branch and partition of the workflow's topic, from which offset on.
    epochs: BTreeMap<(String, i32), BTreeMap<i64, Offsets>>,
    /// Where an event lay on the workflow's topic; none where events are read from there.
    places: Option<HashMap<String, (i32, i64)>>,
    /// What a branch saw last.
    last: BTreeMap<String, (Vec<Seen>, Arc<Tables>)>,
}

impl<'a> Past<'a> {
    /// Reads what is needed. `from`, `limit`: of the events.
    pub fn open(
        look: &'a Look,
        definition: &Definition,
        which: Which,
        from: From,
        limit: u64,
    ) -> anyhow::Result<Self> {
        let mut past = Self {
            look,
            which,
            tables: BTreeMap::new(),
            epochs: BTreeMap::new(),
            places: (definition.on == Trigger::Detection).then(HashMap::new),
            last: BTreeMap::new(),
        };
        for name in definition.footprint().tables {
            let history = Arc::new(history(look, &name)?);
            past.tables.insert(name.clone(), (history, Told { table: name, ..Told::default() }));
        }
        if past.tables.is_empty() || which == Which::Now {
            return Ok(past);
        }
        let topic = format!("{}workflow.{}", look.config.prefix, definition.name);
        past.epochs(&definition.name, &topic)?;
        if past.places.is_some() && look.topics()?.contains_key(&topic) {
            past.places(&topic, from, limit)?;
        }
        Ok(past)
    }

    /// What the branches of this workflow have noted.
    fn epochs(&mut self, workflow: &str, topic: &str) -> anyhow::Result<()> {
        let start = format!("{}.{workflow}.", atio_routing::SERVICE);
        let (look, mut broken) = (self.look, 0_u64);
        look.scan(&format!("{}epochs", look.config.prefix), |entry| {
            if !entry.key.as_deref().is_some_and(|key| key.starts_with(start.as_bytes())) {
                return;
            }
            let Ok(epoch) = look.decoder.decode::<Epoch>(&entry.value.unwrap_or_default()) else {
                broken += 1;
                return;
            };
            let Some(branch) = epoch.stage.strip_prefix(&start).filter(|_| epoch.topic == topic) else {
                return;
            };
            let of_branch = self.epochs.entry((branch.to_owned(), epoch.partition)).or_default();
            // The same offset again: nothing was processed in between.
            of_branch.insert(epoch.first_offset, offsets(&epoch));
        })?;
        if broken > 0 {
            render::notice(&format!("{broken} records of epochs can't be read; they are left out"));
        }
        Ok(())
    }

    fn places(&mut self, topic: &str, from: From, limit: u64) -> anyhow::Result<()> {
        // Offsets are those of other topics.
        let from = if matches!(from, From::Time(_)) { from } else { From::Beginning };
        let look = self.look;
        let spec = ReadSpec { from, ..ReadSpec::whole(&look.kafka, CLIENT, topic) };
        let Some(places) = &mut self.places else { return Ok(()) };
        for entry in TopicReader::open(&spec).map_err(read_error)? {
            let entry = entry.map_err(read_error)?;
            if look.is_stopped() || places.len() as u64 >= limit {
                break;
            }
            if entry.headers.text(header::RUN).is_some_and(|run| run != header::LIVE) {
                continue;
            }
            if let Some(event) = entry.headers.text(header::CE_ID) {
                places.entry(event.to_owned()).or_insert((entry.partition, entry.offset));
            }
        }
        Ok(())
    }

    /// The tables that this branch is to see with this event.
    pub fn seen(&mut self, branch: &Branch, event: &str, entry: &Entry) -> Arc<Tables> {
        if branch.tables.is_empty() {
            return Arc::default();
        }
        let mut seen = vec![];
        for table in &branch.tables {
            let (wanted, mut why) = self.wanted(&branch.name, table, event, entry);
            let Some((history, told)) = self.tables.get_mut(table) else { continue };
            let is_whole = history.is_whole(&wanted);
            why = if is_whole { why } else { Some("compacted") };
            let wanted = if is_whole { wanted } else { Seen::Now };
            match (&wanted, why) {
                (Seen::Now, _) => told.now += 1,
                (Seen::By(_), _) => told.by_time += 1,
                (Seen::UpTo(_), _) => told.noted += 1,
            }
            why.into_iter().for_each(|why| *told.why.entry(why).or_default() += 1);
            seen.push(wanted);
        }
        if let Some((_, tables)) = self.last.get(&*branch.name).filter(|(last, _)| *last == seen) {
            return Arc::clone(tables);
        }
        let codec = self.look.decoder.any();
        let one = |(table, seen): (&String, &Seen)| {
            let (history, _) = self.tables.get(table)?;
            let rows = Rows::past(codec.clone(), Arc::clone(history), seen.clone());
            Some((tables::name(table), Box::new(rows) as Box<dyn atio_stage::View>))
        };
        let all = Arc::new(Tables(branch.tables.iter().zip(&seen).filter_map(one).collect()));
        self.last.insert(branch.name.to_string(), (seen, Arc::clone(&all)));
        all
    }

    /// How much of a table an event is to see, and why it is not what was noted.
    fn wanted(&self, branch: &str, table: &str, event: &str, entry: &Entry) -> (Seen, Option<&'static str>) {
        if self.which == Which::Now {
            return (Seen::Now, Some("asked"));
        }
        let place = match &self.places {
            None => Some((entry.partition, entry.offset)),
            Some(places) => places.get(event).copied(),
        };
        let by_time = Seen::By(entry.timestamp);
        let Some((partition, offset)) = place else { return (by_time, Some("not_routed")) };
        let noted = self.epochs.get(&(branch.to_owned(), partition));
        let noted = noted.and_then(|epochs| epochs.range(..=offset).next_back());
        match noted.and_then(|(_, offsets)| offsets.get(&*tables::name(table).0)) {
            Some(seen) => (seen.clone(), None),
            None => (by_time, Some("not_noted")),
        }
    }

    /// What was seen, table by table.
    pub fn told(self) -> Vec<Told> {
        self.tables.into_values().map(|(_, told)| told).collect()
    }
}

fn offsets(epoch: &Epoch) -> Offsets {
    let mut all: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for at in &epoch.tables {
        all.entry(at.table.clone()).or_default().insert(at.partition, at.offset);
    }
    all.into_iter().map(|(table, offsets)| (table, Seen::UpTo(Arc::new(offsets)))).collect()
}

/// Every row that the table's topic has, with what was there before.
fn history(look: &Look, name: &str) -> anyhow::Result<History> {
    let topic = format!("{}reference.{name}", look.config.prefix);
    let old = foldable(look, &topic)?;
    let mut history = History::default();
    for entry in TopicReader::open(&ReadSpec::whole(&look.kafka, CLIENT, &topic)).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if look.is_stopped() {
            break;
        }
        anyhow::ensure!(history.versions() < MAX_VERSIONS, "{topic} has more than {MAX_VERSIONS} records");
        let key = String::from_utf8_lossy(entry.key.as_deref().unwrap_or_default()).into_owned();
        let row = entry.value.as_deref().map(|value| look.decoder.decode::<ReferenceRow>(value)).transpose();
        let place = Place { partition: entry.partition, offset: entry.offset, at: entry.timestamp };
        match row {
            Ok(row) => history.add(&key, place, row.map(|row| row.columns), entry.timestamp < old),
            Err(error) => render::notice(&format!("{topic}, row {key}: {error}; it is left out")),
        }
    }
    Ok(history)
}

/// Records of a topic from before this time may be compacted.
fn foldable(look: &Look, topic: &str) -> anyhow::Result<Timestamp> {
    let topic: Arc<str> = Arc::from(topic);
    let settings = look.admin()?.numbers(std::slice::from_ref(&topic), LAG);
    let lag = settings.map_err(crate::system::wanted::unreachable)?.remove(&topic).unwrap_or(0);
    Ok(clock::now().plus_millis(lag.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::state::TableOffset;

    #[test]
    fn an_epoch_is_read_table_by_table() {
        let at = |table: &str, partition, offset| TableOffset { table: table.into(), partition, offset };
        let epoch = Epoch {
            stage: "routing.w.b".into(),
            topic: "atio.workflow.w".into(),
            partition: 0,
            first_offset: 7,
            tables: vec![at("reference.a", 0, 3), at("reference.a", 1, 0), at("workflows", 0, 9)],
            at: Timestamp(0),
        };
        let found = offsets(&epoch);
        assert_eq!(found["reference.a"], Seen::UpTo(Arc::new([(0, 3), (1, 0)].into())));
        assert_eq!(found["workflows"], Seen::UpTo(Arc::new([(0, 9)].into())));
    }

    #[test]
    fn why_is_told() {
        let mut told = Told { table: "owners".into(), noted: 3, now: 2, ..Told::default() };
        told.why.insert("compacted", 2);
        assert_eq!(
            told.sentence(),
            "table owners: 3 runs with its rows as they were noted then, 0 as they were by time, 2 as they are now (2 compacted)"
        );
    }
}
