//! Owns the groups of the broker: one lock a group, who waits for which answer, and what of a group goes to the store,
//! before anything is answered. Must not know sockets or partitions' logs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_protocol::ResponseError;
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use super::machine::Group;
use super::members::{Join, Joined, Reply, State, Sync, Synced, Token};
use super::offsets::{At, Offset, Offsets};
use crate::api::Now;
use crate::store::{Change, Store};

/// Of the time that an empty group's offsets are kept, this fraction is always left after a restart: an hour of a week.
const LAST_REST: i64 = 168;

enum Waiter {
    Join(oneshot::Sender<Joined>),
    Sync(oneshot::Sender<Synced>),
}

/// One group, whole.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) machine: Group,
    pub(crate) offsets: Offsets,
    /// Removed from the map: whoever still holds it must look again.
    dead: bool,
    saved: Vec<u8>,
    /// Had members when last looked at.
    peopled: bool,
    empty_since: i64,
    /// Since when it is empty is stored: a restart must not start the time anew.
    empty_saved: bool,
}

pub(crate) struct Groups {
    store: Arc<Store>,
    groups: Mutex<HashMap<String, Arc<Mutex<Entry>>>>,
    waiters: Mutex<HashMap<Token, Waiter>>,
    tokens: AtomicU64,
    /// When some group has something to do, at the earliest; who sleeps until then is told of an earlier time.
    due: AtomicI64,
    earlier: Notify,
    initial_delay_ms: i64,
    max_groups: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn group_key(group: &str) -> String {
    format!("group/{group}")
}

fn empty_key(group: &str) -> String {
    format!("empty/{group}")
}

fn offset_key(group: &str, at: &At) -> String {
    format!("offset/{group}\0{}\0{}", at.0, at.1)
}

fn pending_key(group: &str, pid: i64, at: &At) -> String {
    format!("pending/{group}\0{pid}\0{}\0{}", at.0, at.1)
}

fn value<T: serde::Serialize>(value: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(value).ok()
}

fn unavailable(error: &crate::store::StoreError) -> ResponseError {
    warn!(%error, "group metadata not written");
    ResponseError::CoordinatorNotAvailable
}

impl Groups {
    /// Reads all groups back. Time that passed while the broker was down counts for what is empty, but for a last rest,
    /// so that nothing ends at once when the machine comes up with a wrong clock.
    pub(crate) fn open(
        store: Arc<Store>,
        initial_delay_ms: i64,
        max_groups: usize,
        retention_ms: i64,
        Now { mono: now, steady, .. }: Now,
    ) -> Groups {
        let mut entries: HashMap<String, Entry> = HashMap::new();
        for (name, bytes) in store.under("group/") {
            let Ok(mut machine) = serde_json::from_slice::<Group>(&bytes) else { continue };
            machine.restored(now);
            let entry = entries.entry(name).or_default();
            entry.peopled = machine.state != State::Empty;
            (entry.machine, entry.saved, entry.empty_since) = (machine, bytes, now);
        }
        for (key, bytes) in store.under("offset/") {
            let parts: Vec<&str> = key.split('\0').collect();
            if let ([group, topic, partition], Ok(offset)) = (&parts[..], serde_json::from_slice(&bytes))
                && let Ok(partition) = partition.parse()
            {
                let entry = entries.entry((*group).to_owned()).or_default();
                entry.offsets.committed.insert(((*topic).to_owned(), partition), offset);
            }
        }
        for (key, bytes) in store.under("pending/") {
            let parts: Vec<&str> = key.split('\0').collect();
            if let ([group, pid, topic, partition], Ok(offset)) = (&parts[..], serde_json::from_slice(&bytes))
                && let (Ok(pid), Ok(partition)) = (pid.parse(), partition.parse())
            {
                let entry = entries.entry((*group).to_owned()).or_default();
                entry.offsets.send(pid, ((*topic).to_owned(), partition), offset);
            }
        }
        for (name, bytes) in store.under("empty/") {
            if let Some(entry) = entries.get_mut(&name)
                && let Ok(since) = serde_json::from_slice::<i64>(&bytes)
            {
                let elapsed = (steady - since).clamp(0, retention_ms - retention_ms / LAST_REST);
                (entry.empty_since, entry.empty_saved) = (now - elapsed, true);
            }
        }
        let groups = entries.into_iter().map(|(name, e)| (name, Arc::new(Mutex::new(e)))).collect();
        Groups {
            store,
            groups: Mutex::new(groups),
            waiters: Mutex::new(HashMap::new()),
            tokens: AtomicU64::new(1),
            due: AtomicI64::new(now),
            earlier: Notify::new(),
            initial_delay_ms,
            max_groups,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Mutex<Entry>>> {
        lock(&self.groups).get(name).cloned()
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        lock(&self.groups).keys().cloned().collect()
    }

    /// Runs `work` on the group, made if it is not there.
    fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Entry) -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        if name.is_empty() || name.len() > 32_767 || name.contains('\0') {
            return Err(ResponseError::InvalidGroupId);
        }
        loop {
            let entry = {
                let mut groups = lock(&self.groups);
                if !groups.contains_key(name) && groups.len() >= self.max_groups {
                    return Err(ResponseError::GroupMaxSizeReached);
                }
                groups.entry(name.to_owned()).or_default().clone()
            };
            let mut entry = lock(&entry);
            if !entry.dead {
                return work(&mut entry);
            }
        }
    }

