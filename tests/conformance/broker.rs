//! The two brokers that every scenario runs on, each a process of its own.
use crate::support::{Need, Running, atio, kafka, kafka::Kafka};
use std::fmt;
use tempfile::TempDir;

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Embedded,
    Kafka,
}

impl On {
    pub const BOTH: [Self; 2] = [Self::Embedded, Self::Kafka];
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Embedded => &[],
            Self::Kafka => &[Need::Kafka],
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

enum Host {
    Embedded { data: TempDir, running: Option<Running> },
    Shared,
    Private(Kafka),
}

pub struct Broker {
    pub bootstrap: String,
    host: Host,
}

impl Broker {
    /// For trials that leave it alone.
    pub fn start(on: On) -> Self {
        match on {
            On::Embedded => Self::private(on),
            On::Kafka => Self { bootstrap: kafka::shared(), host: Host::Shared },
        }
    }
    /// For trials that kill it.
    pub fn private(on: On) -> Self {
        match on {
            On::Embedded => {
                let data = tempfile::tempdir().expect("a directory");
                let running = embedded(&data, "127.0.0.1:0");
                Self {
                    bootstrap: running.said("kafka"),
                    host: Host::Embedded { data, running: Some(running) },
                }
            }
            On::Kafka => {
                let kafka = Kafka::start();
                Self { bootstrap: kafka.bootstrap.clone(), host: Host::Private(kafka) }
            }
        }
    }
    /// SIGKILL.
    pub fn kill(&mut self) {
        match &mut self.host {
            Host::Embedded { running, .. } => *running = None,
            Host::Private(kafka) => kafka.kill(),
            Host::Shared => panic!("others use it"),
        }
    }
    /// Starts it again, under the same address, on what is there.
    pub fn up(&mut self) {
        match &mut self.host {
            Host::Embedded { data, running } => *running = Some(embedded(data, &self.bootstrap)),
            Host::Private(kafka) => kafka.up(),
            Host::Shared => panic!("others use it"),
        }
    }
}

fn embedded(data: &TempDir, listen: &str) -> Running {
    let mut command = atio();
    command.args(["broker", "--listen", listen, "--data"]).arg(data.path());
    Running::start("the broker", &mut command)
}
