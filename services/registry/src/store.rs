//! What the topic `_schemas` adds up to: subjects, their versions, ids, compatibility levels. Pure: [`Store::apply`] folds one record in, the
//! others look things up or say which records a change takes. Must not know Kafka or HTTP.
use crate::compat::{self, Level};
use crate::record::{BadRecord, ConfigValue, DeleteSubjectValue, Entry, Key, SchemaValue};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most versions in one registry.
pub const MAX_VERSIONS: usize = 20_000;
/// Most bytes of schema text in one registry: it is held in memory.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;

#[derive(Clone, Debug, Default)]
pub struct Store {
    subjects: BTreeMap<String, BTreeMap<i32, SchemaValue>>,
    /// Id by the schema's canonical text: the same schema has the same id in every subject.
    ids: HashMap<String, i32>,
    /// Where an id is in use.
    uses: HashMap<i32, BTreeSet<(String, i32)>>,
    level: Option<Level>,
    levels: BTreeMap<String, Level>,
    greatest_id: i32,
}

/// A version as the log has it, deleted or not.
pub type Version = SchemaValue;

/// Why a change can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Invalid schema: {0}")]
    InvalidSchema(String),
    #[error("{0}")]
    Incompatible(String),
    #[error("Subject '{0}' not found.")]
    NoSubject(String),
    #[error("Version {0} not found.")]
    NoVersion(i32),
    #[error("Subject '{0}' was soft deleted. Set permanent=true to delete permanently")]
    SubjectSoftDeleted(String),
    #[error("Subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotDeleted(String),
    #[error("Subject '{0}' Version {1} was soft deleted. Set permanent=true to delete permanently")]
    VersionSoftDeleted(String, i32),
    #[error("Subject '{0}' Version {1} was not deleted first before being permanently deleted")]
    VersionNotDeleted(String, i32),
    #[error("the registry is full: {MAX_VERSIONS} versions or {MAX_BYTES} bytes of schemas")]
    Full,
    #[error("{0}")]
    Internal(String),
}

impl From<BadRecord> for Refusal {
    fn from(error: BadRecord) -> Self {
        Self::Internal(error.to_string())
    }
}

