//! The command line: one variant a command, alphabetical; what a command does lies in `commands/<command>.rs`.
use crate::{commands, endpoints::Target};
use clap::{Parser, Subcommand};

/// Security events in, STIX 2.1 out, workflows between, exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "atio",
    version,
    about = "Security events in, STIX 2.1 out, workflows between, exactly once",
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Ack(commands::ack::Args),
    /// Make the cluster and the workflows as declared
    Apply(commands::apply::Args),
    Audit(commands::audit::Args),
    /// Run the embedded broker alone: a Kafka for the laptop
    Broker(commands::broker::Args),
    /// Print the completions of a shell
    Completions(commands::completions::Args),
    Dlq(commands::dlq::Args),
    Doctor(commands::doctor::Args),
    Explain(commands::explain::Args),
    Graph(commands::graph::Args),
    Incident(commands::incident::Args),
    /// Make API keys
    Key(commands::key::Args),
    Lag(commands::lag::Args),
    Metrics(commands::metrics::Args),
    Normalize(commands::normalize::Args),
    /// Show what apply would change
    Plan(commands::plan::Args),
    Replay(commands::replay::Args),
    /// Run services, each its own process and pod
    Run(commands::run::Args),
    Schema(commands::schema::Args),
    Tap(commands::tap::Args),
    Test(commands::test::Args),
    /// Run the whole system in one process
    Up(commands::up::Args),
    Validate(commands::validate::Args),
    Workflow(commands::workflow::Args),
}
