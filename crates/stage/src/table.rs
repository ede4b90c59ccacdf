//! Reference tables in memory: each stage brings its own typed view, fed record by record from a compacted topic.
//! A view advances between transactions only; a transaction sees one snapshot of all.
use crate::outcome::StageError;
use std::{any::Any, collections::HashMap, fmt, sync::Arc};

/// `[a-z0-9-]{1,63}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName(pub Arc<str>);

impl TableName {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }
}

/// What a stage makes of a table's records: indices by address, by name, compiled triggers …
pub trait View: Any + Send + Sync {
    /// The newest record of a key; value None = the row is gone.
    ///
    /// # Errors
    /// The row can't be used: it is left out, counted and reported; the others stand.
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError>;
    /// After a run of `apply`, before a transaction sees them: where an index is rebuilt as a whole.
    fn settle(&mut self) {}
    /// The same rows once more: where several lanes share a table, one goes on while another's transaction still sees it as it was. Rows
    /// behind an `Arc` make it cheap.
    fn fork(&self) -> Box<dyn View>;
}

/// The snapshot of a transaction.
#[derive(Default)]
pub struct Tables(pub HashMap<TableName, Box<dyn View>>);

impl Tables {
    /// The view of a table, where the stage declared it with this type.
    #[must_use]
    pub fn get<V: View>(&self, name: &str) -> Option<&V> {
        let view: &dyn Any = &**self.0.get(&TableName::new(name))?;
        view.downcast_ref()
    }
}

impl Clone for Tables {
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|(name, view)| (name.clone(), view.fork())).collect())
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
