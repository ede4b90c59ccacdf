//! Tables of a stage as they were: every row that their topics have, and views that go along with what is to be shown. Owns how a view gets there. Must
//! not know: what a view makes of a row, which rows are to be shown.
use crate::commands::{
    look::Look,
    replay::{
        CLIENT,
        epochs::{Noted, Told, Which, foldable, wanted},
    },
};
use atio_schemas::Timestamp;
use atio_stage::{TableSpec, Tables};
use atio_stream::read::ReadSpec;
use atio_workflow::tables::{Folded, Place, Seen};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Of all rows of one table.
const MAX_BYTES: usize = 512 << 20;

struct Row {
    place: Place,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// What a table's topic has.
#[derive(Default)]
struct Log {
    /// By partition, in their order.
    rows: BTreeMap<i32, Vec<Row>>,
    folded: Folded,
}

impl Log {
    fn read(look: &Look, topic: &str) -> anyhow::Result<Self> {
        let old = foldable(look, topic)?;
        let (mut log, mut bytes) = (Self::default(), 0);
        look.read(&ReadSpec::whole(&look.kafka, CLIENT, topic), |entry| {
            let key = entry.key.unwrap_or_default();
            bytes += key.len() + entry.value.as_ref().map_or(0, Vec::len) + size_of::<Row>();
            anyhow::ensure!(
                bytes <= MAX_BYTES,
                "the rows of {topic} take more than {} MiB in memory",
                MAX_BYTES >> 20
            );
            // Its schema is at hand before a view reads it.
            if let Some(value) = entry.value.as_deref() {
                look.decoder.codec(value).map_err(|e| anyhow::anyhow!("{topic}: {e}"))?;
            }
            let place = Place { partition: entry.partition, offset: entry.offset, at: entry.timestamp };
            if entry.timestamp < old {
                log.folded.add(place);
            }
            log.rows.entry(entry.partition).or_default().push(Row { place, key, value: entry.value });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(log)
    }
}

/// The tables of one stage.
pub struct Views {
    specs: Vec<TableSpec>,
    logs: Vec<Log>,
    told: Vec<Told>,
    which: Which,
    shown: Vec<Seen>,
    /// How many rows of each table and partition are applied.
    applied: BTreeMap<(usize, i32), usize>,
    tables: Tables,
    /// Goes up with every change.
    pub version: u64,
    /// Rows that a view left out.
    pub refused: u64,
}

impl Views {
    pub fn read(look: &Look, specs: &[TableSpec], which: Which) -> anyhow::Result<Self> {
        let logs: anyhow::Result<Vec<Log>> = specs.iter().map(|spec| Log::read(look, &spec.topic)).collect();
        let told = specs.iter().map(|spec| Told::of(&spec.name.0)).collect();
        Ok(Self::of(specs, logs?, told, which))
    }

    fn of(specs: &[TableSpec], logs: Vec<Log>, told: Vec<Told>, which: Which) -> Self {
        let mut views = Self {
            specs: specs.to_vec(),
            logs,
            told,
            which,
            shown: vec![],
            applied: BTreeMap::new(),
            tables: Tables::default(),
            version: 0,
            refused: 0,
        };
        views.empty();
        views
    }

    /// For what lay at this offset (none: nowhere), and came at this time.
    pub fn show(&mut self, noted: Option<&Noted>, offset: Option<i64>, at: Timestamp) -> &Tables {
        let mut shown = Vec::with_capacity(self.specs.len());
        for ((spec, log), told) in self.specs.iter().zip(&self.logs).zip(&mut self.told) {
            let wanted = wanted(self.which, noted, &spec.name.0, (offset, "new"), at);
            let is_whole = log.folded.is_whole(&wanted.0);
            shown.push(told.choose(wanted, is_whole));
        }
        if shown != self.shown {
            self.turn(&shown);
            self.shown = shown;
        }
        &self.tables
    }

    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    #[must_use]
    pub fn told(self) -> Vec<Told> {
        self.told
    }

    fn empty(&mut self) {
        self.tables = Tables(self.specs.iter().map(|s| (s.name.clone(), (s.make)())).collect());
        self.applied.clear();
    }

    /// Goes on to what is to be shown; from the beginning where that lies behind.
    fn turn(&mut self, shown: &[Seen]) {
        let mut ends = BTreeMap::new();
        for (table, (log, seen)) in self.logs.iter().zip(shown).enumerate() {
            for (partition, rows) in &log.rows {
                ends.insert((table, *partition), rows.partition_point(|row| seen.sees(&row.place)));
            }
        }
        if ends.iter().any(|(at, end)| self.applied.get(at).is_some_and(|applied| applied > end)) {
            self.empty();
        }
        let mut touched = false;
        for ((table, partition), end) in ends {
            let from = self.applied.insert((table, partition), end).unwrap_or(0);
            let rows = self.logs.get(table).and_then(|log| log.rows.get(&partition));
            let spec = self.specs.get(table);
            let Some((rows, view)) = rows.zip(spec.and_then(|spec| self.tables.0.get_mut(&spec.name))) else {
                continue;
            };
            for row in rows.get(from..end).unwrap_or_default() {
                touched = true;
                self.refused += u64::from(view.apply(&row.key, row.value.as_deref()).is_err());
            }
        }
        if touched {
            self.tables.0.values_mut().for_each(|view| view.settle());
        }
        self.version += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_stage::{StageError, TableName, View};
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Texts(BTreeMap<Vec<u8>, Vec<u8>>);
    impl View for Texts {
        fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
            match value {
                Some(value) => self.0.insert(key.to_vec(), value.to_vec()),
                None => self.0.remove(key),
            };
            Ok(())
        }
        fn fork(&self) -> Box<dyn View> {
            Box::new(self.clone())
        }
    }

    fn views(folded: &[i64]) -> Views {
        let mut log = Log::default();
        for (offset, key, value) in
            [(0, "a", Some("1")), (2, "b", Some("2")), (4, "a", None), (6, "a", Some("3"))]
        {
            let place = Place { partition: 0, offset, at: Timestamp(offset * 10) };
            if folded.contains(&offset) {
                log.folded.add(place);
            }
            let row = Row { place, key: key.into(), value: value.map(Into::into) };
            log.rows.entry(0).or_default().push(row);
        }
        let spec = TableSpec {
            name: TableName::new("texts"),
            topic: Arc::from("texts"),
            make: Arc::new(|| Box::new(Texts::default())),
        };
        Views::of(&[spec], vec![log], vec![Told::of("texts")], Which::Then)
    }

    fn shown(views: &mut Views, offset: Option<i64>, at: i64) -> String {
        let seen = |end: i64| Seen::UpTo(Arc::new([(0, end)].into()));
        let noted: Noted =
            [(10, [("texts".to_owned(), seen(3))].into()), (20, [("texts".to_owned(), seen(5))].into())]
                .into();
        let tables = views.show(Some(&noted), offset, Timestamp(at));
        let texts = tables.get::<Texts>("texts").unwrap().0.values();
        texts.map(|v| String::from_utf8_lossy(v).into_owned()).collect()
    }

    #[test]
    fn views_go_along_and_back() {
        let mut views = views(&[]);
        assert_eq!(shown(&mut views, Some(10), 0), "12");
        assert_eq!(shown(&mut views, Some(25), 0), "2");
        assert_eq!(shown(&mut views, None, 0), "1", "by time, and back");
        assert_eq!(shown(&mut views, Some(3), 60), "32", "nothing was noted yet");
        let told = views.told().remove(0);
        assert_eq!((told.noted, told.by_time, told.now), (2, 2, 0));
        assert_eq!(told.why, [("new", 1), ("not_noted", 1)].into());
    }

    #[test]
    fn what_may_be_compacted_is_as_it_is_now() {
        let mut views = views(&[0, 2, 4]);
        assert_eq!(shown(&mut views, Some(10), 0), "32");
        assert_eq!(shown(&mut views, Some(20), 0), "2", "nothing older may be missing");
        assert_eq!(views.told().remove(0).why, [("compacted", 1)].into());
    }
}
