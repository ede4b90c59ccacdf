//! A broker in a process of its own, that can be killed and watched.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atio_broker::Config;

use super::Client;

/// The broker in a process of its own: this test binary again, with the one argument `child`.
pub(crate) struct Process {
    pub(crate) addr: SocketAddr,
    child: Child,
}

impl Process {
    pub(crate) fn start(data: &Path) -> Process {
        Process::start_with(data, "")
    }

    /// With settings, `name=number` each; see [`configured`].
    pub(crate) fn start_with(data: &Path, settings: &str) -> Process {
        let exe = std::env::current_exe().expect("exe");
        Process::spawn(Command::new(exe), data, settings, Stdio::inherit())
    }

    /// Its log goes to a file.
    pub(crate) fn start_logging(data: &Path, settings: &str, log: &Path) -> Process {
        let exe = std::env::current_exe().expect("exe");
        let log = std::fs::File::create(log).expect("log");
        Process::spawn(Command::new(exe), data, settings, log.into())
    }

    /// With files of at most so many KiB: writing past that fails as a full disk does.
    pub(crate) fn start_limited(data: &Path, kib: u32) -> Process {
        let exe = std::env::current_exe().expect("exe");
        let mut command = Command::new("sh");
        // dash counts in blocks of 512 bytes.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
        command.arg("-c").arg(script).arg(exe);
        Process::spawn(command, data, "", Stdio::inherit())
    }

    fn spawn(mut command: Command, data: &Path, settings: &str, log: Stdio) -> Process {
        let command = command.arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("child");
        let mut stdin = child.stdin.take().expect("stdin");
        writeln!(stdin, "{}\t{settings}", data.display()).expect("stdin");
        std::mem::forget(stdin);
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let addr = stdout
            .lines()
            .map(|line| line.expect("line"))
            .find_map(|line| Some(line.split_once("listening on ")?.1.trim().parse().expect("address")))
            .expect("the child names its address");
        Process { addr, child }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A configuration changed by settings, times in milliseconds.
fn configured(mut config: Config, settings: &str) -> Config {
    for setting in settings.split_whitespace() {
        let (name, value) = setting.split_once('=').expect("name=number");
        let number: u64 = value.parse().expect("a number");
        let time = Duration::from_millis(number);
        match name {
            "upkeep" => config.upkeep = time,
            "expiry" => config.expiry = time,
            "metadata_retention" => config.metadata_retention = time,
            "producer_retention" => config.producer_retention = time,
            "metadata_rewrite" => config.metadata_rewrite = number,
            "checkpoint" => config.checkpoint = number,
            "scrub_rate" => config.scrub_rate = number,
            "scrub_every" => config.scrub_every = time,
            _ => unreachable!("no setting: {name}"),
        }
    }
    config
}

pub(crate) type Trial = (&'static str, fn());

/// A harness of its own, because the test binary is also the process that its trials kill.
pub(crate) fn run(trials: &[Trial]) {
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child();
    }
    let trial = |(name, run): &Trial| {
        let run = *run;
        libtest_mimic::Trial::test(*name, move || {
            run();
            Ok(())
        })
    };
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials.iter().map(trial).collect()).exit();
}

/// What the child does: a broker on the data directory named on stdin, with the settings named there, until killed.
fn child() {
    tracing_subscriber::fmt()
        .with_ansi(false)
        // Where files are small, so is a log that goes to one.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("stdin");
    let (data, settings) = line.trim_end().split_once('\t').unwrap_or((line.trim_end(), ""));
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = configured(Config::new(data, listen), settings);
        let broker = atio_broker::Broker::start(config).await.expect("start");
        println!("listening on {}", broker.addr());
        std::future::pending::<()>().await;
    });
}