    fn with_existing<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Entry) -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        let entry = self.get(name).ok_or(ResponseError::UnknownMemberId)?;
        let mut entry = lock(&entry);
        if entry.dead { Err(ResponseError::UnknownMemberId) } else { work(&mut entry) }
    }

    fn token(&self, waiter: Waiter) -> Token {
        let token = self.tokens.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiters).insert(token, waiter);
        token
    }

    /// Saves the group if it moved, then answers.
    fn settle(&self, name: &str, entry: &mut Entry, replies: Vec<Reply>, now: i64) {
        let peopled = entry.machine.state != State::Empty;
        if let Some(bytes) = value(&entry.machine)
            && bytes != entry.saved
        {
            let mut changes = vec![(group_key(name), Some(bytes.clone()))];
            if peopled && entry.empty_saved {
                changes.push((empty_key(name), None));
            }
            match self.store.put(changes) {
                Ok(()) => (entry.saved, entry.empty_saved) = (bytes, entry.empty_saved && !peopled),
                Err(error) => warn!(%error, group = name, "group not saved"),
            }
        }
        if peopled || entry.peopled {
            entry.empty_since = now;
        }
        entry.peopled = peopled;
        self.note_due(&entry.machine);
        let mut waiters = lock(&self.waiters);
        for reply in replies {
            // A receiver that is gone belongs to a connection that is gone.
            match reply {
                Reply::Joined(token, joined) => {
                    if let Some(Waiter::Join(sender)) = waiters.remove(&token) {
                        sender.send(joined).ok();
                    }
                }
                Reply::Synced(token, synced) => {
                    if let Some(Waiter::Sync(sender)) = waiters.remove(&token) {
                        sender.send(synced).ok();
                    }
                }
            }
        }
    }

    pub(crate) fn join(&self, name: &str, join: Join, now: i64) -> oneshot::Receiver<Joined> {
        let (sender, receiver) = oneshot::channel();
        let token = self.token(Waiter::Join(sender));
        let member = join.member.clone();
        let result = self.with(name, |entry| {
            let replies = entry.machine.join(join, token, now, self.initial_delay_ms);
            self.settle(name, entry, replies, now);
            Ok(())
        });
        if let Err(error) = result
            && let Some(Waiter::Join(sender)) = lock(&self.waiters).remove(&token)
        {
            sender.send(Joined::refused(&member, error)).ok();
        }
        receiver
    }

    pub(crate) fn sync(&self, name: &str, sync: Sync, now: i64) -> oneshot::Receiver<Synced> {
        let (sender, receiver) = oneshot::channel();
        let token = self.token(Waiter::Sync(sender));
        let result = self.with_existing(name, |entry| {
            let replies = entry.machine.sync(sync, token, now);
            self.settle(name, entry, replies, now);
            Ok(())
        });
        if let Err(error) = result
            && let Some(Waiter::Sync(sender)) = lock(&self.waiters).remove(&token)
        {
            sender.send(Synced::refused(error)).ok();
        }
        receiver
    }

    /// # Errors
    /// As [`Group::heartbeat`].
    pub(crate) fn heartbeat(
        &self,
        name: &str,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        now: i64,
    ) -> Result<(), ResponseError> {
        self.with_existing(name, |entry| entry.machine.heartbeat(id, instance, generation, now))
    }

    /// # Errors
    /// As [`Group::leave`].
    pub(crate) fn leave(
        &self,
        name: &str,
        id: &str,
        instance: Option<&str>,
        now: i64,
    ) -> Result<String, ResponseError> {
        self.with_existing(name, |entry| {
            let mut replies = Vec::new();
            let left = entry.machine.leave(id, instance, now, &mut replies);
            self.settle(name, entry, replies, now);
            left
        })
    }

    /// Commits offsets; with `pid`, for its open transaction. `check` judges the member under the group's lock.
    ///
    /// # Errors
    /// The check's; `COORDINATOR_NOT_AVAILABLE` when they can't be written.
    pub(crate) fn commit(
        &self,
        name: &str,
        pid: Option<i64>,
        offsets: Vec<(At, Offset)>,
        check: impl FnOnce(&mut Group) -> Result<(), ResponseError>,
    ) -> Result<(), ResponseError> {
        self.with(name, |entry| {
            check(&mut entry.machine)?;
            let changes = offsets.iter().map(|(at, offset)| match pid {
                None => (offset_key(name, at), value(offset)),
                Some(pid) => (pending_key(name, pid, at), value(offset)),
            });
            self.store.put(changes.collect()).map_err(|e| unavailable(&e))?;
            for (at, offset) in offsets {
                match pid {
                    None => drop(entry.offsets.committed.insert(at, offset)),
                    Some(pid) => entry.offsets.send(pid, at, offset),
                }
            }
            Ok(())
        })
    }

    /// Ends `pid`'s transaction in these groups together with `also`, as one change of the store.
    ///
    /// # Errors
    /// `COORDINATOR_NOT_AVAILABLE`; then nothing is changed.
    pub(crate) fn end_transaction(
        &self,
        names: &BTreeSet<String>,
        pid: i64,
        commit: bool,
        also: Change,
    ) -> Result<(), ResponseError> {
        let entries: Vec<_> = names.iter().filter_map(|n| Some((n, self.get(n)?))).collect();
        // In the order of their names, so that two transactions never wait for each other.
        let mut locked: Vec<_> = entries.iter().map(|(n, e)| (*n, lock(e))).collect();
        let mut changes = vec![also];
        for (name, entry) in &locked {
            let (committed, gone) = entry.offsets.ending(pid, commit);
            changes.extend(committed.iter().map(|(at, o)| (offset_key(name, at), value(o))));
            changes.extend(gone.iter().map(|at| (pending_key(name, pid, at), None)));
        }
        self.store.put(changes).map_err(|e| unavailable(&e))?;
        for (_, entry) in &mut locked {
            entry.offsets.end(pid, commit);
        }
        Ok(())
    }

    /// Removes committed offsets.
    ///
    /// # Errors
    /// The check's; `COORDINATOR_NOT_AVAILABLE`.
    pub(crate) fn forget(
        &self,
        name: &str,
        which: impl FnOnce(&Entry) -> Result<BTreeSet<At>, ResponseError>,
    ) -> Result<(), ResponseError> {
        let Some(entry) = self.get(name) else { return Err(ResponseError::GroupIdNotFound) };
        let mut entry = lock(&entry);
        let gone = which(&entry)?;
        let changes = gone.iter().map(|at| (offset_key(name, at), None)).collect();
        self.store.put(changes).map_err(|e| unavailable(&e))?;
        entry.offsets.committed.retain(|at, _| !gone.contains(at));
        Ok(())
    }

    /// Deletes an empty group with its offsets.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`, `COORDINATOR_NOT_AVAILABLE`.
    pub(crate) fn delete(&self, name: &str) -> Result<(), ResponseError> {
        let Some(shared) = self.get(name) else { return Err(ResponseError::GroupIdNotFound) };
        let mut entry = lock(&shared);
        if entry.dead {
            return Err(ResponseError::GroupIdNotFound);
        }
        if entry.machine.state != State::Empty || !entry.offsets.pending.is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        let mut changes = vec![(group_key(name), None), (empty_key(name), None)];
        changes.extend(entry.offsets.committed.keys().map(|at| (offset_key(name, at), None)));
        self.store.put(changes).map_err(|e| unavailable(&e))?;
        entry.dead = true;
        drop(entry);
        lock(&self.groups).remove(name);
        Ok(())
    }

    /// Offsets of a deleted topic go with it.
    pub(crate) fn topic_deleted(&self, topic: &str) {
        for name in self.names() {
            if let Err(error) = self.forget(&name, |entry| Ok(entry.offsets.of_topic(topic))) {
                warn!(%error, group = name, topic, "offsets of a deleted topic stay");
            }
        }
    }

    fn note_due(&self, machine: &Group) {
        let Some(due) = machine.due() else { return };
        if self.due.fetch_min(due, Ordering::AcqRel) > due {
            self.earlier.notify_one();
        }
    }

    /// When [`Groups::tick`] has something to do, at the earliest.
    pub(crate) fn due(&self) -> i64 {
        self.due.load(Ordering::Acquire)
    }

    /// [`Groups::due`] has moved to an earlier time.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    /// Time has passed.
    pub(crate) fn tick(&self, now: i64) {
        self.due.store(i64::MAX, Ordering::Release);
        let all: Vec<_> = lock(&self.groups).iter().map(|(n, e)| (n.clone(), e.clone())).collect();
        for (name, entry) in all {
            let mut entry = lock(&entry);
            let before = (entry.machine.state, entry.machine.generation, entry.machine.members.len());
            let replies = entry.machine.tick(now);
            let after = (entry.machine.state, entry.machine.generation, entry.machine.members.len());
            if !replies.is_empty() || before != after {
                self.settle(&name, &mut entry, replies, now);
            }
            self.note_due(&entry.machine);
        }
    }

    /// Offsets of groups that have been empty for `retention_ms` end; so do groups without any.
    pub(crate) fn expire(&self, now: Now, retention_ms: i64) {
        for name in self.names() {
            let Some(entry) = self.get(&name) else { continue };
            let (idle, expired, left) = {
                let mut entry = lock(&entry);
                let empty_ms = now.mono - entry.empty_since;
                let idle = entry.machine.state == State::Empty
                    && entry.offsets.pending.is_empty()
                    && empty_ms >= retention_ms;
                if entry.machine.state == State::Empty && !entry.empty_saved && !entry.dead {
                    let since = vec![(empty_key(&name), value(&(now.steady - empty_ms)))];
                    entry.empty_saved = self.store.put(since).is_ok();
                }
                entry.offsets.not_after(now.steady);
                let expired = entry.offsets.expired(now.steady - retention_ms);
                let left = entry.offsets.committed.len() - expired.len();
                (idle, expired, left)
            };
            if !idle {
                continue;
            }
            let result = if left == 0 {
                self.delete(&name)
            } else if expired.is_empty() {
                Ok(())
            } else {
                self.forget(&name, |_| Ok(expired))
            };
            if let Err(error) = result {
                warn!(%error, group = name, "offsets not expired");
            }
        }
    }
}

/// A snapshot for answers that only look.
pub(crate) fn look<T>(entry: &Mutex<Entry>, read: impl FnOnce(&Entry) -> T) -> T {
    read(&lock(entry))
}

/// Topic → partitions, in order.
pub(crate) fn by_topic<T>(items: impl IntoIterator<Item = (At, T)>) -> BTreeMap<String, Vec<(i32, T)>> {
    let mut topics: BTreeMap<String, Vec<(i32, T)>> = BTreeMap::new();
    for ((topic, partition), item) in items {
        topics.entry(topic).or_default().push((partition, item));
    }
    topics
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
