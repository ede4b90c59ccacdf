//! Tasks with an owner: every task of a process belongs to one tracker, is told to stop, and is waited for.
use std::{future::Future, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of a process, or of a part of it.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts a task that belongs to this tracker. It must end soon after [`Self::stopped`] resolves.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
        drop(self.tracker.spawn(task));
    }
    /// Resolves when the process is to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }
    /// The token behind [`Self::stopped`].
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }
    pub fn stop(&self) {
        self.stop.cancel();
    }
    /// Tells all tasks to stop and waits for them. False when some had not ended after `limit`.
    pub async fn shutdown(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

/// Resolves on SIGINT or SIGTERM.
///
/// # Errors
/// The handlers can't be installed.
pub async fn signalled() -> std::io::Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = term.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_tasks() {
        let tasks = Tasks::default();
        let (done, inner) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), tasks.clone());
        let flag = done.clone();
        tasks.spawn(async move {
            inner.stopped().await;
            flag.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        assert!(tasks.shutdown(Duration::from_secs(10)).await);
        assert!(done.load(std::sync::atomic::Ordering::SeqCst));
    }
}
