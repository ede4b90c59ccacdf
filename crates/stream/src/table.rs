//! Reference tables: compacted topics into views, read to the end before the first batch, advanced between transactions (exactly-once,
//! rule 19). Owns the reader and what it has applied; must not know what a view makes of its rows.
use crate::{
    catchup::read_to,
    client::{assigned::Assigned, assigned::Isolation, consumer::Incoming},
    config::Kafka,
    fault::{Fault, FaultKind, Tp},
    machine::Millis,
};
use atio_schemas::state::TableOffset;
use atio_stage::{TableSpec, Tables};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

/// Tables advance at most so often.
const EVERY: Millis = 1000;
/// Rows that one advance applies at most; the rest comes with the next.
const ROWS_AT_ONCE: usize = 20_000;

type Ensure<'a> = &'a dyn Fn(Option<&[u8]>) -> Result<(), String>;

/// A stage's tables, and where they are.
pub(crate) struct TableReader {
    specs: Vec<TableSpec>,
    reader: Option<Assigned>,
    tables: Tables,
    /// Per partition of a table's topic: everything below is applied.
    applied: BTreeMap<Tp, i64>,
    last: Millis,
    /// Rows that a view refused.
    refused: u64,
}

impl TableReader {
    /// No tables: nothing is read.
    #[must_use]
    pub(crate) fn none() -> Self {
        Self {
            specs: vec![],
            reader: None,
            tables: Tables::default(),
            applied: BTreeMap::new(),
            last: 0,
            refused: 0,
        }
    }

    /// Reads the tables of a stage to their ends.
    ///
    /// # Errors
    /// `Retry`: the broker does not answer, or a table's topic is not there.
    pub(crate) fn load(
        specs: &[TableSpec],
        kafka: &Kafka,
        client_id: &str,
        ensure: Ensure<'_>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Self, Fault> {
        if specs.is_empty() {
            return Ok(Self::none());
        }
        let reader = Assigned::new(kafka, &format!("{client_id}-tables"), Isolation::Committed)?;
        // Tables may share a topic.
        let mut all = BTreeSet::new();
        for spec in specs {
            let partitions = reader.partitions(&spec.topic)?;
            if partitions == 0 {
                return Err(Fault::new(
                    FaultKind::Retry,
                    format!("table {} has no topic {}", spec.name.0, spec.topic),
                ));
            }
            all.extend((0..partitions).map(|partition| Tp::new(spec.topic.clone(), partition)));
        }
        let spans = reader.spans(&Vec::from_iter(all))?;
        let from: BTreeMap<Tp, i64> = spans.iter().map(|(tp, log)| (tp.clone(), log.low)).collect();
        let ends: BTreeMap<Tp, i64> =
            spans.into_iter().filter(|(_, log)| log.low < log.end).map(|(tp, log)| (tp, log.end)).collect();
        let tables = Tables(specs.iter().map(|s| (s.name.clone(), (s.make)())).collect());
        let mut made =
            Self { specs: specs.to_vec(), reader: None, tables, applied: from.clone(), last: 0, refused: 0 };
        reader.assign(&from)?;
        let mut touched = HashSet::new();
        if !ends.is_empty() {
            read_to(&reader, &ends, wanted, |record| made.apply(record, ensure, &mut touched))?;
        }
        made.settle(touched);
        made.applied.extend(reader.positions());
        made.reader = Some(reader);
        Ok(made)
    }

    #[must_use]
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }
    /// Rows that a view left out, since the last look.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Applies what has come; to be called between transactions only. True where a table has changed.
    ///
    /// # Errors
    /// `Retry`: the client's, or a schema that can't be fetched now.
    pub(crate) fn advance(&mut self, now: Millis, ensure: Ensure<'_>) -> Result<bool, Fault> {
        if self.reader.is_none() || now < self.last + EVERY {
            return Ok(false);
        }
        self.last = now;
        let Some(reader) = self.reader.take() else { return Ok(false) };
        let result = self.advance_with(&reader, ensure);
        self.reader = Some(reader);
        result
    }

    fn advance_with(&mut self, reader: &Assigned, ensure: Ensure<'_>) -> Result<bool, Fault> {
        let mut touched = HashSet::new();
        let mut result = Ok(());
        for _ in 0..ROWS_AT_ONCE {
            let record = match reader.poll(Duration::ZERO) {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            };
            if let Err(e) = self.apply(&record, ensure, &mut touched) {
                // Read again with the next advance: positions are set back to it.
                let tp = Tp::new(record.topic(), record.partition());
                drop(record);
                let mut from = reader.positions();
                from.insert(tp.clone(), self.applied.get(&tp).copied().unwrap_or(0));
                reader.assign(&from)?;
                result = Err(Fault::new(FaultKind::Retry, e));
                break;
            }
        }
        let changed = !touched.is_empty();
        self.settle(touched);
        result.map(|()| changed)
    }

    /// # Errors
    /// The row's schema can't be fetched now. What the view says of a row is counted and reported; the others stand.
    fn apply(
        &mut self,
        record: &Incoming<'_>,
        ensure: Ensure<'_>,
        touched: &mut HashSet<usize>,
    ) -> Result<(), String> {
        ensure(record.value())?;
        for (index, spec) in self.specs.iter().enumerate().filter(|(_, s)| *s.topic == *record.topic()) {
            let Some(view) = self.tables.0.get_mut(&spec.name) else { continue };
            touched.insert(index);
            if let Err(error) = view.apply(record.key().unwrap_or_default(), record.value()) {
                self.refused += 1;
                let at = format!("{}/{}/{}", record.topic(), record.partition(), record.offset());
                tracing::warn!(table = %spec.name.0, error_code = error.code.as_str(), at, message = error.message, "a table's row is left out");
            }
        }
        self.applied.insert(Tp::new(record.topic(), record.partition()), record.offset() + 1);
        Ok(())
    }

    fn settle(&mut self, touched: HashSet<usize>) {
        for index in touched {
            let name = self.specs.get(index).map(|s| &s.name);
            if let Some(view) = name.and_then(|n| self.tables.0.get_mut(n)) {
                view.settle();
            }
        }
    }

    /// Where the tables are, for `atio.epochs`.
    #[must_use]
    pub(crate) fn offsets(&self) -> Vec<TableOffset> {
        let name =
            |topic: &Arc<str>| self.specs.iter().find(|s| s.topic == *topic).map(|s| s.name.0.to_string());
        let offset = |(tp, at): (&Tp, &i64)| {
            Some(TableOffset { table: name(&tp.topic)?, partition: tp.partition, offset: *at })
        };
        self.applied.iter().filter_map(offset).collect()
    }
}
