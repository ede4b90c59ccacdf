//! The two brokers that trials run on, each a process of its own, or three: stopped, frozen, killed, and started again under their addresses on
//! their data.
use super::{Child, Need, Running, atio, kafka, kafka::Kafka, port::Ports, root, trial};
use libtest_mimic::{Failed, Trial};
use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Embedded,
    Kafka,
}

impl On {
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Embedded => &[],
            Self::Kafka => &[Need::Kafka],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Kafka => "kafka",
        }
    }

    /// Its name and version.
    pub fn version(self) -> String {
        match self {
            Self::Embedded => {
                let said = atio().arg("--version").output().expect("the program").stdout;
                format!("embedded ({})", String::from_utf8_lossy(&said).trim())
            }
            Self::Kafka => {
                let jars =
                    Command::new(root().join("tests/kafka/kafka")).arg("jars").output().expect("the jars");
                let jars = String::from_utf8_lossy(&jars.stdout).trim().to_owned();
                let files = std::fs::read_dir(jars).expect("the jars").filter_map(Result::ok);
                let names = files.map(|f| f.file_name().to_string_lossy().into_owned());
                let own = names.into_iter().find(|n| n.starts_with("kafka_2")).expect("Kafka's own jar");
                format!("Apache Kafka ({own})")
            }
        }
    }
}

/// A trial on each broker, called `<name><broker>`.
pub fn both(name: &str, run: fn(On) -> Result<(), Failed>) -> [Trial; 2] {
    [On::Embedded, On::Kafka].map(|on| trial(&format!("{name}{on}"), on.needs(), move || run(on)))
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a broker's data lies, and what is set for its process.
#[derive(Debug)]
pub struct Site {
    pub dir: PathBuf,
    pub env: Vec<(&'static str, String)>,
    /// Removed with the broker.
    _own: Option<TempDir>,
}

impl Site {
    /// A directory of its own.
    pub fn new() -> Self {
        let own = tempfile::tempdir().expect("a directory");
        Self { dir: own.path().to_owned(), env: vec![], _own: Some(own) }
    }
    /// A directory of somebody else's.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), env: vec![], _own: None }
    }
    pub fn with(mut self, env: &[(&'static str, String)]) -> Self {
        self.env.extend_from_slice(env);
        self
    }
}

/// Copies of what must not be lost, where a broker is several nodes.
pub const NODES: usize = 3;

pub struct Broker {
    pub on: On,
    /// Of all its nodes, with commas between.
    pub bootstrap: String,
    /// None where it is the whole run's: it can't be stopped.
    nodes: Vec<Node>,
}

/// One of a broker's processes.
pub enum Node {
    Embedded(Box<Embedded>),
    Kafka(Box<Kafka>),
}

pub struct Embedded {
    // Its process ends before its directory is removed.
    running: Option<Running>,
    listen: String,
    site: Site,
    _ports: Ports,
}

impl Embedded {
    fn on(site: Site) -> Self {
        let ports = Ports::take();
        let mut embedded =
            Self { running: None, listen: format!("127.0.0.1:{}", ports.first), site, _ports: ports };
        embedded.up();
        embedded
    }
    fn up(&mut self) {
        let mut command = atio();
        command.envs(self.site.env.clone());
        command.args(["broker", "--listen", &self.listen, "--data"]).arg(&self.site.dir);
        self.running = Some(Running::start("the broker", &mut command));
    }
    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("up")
    }
}

impl Node {
    fn child(&self) -> &Child {
        match self {
            Self::Embedded(own) => &own.running.as_ref().expect("up").child,
            Self::Kafka(kafka) => kafka.child(),
        }
    }

    fn address(&self) -> &str {
        match self {
            Self::Embedded(own) => &own.listen,
            Self::Kafka(kafka) => &kafka.bootstrap,
        }
    }

    pub fn signal(&self, signal: &str) {
        self.child().signal(signal);
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        match self {
            Self::Embedded(own) => own.running().child.kill(),
            Self::Kafka(kafka) => kafka.kill(),
        }
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) {
        match self {
            Self::Embedded(own) => own.running.take().expect("up").stop("the broker"),
            Self::Kafka(kafka) => kafka.down(),
        }
    }

    /// Starts it again, under the same address, on what is there.
    pub fn up(&mut self) {
        match self {
            Self::Embedded(own) => own.up(),
            Self::Kafka(kafka) => kafka.up(),
        }
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        match self {
            Self::Embedded(own) => own.running().child.exited().is_some(),
            Self::Kafka(kafka) => kafka.ended(),
        }
    }
}

impl Broker {
    /// Nobody else's.
    pub fn start(on: On) -> Self {
        Self::on(on, Site::new())
    }

    pub fn on(on: On, site: Site) -> Self {
        let node = match on {
            On::Kafka => Node::Kafka(Box::new(Kafka::on(site))),
            On::Embedded => Node::Embedded(Box::new(Embedded::on(site))),
        };
        Self::of(on, vec![node])
    }

    /// As it is where something depends on it: Apache Kafka is a cluster of three, of which any may be away; the embedded one is alone.
    pub fn lasting(on: On) -> Self {
        match on {
            On::Kafka => Self::cluster((0..NODES).map(|_| Site::new()).collect()),
            On::Embedded => Self::start(on),
        }
    }

    /// Apache Kafka with a node in each of these places.
    pub fn cluster(sites: Vec<Site>) -> Self {
        let nodes = Kafka::cluster(sites).into_iter().map(|node| Node::Kafka(Box::new(node)));
        Self::of(On::Kafka, nodes.collect())
    }

    /// The embedded one is each trial's own, Apache Kafka is shared: it can't be stopped.
    pub fn shared(on: On) -> Self {
        match on {
            On::Kafka => Self { on, bootstrap: kafka::shared(), nodes: vec![] },
            On::Embedded => Self::start(on),
        }
    }

    fn of(on: On, nodes: Vec<Node>) -> Self {
        let addresses: Vec<&str> = nodes.iter().map(Node::address).collect();
        Self { on, bootstrap: addresses.join(","), nodes }
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
    }

    /// Where it is one.
    fn only(&self) -> &Node {
        assert_eq!(self.nodes.len(), 1, "it is others' too, or one of several");
        &self.nodes[0]
    }

    fn only_mut(&mut self) -> &mut Node {
        assert_eq!(self.nodes.len(), 1, "it is others' too, or one of several");
        &mut self.nodes[0]
    }

    pub fn pid(&self) -> u32 {
        self.only().child().pid()
    }

    pub fn signal(&self, signal: &str) {
        self.only().signal(signal);
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.only_mut().kill();
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) {
        self.only_mut().stop();
    }

    /// Starts it again, under the same address, on what is there.
    pub fn up(&mut self) {
        self.only_mut().up();
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.only_mut().ended()
    }
}
