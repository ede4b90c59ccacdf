//! Schema ids without a registry, for tests and for programs that read and write no topic.
use super::{PARSED, SchemaIds};
use apache_avro::Schema;
use std::sync::Arc;

/// Every subject of ours, with ids from 1 in the order of [`super::SUBJECTS`].
#[derive(Clone)]
pub struct StaticIds(Arc<[(&'static str, Arc<Schema>)]>);

impl StaticIds {
    #[must_use]
    pub fn new() -> Self {
        Self(PARSED.iter().map(|(subject, schema)| (*subject, Arc::new(schema.clone()))).collect())
    }
}

impl Default for StaticIds {
    fn default() -> Self {
        Self::new()
    }
}

impl SchemaIds for StaticIds {
    fn id_of(&self, subject: &str) -> Option<i32> {
        let index = self.0.binary_search_by_key(&subject, |(name, _)| name).ok()?;
        i32::try_from(index + 1).ok()
    }
    fn schema_of(&self, id: i32) -> Option<Arc<Schema>> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.0.get(index).map(|(_, schema)| Arc::clone(schema))
    }
}
