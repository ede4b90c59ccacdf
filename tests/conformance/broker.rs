//! The two brokers that every scenario runs on, each a process of its own.
use crate::support::{Need, Running, atio, kafka};
use std::fmt;
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
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Kafka => "kafka",
        })
    }
}

/// The embedded one is each trial's own, Apache Kafka is shared.
pub struct Broker {
    pub bootstrap: String,
    own: Option<(TempDir, Option<Running>)>,
}

impl Broker {
    pub fn start(on: On) -> Self {
        match on {
            On::Kafka => Self { bootstrap: kafka::shared(), own: None },
            On::Embedded => {
                let data = tempfile::tempdir().expect("a directory");
                let running = embedded(&data, "127.0.0.1:0");
                Self { bootstrap: running.said("kafka"), own: Some((data, Some(running))) }
            }
        }
    }
    /// SIGKILL.
    pub fn kill(&mut self) {
        self.own.as_mut().expect("nobody else's").1 = None;
    }
    /// Starts it again, under the same address, on what is there.
    pub fn up(&mut self) {
        let (data, running) = self.own.as_mut().expect("nobody else's");
        *running = Some(embedded(data, &self.bootstrap));
    }
}

fn embedded(data: &TempDir, listen: &str) -> Running {
    let mut command = atio();
    command.args(["broker", "--listen", listen, "--data"]).arg(data.path());
    Running::start("the broker", &mut command)
}
