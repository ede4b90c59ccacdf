//! Schema ids from a Confluent-compatible registry, kept in memory. Registers our schemas at start, fetches foreign ids once, ahead of
//! the decoder (`ensure`), so that no stage ever waits for it.
use apache_avro::Schema;
use atio_schemas::{SUBJECTS, SchemaIds, codec::parse_schema};
use atio_stream::SchemaSource;
use schema_registry_converter::{
    async_impl::schema_registry::{
        SrSettings, get_all_subjects, get_schema_by_id, get_schema_by_subject, post_schema,
    },
    schema_registry_common::{SchemaType, SubjectNameStrategy, SuppliedSchema},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// A registry call ends after this long.
const LIMIT: Duration = Duration::from_secs(5);
/// After so long, an id that was unknown is asked for again.
const FORGET: Duration = Duration::from_secs(10);
const UNKNOWN_MAX: usize = 10_000;

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
    /// Ids that the registry did not know, and when it said so: a flood of made-up ids must not become a flood of questions.
    unknown: RwLock<HashMap<i32, Instant>>,
    io: tokio::runtime::Handle,
}

impl fmt::Debug for RegistryIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryIds").field("url", &self.url).field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl RegistryIds {
    /// For reading alone: nothing is registered or asked for yet; each id is fetched when it is first seen.
    ///
    /// # Errors
    /// The URL is none. To be called within a runtime that outlives this.
    pub fn reader(url: &str) -> Result<Arc<Self>, RegistryError> {
        let settings = settings(url)?;
        let (url, io) = (url.to_owned(), tokio::runtime::Handle::current());
        let (ids, schemas, unknown) = (HashMap::new(), RwLock::default(), RwLock::default());
        Ok(Arc::new(Self { settings, url, ids, schemas, unknown, io }))
    }

    /// Registers all subjects of ours (idempotent) and keeps their ids.
    ///
    /// # Errors
    /// The registry does not answer, or refuses a schema (compatibility).
    pub async fn register(url: &str) -> Result<Arc<Self>, RegistryError> {
        let unreachable = |reason: String| RegistryError::Unreachable { url: url.to_owned(), reason };
        let settings = settings(url)?;
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
        Ok(Arc::new(Self {
            settings,
            url,
            ids,
            schemas: RwLock::new(schemas),
            unknown: RwLock::default(),
            io,
        }))
    }

    /// Fetches the schema of an id that is not in memory yet. Ok also where the registry says that there is none.
    async fn fetch(&self, id: i32) -> Result<(), String> {
        if self.schema_of(id).is_some() || self.is_unknown(id) {
            return Ok(());
        }
        let Ok(wire) = u32::try_from(id) else { return Ok(()) };
        let found = tokio::time::timeout(LIMIT, get_schema_by_id(wire, &self.settings)).await;
        let found = match found.map_err(|_| format!("schema id {id}: no answer from {}", self.url))? {
            Ok(found) => found,
            Err(e) if e.retriable => return Err(format!("schema id {id}: {e}")),
            Err(_) => return self.remember_unknown(id),
        };
        // What is registered and no Avro schema can't be decoded either.
        let Ok(schema) = parse_schema(&found.schema) else { return self.remember_unknown(id) };
        self.schemas.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(schema));
        Ok(())
    }

    fn is_unknown(&self, id: i32) -> bool {
        let unknown = self.unknown.read().unwrap_or_else(PoisonError::into_inner);
        unknown.get(&id).is_some_and(|since| since.elapsed() < FORGET)
    }

    fn remember_unknown(&self, id: i32) -> Result<(), String> {
        let mut unknown = self.unknown.write().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() >= UNKNOWN_MAX {
            unknown.clear();
        }
        unknown.insert(id, Instant::now());
        Ok(())
    }
}

/// How one of our subjects stands in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// Its newest version is our schema, under this id.
    As(u32),
    /// Its newest version is another schema.
    Otherwise,
    Not,
}

/// Looks up every subject of ours; changes nothing.
///
/// # Errors
/// The registry does not answer.
pub async fn registered(url: &str) -> Result<Vec<(&'static str, Registered)>, RegistryError> {
    let unreachable = |reason: String| RegistryError::Unreachable { url: url.to_owned(), reason };
    let settings = settings(url)?;
    let there = get_all_subjects(&settings).await.map_err(|e| unreachable(e.to_string()))?;
    let mut found = Vec::with_capacity(SUBJECTS.len());
    for (subject, text) in SUBJECTS {
        if !there.iter().any(|t| t == subject) {
            found.push((*subject, Registered::Not));
            continue;
        }
        let name = SubjectNameStrategy::RecordNameStrategy((*subject).to_owned());
        let newest = get_schema_by_subject(&settings, &name).await.map_err(|e| unreachable(e.to_string()))?;
        let same = parse_schema(&newest.schema)
            .is_ok_and(|theirs| Schema::parse_str(text).is_ok_and(|s| s == theirs));
        found.push((*subject, if same { Registered::As(newest.id) } else { Registered::Otherwise }));
    }
    Ok(found)
}

fn settings(url: &str) -> Result<SrSettings, RegistryError> {
    crate::http::tls::provider();
    let settings = SrSettings::new_builder(url.to_owned()).set_timeout(LIMIT).build();
    settings.map_err(|e| RegistryError::Unreachable { url: url.to_owned(), reason: e.to_string() })
}

impl SchemaIds for RegistryIds {
    fn id_of(&self, subject: &str) -> Option<i32> {
        self.ids.get(subject).copied()
    }
    fn schema_of(&self, id: i32) -> Option<Arc<Schema>> {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}

impl SchemaSource for RegistryIds {
    fn ensure(&self, id: i32) -> Result<(), String> {
        self.io.block_on(self.fetch(id))
    }
}
