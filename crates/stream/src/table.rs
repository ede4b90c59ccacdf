//! Reference tables as one lane sees them: read to the end before the first batch, advanced between transactions (exactly-once, rule 19).
//! Owns which snapshot the lane sees; must not know who else sees it, nor what a view makes of its rows.
use crate::{
    config::Kafka,
    fault::{Fault, Tp},
};
use atio_schemas::state::TableOffset;
use atio_stage::{TableSpec, Tables};
use snapshot::Snapshot;
use std::sync::Arc;

mod shared;
mod snapshot;
#[cfg(test)]
mod tests;

pub use shared::SharedTables;

type Ensure<'a> = &'a dyn Fn(Option<&[u8]>) -> Result<(), String>;

/// A stage's tables, and where they are.
pub(crate) struct TableReader {
    source: Option<Arc<shared::Source>>,
    seen: Arc<Snapshot>,
    /// What [`Self::take_changed`] has told.
    told_version: u64,
    /// What [`Self::take_refused`] has told.
    told_refused: u64,
}

impl TableReader {
    /// No tables: nothing is read.
    #[must_use]
    pub(crate) fn none() -> Self {
        Self { source: None, seen: Arc::default(), told_version: 0, told_refused: 0 }
    }

    /// The tables of a stage, read to their ends unless another lane of the process has them already.
    ///
    /// # Errors
    /// `Retry`: the broker does not answer, or a table's topic is not there.
    pub(crate) fn load(
        shared: &SharedTables,
        specs: &[TableSpec],
        (kafka, client_id): (&Kafka, &str),
        ensure: Ensure<'_>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Self, Fault> {
        if specs.is_empty() {
            return Ok(Self::none());
        }
        let source = shared.source(specs);
        let seen = source.load((kafka, client_id), ensure, wanted)?;
        Ok(Self { source: Some(source), told_version: seen.version, seen, told_refused: 0 })
    }

    #[must_use]
    pub(crate) fn tables(&self) -> &Tables {
        &self.seen.tables
    }
    /// Rows that a view left out, since the last look.
    pub(crate) fn take_refused(&mut self) -> u64 {
        let told = std::mem::replace(&mut self.told_refused, self.seen.refused);
        self.seen.refused - told
    }
    /// Whether a table has changed since the last look.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.told_version, self.seen.version) != self.seen.version
    }

    /// Sees what has come, to this lane or another; to be called between transactions only.
    ///
    /// # Errors
    /// `Retry`: the client's, or a schema that can't be fetched now. What came before is seen.
    pub(crate) fn advance(&mut self, ensure: Ensure<'_>) -> Result<(), Fault> {
        let Some(source) = &self.source else { return Ok(()) };
        let advanced = source.advance(&mut self.seen, ensure);
        source.follow(&mut self.seen);
        advanced
    }

    /// Where the tables are, for `atio.epochs`.
    #[must_use]
    pub(crate) fn offsets(&self) -> Vec<TableOffset> {
        let Some(source) = &self.source else { return vec![] };
        let name =
            |topic: &Arc<str>| source.specs.iter().find(|s| s.topic == *topic).map(|s| s.name.0.to_string());
        let offset = |(tp, at): (&Tp, &i64)| {
            Some(TableOffset { table: name(&tp.topic)?, partition: tp.partition, offset: *at })
        };
        self.seen.applied.iter().filter_map(offset).collect()
    }
}
