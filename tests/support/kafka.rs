//! A real Apache Kafka: one for the whole run, shared by trials under unique names; private ones for trials that measure or fill it; and clusters
//! of three, as it is run where something depends on it, for trials that kill and stop nodes.
use super::{Child, Deadline, broker::Site, port, port::Ports, root};
use std::{process::Command, sync::Mutex};

/// A node of its own process, in a directory of its own.
pub struct Kafka {
    pub bootstrap: String,
    // Its process ends before its directory is removed.
    child: Option<Child>,
    ports: Ports,
    site: Site,
    role: Role,
}

enum Role {
    Alone,
    /// Its number, from 1 on, and the ports of all with commas between.
    Member(usize, String),
}

impl Kafka {
    pub fn start() -> Self {
        Self::on(Site::new())
    }
    pub fn on(site: Site) -> Self {
        let mut kafka = Self::at(site, Ports::take(), Role::Alone);
        kafka.up();
        kafka
    }
    /// A cluster with a node in each of these places.
    pub fn cluster(sites: Vec<Site>) -> Vec<Self> {
        let ports: Vec<Ports> = sites.iter().map(|_| Ports::take()).collect();
        let all: Vec<String> = ports.iter().map(|p| p.first.to_string()).collect();
        let places = sites.into_iter().zip(ports).enumerate();
        let node = |(at, (site, ports))| Self::at(site, ports, Role::Member(at + 1, all.join(",")));
        let mut nodes: Vec<Self> = places.map(node).collect();
        // None is up before most of them are there.
        nodes.iter_mut().for_each(Self::begin);
        nodes.iter_mut().for_each(Self::listening);
        nodes
    }
    fn at(site: Site, ports: Ports, role: Role) -> Self {
        Self { bootstrap: format!("127.0.0.1:{}", ports.first), child: None, ports, site, role }
    }
    /// Starts it (again) on what is in its directory, and waits until it takes part.
    pub fn up(&mut self) {
        self.begin();
        self.listening();
    }
    fn begin(&mut self) {
        let mut command = Command::new(root().join("tests/kafka/kafka"));
        command.envs(self.site.env.clone());
        match &self.role {
            Role::Alone => command.arg("run").arg(&self.site.dir).arg(self.ports.first.to_string()),
            Role::Member(id, ports) => command.arg("node").arg(&self.site.dir).args([&id.to_string(), ports]),
        };
        self.child = Some(Child::start(&mut command));
    }
    fn listening(&mut self) {
        let (port, log) = (self.ports.first, self.site.dir.join("kafka.log"));
        let child = self.child.as_mut().expect("begun");
        Deadline::after(180).until("Kafka listens", || {
            if let Some(status) = child.exited() {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("Kafka ended with {status}: {}\n{said}", child.stderr());
            }
            // It listens itself: an answer could be anybody's.
            port::listens(child.pid(), port).then_some(())
        });
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

impl Drop for Kafka {
    fn drop(&mut self) {
        // Its log goes with its directory.
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.site.dir.join("kafka.log")).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(LAST_WORDS).collect();
            eprintln!("Kafka at {}, newest first:\n{}", self.bootstrap, last.join("\n"));
        }
    }
}

/// Lines of a node's log that a failure shows.
const LAST_WORDS: usize = 20;

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
