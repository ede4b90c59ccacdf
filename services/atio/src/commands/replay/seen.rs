//! The reference tables that a replayed branch looks into, as it saw them then. Owns where an event lay when its branch saw it. Must not know: what a
//! branch makes of a row.
use super::{
    CLIENT,
    epochs::{Epochs, Told, Which, foldable, wanted},
};
use crate::{commands::look::Look, render};
use atio_schemas::{Timestamp, header, reference::ReferenceRow};
use atio_stage::Tables;
use atio_stream::read::{From, ReadSpec};
use atio_workflow::tables::{self, History, Place, Rows, Seen};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    rc::Rc,
    sync::Arc,
};

/// Versions of a table's rows at most.
const MAX_VERSIONS: usize = 4_000_000;

/// What is replayed of the topics, and how tables are shown.
#[derive(Clone, Copy)]
pub struct Scope {
    pub from: From,
    pub limit: u64,
    pub which: Which,
}

/// Of one workflow.
pub struct Past<'a> {
    look: &'a Look,
    which: Which,
    epochs: Rc<Epochs>,
    workflow: String,
    topic: String,
    tables: BTreeMap<String, (Arc<History>, Told)>,
    /// Where an event lay on the workflow's topic; none where events are read from there.
    places: Option<HashMap<String, (i32, i64)>>,
    /// What a branch saw last.
    last: BTreeMap<String, (Vec<Seen>, Arc<Tables>)>,
}

impl<'a> Past<'a> {
    /// `routed`: events are not read from the workflow's own topic, and to be found there.
    pub fn open(
        look: &'a Look,
        epochs: &Rc<Epochs>,
        workflow: &str,
        routed: bool,
        scope: Scope,
    ) -> anyhow::Result<Self> {
        let topic = format!("{}workflow.{workflow}", look.config.prefix);
        let mut past = Self {
            look,
            which: scope.which,
            epochs: Rc::clone(epochs),
            workflow: workflow.to_owned(),
            topic,
            tables: BTreeMap::new(),
            places: routed.then(HashMap::new),
            last: BTreeMap::new(),
        };
        if routed && scope.which == Which::Then && look.topics()?.contains_key(&past.topic) {
            past.places(scope)?;
        }
        Ok(past)
    }

    fn places(&mut self, scope: Scope) -> anyhow::Result<()> {
        // Offsets are those of other topics.
        let from = if matches!(scope.from, From::Time(_)) { scope.from } else { From::Beginning };
        let look = self.look;
        let spec = ReadSpec { from, ..ReadSpec::whole(&look.kafka, CLIENT, &self.topic) };
        let Some(places) = &mut self.places else { return Ok(()) };
        look.read(&spec, |entry| {
            if places.len() as u64 >= scope.limit {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(event) = entry.headers.text(header::CE_ID).filter(|_| entry.headers.is_live()) {
                places.entry(event.to_owned()).or_insert((entry.partition, entry.offset));
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The tables that this branch is to see with this event, which lies there and came at this time.
    pub fn seen(
        &mut self,
        branch: &str,
        names: &BTreeSet<String>,
        event: &str,
        (lies, at): ((i32, i64), Timestamp),
    ) -> anyhow::Result<Arc<Tables>> {
        if names.is_empty() {
            return Ok(Arc::default());
        }
        let place = match &self.places {
            None => Some(lies),
            Some(places) => places.get(event).copied(),
        };
        let stage = format!("{}.{}.{branch}", atio_routing::SERVICE, self.workflow);
        let epochs = Rc::clone(&self.epochs);
        let noted = place.and_then(|(partition, _)| epochs.of(&stage, &self.topic, partition));
        let mut seen = vec![];
        for table in names {
            if !self.tables.contains_key(table) {
                let history = Arc::new(history(self.look, table)?);
                self.tables.insert(table.clone(), (history, Told::of(table)));
            }
            let place = (place.map(|(_, offset)| offset), "not_routed");
            let wanted = wanted(self.which, noted, &tables::name(table).0, place, at);
            let Some((history, told)) = self.tables.get_mut(table) else { continue };
            let is_whole = history.is_whole(&wanted.0);
            seen.push(told.choose(wanted, is_whole));
        }
        if let Some((_, tables)) = self.last.get(branch).filter(|(last, _)| *last == seen) {
            return Ok(Arc::clone(tables));
        }
        let codec = self.look.decoder.any();
        let one = |(table, seen): (&String, &Seen)| {
            let (history, _) = self.tables.get(table)?;
            let rows = Rows::past(codec.clone(), Arc::clone(history), seen.clone());
            Some((tables::name(table), Box::new(rows) as Box<dyn atio_stage::View>))
        };
        let all = Arc::new(Tables(names.iter().zip(&seen).filter_map(one).collect()));
        self.last.insert(branch.to_owned(), (seen, Arc::clone(&all)));
        Ok(all)
    }

    /// What was seen, table by table.
    pub fn told(self) -> Vec<Told> {
        self.tables.into_values().map(|(_, told)| told).collect()
    }
}

/// Every row that the table's topic has, with what was there before.
fn history(look: &Look, name: &str) -> anyhow::Result<History> {
    let topic = format!("{}reference.{name}", look.config.prefix);
    let old = foldable(look, &topic)?;
    let mut history = History::default();
    look.read(&ReadSpec::whole(&look.kafka, CLIENT, &topic), |entry| {
        anyhow::ensure!(history.versions() < MAX_VERSIONS, "{topic} has more than {MAX_VERSIONS} records");
        let key = String::from_utf8_lossy(entry.key.as_deref().unwrap_or_default()).into_owned();
        let row = entry.value.as_deref().map(|value| look.decoder.decode::<ReferenceRow>(value)).transpose();
        let place = Place { partition: entry.partition, offset: entry.offset, at: entry.timestamp };
        match row {
            Ok(row) => history.add(&key, place, row.map(|row| row.columns), entry.timestamp < old),
            Err(error) => render::notice(&format!("{topic}, row {key}: {error}; it is left out")),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(history)
}
