//! The commands, one file each. A stranger adds a file, a variant in `cli.rs` and a line here.
pub mod ack;
pub mod apply;
pub mod audit;
pub mod broker;
pub mod completions;
pub mod dlq;
pub mod doctor;
pub mod explain;
pub mod graph;
pub mod incident;
pub mod key;
pub mod lag;
pub mod look;
pub mod metrics;
pub mod normalize;
pub mod plan;
pub mod replay;
pub mod run;
pub mod schema;
pub mod tap;
pub mod test;
pub mod up;
pub mod validate;
pub mod workflow;

use crate::{
    cli::{Cli, Command},
    exit::Exit,
};

pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let target = cli.target;
    match cli.command {
        Command::Ack(args) => ack::run(&target, &args),
        Command::Apply(args) => apply::run(&target, &args),
        Command::Audit(args) => audit::run(&target, args),
        Command::Broker(args) => broker::run(&target, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Dlq(args) => dlq::run(&target, args),
        Command::Doctor(args) => doctor::run(&target, &args),
        Command::Explain(args) => explain::run(&target, &args),
        Command::Graph(args) => graph::run(&target, &args),
        Command::Incident(args) => incident::run(&target, args),
        Command::Key(args) => key::run(&target, args),
        Command::Lag(args) => lag::run(&target, &args),
        Command::Metrics(args) => metrics::run(&target, args),
        Command::Normalize(args) => normalize::run(&target, &args),
        Command::Plan(args) => plan::run(&target, &args),
        Command::Replay(args) => replay::run(&target, args),
        Command::Run(args) => run::run(&target, &args),
        Command::Schema(args) => schema::run(&target, &args),
        Command::Tap(args) => tap::run(&target, &args),
        Command::Test(args) => test::run(&target, &args),
        Command::Up(args) => up::run(&target, &args),
        Command::Validate(args) => validate::run(&target, &args),
        Command::Workflow(args) => workflow::run(&target, args),
    }
}

/// Runs a command's future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    // A blocked file read must not keep the program from ending.
    runtime.shutdown_background();
    result
}