impl Store {
    /// Folds in one record of the topic, in the topic's order.
    ///
    /// # Errors
    /// A record that can't be read; the store is as before.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BadRecord> {
        match (Key::read(key)?, value) {
            (Key::Schema { subject, version }, Some(value)) => {
                let mut read: SchemaValue = serde_json::from_slice(value)?;
                // The key is what compaction goes by.
                (read.subject, read.version) = (subject, version);
                self.put(read)
            }
            (Key::Schema { subject, version }, None) => self.remove(&subject, version),
            (Key::Config { subject }, value) => {
                let level = match value {
                    None => None,
                    Some(value) => {
                        let name = serde_json::from_slice::<ConfigValue>(value)?.compatibility_level;
                        Some(Level::parse(&name).ok_or_else(|| BadRecord(format!("level {name}")))?)
                    }
                };
                match (subject, level) {
                    (None, level) => self.level = level,
                    (Some(subject), Some(level)) => drop(self.levels.insert(subject, level)),
                    (Some(subject), None) => drop(self.levels.remove(&subject)),
                }
                Ok(())
            }
            (Key::DeleteSubject { subject }, Some(value)) => {
                let last = serde_json::from_slice::<DeleteSubjectValue>(value)?.version;
                let versions = self.subjects.get_mut(&subject).into_iter().flat_map(|v| v.range_mut(..=last));
                versions.for_each(|(_, version)| version.deleted = true);
                Ok(())
            }
            (Key::ClearSubject { subject }, Some(_)) => {
                let versions: Vec<i32> = self.versions(&subject, true).map(|v| v.version).collect();
                versions.into_iter().try_for_each(|version| self.remove(&subject, version))
            }
            (Key::DeleteSubject { .. } | Key::ClearSubject { .. }, None)
            | (Key::Mode { .. } | Key::Context {} | Key::Noop {}, _) => Ok(()),
        }
    }

    fn put(&mut self, value: SchemaValue) -> Result<(), BadRecord> {
        if value.version < 1 || value.id < 0 {
            return Err(BadRecord(format!("version {} with id {}", value.version, value.id)));
        }
        // An id that stands for another schema would make records unreadable: what came first stays.
        if let Some(other) = self.schema(value.id)
            && canonical(&other.schema) != canonical(&value.schema)
        {
            return Err(BadRecord(format!("id {} stands for another schema already", value.id)));
        }
        self.greatest_id = self.greatest_id.max(value.id);
        if value.schema_type.is_none() && value.references.is_none() {
            self.ids.entry(canonical(&value.schema)).or_insert(value.id);
        }
        let at = (value.subject.clone(), value.version);
        self.uses.entry(value.id).or_default().insert(at.clone());
        let before = self.subjects.entry(at.0.clone()).or_default().insert(at.1, value);
        if let Some(before) = before {
            self.unuse(&before, &at);
        }
        Ok(())
    }

    fn remove(&mut self, subject: &str, version: i32) -> Result<(), BadRecord> {
        let Some(versions) = self.subjects.get_mut(subject) else { return Ok(()) };
        let removed = versions.remove(&version);
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        if let Some(removed) = removed {
            self.unuse(&removed, &(subject.to_owned(), version));
        }
        Ok(())
    }

    /// Forgets that `version` stood at a place, unless what stands there now has the same id.
    fn unuse(&mut self, version: &Version, at: &(String, i32)) {
        if self.version(&at.0, Some(at.1), true).is_some_and(|now| now.id == version.id) {
            return;
        }
        if let Some(uses) = self.uses.get_mut(&version.id) {
            uses.remove(at);
            if uses.is_empty() {
                self.uses.remove(&version.id);
                self.ids.remove(&canonical(&version.schema));
            }
        }
    }

    /// Subjects with a version that is not deleted; with `deleted`, all of them. Alphabetical.
    pub fn subjects(&self, deleted: bool) -> impl Iterator<Item = &str> {
        let alive = move |versions: &BTreeMap<i32, Version>| deleted || versions.values().any(|v| !v.deleted);
        self.subjects.iter().filter(move |(_, versions)| alive(versions)).map(|(subject, _)| subject.as_str())
    }

    /// Versions of a subject, oldest first; with `deleted`, the softly deleted too. Empty for a subject that is not known.
    pub fn versions(&self, subject: &str, deleted: bool) -> impl DoubleEndedIterator<Item = &Version> {
        self.subjects
            .get(subject)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(move |v| deleted || !v.deleted)
    }

    /// One version; the newest where `version` is null.
    #[must_use]
    pub fn version(&self, subject: &str, version: Option<i32>, deleted: bool) -> Option<&Version> {
        match version {
            None => self.versions(subject, deleted).next_back(),
            Some(n) => self.subjects.get(subject)?.get(&n).filter(|v| deleted || !v.deleted),
        }
    }

    /// A version that has this id, deleted or not: records with it may still be read.
    #[must_use]
    pub fn schema(&self, id: i32) -> Option<&Version> {
        self.with_id(id).next()
    }

    /// Every version with this id, deleted or not.
    pub fn with_id(&self, id: i32) -> impl Iterator<Item = &Version> {
        let places = self.uses.get(&id).into_iter().flatten();
        places.filter_map(|(subject, version)| self.subjects.get(subject)?.get(version))
    }

    /// The version of a subject that holds this schema.
    #[must_use]
    pub fn find(&self, subject: &str, schema: &str, deleted: bool) -> Option<&Version> {
        let id = self.ids.get(&canonical(schema))?;
        self.versions(subject, deleted).rev().find(|v| v.id == *id)
    }

    /// The level set for a subject, or for all where it is null.
    #[must_use]
    pub fn level_set(&self, subject: Option<&str>) -> Option<Level> {
        subject.map_or(self.level, |subject| self.levels.get(subject).copied())
    }

    /// The level in force for a subject.
    #[must_use]
    pub fn level(&self, subject: &str) -> Level {
        self.level_set(Some(subject)).or(self.level).unwrap_or_default()
    }

    /// Why this schema may not follow the versions of a subject; empty when it may.
    ///
    /// # Errors
    /// Text that is no schema.
    pub fn incompatibilities(
        &self,
        subject: &str,
        schema: &str,
        level: Level,
    ) -> Result<Vec<String>, Refusal> {
        let parsed = compat::parse(schema).map_err(Refusal::InvalidSchema)?;
        let earlier: Vec<_> = self.versions(subject, false).map(|v| (v.version, v.schema.as_str())).collect();
        Ok(compat::check(level, &parsed, &earlier))
    }

    /// Registers a schema: its id, and the record that it takes; none where the subject has it already.
    ///
    /// # Errors
    /// No schema, one that may not follow, or no room.
    pub fn register(&self, subject: &str, schema: &str) -> Result<(i32, Option<Entry>), Refusal> {
        if let Some(known) = self.find(subject, schema, false) {
            return Ok((known.id, None));
        }
        let reasons = self.incompatibilities(subject, schema, self.level(subject))?;
        if !reasons.is_empty() {
            let head = "Schema being registered is incompatible with an earlier schema for subject";
            return Err(Refusal::Incompatible(format!(
                "{head} \"{subject}\", details: [{}]",
                reasons.join("; ")
            )));
        }
        let all = || self.subjects.values().flat_map(BTreeMap::values);
        if all().count() >= MAX_VERSIONS
            || all().map(|v| v.schema.len()).sum::<usize>() + schema.len() > MAX_BYTES
        {
            return Err(Refusal::Full);
        }
        let next = |n: i32| n.checked_add(1).ok_or(Refusal::Full);
        let version = next(self.version(subject, None, true).map_or(0, |v| v.version))?;
        let id = self.ids.get(&canonical(schema)).copied().map_or_else(|| next(self.greatest_id), Ok)?;
        let value = SchemaValue {
            subject: subject.to_owned(),
            version,
            id,
            schema_type: None,
            references: None,
            schema: schema.to_owned(),
            deleted: false,
        };
        Ok((id, Some(Key::Schema { subject: subject.to_owned(), version }.with(&value)?)))
    }

    /// Deletes a subject: the versions that go, and the records that it takes. Softly: they stay readable by id; else they are gone.
    ///
    /// # Errors
    /// A subject that is not known, is deleted already, or, for good, is not softly deleted yet.
    pub fn delete_subject(&self, subject: &str, permanent: bool) -> Result<(Vec<i32>, Vec<Entry>), Refusal> {
        let name = || subject.to_owned();
        let alive: Vec<i32> = self.versions(subject, false).map(|v| v.version).collect();
        let all: Vec<i32> = self.versions(subject, true).map(|v| v.version).collect();
        let config =
            self.levels.contains_key(subject).then(|| Key::Config { subject: Some(name()) }.tombstone());
        match (permanent, alive.last()) {
            _ if all.is_empty() => Err(Refusal::NoSubject(name())),
            (false, None) => Err(Refusal::SubjectSoftDeleted(name())),
            (true, Some(_)) => Err(Refusal::SubjectNotDeleted(name())),
            (false, Some(last)) => {
                let value = DeleteSubjectValue { subject: name(), version: *last };
                let record = Key::DeleteSubject { subject: name() }.with(&value)?;
                Ok((alive, std::iter::once(record).chain(config).collect()))
            }
            (true, None) => {
                let key = |version: &i32| Key::Schema { subject: name(), version: *version }.tombstone();
                let mark = Key::DeleteSubject { subject: name() }.tombstone();
                let records = all.iter().map(key).chain([mark]).chain(config).collect();
                Ok((all, records))
            }
        }
    }

    /// Deletes one version, the newest where `version` is null.
    ///
    /// # Errors
    /// As [`Store::delete_subject`], and a version that is not known.
    pub fn delete_version(
        &self,
        subject: &str,
        version: Option<i32>,
        permanent: bool,
    ) -> Result<(i32, Entry), Refusal> {
        let name = || subject.to_owned();
        if self.versions(subject, true).next().is_none() {
            return Err(Refusal::NoSubject(name()));
        }
        let found = self.version(subject, version, version.is_some() || permanent);
        let found =
            found.ok_or_else(|| version.map_or_else(|| Refusal::NoSubject(name()), Refusal::NoVersion))?;
        let key = Key::Schema { subject: name(), version: found.version };
        match (permanent, found.deleted) {
            (false, true) => Err(Refusal::VersionSoftDeleted(name(), found.version)),
            (true, false) => Err(Refusal::VersionNotDeleted(name(), found.version)),
            (true, true) => Ok((found.version, key.tombstone())),
            (false, false) => Ok((found.version, key.with(&SchemaValue { deleted: true, ..found.clone() })?)),
        }
    }

    /// The record that sets a level, or, where it is null, takes it back.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn set_level(subject: Option<&str>, level: Option<Level>) -> Result<Entry, Refusal> {
        let key = Key::Config { subject: subject.map(str::to_owned) };
        let Some(level) = level else { return Ok(key.tombstone()) };
        Ok(key.with(&ConfigValue { compatibility_level: level.to_string() })?)
    }
}

/// The schema's text without what has no meaning: blanks, the order of keys, the long form of a plain type.
fn canonical(schema: &str) -> String {
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                match entries.as_slice() {
                    [(key, Value::String(name))] if key == "type" => Value::String(name.clone()),
                    _ => Value::Object(entries.into_iter().collect()),
                }
            }
            Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
            other => other,
        }
    }
    if compat::depth(schema) > compat::MAX_DEPTH {
        return schema.to_owned();
    }
    serde_json::from_str(schema).map_or_else(|_| schema.to_owned(), |value| sorted(value).to_string())
}
