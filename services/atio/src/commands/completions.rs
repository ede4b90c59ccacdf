//! `atio completions SHELL`.
use crate::{cli::Cli, exit::Exit};
use clap::CommandFactory;

#[derive(Debug, clap::Args)]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut text = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "atio", &mut text);
    crate::render::line(String::from_utf8(text)?.trim_end())?;
    Ok(Exit::Done)
}
