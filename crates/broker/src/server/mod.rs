//! Owns sockets, tasks and clocks: accepting, the limits at the door, upkeep in the background, stopping.
//! Must not know what requests mean.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::api::Now;
use crate::config::{Config, Fsync};
use crate::error::BrokerError;
use crate::node::Node;

mod connection;
pub(crate) mod frame;

/// Group timers are looked at when one is due, those that are due this close together at once.
const GROUP_TICK: i64 = 10;
/// And at least so often.
const GROUP_TICK_MAX: i64 = 60_000;
/// How often transactions' time-outs, retention and compaction are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How many ticks between looks at what has expired.
const EXPIRE_EVERY: u64 = 60;

/// Wall time for records, monotonic time for waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    // The broker's clock: everything below is handed the time.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mono = self.started.elapsed();
        Now { wall: wall.as_millis() as i64, mono: mono.as_millis() as i64 }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) addr: SocketAddr,
    pub(crate) cancel: CancellationToken,
    /// KiB of frames that may be in memory.
    pub(crate) frames: Arc<Semaphore>,
    /// KiB of fetched records that may be in memory.
    pub(crate) fetches: Arc<Semaphore>,
    connections: AtomicUsize,
    /// Every task and every piece of blocking work, so that a shutdown waits for all of it.
    pub(crate) tracker: TaskTracker,
}

/// A running broker. Dropping it stops it without ceremony, as a crash would: nothing acknowledged is lost.
pub struct Broker {
    shared: Arc<Shared>,
    _stop: tokio_util::sync::DropGuard,
}

impl Broker {
    /// Opens the data directory, recovers what a crash left, and serves.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn start(config: Config) -> Result<Broker, BrokerError> {
        if !config.allow_remote && !config.listen.ip().is_loopback() {
            return Err(BrokerError::NotLoopback(config.listen));
        }
        let clock = Clock { started: Instant::now() };
        let opening = config.clone();
        let tracker = TaskTracker::new();
        let opened = tracker.spawn_blocking(move || Node::open(&opening, clock.now()));
        let node = opened.await.map_err(|e| BrokerError::Data(e.to_string()))??;
        let failed = |source| BrokerError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let cancel = CancellationToken::new();
        let shared = Arc::new(Shared {
            node: Arc::new(node),
            frames: Arc::new(Semaphore::new(config.max_frames.max(config.max_frame) / 1024 + 1)),
            fetches: Arc::new(Semaphore::new(config.max_fetches.max(config.max_fetch * 2) / 1024 + 1)),
            config,
            clock,
            addr,
            cancel: cancel.clone(),
            connections: AtomicUsize::new(0),
            tracker: tracker.clone(),
        });
        tracker.spawn(accept(shared.clone(), listener));
        tracker.spawn(tick_groups(shared.clone()));
        tracker.spawn(upkeep(shared.clone()));
        if let Fsync::Interval(every) = shared.config.fsync {
            tracker.spawn(sync(shared.clone(), every));
        }
        Ok(Broker { shared, _stop: cancel.drop_guard() })
    }

    /// Where it listens; what it advertises.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Stops: connections close, everything is synced, the data directory is free again.
    pub async fn shutdown(self) {
        self.shared.cancel.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
        let node = self.shared.node.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || node.close()).await {
            warn!(%error, "close failed");
        }
    }
}

impl Shared {
    /// What a client on a connection is told to connect to: the bound address, or, bound to all of them, the one
    /// that it has reached.
    pub(crate) fn advertised(&self, local: SocketAddr) -> IpAddr {
        match self.addr.ip() {
            ip if ip.is_unspecified() => local.ip(),
            ip => ip,
        }
    }

    /// Runs blocking work and waits for it.
    async fn blocking(self: &Arc<Self>, work: impl FnOnce(&Node, Now) + Send + 'static) {
        let (node, now) = (self.node.clone(), self.clock.now());
        if let Err(error) = self.tracker.spawn_blocking(move || work(&node, now)).await {
            warn!(%error, "upkeep failed");
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: let some close.
                warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= shared.config.max_connections {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            warn!(%peer, "too many connections");
            continue;
        }
        let tracker = shared.tracker.clone();
        let shared = shared.clone();
        tracker.spawn(async move {
            let _held = Held(shared.clone());
            tokio::select! {
                () = shared.cancel.cancelled() => {}
                ended = connection::serve(&shared, stream, peer) => match ended {
                    Err(error) if error.is_misuse() => warn!(%peer, %error, "connection closed"),
                    Err(error) => debug!(%peer, %error, "connection closed"),
                    Ok(()) => {}
                },
            }
        });
    }
}

/// One of the connections that may be; given back also when its task panics.
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn tick_groups(shared: Arc<Shared>) {
    let strict = shared.config.fsync == Fsync::Strict;
    loop {
        let left = shared.node.groups.due().saturating_sub(shared.clock.now().mono);
        let wait = Duration::from_millis(left.clamp(GROUP_TICK, GROUP_TICK_MAX) as u64);
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            () = shared.node.groups.earlier() => continue,
            () = tokio::time::sleep(wait) => {}
        }
        match strict {
            true => shared.blocking(|node, now| node.groups.tick(now.mono)).await,
            false => shared.node.groups.tick(shared.clock.now().mono),
        }
    }
}

async fn upkeep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let transactions = async {
        loop {
            ticks.tick().await;
            shared.blocking(|node, now| node.tick_transactions(now)).await;
        }
    };
    let logs = async {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for count in 1u64.. {
            ticks.tick().await;
            shared.blocking(|node, now| node.maintain(now)).await;
            if count.is_multiple_of(EXPIRE_EVERY) {
                shared.blocking(|node, now| node.expire(now)).await;
            }
        }
    };
    tokio::select! {
        () = shared.cancel.cancelled() => {}
        () = transactions => {}
        () = logs => {}
    }
}

async fn sync(shared: Arc<Shared>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.blocking(|node, _| node.sync()).await;
    }
}
