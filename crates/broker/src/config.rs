//! Owns what a broker is started with, and its limits. Must not know where the values come from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// When written data goes from the operating system to the disk. Whatever the policy, data is handed to the operating
/// system before it is acknowledged, so that the end of the process (`kill -9` too) loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// When the operating system does it; a power loss may cost the last seconds.
    Os,
    /// At least so often.
    Interval(Duration),
    /// Before anything is acknowledged.
    Strict,
}

/// A broker's configuration. [`Config::new`] has sane limits.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that it owns; made if it is not there, locked while it runs.
    pub data: PathBuf,
    /// Where it listens and what it advertises; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Without it, only loopback addresses are listened on: there is no authentication.
    pub allow_remote: bool,
    pub fsync: Fsync,
    /// For topics that are made without a count.
    pub default_partitions: i32,
    /// Whether asking for a topic's metadata may make it.
    pub auto_create: bool,
    /// Connections at a time; more are closed at once.
    pub max_connections: usize,
    /// Bytes of one request.
    pub max_frame: usize,
    /// Bytes of all requests that are being read or handled.
    pub max_frames: usize,
    /// Bytes of one fetch response.
    pub max_fetch: usize,
    /// Bytes of all fetched records on their way out.
    pub max_fetches: usize,
    /// How long a connection may say nothing.
    pub idle: Duration,
    /// How long the rest of a frame may take once it has begun, and a response to be taken.
    pub stalled: Duration,
    /// Partitions of all topics.
    pub max_partitions: usize,
    pub max_groups: usize,
    pub max_transactional_ids: usize,
    /// How long the first members of an empty group wait for others.
    pub group_initial_delay: Duration,
    /// A member's session timeout.
    pub session: (Duration, Duration),
    /// A transaction's timeout, at most.
    pub max_transaction: Duration,
    /// Committed offsets of empty groups, transactional ids that are not used.
    pub metadata_retention: Duration,
    /// Idle producers' sequences.
    pub producer_retention: Duration,
    /// Distinct keys that one compaction holds in memory, some 50 bytes each.
    pub compaction_keys: usize,
    /// How often transactions' time-outs, retention and compaction are looked at.
    pub upkeep: Duration,
    /// How often is looked for what no one uses any more: offsets, groups, producers.
    pub expiry: Duration,
    /// The metadata file is rewritten beyond this size, and beyond four times what is live in it.
    pub metadata_rewrite: u64,
    /// How much of a partition's active segment a start may have to read; a sixteenth of it may stay for a minute.
    pub checkpoint: u64,
    /// Bytes a second that are verified in the background, checksum by checksum; 0 = none.
    pub scrub_rate: u64,
    /// How long after everything was verified it is verified again.
    pub scrub_every: Duration,
    /// For how long a clock that has leapt ahead is not believed, where something would be deleted or aborted for it.
    pub leap_grace: Duration,
}

impl Config {
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Config {
        Config {
            data: data.into(),
            listen,
            allow_remote: false,
            fsync: Fsync::Os,
            default_partitions: 3,
            auto_create: false,
            max_connections: 1024,
            max_frame: 100 << 20,
            max_frames: 512 << 20,
            max_fetch: 55 << 20,
            max_fetches: 512 << 20,
            idle: Duration::from_secs(600),
            stalled: Duration::from_secs(60),
            max_partitions: 4000,
            max_groups: 10_000,
            max_transactional_ids: 10_000,
            group_initial_delay: Duration::from_millis(100),
            session: (Duration::from_millis(500), Duration::from_secs(1800)),
            max_transaction: Duration::from_secs(900),
            metadata_retention: Duration::from_secs(7 * 86_400),
            producer_retention: Duration::from_secs(86_400),
            compaction_keys: 1_000_000,
            upkeep: Duration::from_secs(1),
            expiry: Duration::from_secs(60),
            metadata_rewrite: 8 << 20,
            checkpoint: 64 << 20,
            scrub_rate: 16 << 20,
            scrub_every: Duration::from_secs(86_400),
            leap_grace: Duration::from_secs(600),
        }
    }
}
