//! A queue for each partition of a consumer, so that who takes records chooses from which. Owns that a partition has one, and the bell that
//! rings when something comes; must not know who is chosen.
//!
//! A partition whose queue is left alone is fetched until its queue is full, and no further: it holds up no other.
use super::consumer::Membership;
use crate::fault::Tp;
use rdkafka::consumer::{BaseConsumer, base_consumer::PartitionQueue};
use std::{
    cell::{Cell, OnceCell},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Partitions at most; what is over comes by the common queue.
const PARTITIONS: usize = 2048;

/// Rung by the client's threads, heard by the lane's.
#[derive(Clone, Default)]
pub(super) struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    pub(super) fn ring(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_one();
    }
    /// Until it rings, or so long. What has rung before counts.
    pub(super) fn wait(&self, limit: Duration) {
        let rung = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(rung, limit, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

struct Split {
    tp: Tp,
    queue: PartitionQueue<Membership>,
}

/// Made when a partition is first ours, and kept: records that were taken borrow from them.
pub(super) struct Queues {
    all: Box<[OnceCell<Split>]>,
    used: Cell<usize>,
    bell: Bell,
}

impl Queues {
    pub(super) fn new(bell: Bell) -> Self {
        Self { all: (0..PARTITIONS).map(|_| OnceCell::new()).collect(), used: Cell::new(0), bell }
    }

    pub(super) fn find(&self, tp: &Tp) -> Option<usize> {
        self.all[..self.used.get()].iter().position(|cell| cell.get().is_some_and(|s| s.tp == *tp))
    }

    /// Before a partition is assigned: no record of it comes by the common queue then.
    pub(super) fn split(&self, consumer: &Arc<BaseConsumer<Membership>>, tp: &Tp) {
        if self.find(tp).is_some() {
            return;
        }
        let Some(cell) = self.all.get(self.used.get()) else {
            return tracing::warn!(error_code = "queues", partition = %tp, "too many partitions; it is not held back");
        };
        let Some(mut queue) = consumer.split_partition_queue(&tp.topic, tp.partition) else { return };
        let bell = self.bell.clone();
        queue.set_nonempty_callback(move || bell.ring());
        if cell.set(Split { tp: tp.clone(), queue }).is_ok() {
            self.used.set(self.used.get() + 1);
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&PartitionQueue<Membership>> {
        Some(&self.all.get(index)?.get()?.queue)
    }

    pub(super) fn wait(&self, limit: Duration) {
        self.bell.wait(limit);
    }
}
