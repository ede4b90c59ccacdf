//! The file threads of a process: tails, directories, tables. Owns the one set of them; must not know how files are read.
use atio_ingestion::files::{PartState, Running};
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by reference; empty where ingestion does not run here.
#[derive(Clone, Default)]
pub struct FileThreads(Arc<Mutex<Option<Running>>>);

impl FileThreads {
    pub fn put(&self, running: Running) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    /// The first that has not had its first look yet, or has failed. Degraded ones go on with what they can.
    pub fn waiting(&self) -> Option<String> {
        self.find(|name, state| match state {
            PartState::Starting => Some(format!("{name} is starting")),
            PartState::Failed(why) => Some(format!("{name} failed: {why}")),
            PartState::Running | PartState::Degraded(_) | PartState::Stopped => None,
        })
    }

    pub fn failed(&self) -> Option<String> {
        self.find(|name, state| {
            if let PartState::Failed(why) = state { Some(format!("{name} failed: {why}")) } else { None }
        })
    }

    /// Tells all to stop and waits. Blocks.
    pub fn stop(&self) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = taken {
            running.stop();
            for error in running.join().err().into_iter().flatten() {
                tracing::error!(error_code = error.code(), %error, "files ended");
            }
        }
    }

    fn find(&self, ask: impl Fn(&str, &PartState) -> Option<String>) -> Option<String> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref()?.status().iter().find_map(|(name, status)| ask(name, &status.state))
    }
}
