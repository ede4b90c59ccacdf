//! Owns sockets, tasks and clocks: accepting, the limits at the door, upkeep in the background, stopping.
//! Must not know what requests mean.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::api::Now;
use crate::config::{Config, Fsync};
use crate::error::BrokerError;
use crate::health::Health;
use crate::node::Node;

mod clock;
mod connection;
pub(crate) mod frame;

use clock::Clock;

/// Group timers are looked at when one is due, those that are due this close together at once.
const GROUP_TICK: i64 = 10;
/// And at least so often.
const GROUP_TICK_MAX: i64 = 60_000;

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
        let clock = Clock::start(config.leap_grace);
        let (opening, now) = (config.clone(), clock.now());
        let tracker = TaskTracker::new();
        let opened = tracker.spawn_blocking(move || Node::open(&opening, now));
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
        if shared.config.scrub_rate > 0 {
            tracker.spawn(scrub(shared.clone()));
        }
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

    /// What this start had to mend, and what is known to be broken on disk.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.node.health()
    }

    /// [`Broker::health`] for who looks now and then; none once the broker is gone.
    pub fn watch(&self) -> impl Fn() -> Option<Health> + Send + Sync + 'static {
        let node = Arc::downgrade(&self.shared.node);
        move || node.upgrade().map(|node| node.health())
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

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

async fn upkeep(shared: Arc<Shared>) {
    let transactions = async {
        let mut ticks = ticks(shared.config.upkeep);
        loop {
            ticks.tick().await;
            shared.clock.look();
            shared.blocking(|node, now| node.tick_transactions(now)).await;
        }
    };
    let logs = async {
        let mut ticks = ticks(shared.config.upkeep);
        loop {
            ticks.tick().await;
            shared.blocking(|node, now| node.maintain(now)).await;
        }
    };
    let unused = async {
        let mut ticks = ticks(shared.config.expiry);
        // The first tick comes at once; nothing is unused yet.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            shared.blocking(|node, now| node.expire(now)).await;
        }
    };
    tokio::select! {
        () = shared.cancel.cancelled() => {}
        () = transactions => {}
        () = logs => {}
        () = unused => {}
    }
}

/// Verifies what is on disk, a little at a time and no faster than allowed; all of it again after a while.
async fn scrub(shared: Arc<Shared>) {
    let passes = async {
        loop {
            match scrub_once(&shared).await {
                Ok(()) => {
                    shared.node.counted().scrub_done();
                    let health = shared.node.health();
                    info!(
                        bytes = health.scrubbed,
                        damaged = health.damaged,
                        "all that is on disk has been verified"
                    );
                }
                Err(error) => warn!(%error, "scrub failed"),
            }
            tokio::time::sleep(shared.config.scrub_every).await;
        }
    };
    tokio::select! {
        () = shared.cancel.cancelled() => {}
        () = passes => {}
    }
}

async fn scrub_once(shared: &Shared) -> Result<(), JoinError> {
    let mut pass = shared.node.scrub();
    loop {
        let (bytes, rest) = shared.tracker.spawn_blocking(move || (pass.step(), pass)).await?;
        let Some(bytes) = bytes else { return Ok(()) };
        pass = rest;
        shared.node.counted().scrubbed(bytes);
        tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / shared.config.scrub_rate as f64)).await;
    }
}

async fn sync(shared: Arc<Shared>, every: Duration) {
    let mut ticks = ticks(every);
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.blocking(|node, _| node.sync()).await;
    }
}
