//! Tasks with an owner: every task of a process belongs to one tracker, is told to stop, and is waited for; and the waits of threads, which a stop
//! ends.
use std::{
    future::Future,
    thread,
    time::{Duration, Instant},
};
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

/// A thread's wait, unless stopped. Whoever stops may also unpark the thread; without that the stop is seen within 100 ms.
pub fn pause(wait: Duration, stopped: impl Fn() -> bool) {
    let until = Instant::now() + wait;
    while !stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left.min(Duration::from_millis(100)));
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

    #[test]
    fn a_stop_ends_a_pause() {
        let tasks = Tasks::default();
        let inner = tasks.clone();
        let paused = thread::spawn(move || pause(Duration::from_secs(3600), || inner.is_stopping()));
        pause(Duration::from_millis(1), || false);
        assert!(!paused.is_finished());
        tasks.stop();
        paused.join().unwrap();
    }
}
