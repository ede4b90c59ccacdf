//! Owns the whole state of the broker below the server: what handlers work on, opening it, upkeep, closing it.
//! Must not know sockets or clocks.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tracing::{error, warn};

use crate::api::Now;
use crate::config::{Config, Fsync};
use crate::error::BrokerError;
use crate::group::groups::Groups;
use crate::health::{Counted, Health};
use crate::log::segment::Checkpoints;
use crate::scrub::Pass;
use crate::store::Store;
use crate::topics::Topics;
use crate::txn::txns::Txns;

/// A small rest of an active segment waits so long for its checkpoint.
const CHECKPOINT_SMALL_MS: i64 = 60_000;
/// How long a rewrite that failed waits: a full disk is full for longer than a tick.
const REWRITE_AGAIN_MS: i64 = 10_000;

pub(crate) struct Node {
    pub(crate) cluster_id: String,
    pub(crate) default_partitions: i32,
    pub(crate) auto_create: bool,
    pub(crate) max_fetch_bytes: usize,
    pub(crate) session_ms: (i64, i64),
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) txns: Txns,
    store: Arc<Store>,
    metadata_ms: i64,
    producer_ms: i64,
    compaction_keys: usize,
    checkpoints: Checkpoints,
    health: Arc<Counted>,
    /// A rewrite of the metadata has failed and is not tried before this.
    rewrite_from: AtomicI64,
    lock: DataLock,
}

/// The data directory's lock. A process that is being forked holds a copy of the descriptor for a moment, so it is
/// released by name and not only closed.
struct DataLock(File);

impl DataLock {
    fn take(data: &Path) -> Result<DataLock, BrokerError> {
        std::fs::create_dir_all(data)?;
        let lock = File::options().create(true).truncate(false).write(true).open(data.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataLock(lock)),
            Err(TryLockError::WouldBlock) => Err(BrokerError::Locked(data.to_owned())),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn release(&self) {
        if let Err(error) = self.0.unlock() {
            warn!(%error, "data directory not unlocked");
        }
    }
}

impl Drop for DataLock {
    fn drop(&mut self) {
        self.release();
    }
}

impl Node {
    /// Reads everything back from the data directory.
    ///
    /// # Errors
    /// The disk's, damage.
    pub(crate) fn open(config: &Config, now: Now) -> Result<Node, BrokerError> {
        let lock = DataLock::take(&config.data)?;
        let strict = config.fsync == Fsync::Strict;
        let store = Arc::new(Store::open(&config.data.join("metadata"), strict, config.metadata_rewrite)?);
        let cluster_id = match store.get("cluster").and_then(|b| String::from_utf8(b).ok()) {
            Some(id) => id,
            None => {
                let id = uuid::Uuid::new_v4().simple().to_string();
                store.put(vec![("cluster".to_owned(), Some(id.clone().into_bytes()))])?;
                id
            }
        };
        let health = Arc::new(Counted::default());
        let partitions = config.max_partitions;
        let topics = Topics::open(store.clone(), &config.data, strict, partitions, health.clone())?;
        let topics = Arc::new(topics);
        let delay = config.group_initial_delay.as_millis() as i64;
        let metadata_ms = config.metadata_retention.as_millis() as i64;
        let groups = Arc::new(Groups::open(store.clone(), delay, config.max_groups, metadata_ms, now));
        let txns = Txns::open(
            store.clone(),
            topics.clone(),
            groups.clone(),
            config.max_transaction.as_millis() as i64,
            config.max_transactional_ids,
            now.steady,
        );
        let node = Node {
            cluster_id,
            default_partitions: config.default_partitions,
            auto_create: config.auto_create,
            max_fetch_bytes: config.max_fetch,
            session_ms: (config.session.0.as_millis() as i64, config.session.1.as_millis() as i64),
            topics,
            groups,
            txns,
            store,
            metadata_ms,
            producer_ms: config.producer_retention.as_millis() as i64,
            compaction_keys: config.compaction_keys,
            checkpoints: Checkpoints {
                bytes: config.checkpoint,
                small: config.checkpoint / 16,
                small_after_ms: CHECKPOINT_SMALL_MS,
            },
            health,
            rewrite_from: AtomicI64::new(i64::MIN),
            lock,
        };
        node.tick_transactions(now);
        Ok(node)
    }

    pub(crate) fn tick_transactions(&self, now: Now) {
        self.txns.tick(now.steady, self.metadata_ms);
    }

    /// What is due of retention, compaction and rewriting; blocks on the disk, holds no lock for long.
    pub(crate) fn maintain(&self, now: Now) {
        for partition in self.topics.list().iter().flat_map(|t| &t.partitions) {
            if let Err(error) = partition.maintain(self.checkpoints, self.compaction_keys, now) {
                warn!(topic = partition.topic.name, partition = partition.index, %error, "upkeep failed");
            }
        }
        if now.mono >= self.rewrite_from.load(Ordering::Relaxed)
            && let Err(error) = self.store.maintain()
        {
            self.rewrite_from.store(now.mono + REWRITE_AGAIN_MS, Ordering::Relaxed);
            warn!(%error, "metadata not rewritten");
        }
    }

    /// What is due of what no one uses any more.
    pub(crate) fn expire(&self, now: Now) {
        self.groups.expire(now, self.metadata_ms);
        for partition in self.topics.list().iter().flat_map(|t| &t.partitions) {
            partition.log().producers.expire(now.steady, self.producer_ms);
            partition.forget_damage();
        }
    }

    /// A new pass over all that is on disk, to look for damage.
    pub(crate) fn scrub(&self) -> Pass {
        Pass::new(&self.topics)
    }

    pub(crate) fn counted(&self) -> &Counted {
        &self.health
    }

    pub(crate) fn health(&self) -> Health {
        let topics = self.topics.list();
        let damaged: usize = topics.iter().flat_map(|t| &t.partitions).map(|p| p.damaged()).sum();
        self.health.health(damaged as u64)
    }

    /// Brings to the disk what was written since the last time.
    pub(crate) fn sync(&self) {
        for partition in self.topics.list().iter().flat_map(|t| &t.partitions) {
            if let Err(error) = partition.sync() {
                error!(topic = partition.topic.name, %error, "sync failed");
            }
        }
        if let Err(error) = self.store.sync() {
            error!(%error, "sync of metadata failed");
        }
    }

    /// For an orderly end; nothing may use the node afterwards.
    pub(crate) fn close(&self) {
        for partition in self.topics.list().iter().flat_map(|t| &t.partitions) {
            if let Err(error) = partition.log().close() {
                error!(topic = partition.topic.name, %error, "close failed");
            }
        }
        if let Err(error) = self.store.sync() {
            error!(%error, "sync of metadata failed");
        }
        self.lock.release();
    }
}
