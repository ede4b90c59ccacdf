//! Delivery to an external system: the only async seam. Runs outside any transaction; receipts and offsets commit for the finished prefix.
use crate::outcome::Reject;
use std::{future::Future, pin::Pin, time::Duration};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One payload to deliver.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub record: atio_schemas::delivery::Delivery,
    /// From 1; a retry counts up.
    pub attempt: u32,
}

/// What the sink answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Id that the sink gave.
    pub external_id: Option<String>,
    /// HTTP status or the like.
    pub code: Option<String>,
}

#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered(Receipt),
    /// Not now: `after` is the sink's own wish (Retry-After), else back-off. Blocks its key.
    Retry {
        after: Option<Duration>,
        error: String,
    },
    /// Never: dead-lettered.
    Reject(Reject),
}

pub trait Sink: Send + Sync {
    /// Delivers a batch; the answer has one verdict per delivery, in order. Must be idempotent by `idempotency_key`, or its page says why not.
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>>;
    /// How many deliveries one call may carry.
    fn batch_size(&self) -> usize {
        1
    }
}
