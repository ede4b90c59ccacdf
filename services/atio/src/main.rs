//! ATIO: the one program. `atio run SERVICE` is a microservice, `atio up` is all of them in one process, the rest are clients.

#![allow(unreachable_pub, reason = "a program exports nothing; `pub` says what its modules share")]

mod cli;
mod commands;
mod demo;
mod endpoints;
mod exit;
mod render;
mod system;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not mistakes.
            let code = if error.use_stderr() { exit::Exit::Usage } else { exit::Exit::Done };
            return match error.print() {
                Ok(()) => code.into(),
                Err(_) => exit::Exit::Failed.into(),
            };
        }
    };
    match commands::run(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            render::error(&error);
            exit::of(&error).into()
        }
    }
}
