//! Exit codes, the same for every command.
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Something was dead-lettered.
    DeadLettered = 3,
    /// `plan` found differences.
    Differs = 4,
    /// Refused by validation.
    Refused = 5,
    /// Broker or registry unreachable.
    Unreachable = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error whose exit code is not 1. Wrap with [`Failure::with`]; context may be added around it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn with(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { exit, message: message.into() })
    }
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::with(Exit::Usage, message)
    }
    pub fn unreachable(message: impl Into<String>) -> anyhow::Error {
        Self::with(Exit::Unreachable, message)
    }
}

/// The exit code that an error asks for; 1 where it asks for none.
pub fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(|e| e.downcast_ref::<Failure>()).map_or(Exit::Failed, |f| f.exit)
}
