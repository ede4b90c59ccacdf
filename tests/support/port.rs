//! Ports that a process is to have again when it is started again. Port 0 can't give these: what it gave is anybody's once its holder is gone,
//! and the next connection to anywhere may take it.
//!
//! So they are taken from outside of the range that the system gives out, and a lock on a file keeps other runs away for as long as the
//! value lives. Whoever listens there by configuration is seen when the port is tried.
use super::trial;
use libtest_mimic::{Failed, Trial};
use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    ops::Range,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

const ALL: Range<u16> = 20_000..32_000;

/// Two neighbouring ports.
#[derive(Debug)]
pub struct Ports {
    pub first: u16,
    /// Held, not read.
    _lock: File,
}

impl Ports {
    pub fn take() -> Self {
        // Runs begin at different places, so that they seldom meet.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let pairs = u32::from(ALL.end - ALL.start) / 2;
        let given = given_out();
        for _ in 0..pairs {
            let turn = u32::from(NEXT.fetch_add(1, Relaxed)) + std::process::id() % pairs;
            let first = ALL.start + 2 * u16::try_from(turn % pairs).expect("less than there are");
            // Where the system gives out all of them, the lock has to do.
            let given = given.contains(&first) && !(given.contains(&ALL.start) && given.contains(&ALL.end));
            if let Some(lock) = lock(first).filter(|_| !given && is_free(first) && is_free(first + 1)) {
                return Self { first, _lock: lock };
            }
        }
        panic!("no two ports are free between {} and {}", ALL.start, ALL.end);
    }
}

/// What connections and port 0 are served from.
fn given_out() -> Range<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|n| n.parse::<u16>().ok());
    ends.next().unwrap_or(32_768)..ends.next().unwrap_or(u16::MAX)
}

/// None where another run, or another part of this one, has it. The file stays: removing it could take it from under somebody.
fn lock(port: u16) -> Option<File> {
    let path = std::env::temp_dir().join(format!("atio-tests-port-{port}.lock"));
    let file = OpenOptions::new().create(true).append(true).open(path).ok()?;
    file.try_lock().ok().map(|()| file)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Whether this process listens there, not somebody else.
pub fn listens(pid: u32, port: u16) -> bool {
    let listening = |table: &str| {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let inode = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (_, hex) = fields.get(1)?.rsplit_once(':')?;
            let here = u16::from_str_radix(hex, 16).ok()? == port && *fields.get(3)? == "0A";
            here.then(|| format!("socket:[{}]", fields[9]))
        };
        table.lines().skip(1).filter_map(inode).collect::<Vec<_>>()
    };
    let sockets = [listening("tcp"), listening("tcp6")].concat();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.any(|target| sockets.iter().any(|socket| target.to_str() == Some(socket)))
}

pub fn trials() -> Vec<Trial> {
    vec![trial("support::a_port_is_nobody_elses", &[], nobody_elses)]
}

fn nobody_elses() -> Result<(), Failed> {
    let (one, other) = (Ports::take(), Ports::take());
    assert!(one.first.abs_diff(other.first) > 1, "{one:?} {other:?}");
    assert!(lock(one.first).is_none(), "it is locked, also for other parts of this run");
    let listener = TcpListener::bind(("127.0.0.1", one.first))?;
    assert!(listens(std::process::id(), one.first), "this process listens there");
    let parent = std::os::unix::process::parent_id();
    assert!(!listens(parent, one.first), "the one before it does not, though somebody does");
    drop(listener);
    assert!(!listens(std::process::id(), one.first), "nobody does any more");
    Ok(())
}
