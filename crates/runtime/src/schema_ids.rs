//! Schema ids from a Confluent-compatible registry, kept in memory. Registers our schemas at start, fetches foreign ids once, ahead of
//! the decoder (`ensure`), so that no stage ever waits for it.
use apache_avro::Schema;
use atio_schemas::{SUBJECTS, SchemaIds};
use schema_registry_converter::{
    async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema},
    schema_registry_common::{SchemaType, SuppliedSchema},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// A registry call ends after this long.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("schema registry {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("schema registry {url} refused subject {subject}: {reason}")]
    Refused { url: String, subject: String, reason: String },
}

impl RegistryError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "registry_unreachable",
            Self::Refused { .. } => "registry_refused",
        }
    }
}

/// Ids and schemas seen so far, and the way to more.
pub struct RegistryIds {
    settings: SrSettings,
    url: String,
    ids: HashMap<String, i32>,
    schemas: RwLock<HashMap<i32, Arc<Schema>>>,
    io: tokio::runtime::Handle,
}

impl fmt::Debug for RegistryIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryIds").field("url", &self.url).field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl RegistryIds {
    /// Registers all subjects of ours (idempotent) and keeps their ids.
    ///
    /// # Errors
    /// The registry does not answer, or refuses a schema (compatibility).
    pub async fn register(url: &str) -> Result<Arc<Self>, RegistryError> {
        let unreachable = |reason: String| RegistryError::Unreachable { url: url.to_owned(), reason };
        let mut builder = SrSettings::new_builder(url.to_owned());
        let settings = builder.set_timeout(LIMIT).build().map_err(|e| unreachable(e.to_string()))?;
        let mut ids = HashMap::new();
        let mut schemas = HashMap::new();
        for (subject, text) in SUBJECTS {
            let supplied = SuppliedSchema::new(None, SchemaType::Avro, (*text).to_owned());
            let registered = post_schema(&settings, (*subject).to_owned(), supplied).await.map_err(|e| {
                if e.retriable {
                    unreachable(e.to_string())
                } else {
                    RegistryError::Refused {
                        url: url.to_owned(),
                        subject: (*subject).to_owned(),
                        reason: e.to_string(),
                    }
                }
            })?;
            let id = i32::try_from(registered.id)
                .map_err(|e| unreachable(format!("id {}: {e}", registered.id)))?;
            let schema = Schema::parse_str(text).map_err(|e| unreachable(format!("{subject}: {e}")))?;
            ids.insert((*subject).to_owned(), id);
            schemas.insert(id, Arc::new(schema));
        }
        let (url, io) = (url.to_owned(), tokio::runtime::Handle::current());
        Ok(Arc::new(Self { settings, url, ids, schemas: RwLock::new(schemas), io }))
    }

    /// Fetches the schema of an id that is not in memory yet.
    ///
    /// # Errors
    /// The registry does not answer, does not know the id, or it is no Avro schema.
    pub async fn fetch(&self, id: i32) -> Result<(), String> {
        if self.schema_of(id).is_some() {
            return Ok(());
        }
        let wire = u32::try_from(id).map_err(|e| format!("schema id {id}: {e}"))?;
        let found = tokio::time::timeout(LIMIT, get_schema_by_id(wire, &self.settings)).await;
        let found = found
            .map_err(|_| format!("schema id {id}: no answer"))?
            .map_err(|e| format!("schema id {id}: {e}"))?;
        let schema = Schema::parse_str(&found.schema).map_err(|e| format!("schema id {id}: {e}"))?;
        self.schemas.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(schema));
        Ok(())
    }
}

impl SchemaIds for RegistryIds {
    fn id_of(&self, subject: &str) -> Option<i32> {
        self.ids.get(subject).copied()
    }
    fn schema_of(&self, id: i32) -> Option<Arc<Schema>> {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}

impl RegistryIds {
    /// As [`Self::fetch`], from a thread that is no task (a lane): waits at most the registry's time limit.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn fetch_blocking(&self, id: i32) -> Result<(), String> {
        self.io.block_on(self.fetch(id))
    }
}
