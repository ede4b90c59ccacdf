//! Views with the offsets that they are made of. Owns how a row gets into its view; must not know who sees a snapshot or when.
use super::Ensure;
use crate::{client::consumer::Incoming, fault::Tp};
use atio_stage::{TableSpec, Tables};
use std::collections::{BTreeMap, HashSet};

/// Tables as they are at these offsets. A clone goes on alone.
#[derive(Clone, Default)]
pub(super) struct Snapshot {
    pub(super) tables: Tables,
    /// Per partition of a table's topic: everything below is applied.
    pub(super) applied: BTreeMap<Tp, i64>,
    /// Goes up with every change.
    pub(super) version: u64,
    /// Rows that a view left out, of all so far.
    pub(super) refused: u64,
}

/// Views that have rows which they have not settled, by their place in the list of specs.
pub(super) type Touched = HashSet<usize>;

impl Snapshot {
    #[must_use]
    pub(super) fn empty(specs: &[TableSpec], applied: BTreeMap<Tp, i64>) -> Self {
        let tables = Tables(specs.iter().map(|s| (s.name.clone(), (s.make)())).collect());
        Self { tables, applied, ..Self::default() }
    }

    /// # Errors
    /// The row's schema can't be fetched now. What the view says of a row is counted and reported; the others stand.
    pub(super) fn apply(
        &mut self,
        specs: &[TableSpec],
        record: &Incoming<'_>,
        ensure: Ensure<'_>,
        touched: &mut Touched,
    ) -> Result<(), String> {
        ensure(record.value())?;
        for (index, spec) in specs.iter().enumerate().filter(|(_, s)| *s.topic == *record.topic()) {
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

    /// Makes the views whole again that have new rows.
    pub(super) fn settle(&mut self, specs: &[TableSpec], touched: Touched) {
        self.version += u64::from(!touched.is_empty());
        for index in touched {
            let name = specs.get(index).map(|s| &s.name);
            if let Some(view) = name.and_then(|n| self.tables.0.get_mut(n)) {
                view.settle();
            }
        }
    }
}
