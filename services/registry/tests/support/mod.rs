//! A log in memory that can fail.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
use atio_registry::api::BoxFuture;
use atio_registry::record::Entry;
use atio_registry::{Log, LogError};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

pub const WORKS: u8 = 0;
/// The record is not written, and the caller hears so.
pub const REFUSES: u8 = 1;
/// The record is written, but the acknowledgement is lost.
pub const LOSES_ACK: u8 = 2;

#[derive(Clone, Default)]
pub struct Memory {
    pub records: Arc<Mutex<Vec<Entry>>>,
    pub fault: Arc<AtomicU8>,
}

impl Log for Memory {
    fn append(&self, key: Vec<u8>, value: Option<Vec<u8>>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let fault = self.fault.load(SeqCst);
            if fault != REFUSES {
                self.records.lock().unwrap().push((key, value));
            }
            if fault == WORKS { Ok(()) } else { Err(LogError("timed out".into())) }
        })
    }
    fn read(&self) -> BoxFuture<'_, Result<Vec<Entry>, LogError>> {
        Box::pin(async move { Ok(self.records.lock().unwrap().clone()) })
    }
}
