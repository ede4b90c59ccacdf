//! The registry's REST API, without HTTP or Kafka: a [`Request`] in, a [`Response`] out, changes through a [`Log`]. Owns paths, error codes and
//! the order of changes (one at a time; acknowledged, then applied). Status and error codes are Confluent's.
mod answer;
mod request;

pub use answer::{CONTENT_TYPE, Response};
pub use request::Request;

use crate::compat::Level;
use crate::record::Entry;
use crate::store::{Refusal, Store, Version};
use answer::Fault;
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Longest request body, in bytes: a schema of the greatest length, escaped.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The log could not be written or read, or it is not known whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogError(pub String);

/// The topic `_schemas`: one partition, compacted.
pub trait Log: Send + Sync {
    /// Appends a record and waits until it is acknowledged by all in-sync replicas.
    fn append(&self, key: Vec<u8>, value: Option<Vec<u8>>) -> BoxFuture<'_, Result<(), LogError>>;
    /// Every record from the start to the end that the topic has now, in order.
    fn read(&self) -> BoxFuture<'_, Result<Vec<Entry>, LogError>>;
}

/// The registry: state in memory, and the log that it came from.
pub struct Registry<L> {
    log: L,
    store: RwLock<Store>,
    /// Held during a change. True: an append failed, so that what the log holds is not known until it is read again.
    writer: tokio::sync::Mutex<bool>,
}

impl<L: Log> Registry<L> {
    /// Starts from what the log holds.
    ///
    /// # Errors
    /// The log's.
    pub async fn open(log: L) -> Result<Self, LogError> {
        let store = replay(&log).await?;
        Ok(Self { log, store: RwLock::new(store), writer: tokio::sync::Mutex::new(false) })
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<'_>) -> Response {
        if request.body.len() > MAX_BODY {
            return Fault::TooLarge.into();
        }
        let Some(path) = request.segments() else { return Fault::NoPath.into() };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let answer = match request.method {
            "GET" => self.get(&path, &request),
            "POST" | "PUT" | "DELETE" => self.change(&path, &request).await,
            _ => Err(Fault::Method),
        };
        answer.map_or_else(Response::from, Response::ok)
    }

    fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, path: &[&str], request: &Request<'_>) -> Result<Value, Fault> {
        let store = self.store();
        let deleted = request.flag("deleted");
        match path {
            [] => Ok(json!({})),
            ["subjects"] => {
                let prefix = request.parameter("subjectPrefix").unwrap_or_default();
                let names = store.subjects(deleted).filter(|name| name.starts_with(&prefix));
                Ok(names.collect())
            }
            ["subjects", subject, "versions"] => {
                let versions: Vec<i32> = store.versions(subject, deleted).map(|v| v.version).collect();
                if versions.is_empty() { Err(Fault::no_subject(subject)) } else { Ok(versions.into()) }
            }
            ["subjects", subject, "versions", version] => Ok(full(find(&store, subject, version, deleted)?)),
            ["subjects", subject, "versions", version, "schema"] => {
                raw(&find(&store, subject, version, deleted)?.schema)
            }
            ["subjects", subject, "versions", version, "referencedby"] => {
                find(&store, subject, version, deleted).map(|_| json!([]))
            }
            ["schemas", "types"] => Ok(json!(["AVRO"])),
            ["schemas", "ids", id] => {
                let version = by_id(&store, id)?;
                let mut answer = json!({"schema": version.schema});
                decorate(&mut answer, version);
                Ok(answer)
            }
            ["schemas", "ids", id, "schema"] => raw(&by_id(&store, id)?.schema),
            ["schemas", "ids", id, "versions"] => {
                let id = by_id(&store, id)?.id;
                let shown = store.with_id(id).filter(|v| deleted || !v.deleted);
                Ok(shown.map(|v| json!({"subject": v.subject, "version": v.version})).collect())
            }
            ["schemas", "ids", id, "subjects"] => {
                let id = by_id(&store, id)?.id;
                let mut names: Vec<_> =
                    store.with_id(id).filter(|v| deleted || !v.deleted).map(|v| v.subject.as_str()).collect();
                names.dedup();
                Ok(names.into())
            }
            ["config"] => Ok(level_answer(store.level_set(None).unwrap_or_default())),
            ["config", subject] => match store.level_set(Some(subject)) {
                Some(level) => Ok(level_answer(level)),
                None if request.flag("defaultToGlobal") => Ok(level_answer(store.level(subject))),
                None => Err(Fault::NoLevel((*subject).to_owned())),
            },
            ["mode"] | ["mode", _] => Ok(json!({"mode": "READWRITE"})),
            _ => Err(Fault::NoPath),
        }
    }

    async fn change(&self, path: &[&str], request: &Request<'_>) -> Result<Value, Fault> {
        match (request.method, path) {
            ("POST", ["subjects", subject]) => self.look_up(subject, request),
            ("POST", ["subjects", subject, "versions"]) => self.register(subject, request).await,
            ("DELETE", ["subjects", subject]) => {
                let permanent = request.flag("permanent");
                let plan = |store: &Store| store.delete_subject(subject, permanent);
                Ok(self.write(plan).await?.into())
            }
            ("DELETE", ["subjects", subject, "versions", version]) => {
                let (version, permanent) = (number(version)?, request.flag("permanent"));
                let plan = |store: &Store| {
                    store
                        .delete_version(subject, version, permanent)
                        .map(|(version, record)| (version, vec![record]))
                };
                Ok(self.write(plan).await?.into())
            }
            ("POST", ["compatibility", "subjects", subject, "versions"]) => {
                self.compatible(subject, None, request)
            }
            ("POST", ["compatibility", "subjects", subject, "versions", version]) => {
                self.compatible(subject, Some(version), request)
            }
            ("PUT", ["config"]) => self.set_level(None, request).await,
            ("PUT", ["config", subject]) => self.set_level(Some(checked(subject)?), request).await,
            ("DELETE", ["config"]) => self.unset_level(None).await,
            ("DELETE", ["config", subject]) => self.unset_level(Some(subject)).await,
            ("PUT", ["mode"]) => match request.body()?.mode.as_deref() {
                Some("READWRITE") => Ok(json!({"mode": "READWRITE"})),
                _ => Err(Fault::Mode),
            },
            _ if self.get(path, request).is_ok() => Err(Fault::Method),
            _ => Err(Fault::NoPath),
        }
    }

    fn look_up(&self, subject: &str, request: &Request<'_>) -> Result<Value, Fault> {
        let schema = request.body()?.avro()?;
        let store = self.store();
        if store.versions(subject, request.flag("deleted")).next().is_none() {
            return Err(Fault::no_subject(subject));
        }
        crate::compat::parse(&schema).map_err(Refusal::InvalidSchema)?;
        store.find(subject, &schema, request.flag("deleted")).map(full).ok_or(Fault::NoSchema)
    }

    async fn register(&self, subject: &str, request: &Request<'_>) -> Result<Value, Fault> {
        let (subject, schema) = (checked(subject)?, request.body()?.avro()?);
        // What is registered already, as by every program that starts, needs no turn.
        let known = self.store().find(subject, &schema, false).map(|v| v.id);
        let id = match known {
            Some(id) => id,
            None => {
                self.write(|store| {
                    store.register(subject, &schema).map(|(id, entry)| (id, entry.into_iter().collect()))
                })
                .await?
            }
        };
        Ok(json!({"id": id}))
    }

    fn compatible(
        &self,
        subject: &str,
        version: Option<&str>,
        request: &Request<'_>,
    ) -> Result<Value, Fault> {
        let schema = request.body()?.avro()?;
        let store = self.store();
        let level = store.level(subject);
        let reasons = match version {
            None => store.incompatibilities(subject, &schema, level)?,
            Some(version) => {
                let parsed = crate::compat::parse(&schema).map_err(Refusal::InvalidSchema)?;
                let number = number(version)?;
                match (store.version(subject, number, false), number) {
                    (Some(found), _) => {
                        crate::compat::check(level, &parsed, &[(found.version, &found.schema)])
                    }
                    // Nothing to be incompatible with.
                    (None, None) => vec![],
                    (None, Some(n)) => return Err(Refusal::NoVersion(n).into()),
                }
            }
        };
        let mut answer = json!({"is_compatible": reasons.is_empty()});
        if request.flag("verbose") {
            answer["messages"] = reasons.into();
        }
        Ok(answer)
    }

    async fn set_level(&self, subject: Option<&str>, request: &Request<'_>) -> Result<Value, Fault> {
        let level = request.body()?.compatibility.as_deref().and_then(Level::parse).ok_or(Fault::Level)?;
        self.write(|_| Ok((level, vec![Store::set_level(subject, Some(level))?]))).await?;
        Ok(json!({"compatibility": level.as_str()}))
    }

    async fn unset_level(&self, subject: Option<&str>) -> Result<Value, Fault> {
        let before = self.store().level_set(subject);
        let before = match (before, subject) {
            (None, Some(subject)) => return Err(Fault::NoLevel(subject.to_owned())),
            (before, _) => before.unwrap_or_default(),
        };
        self.write(|_| Ok(((), vec![Store::set_level(subject, None)?]))).await?;
        Ok(level_answer(before))
    }

    /// Makes a change: planned on what is, appended, applied; nobody else in between.
    async fn write<T>(
        &self,
        plan: impl FnOnce(&Store) -> Result<(T, Vec<Entry>), Refusal>,
    ) -> Result<T, Fault> {
        let mut stale = self.writer.lock().await;
        if *stale {
            let store = replay(&self.log).await?;
            *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
            *stale = false;
        }
        let (answer, records) = plan(&self.store())?;
        for (key, value) in records {
            // Also when this future is dropped while it waits, the record may be in the log.
            *stale = true;
            self.log.append(key.clone(), value.clone()).await?;
            let applied =
                self.store.write().unwrap_or_else(PoisonError::into_inner).apply(&key, value.as_deref());
            applied.map_err(|e| LogError(e.to_string()))?;
            *stale = false;
        }
        Ok(answer)
    }
}

