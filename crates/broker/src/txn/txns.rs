//! Owns all transactional ids: one lock each, every change durable before it is answered, decisions carried out.
//! The decision and the offsets that go with it are one change of the store; markers follow, and a start or a tick
//! finishes what was decided and not marked. Must not know sockets or request layouts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_protocol::ResponseError;
use tracing::{info, warn};

use super::machine::{End, State, Txn};
use crate::group::groups::Groups;
use crate::store::{Store, StoreError};
use crate::topics::Topics;

/// How many producer ids one write reserves.
const RESERVE: i64 = 1000;

type Shared = Arc<Mutex<Option<Txn>>>;

pub(crate) struct Txns {
    store: Arc<Store>,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    all: Mutex<HashMap<String, Shared>>,
    /// (next producer id, first one not reserved).
    pids: Mutex<(i64, i64)>,
    max_timeout_ms: i64,
    max_ids: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(error: &StoreError) -> ResponseError {
    warn!(%error, "transaction metadata not written");
    ResponseError::CoordinatorNotAvailable
}

fn change(id: &str, txn: &Txn) -> crate::store::Change {
    (format!("txn/{id}"), serde_json::to_vec(txn).ok())
}

impl Txns {
    pub(crate) fn open(
        store: Arc<Store>,
        topics: Arc<Topics>,
        groups: Arc<Groups>,
        max_timeout_ms: i64,
        max_ids: usize,
        now: i64,
    ) -> Txns {
        let mut all = HashMap::new();
        for (id, bytes) in store.under("txn/") {
            if let Ok(mut txn) = serde_json::from_slice::<Txn>(&bytes) {
                txn.not_after(now);
                all.insert(id, Arc::new(Mutex::new(Some(txn))));
            }
        }
        let next = store.get("pid").and_then(|b| String::from_utf8(b).ok()?.parse().ok()).unwrap_or(1000);
        Txns {
            store,
            topics,
            groups,
            all: Mutex::new(all),
            pids: Mutex::new((next, next)),
            max_timeout_ms,
            max_ids,
        }
    }

    /// A producer id that no one had, also not before a restart.
    ///
    /// # Errors
    /// `COORDINATOR_NOT_AVAILABLE`.
    pub(crate) fn new_pid(&self) -> Result<i64, ResponseError> {
        let mut pids = lock(&self.pids);
        if pids.0 >= pids.1 {
            let upto = pids.0 + RESERVE;
            let reserved = vec![("pid".to_owned(), Some(upto.to_string().into_bytes()))];
            self.store.put(reserved).map_err(|e| unavailable(&e))?;
            pids.1 = upto;
        }
        pids.0 += 1;
        Ok(pids.0 - 1)
    }

    fn get(&self, id: &str) -> Option<Shared> {
        lock(&self.all).get(id).cloned()
    }

