//! The two brokers that trials run on, each a process of its own: stopped, frozen, killed, and started again under its address on its data.
use super::{Child, Need, Running, atio, kafka, kafka::Kafka, port::Ports, root};
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

pub struct Broker {
    pub on: On,
    pub bootstrap: String,
    own: Own,
}

enum Own {
    Embedded(Embedded),
    Kafka(Kafka),
    /// Of the whole run's.
    Shared,
}

struct Embedded {
    // Its process ends before its directory is removed.
    running: Option<Running>,
    listen: String,
    site: Site,
    _ports: Ports,
}

impl Embedded {
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

impl Broker {
    /// Nobody else's.
    pub fn start(on: On) -> Self {
        Self::on(on, Site::new())
    }

    pub fn on(on: On, site: Site) -> Self {
        match on {
            On::Kafka => {
                let kafka = Kafka::on(site);
                Self { on, bootstrap: kafka.bootstrap.clone(), own: Own::Kafka(kafka) }
            }
            On::Embedded => {
                let ports = Ports::take();
                let listen = format!("127.0.0.1:{}", ports.first);
                let mut own = Embedded { running: None, listen: listen.clone(), site, _ports: ports };
                own.up();
                Self { on, bootstrap: listen, own: Own::Embedded(own) }
            }
        }
    }

    /// The embedded one is each trial's own, Apache Kafka is shared: it can't be stopped.
    pub fn shared(on: On) -> Self {
        match on {
            On::Kafka => Self { on, bootstrap: kafka::shared(), own: Own::Shared },
            On::Embedded => Self::start(on),
        }
    }

    fn child(&self) -> &Child {
        match &self.own {
            Own::Embedded(own) => &own.running.as_ref().expect("up").child,
            Own::Kafka(kafka) => kafka.child(),
            Own::Shared => panic!("it is others' too"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child().pid()
    }

    pub fn signal(&self, signal: &str) {
        self.child().signal(signal);
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        match &mut self.own {
            Own::Embedded(own) => own.running().child.kill(),
            Own::Kafka(kafka) => kafka.kill(),
            Own::Shared => panic!("it is others' too"),
        }
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) {
        match &mut self.own {
            Own::Embedded(own) => own.running.take().expect("up").stop("the broker"),
            Own::Kafka(kafka) => kafka.down(),
            Own::Shared => panic!("it is others' too"),
        }
    }

    /// Starts it again, under the same address, on what is there.
    pub fn up(&mut self) {
        match &mut self.own {
            Own::Embedded(own) => own.up(),
            Own::Kafka(kafka) => kafka.up(),
            Own::Shared => panic!("it is others' too"),
        }
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        match &mut self.own {
            Own::Embedded(own) => own.running().child.exited().is_some(),
            Own::Kafka(kafka) => kafka.ended(),
            Own::Shared => panic!("it is others' too"),
        }
    }
}