async fn replay(log: &impl Log) -> Result<Store, LogError> {
    let mut store = Store::default();
    for (key, value) in log.read().await? {
        if let Err(error) = store.apply(&key, value.as_deref()) {
            tracing::warn!(%error, "passed over");
        }
    }
    Ok(store)
}

fn find<'a>(store: &'a Store, subject: &str, version: &str, deleted: bool) -> Result<&'a Version, Fault> {
    let version = number(version)?;
    if store.versions(subject, deleted).next().is_none() {
        return Err(Fault::no_subject(subject));
    }
    let found = store.version(subject, version, deleted);
    found.ok_or_else(|| version.map_or_else(|| Fault::no_subject(subject), |n| Refusal::NoVersion(n).into()))
}

fn by_id<'a>(store: &'a Store, id: &str) -> Result<&'a Version, Fault> {
    let number: i32 = id.parse().map_err(|_| Fault::NoPath)?;
    store.schema(number).ok_or(Fault::NoId(number))
}

/// A version in a path; null = `latest`.
fn number(text: &str) -> Result<Option<i32>, Fault> {
    match text {
        "latest" | "-1" => Ok(None),
        _ => text
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .map(Some)
            .ok_or_else(|| Fault::Version(text.chars().take(40).collect())),
    }
}

fn checked(subject: &str) -> Result<&str, Fault> {
    let fit = !subject.is_empty() && subject.len() <= 512 && !subject.chars().any(char::is_control);
    if fit { Ok(subject) } else { Err(Fault::Subject) }
}

fn full(version: &Version) -> Value {
    let mut answer = json!({"subject": version.subject, "version": version.version, "id": version.id, "schema": version.schema});
    decorate(&mut answer, version);
    answer
}

/// What only schemas of other registries have.
fn decorate(answer: &mut Value, version: &Version) {
    if let Some(kind) = &version.schema_type {
        answer["schemaType"] = kind.as_str().into();
    }
    if let Some(references) = &version.references {
        answer["references"] = references.clone();
    }
}

/// A schema as it is, not as a string within JSON.
fn raw(schema: &str) -> Result<Value, Fault> {
    serde_json::from_str(schema).map_err(|e| Fault::Log(LogError(e.to_string())))
}

fn level_answer(level: Level) -> Value {
    json!({"compatibilityLevel": level.as_str()})
}
