//! Owns why a broker does not start. Must not know requests: their errors are the protocol's.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::store::StoreError;
use crate::topics::OpenError;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    #[error("{0} is not a loopback address, and remote access is not allowed")]
    NotLoopback(SocketAddr),
    #[error("{} is in use by another broker", .0.display())]
    Locked(PathBuf),
    #[error("can't listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("the data directory: {0}")]
    Io(#[from] std::io::Error),
    #[error("the data directory: {0}")]
    Data(String),
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
}

impl BrokerError {
    /// A bounded name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            BrokerError::NotLoopback(_) => "not_loopback",
            BrokerError::Locked(_) => "data_locked",
            BrokerError::Listen { .. } => "listen_failed",
            BrokerError::Io(_) | BrokerError::Data(_) => "data_unavailable",
            BrokerError::Damaged(_) => "data_damaged",
        }
    }
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> BrokerError {
        match error {
            StoreError::Io(error) => BrokerError::Io(error),
            damaged @ StoreError::Damaged { .. } => BrokerError::Damaged(damaged.to_string()),
        }
    }
}

impl From<OpenError> for BrokerError {
    fn from(error: OpenError) -> BrokerError {
        match error {
            OpenError::Log { source: crate::log::LogError::Damaged { .. }, .. } | OpenError::Stored(_) => {
                BrokerError::Damaged(error.to_string())
            }
            other => BrokerError::Data(other.to_string()),
        }
    }
}
