//! What trials share: where things are, what is missing here, children that never outlive the run.

pub mod author;
pub mod broker;
pub mod clock;
pub mod cluster;
pub mod fleet;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod need;
pub mod port;
pub mod process;
pub mod program;
pub mod tmpfs;
pub mod topic;
pub mod watch;

pub use author::Author;
pub use broker::{Broker, On, both};
pub use fleet::{Fleet, topic_sink};
pub use need::{Need, trial};
pub use process::{Child, Deadline};
pub use program::{Running, atio, oracle};

use std::path::{Path, PathBuf};

/// The workspace root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root")
}

/// Third-party samples: `ATIO_SHARED_DATA`, else `../shared/data` beside the workspace.
pub fn shared_data() -> PathBuf {
    std::env::var_os("ATIO_SHARED_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from)
}

/// A name that no other trial or run uses.
pub fn unique(name: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{name}-{}-{n}", std::process::id())
}

/// A failure's text: complaints in full as long as a person would read them.
pub fn brief(complaints: &[String]) -> String {
    const LINE: usize = 600;
    const LINES: usize = 30;
    let cut = |line: &String| line.chars().take(LINE).collect::<String>();
    let mut all: Vec<String> = complaints.iter().take(LINES).map(cut).collect();
    if complaints.len() > LINES {
        all.push(format!("… and {} more", complaints.len() - LINES));
    }
    all.join("\n")
}

/// Ends what trials share, once all are done.
pub fn cleanup() {
    kafka::stop_shared();
}
