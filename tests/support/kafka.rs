//! A real Apache Kafka: one for the whole run, shared by trials under unique names, and private ones for trials that measure or fill it.
use super::{Child, Deadline, root};
use std::{
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Mutex,
};
use tempfile::TempDir;

/// A broker of its own process, in a directory of its own.
pub struct Kafka {
    pub bootstrap: String,
    port: u16,
    dir: TempDir,
    child: Option<Child>,
}

/// Two neighbouring free ports.
fn ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = first.local_addr().expect("address").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

impl Kafka {
    pub fn start() -> Self {
        let port = ports();
        let mut kafka = Self {
            bootstrap: format!("127.0.0.1:{port}"),
            port,
            dir: tempfile::tempdir().expect("a directory"),
            child: None,
        };
        kafka.up();
        kafka
    }
    /// Starts it (again) on what is in its directory.
    pub fn up(&mut self) {
        let script = root().join("tests/kafka/kafka");
        let mut child =
            Child::start(Command::new(script).arg("run").arg(self.dir.path()).arg(self.port.to_string()));
        Deadline::after(180).until("Kafka listens", || {
            let log = self.dir.path().join("kafka.log");
            if let Some(status) = child.exited() {
                panic!(
                    "Kafka ended with {status}: {}\n{}",
                    child.stderr(),
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.child = Some(child);
    }
    /// SIGTERM, and its end.
    pub fn down(&mut self) {
        let mut child = self.child.take().expect("up");
        child.signal("TERM");
        child.wait(Deadline::after(60));
    }
    pub fn signal(&self, signal: &str) {
        self.child.as_ref().expect("up").signal(signal);
    }
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("up").pid()
    }
}

static SHARED: Mutex<Option<Kafka>> = Mutex::new(None);

/// The bootstrap address of the broker that trials share.
pub fn shared() -> String {
    // A trial that failed to start it poisons the lock: the next one tries again and reports the same.
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.get_or_insert_with(Kafka::start).bootstrap.clone()
}

pub fn stop_shared() {
    SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
}
