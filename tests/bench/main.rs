//! The benchmarks: `cargo bench`, or `cargo bench -p atio -- --quick`. One program that starts brokers, services and contestants as processes,
//! and prints each figure as a line `bench NAME MEDIAN MIN MAX UNIT`. Ratios come from one run. `docs/benchmarks.md` tells more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub
)]

mod alerts;
mod broker;
mod contest;
mod figures;
mod hops;
mod instructions;
mod peers;
mod pipeline;
mod process;
#[allow(dead_code, unused_imports, reason = "shared with the integration tests")]
#[path = "../support/mod.rs"]
mod support;
mod worker;
mod workflows;

use broker::Broker;
use figures::Figures;
use std::path::PathBuf;
use support::On;

/// Allocates as the program under test does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
cargo bench -p atio -- [--quick] [--only PART]… [--who NAME]… [--broker embedded|kafka|both] [--pairs N] [--records N] [--judge BASELINE]
  PART      contest, idle, instructions, pipeline, trickle (a part of pipeline), workflows
  --who     a contestant, again for more; all by default
  --judge   another `atio` program: normalization of this build against it, in pairs";

struct Options {
    quick: bool,
    only: Vec<String>,
    who: Vec<String>,
    brokers: Vec<On>,
    pairs: Option<usize>,
    records: Option<u64>,
    judge: Option<PathBuf>,
}

impl Options {
    /// None: told what there is.
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let brokers = vec![On::Embedded, On::Kafka];
        let mut o = Self {
            quick: false,
            only: vec![],
            who: vec![],
            brokers,
            pairs: None,
            records: None,
            judge: None,
        };
        // `cargo bench` says so; `cargo test --benches` does not, and wants no figures.
        let mut asked = false;
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_default();
            match arg.as_str() {
                "--bench" => asked = true,
                "--quick" => o.quick = true,
                "--only" => o.only.push(value()),
                "--who" => o.who.push(value()),
                "--pairs" => o.pairs = Some(value().parse().ok()?),
                "--records" => o.records = Some(value().parse().ok()?),
                "--judge" => o.judge = Some(PathBuf::from(value())),
                "--broker" => {
                    o.brokers = match value().as_str() {
                        "embedded" => vec![On::Embedded],
                        "kafka" => vec![On::Kafka],
                        "both" => o.brokers,
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
        asked.then_some(o)
    }
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == part)
    }
}

fn main() {
    if let Ok(job) = std::env::var(worker::JOB) {
        return worker::run(&job);
    }
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        println!("{HELP}");
        return;
    };
    let version = |program: &str, args: &[&str]| {
        let said = std::process::Command::new(program).args(args).output().ok();
        said.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    process::machine().iter().for_each(|line| println!("# {line}"));
    let profile = if cfg!(debug_assertions) { "dev: figures mean nothing" } else { "release" };
    println!(
        "# {}; {}; profile: {profile}",
        version(env!("CARGO_BIN_EXE_atio"), &["--version"]),
        version("rustc", &["--version"])
    );
    println!(
        "# brokers: embedded (this program, fsync os), Apache Kafka 4.3.1 (one node, replication 1); rdkafka {}",
        rdkafka::util::get_rdkafka_version().1
    );
    let mut figures = Figures::default();
    if options.wants("instructions") && options.judge.is_none() {
        instructions::part(&mut figures);
    }
    let rounds = options.pairs.unwrap_or(if options.quick { 2 } else { 7 });
    let records = options.records.unwrap_or(if options.quick { 100_000 } else { 300_000 });
    if options.wants("workflows") && options.judge.is_none() {
        workflows::part(&mut figures, rounds.max(5));
    }
    if options.wants("idle") && options.judge.is_none() {
        pipeline::idle(&mut figures, options.quick);
    }
    for on in &options.brokers {
        let broker = Broker::start(*on);
        if let Some(baseline) = &options.judge {
            contest::judge(&broker, &mut figures, baseline.clone(), records, rounds);
            continue;
        }
        if options.wants("contest") {
            contest::part(&broker, &mut figures, records, rounds, &options.who);
        }
        if options.wants("pipeline") {
            pipeline::part(&broker, &mut figures, options.quick);
        } else if options.wants("trickle") {
            pipeline::trickle(&broker, &mut figures, options.quick);
        }
    }
    if options.judge.is_none() {
        options.brokers.iter().for_each(|on| figures.criteria(on.name()));
    }
    figures.end();
}