    /// Runs `work` on a copy; what it makes of it is durable and then current.
    fn change<T>(
        &self,
        id: &str,
        work: impl FnOnce(&mut Txn) -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        let shared = self.get(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        let mut current = lock(&shared);
        let txn = current.as_mut().ok_or(ResponseError::InvalidProducerIdMapping)?;
        let mut next = txn.clone();
        let result = work(&mut next)?;
        if next.state != txn.state || next.partitions != txn.partitions || next.groups != txn.groups {
            self.store.put(vec![change(id, &next)]).map_err(|e| unavailable(&e))?;
        }
        *txn = next;
        Ok(result)
    }

    /// (producer id, epoch) for a transactional id's next producer; what was open is aborted first.
    ///
    /// # Errors
    /// `INVALID_TRANSACTION_TIMEOUT`, `PRODUCER_FENCED`, `INVALID_PRODUCER_ID_MAPPING`, `CONCURRENT_TRANSACTIONS` while a
    /// decision can't be finished, `COORDINATOR_NOT_AVAILABLE`.
    pub(crate) fn init(
        &self,
        id: &str,
        timeout_ms: i64,
        expected: (i64, i16),
        now: i64,
    ) -> Result<(i64, i16), ResponseError> {
        if timeout_ms <= 0 || timeout_ms > self.max_timeout_ms {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        let shared = {
            let mut all = lock(&self.all);
            if !all.contains_key(id) && all.len() >= self.max_ids {
                return Err(ResponseError::PolicyViolation);
            }
            all.entry(id.to_owned()).or_default().clone()
        };
        let mut current = lock(&shared);
        let Some(txn) = current.as_mut() else {
            let txn = Txn::new(self.new_pid()?, timeout_ms, now);
            self.store.put(vec![change(id, &txn)]).map_err(|e| unavailable(&e))?;
            let named = (txn.pid, txn.epoch);
            *current = Some(txn);
            return Ok(named);
        };
        if txn.check_init(expected.0, expected.1)? {
            return Ok((txn.pid, txn.epoch));
        }
        if txn.state == State::Ongoing {
            let mut next = txn.clone();
            next.fence(now);
            self.decide(id, txn, next)?;
        }
        if !self.finish(id, txn, now) {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let mut next = txn.clone();
        if next.next_epoch(expected.1, timeout_ms, now).is_none() {
            next = Txn::new(self.new_pid()?, timeout_ms, now);
        }
        self.store.put(vec![change(id, &next)]).map_err(|e| unavailable(&e))?;
        *txn = next;
        Ok((txn.pid, txn.epoch))
    }

    /// # Errors
    /// As [`Txn::add_partitions`].
    pub(crate) fn add_partitions(
        &self,
        id: &str,
        pid: i64,
        epoch: i16,
        partitions: Vec<(String, i32)>,
        now: i64,
    ) -> Result<(), ResponseError> {
        self.change(id, |txn| txn.add_partitions(pid, epoch, partitions, now))
    }

    /// # Errors
    /// As [`Txn::add_group`].
    pub(crate) fn add_group(
        &self,
        id: &str,
        pid: i64,
        epoch: i16,
        group: &str,
        now: i64,
    ) -> Result<(), ResponseError> {
        self.change(id, |txn| txn.add_group(pid, epoch, group, now))
    }

    /// Runs `work` while the transaction can't change, if `check` allows.
    ///
    /// # Errors
    /// The check's, the work's; `INVALID_PRODUCER_ID_MAPPING` for an unknown id.
    pub(crate) fn during<T, E: From<ResponseError>>(
        &self,
        id: &str,
        check: impl FnOnce(&Txn) -> Result<(), ResponseError>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let shared = self.get(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        let current = lock(&shared);
        check(current.as_ref().ok_or(ResponseError::InvalidProducerIdMapping)?)?;
        work()
    }

    /// Commits or aborts.
    ///
    /// # Errors
    /// As [`Txn::end`]; `COORDINATOR_NOT_AVAILABLE` when the decision could not be written. Once it is, the answer is
    /// success: what is missing of the markers follows.
    pub(crate) fn end(
        &self,
        id: &str,
        pid: i64,
        epoch: i16,
        commit: bool,
        now: i64,
    ) -> Result<(), ResponseError> {
        let shared = self.get(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        let mut current = lock(&shared);
        let txn = current.as_mut().ok_or(ResponseError::InvalidProducerIdMapping)?;
        let mut next = txn.clone();
        if next.end(pid, epoch, commit, now)? == End::Already {
            return Ok(());
        }
        self.decide(id, txn, next)?;
        self.finish(id, txn, now);
        Ok(())
    }

    fn decide(&self, id: &str, txn: &mut Txn, next: Txn) -> Result<(), ResponseError> {
        let commit = next.state == State::PrepareCommit;
        self.groups.end_transaction(&next.groups, next.pid, commit, change(id, &next))?;
        *txn = next;
        Ok(())
    }

    /// Writes the markers of a decided transaction; true when nothing is left to do.
    fn finish(&self, id: &str, txn: &mut Txn, now: i64) -> bool {
        if !txn.is_prepared() {
            return true;
        }
        let commit = txn.state == State::PrepareCommit;
        for (topic, partition) in &txn.partitions {
            // A deleted topic needs no marker.
            let Some(found) = self.topics.partition(topic, *partition) else { continue };
            if let Err(error) = found.end_transaction(txn.pid, txn.epoch, commit, now) {
                warn!(%error, topic, partition, "transaction marker not written, it will be");
                return false;
            }
        }
        let mut next = txn.clone();
        next.complete(now);
        match self.store.put(vec![change(id, &next)]) {
            Ok(()) => {
                *txn = next;
                true
            }
            Err(error) => {
                warn!(%error, id, "transaction's end not noted, it will be");
                false
            }
        }
    }

    /// Finishes what was decided, aborts what is overdue, forgets ids unused for `expire_ms`.
    pub(crate) fn tick(&self, now: i64, expire_ms: i64) {
        let all: Vec<_> = lock(&self.all).iter().map(|(id, t)| (id.clone(), t.clone())).collect();
        for (id, shared) in all {
            let mut current = lock(&shared);
            let Some(txn) = current.as_mut() else { continue };
            if txn.is_overdue(now) {
                info!(id, pid = txn.pid, "transaction timed out");
                let mut next = txn.clone();
                next.fence(now);
                if let Err(error) = self.decide(&id, txn, next) {
                    warn!(%error, id, "overdue transaction not aborted, it will be");
                    continue;
                }
            }
            let settled = self.finish(&id, txn, now);
            let idle = txn.state != State::Ongoing && now.saturating_sub(txn.updated_ms) > expire_ms;
            if settled && idle && self.store.put(vec![(format!("txn/{id}"), None)]).is_ok() {
                *current = None;
            }
        }
        lock(&self.all).retain(|_, shared| Arc::strong_count(shared) > 1 || lock(shared).is_some());
    }

    /// Copies, for answers that only look.
    pub(crate) fn list(&self) -> BTreeMap<String, Txn> {
        let all: Vec<_> = lock(&self.all).iter().map(|(id, t)| (id.clone(), t.clone())).collect();
        all.into_iter().filter_map(|(id, t)| Some((id, lock(&t).clone()?))).collect()
    }
}
