//! Owns one partition as requests and upkeep meet it: its log under its lock, who waits for it to grow, what is known to be
//! broken in it. Must not know how topics are stored, nor requests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use tracing::error;
use uuid::Uuid;

use crate::api::Now;
use crate::log::LogError;
use crate::log::compact;
use crate::log::config::TopicConfig;
use crate::log::partition::PartitionLog;
use crate::log::segment::Checkpoints;

/// Broken batches that are remembered, and logged, by partition.
const MAX_DAMAGE: usize = 1_000;
/// How long upkeep that failed waits, and how often a write that failed is logged: a full disk is full for longer than a tick.
const AGAIN_MS: i64 = 10_000;

/// One partition.
pub(crate) struct Partition {
    pub(crate) topic: Arc<Topic>,
    pub(crate) index: i32,
    log: Mutex<PartitionLog>,
    waiting: Mutex<Vec<Arc<Notify>>>,
    /// Offsets of batches that were found broken.
    damage: Mutex<BTreeSet<i64>>,
    /// Upkeep has failed and is not tried before this.
    upkeep_from: AtomicI64,
    /// Writes that failed are not logged before this.
    complain_from: AtomicI64,
}

/// A topic without its partitions.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    configs: RwLock<(BTreeMap<String, String>, Arc<TopicConfig>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Topic {
    pub(crate) fn new(
        name: &str,
        id: Uuid,
        overrides: BTreeMap<String, String>,
        config: TopicConfig,
    ) -> Topic {
        Topic { name: name.to_owned(), id, configs: RwLock::new((overrides, Arc::new(config))) }
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        self.configs.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    pub(crate) fn overrides(&self) -> BTreeMap<String, String> {
        self.configs.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(crate) fn set(&self, overrides: BTreeMap<String, String>, config: TopicConfig) {
        let mut current = self.configs.write().unwrap_or_else(PoisonError::into_inner);
        *current = (overrides, Arc::new(config));
    }
}

impl Partition {
    pub(crate) fn new(topic: Arc<Topic>, index: i32, log: PartitionLog) -> Partition {
        Partition {
            topic,
            index,
            log: Mutex::new(log),
            waiting: Mutex::new(Vec::new()),
            damage: Mutex::new(BTreeSet::new()),
            upkeep_from: AtomicI64::new(i64::MIN),
            complain_from: AtomicI64::new(i64::MIN),
        }
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, PartitionLog> {
        lock(&self.log)
    }

    /// Whoever is registered is woken once.
    pub(crate) fn register(&self, waiter: &Arc<Notify>) {
        lock(&self.waiting).push(waiter.clone());
    }

    pub(crate) fn unregister(&self, waiter: &Arc<Notify>) {
        lock(&self.waiting).retain(|w| !Arc::ptr_eq(w, waiter));
    }

    pub(crate) fn wake(&self) {
        for waiter in lock(&self.waiting).drain(..) {
            waiter.notify_one();
        }
    }

    /// Writes the marker of `pid`'s transaction, if it has written here since the last one.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn end_transaction(
        &self,
        pid: i64,
        epoch: i16,
        commit: bool,
        now: i64,
    ) -> Result<(), LogError> {
        let config = self.topic.config();
        let mut log = self.log();
        if log.producers.open_of(pid).is_some() {
            log.end_transaction(pid, epoch, commit, &config, now)?;
            drop(log);
            self.wake();
        }
        Ok(())
    }

    /// What is due: retention; sidecars of what was rolled or has grown; compaction. What failed waits a while, but for
    /// retention: that makes room.
    ///
    /// # Errors
    /// The disk's, damage that a compaction has met.
    pub(crate) fn maintain(&self, every: Checkpoints, max_keys: usize, now: Now) -> Result<(), LogError> {
        let Now { mono, steady, .. } = now;
        let config = self.topic.config();
        let retained = self.log().retain(&config, steady).map(|_| ());
        if mono < self.upkeep_from.load(Ordering::Relaxed) {
            return Ok(());
        }
        let rest = self.seal(every, steady).and_then(|()| match config.compact {
            true => compact::run(&self.log, &config, steady, max_keys).map(|_| ()),
            false => Ok(()),
        });
        let done = retained.and(rest);
        if let Err(LogError::Corrupt { offset }) = done {
            self.note_damage(offset, None);
        }
        let from = if done.is_err() { mono + AGAIN_MS } else { i64::MIN };
        self.upkeep_from.store(from, Ordering::Relaxed);
        done
    }

    /// Syncs and describes rolled segments, and the active one where it has grown; outside the lock.
    fn seal(&self, every: Checkpoints, now: i64) -> Result<(), LogError> {
        let seals = {
            let mut log = self.log();
            let mut seals = log.seals()?;
            seals.extend(log.checkpoint(every, now)?);
            seals
        };
        for seal in seals {
            seal.complete()?;
            self.log().sealed(&seal, now);
        }
        Ok(())
    }

    /// Syncs what was written since the last time, outside the lock.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        let files = self.log().take_unsynced()?;
        for file in files {
            file.sync_data()?;
        }
        Ok(())
    }

    /// A client's write has failed; it is told each time, the log now and then.
    pub(crate) fn note_failure(&self, error: &std::io::Error, mono: i64) {
        if mono >= self.complain_from.load(Ordering::Relaxed) {
            self.complain_from.store(mono + AGAIN_MS, Ordering::Relaxed);
            error!(topic = self.topic.name, partition = self.index, %error, "write failed");
        }
    }

    /// Notes a batch that is broken on disk; each is reported once. `at` says where, if that is known.
    pub(crate) fn note_damage(&self, offset: i64, at: Option<(&Path, u64)>) {
        let mut damage = lock(&self.damage);
        if damage.len() >= MAX_DAMAGE || !damage.insert(offset) {
            return;
        }
        let (topic, partition) = (&self.topic.name, self.index);
        match at {
            Some((path, byte)) => {
                error!(topic, partition, offset, segment = %path.display(), byte, "damaged on disk")
            }
            None => error!(topic, partition, offset, "damaged on disk"),
        }
    }

    /// How many batches are known to be broken.
    pub(crate) fn damaged(&self) -> usize {
        lock(&self.damage).len()
    }

    /// What was deleted is no longer broken.
    pub(crate) fn forget_damage(&self) {
        let start = self.log().start;
        lock(&self.damage).retain(|offset| *offset >= start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::partition::validate;
    use crate::log::records::tests::batch_of;
    use crate::log::{recovery, segment, sidecar};

    /// What waits after a failure waits by the clock that is never set.
    #[test]
    fn upkeep_that_failed_is_tried_again_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let (wall, every) =
            (1_800_000_000_000, Checkpoints { bytes: 1 << 20, small: 1 << 20, small_after_ms: 0 });
        let config = TopicConfig::parse(&BTreeMap::new()).unwrap();
        let mut log = recovery::open(dir.path(), 0, false).unwrap().0;
        let batch = batch_of(&[(Some("k"), Some("v"))], wall, (-1, -1, -1), false, 0);
        let header = validate(&batch, &config, wall).unwrap();
        log.append(&batch, &header, &config, wall).unwrap();
        log.roll().unwrap();
        let topic = Arc::new(Topic::new("t", Uuid::nil(), BTreeMap::new(), config));
        let partition = Partition::new(topic, 0, log);
        // A directory has the name that the segment's sidecar needs.
        let name = sidecar::sidecar_of(&dir.path().join(segment::log_name(0)));
        std::fs::create_dir(&name).unwrap();
        let at = |mono: i64, set_back: i64| {
            let steady = wall + mono - set_back;
            partition.maintain(every, 1_000, Now { wall: steady, mono, steady })
        };
        assert!(matches!(at(5, 0), Err(LogError::Io(_))));
        std::fs::remove_dir(&name).unwrap();
        let day = 86_400_000;
        at(AGAIN_MS, day).unwrap();
        assert!(!name.exists(), "it waits");
        at(AGAIN_MS + 5, day).unwrap();
        assert!(name.is_file());
    }
}
