//! The broker under the system: its own process, which can be stopped, frozen and started again under its address.
use crate::support::{Need, Running, atio, kafka::Kafka, root};
use std::{fmt, net::TcpListener, process::Command};
use tempfile::TempDir;

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
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Kafka => "kafka",
        })
    }
}

pub struct Broker {
    pub on: On,
    pub bootstrap: String,
    own: Own,
}

enum Own {
    Embedded(TempDir, Option<Running>),
    Kafka(Kafka),
}

impl Broker {
    pub fn start(on: On) -> Self {
        if on == On::Kafka {
            let kafka = Kafka::start();
            return Self { on, bootstrap: kafka.bootstrap.clone(), own: Own::Kafka(kafka) };
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let bootstrap = format!("127.0.0.1:{port}");
        let dir = tempfile::tempdir().expect("a directory");
        let running = embedded(&dir, &bootstrap);
        Self { on, bootstrap, own: Own::Embedded(dir, Some(running)) }
    }

    /// The embedded one: SIGKILL. Kafka: in order, because alone in its cluster it may lose abort markers in a crash.
    pub fn down(&mut self) {
        match &mut self.own {
            Own::Embedded(_, running) => drop(running.take()),
            Own::Kafka(kafka) => kafka.down(),
        }
    }

    pub fn up(&mut self) {
        match &mut self.own {
            Own::Embedded(dir, running) => *running = Some(embedded(dir, &self.bootstrap)),
            Own::Kafka(kafka) => kafka.up(),
        }
    }

    pub fn signal(&self, signal: &str) {
        match &self.own {
            Own::Embedded(_, running) => running.as_ref().expect("up").child.signal(signal),
            Own::Kafka(kafka) => kafka.signal(signal),
        }
    }
}

fn embedded(data: &TempDir, listen: &str) -> Running {
    let mut command = atio();
    command.args(["broker", "--listen", listen, "--data"]).arg(data.path());
    Running::start("the broker", &mut command)
}
