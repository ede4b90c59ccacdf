//! Rows of reference tables as branches look into them: every column, as text. Owns this view of `reference.<table>`. Must not know: what a row
//! is asked for, who loads a table.
mod history;

pub use history::{Folded, History, Place, Seen};

use atio_schemas::{Codec, reference::ReferenceRow};
use atio_stage::{StageError, TableName, TableSpec, View};
use atio_vrl::Row;
use std::{collections::HashMap, sync::Arc};

/// A table's rows by their key.
#[derive(Clone)]
pub struct Rows {
    codec: Codec,
    rows: HashMap<Box<str>, Arc<Row>>,
    /// In the place of the rows: those of a time that is past.
    past: Option<(Arc<History>, Seen)>,
}

/// A stage's name for this table; no user's table can be mistaken for one of the stage's own.
#[must_use]
pub fn name(table: &str) -> TableName {
    TableName::new(&format!("reference.{table}"))
}

/// The table, from the topic `<prefix>reference.<table>`. Stages that have clones of one spec share the rows.
#[must_use]
pub fn table(prefix: &str, table: &str, codec: &Codec) -> TableSpec {
    let codec = codec.clone();
    TableSpec {
        name: name(table),
        topic: Arc::from(format!("{prefix}reference.{table}")),
        make: Arc::new(move || Box::new(Rows::new(codec.clone()))),
    }
}

impl Rows {
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, rows: HashMap::new(), past: None }
    }
    /// As they were seen.
    #[must_use]
    pub fn past(codec: Codec, history: Arc<History>, seen: Seen) -> Self {
        Self { codec, rows: HashMap::new(), past: Some((history, seen)) }
    }
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Row>> {
        match &self.past {
            None => self.rows.get(key),
            Some((history, seen)) => history.get(key, seen),
        }
    }
    /// A row that comes from no topic.
    pub fn insert(&mut self, key: &str, row: Row) {
        self.rows.insert(Box::from(key), Arc::new(row));
    }
}

impl View for Rows {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        let key = String::from_utf8_lossy(key);
        self.rows.remove(&*key);
        if let Some(value) = value {
            let row: ReferenceRow = self
                .codec
                .decode(value)
                .map_err(|e| StageError { code: e.code(), message: format!("row {key}: {e}") })?;
            self.insert(&key, row.columns);
        }
        Ok(())
    }
    fn fork(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}
