//! A real Apache Kafka: one for the whole run, shared by trials under unique names, and private ones for trials that measure or fill it.
use super::{Child, Deadline, broker::Site, port, port::Ports, root};
use std::{process::Command, sync::Mutex};

/// A broker of its own process, in a directory of its own.
pub struct Kafka {
    pub bootstrap: String,
    // Its process ends before its directory is removed.
    child: Option<Child>,
    ports: Ports,
    site: Site,
}

impl Kafka {
    pub fn start() -> Self {
        Self::on(Site::new())
    }
    pub fn on(site: Site) -> Self {
        let ports = Ports::take();
        let mut kafka = Self { bootstrap: format!("127.0.0.1:{}", ports.first), child: None, ports, site };
        kafka.up();
        kafka
    }
    /// Starts it (again) on what is in its directory.
    pub fn up(&mut self) {
        let mut command = Command::new(root().join("tests/kafka/kafka"));
        command.envs(self.site.env.clone());
        command.arg("run").arg(&self.site.dir).arg(self.ports.first.to_string());
        let mut child = Child::start(&mut command);
        Deadline::after(180).until("Kafka listens", || {
            if let Some(status) = child.exited() {
                panic!("Kafka ended with {status}: {}\n{}", child.stderr(), self.log());
            }
            // It listens itself: an answer could be anybody's.
            port::listens(child.pid(), self.ports.first).then_some(())
        });
        self.child = Some(child);
    }
    /// What it said since it was started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.site.dir.join("kafka.log")).unwrap_or_default()
    }
    /// SIGTERM, and its end.
    pub fn down(&mut self) {
        let mut child = self.child.take().expect("up");
        child.signal("TERM");
        child.wait(Deadline::after(60));
    }
    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.child.take().expect("up").kill();
    }
    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().expect("up").exited().is_some()
    }
    pub fn child(&self) -> &Child {
        self.child.as_ref().expect("up")
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
