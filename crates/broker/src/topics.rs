//! Owns the topics: names, ids, configs, and which partitions they have. Must not know requests, groups or transactional
//! ids, nor what happens inside a partition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};
use tracing::warn;
use uuid::Uuid;

use crate::health::Counted;
use crate::log::config::TopicConfig;
use crate::log::{LogError, recovery};
use crate::partition::{Partition, Topic};
use crate::store::{Change, Store, StoreError};

/// What the store keeps of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    id: Uuid,
    partitions: i32,
    configs: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) topic: Arc<Topic>,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

pub(crate) struct Topics {
    store: Arc<Store>,
    dir: PathBuf,
    strict: bool,
    max_partitions: usize,
    all: RwLock<BTreeMap<String, Found>>,
    health: Arc<Counted>,
    /// Held while topics are made, changed or deleted.
    admin: Mutex<()>,
}

/// Why topics could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("topic {topic} partition {partition}: {source}")]
    Log { topic: String, partition: i32, source: LogError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("topic {0}: its stored form can't be read")]
    Stored(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn storage(error: impl std::fmt::Display) -> ResponseError {
    warn!(%error, "topic metadata not written");
    ResponseError::KafkaStorageError
}

/// Whether Kafka takes it as a topic's name.
pub(crate) fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(legal)
}

impl Topics {
    /// Opens every log; unfinished deletions are finished.
    ///
    /// # Errors
    /// The disk's, damage.
    pub(crate) fn open(
        store: Arc<Store>,
        data: &Path,
        strict: bool,
        max_partitions: usize,
        health: Arc<Counted>,
    ) -> Result<Topics, OpenError> {
        let topics = Topics {
            store,
            dir: data.join("topics"),
            strict,
            max_partitions,
            all: RwLock::new(BTreeMap::new()),
            health,
            admin: Mutex::new(()),
        };
        std::fs::create_dir_all(&topics.dir)?;
        for (id, _) in topics.store.under("purge/") {
            topics.purge(&id)?;
        }
        for (name, bytes) in topics.store.under("topic/") {
            let Ok(stored) = serde_json::from_slice::<Stored>(&bytes) else {
                return Err(OpenError::Stored(name));
            };
            let config = TopicConfig::parse(&stored.configs).map_err(|_| OpenError::Stored(name.clone()))?;
            let topic = Arc::new(Topic::new(&name, stored.id, stored.configs, config));
            let partitions = (0..stored.partitions).map(|index| {
                topics.open_partition(&topic, index).map_err(|source| OpenError::Log {
                    topic: name.clone(),
                    partition: index,
                    source,
                })
            });
            let partitions = partitions.collect::<Result<_, _>>()?;
            topics.write().insert(name, Found { topic, partitions });
        }
        Ok(topics)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Found>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_partition(&self, topic: &Arc<Topic>, index: i32) -> Result<Arc<Partition>, LogError> {
        let id = topic.id.simple();
        let number = |key: String| self.store.get(&key).and_then(|b| serde_json::from_slice(&b).ok());
        let start = number(format!("start/{id}/{index}")).unwrap_or(0);
        let dir = self.dir.join(id.to_string()).join(index.to_string());
        let (mut log, recovered) = recovery::open(&dir, start, self.strict)?;
        self.health.recovered(&recovered);
        let key = format!("epochs/{id}/{index}");
        if let Some(bytes) = self.store.get(&key)
            && let Ok(epochs) = serde_json::from_slice(&bytes)
        {
            log.epochs = epochs;
        }
        if recovered.torn || recovered.missing > 0 {
            warn!(
                topic = topic.name,
                partition = index,
                "the log's end was torn: readers get a new leader epoch"
            );
            let next = (log.leader_epoch() + 1, log.next());
            log.epochs.push(next);
            let changed = vec![(key, serde_json::to_vec(&log.epochs).ok())];
            self.store.put(changed).map_err(|e| std::io::Error::other(e.to_string()))?;
        }
        Ok(Arc::new(Partition::new(topic.clone(), index, log)))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Found> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Found> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn by_id(&self, id: Uuid) -> Option<Found> {
        self.list().into_iter().find(|t| t.topic.id == id)
    }

    pub(crate) fn partition(&self, name: &str, index: i32) -> Option<Arc<Partition>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(name)?.partitions.get(usize::try_from(index).ok()?).cloned()
    }

    fn check_room(&self, more: i32) -> Result<(), (ResponseError, String)> {
        let have: usize = self.list().iter().map(|t| t.partitions.len()).sum();
        if more < 1 {
            return Err((ResponseError::InvalidPartitions, "at least one partition".to_owned()));
        }
        if have + more as usize > self.max_partitions {
            let limit = format!("this broker keeps at most {} partitions", self.max_partitions);
            return Err((ResponseError::PolicyViolation, limit));
        }
        Ok(())
    }

    /// Makes a topic, or only says whether it could.
    ///
    /// # Errors
    /// The protocol's, with a sentence.
    pub(crate) fn create(
        &self,
        name: &str,
        count: i32,
        configs: BTreeMap<String, String>,
        dry_run: bool,
    ) -> Result<Uuid, (ResponseError, String)> {
        let _admin = lock(&self.admin);
        if !is_name(name) {
            return Err((ResponseError::InvalidTopicException, "not a topic's name".to_owned()));
        }
        if self.get(name).is_some() {
            return Err((ResponseError::TopicAlreadyExists, "the topic exists".to_owned()));
        }
        self.check_room(count)?;
        let config = TopicConfig::parse(&configs).map_err(|e| (ResponseError::InvalidConfig, e))?;
        let id = Uuid::new_v4();
        if dry_run {
            return Ok(id);
        }
        let failed = |e: &dyn std::fmt::Display| (storage(e), "not written".to_owned());
        let stored = Stored { id, partitions: count, configs: configs.clone() };
        self.store.put(vec![topic_change(name, &stored)]).map_err(|e| failed(&e))?;
        let topic = Arc::new(Topic::new(name, id, configs, config));
        let opened: Result<Vec<_>, LogError> =
            (0..count).map(|index| self.open_partition(&topic, index)).collect();
        match opened {
            Ok(partitions) => {
                self.write().insert(name.to_owned(), Found { topic, partitions });
                Ok(id)
            }
            Err(error) => {
                let undo = vec![(format!("topic/{name}"), None), purge_change(id)];
                self.store.put(undo).map_err(|e| failed(&e))?;
                Err(failed(&error))
            }
        }
    }

    /// Adds partitions up to `count`.
    ///
    /// # Errors
    /// The protocol's, with a sentence.
    pub(crate) fn grow(&self, name: &str, count: i32, dry_run: bool) -> Result<(), (ResponseError, String)> {
        let _admin = lock(&self.admin);
        let Some(found) = self.get(name) else {
            return Err((ResponseError::UnknownTopicOrPartition, "no such topic".to_owned()));
        };
        let have = found.partitions.len() as i32;
        if count <= have {
            let message = format!("the topic has {have} partitions; they can only grow");
            return Err((ResponseError::InvalidPartitions, message));
        }
        self.check_room(count - have)?;
        if dry_run {
            return Ok(());
        }
        let failed = |e: &dyn std::fmt::Display| (storage(e), "not written".to_owned());
        let opened: Result<Vec<_>, LogError> =
            (have..count).map(|index| self.open_partition(&found.topic, index)).collect();
        let opened = opened.map_err(|e| failed(&e))?;
        let configs = found.topic.overrides();
        let stored = Stored { id: found.topic.id, partitions: count, configs };
        self.store.put(vec![topic_change(name, &stored)]).map_err(|e| failed(&e))?;
        if let Some(found) = self.write().get_mut(name) {
            found.partitions.extend(opened);
        }
        Ok(())
    }

    /// Replaces a topic's configs by what `edit` makes of them.
    ///
    /// # Errors
    /// The protocol's, with a sentence.
    pub(crate) fn configure(
        &self,
        name: &str,
        edit: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), (ResponseError, String)>,
        dry_run: bool,
    ) -> Result<(), (ResponseError, String)> {
        let _admin = lock(&self.admin);
        let Some(found) = self.get(name) else {
            return Err((ResponseError::UnknownTopicOrPartition, "no such topic".to_owned()));
        };
        let mut configs = found.topic.overrides();
        edit(&mut configs)?;
        let config = TopicConfig::parse(&configs).map_err(|e| (ResponseError::InvalidConfig, e))?;
        if dry_run {
            return Ok(());
        }
        let partitions = found.partitions.len() as i32;
        let stored = Stored { id: found.topic.id, partitions, configs: configs.clone() };
        let written = self.store.put(vec![topic_change(name, &stored)]);
        written.map_err(|e| (storage(e), "not written".to_owned()))?;
        found.topic.set(configs, config);
        Ok(())
    }

