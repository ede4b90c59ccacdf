//! Owns what lies on disk for one partition: segments, indexes, producers' state, recovery, retention, compaction.
//! Must not know connections, groups or transactional ids; time is passed in.

use kafka_protocol::ResponseError;

pub(crate) mod batch;
pub(crate) mod codec;
pub(crate) mod compact;
pub(crate) mod config;
pub(crate) mod partition;
pub(crate) mod producers;
pub(crate) mod records;
pub(crate) mod recovery;
pub(crate) mod retention;
pub(crate) mod scrub;
pub(crate) mod segment;
pub(crate) mod sidecar;

/// Why a log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
    /// The offset is the one that the batch should have at least: whoever meets it says the same.
    #[error("the batch at offset {offset} is broken")]
    Corrupt { offset: i64 },
    #[error("{} is damaged at byte {at}, and that is no torn end", path.display())]
    Damaged { path: std::path::PathBuf, at: u64 },
    #[error("refused: {0}")]
    Refused(ResponseError),
}

impl LogError {
    /// The protocol's word for it.
    pub(crate) fn response(&self) -> ResponseError {
        match self {
            LogError::Io(_) | LogError::Damaged { .. } => ResponseError::KafkaStorageError,
            LogError::Corrupt { .. } => ResponseError::CorruptMessage,
            LogError::Refused(error) => *error,
        }
    }
}

#[cfg(test)]
mod compact_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod tests;
