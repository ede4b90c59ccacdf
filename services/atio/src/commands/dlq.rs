//! `atio dlq`: what could not be processed, why, and what is done about it. Owns the command's arguments; each subcommand is a file.
mod edit;
mod letter;
mod ls;
mod marks;
mod pen;
mod replay;
mod restore;
mod select;
mod show;
mod told;

use crate::{
    commands::look::{Look, full_name, look},
    endpoints::Target,
    exit::{Exit, Failure},
    render::Format,
};
use atio_stream::read::Entry;

pub use marks::Marks;

/// Look at what could not be processed, and why; replay it, or drop it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: atio dlq ls && atio dlq show raw.suricata && atio dlq replay raw.suricata --code truncated"
)]
pub struct Args {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DlqCommand {
    /// Count dead letters by topic, stage and reason
    Ls {
        /// A table, or one JSON object a line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show the dead letters of a topic, or one of them whole
    #[command(after_help = "Example: atio dlq show raw.suricata --at 1/0 --value > line.json")]
    Show(show::ShowArgs),
    /// Give letters back to the topics that they came from; without --yes only show what would go where
    ///
    /// Key, value, headers and ids are those of the record; only the stage that refused it takes it, and what it gave before is not given again. Records, marks
    /// and the audit log's entry are one transaction: after a crash a letter is replayed and marked, or neither. The letters stay where they are.
    #[command(
        after_help = "Examples:\n  atio dlq replay delivery.siem --since 2h --yes\n  atio dlq replay raw.suricata --at 1/0 --set-value line.json --yes"
    )]
    Replay(replay::ReplayArgs),
    /// Mark letters as dropped: nobody needs them. Nothing is deleted
    #[command(
        after_help = "Example: atio dlq drop raw.suricata --code empty --reason 'a test of the sensor' --yes"
    )]
    Drop(replay::DropArgs),
}

pub fn run(target: &Target, args: Args) -> anyhow::Result<Exit> {
    match args.command {
        DlqCommand::Ls { format } => look(target, move |look| ls::list(look, format).map(|()| Exit::Done)),
        DlqCommand::Show(args) => look(target, move |look| {
            let topic = dead_letters_of(look, &args.topic)?;
            show::show(look, &topic, &args).map(|()| Exit::Done)
        }),
        DlqCommand::Replay(args) => replay::replay(target, args),
        DlqCommand::Drop(args) => replay::drop(target, args),
    }
}

/// What was done with a dead letter already, in a few words.
pub fn done(marks: &Marks, entry: &Entry) -> Option<String> {
    marks.of(&entry.topic, letter::Letter(entry).at()).map(marks::told)
}

/// True for topics of dead letters.
pub fn is_dlq(topic: &str) -> bool {
    topic.ends_with(".dlq") || topic.ends_with("workflow-dlq")
}

fn dead_letters_of(look: &Look, topic: &str) -> anyhow::Result<String> {
    if is_dlq(topic) {
        return full_name(look, topic);
    }
    full_name(look, &format!("{topic}.dlq")).map_err(|_| {
        Failure::usage(format!("no dead letters of `{topic}`; `atio dlq ls` shows which topics have some"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_dead_letters() {
        assert!(is_dlq("atio.raw.x.dlq") && is_dlq("atio.workflow-dlq"));
        assert!(!is_dlq("atio.detections") && !is_dlq("atio.dlq-marks"));
    }
}