    /// Deletes a topic and its data.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `KAFKA_STORAGE_ERROR`.
    pub(crate) fn delete(&self, name: &str) -> Result<(), ResponseError> {
        let _admin = lock(&self.admin);
        let Some(found) = self.get(name) else { return Err(ResponseError::UnknownTopicOrPartition) };
        let id = found.topic.id;
        let mut changes = vec![(format!("topic/{name}"), None), purge_change(id)];
        let simple = id.simple();
        for index in 0..found.partitions.len() {
            for kind in ["start", "epochs"] {
                let key = format!("{kind}/{simple}/{index}");
                if self.store.get(&key).is_some() {
                    changes.push((key, None));
                }
            }
        }
        self.store.put(changes).map_err(storage)?;
        self.write().remove(name);
        found.partitions.iter().for_each(|p| p.wake());
        // The topic is gone; files that resist go at the next start.
        if let Err(error) = self.purge(&simple.to_string()) {
            warn!(%error, topic = name, "files of a deleted topic stay for now");
        }
        Ok(())
    }

    fn purge(&self, id: &str) -> Result<(), OpenError> {
        match std::fs::remove_dir_all(self.dir.join(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.store.put(vec![(format!("purge/{id}"), None)])?;
        Ok(())
    }

    /// Deletes records below an offset; durable before it is answered.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE`, `KAFKA_STORAGE_ERROR`, `POLICY_VIOLATION` for a topic that is only compacted.
    pub(crate) fn delete_records(&self, name: &str, index: i32, offset: i64) -> Result<i64, ResponseError> {
        let partition = self.partition(name, index).ok_or(ResponseError::UnknownTopicOrPartition)?;
        if !partition.topic.config().delete {
            return Err(ResponseError::PolicyViolation);
        }
        let mut log = partition.log();
        let upto = if offset == -1 { log.next() } else { offset };
        if upto < 0 || upto > log.next() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let start = log.start.max(upto);
        let key = format!("start/{}/{index}", partition.topic.id.simple());
        self.store.put(vec![(key, Some(start.to_string().into_bytes()))]).map_err(storage)?;
        log.delete_records(upto).map_err(|e| e.response())
    }
}

fn topic_change(name: &str, stored: &Stored) -> Change {
    (format!("topic/{name}"), serde_json::to_vec(stored).ok())
}

fn purge_change(id: Uuid) -> Change {
    (format!("purge/{}", id.simple()), Some(Vec::new()))
}
