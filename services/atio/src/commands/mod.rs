//! The commands, one file each. A stranger adds a file, a variant in `cli.rs` and a line here.
pub mod broker;
pub mod completions;
pub mod key;

use crate::{
    cli::{Cli, Command},
    exit::Exit,
};

pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let target = cli.target;
    match cli.command {
        Command::Broker(args) => broker::run(&target, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Key(args) => key::run(&target, args),
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
