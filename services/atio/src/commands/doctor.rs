//! `atio doctor`: what a system needs, checked one by one, each with what to do where it is missing. Owns the list; changes nothing but for a
//! transactional id that it opens and leaves.
mod checks;

use crate::{
    endpoints::Target,
    exit::Exit,
    render::{self, Format},
    system::{self, declared},
};
use checks::{Check, State};
use serde_json::json;

/// Check what a system needs, and say what to do
///
/// Data directory, broker, transactions, topics, adopted topics, registry, sinks.
/// Exit code 6: broker or registry can't be reached; 1: something else is amiss; 0: nothing is, warnings aside.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio doctor --kafka kafka:9092 --registry http://registry:8081")]
pub struct Args {
    /// Text, or one JSON object a check
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(json!({}))?;
    let declarations = declared::load(&config)?;
    let kafka = system::kafka(&config, &target.kafka(&config)?);
    let registry = target.registry(&config).ok();
    let mut all: Vec<State> = vec![];
    let mut tell = |check: Check| -> anyhow::Result<()> {
        show(&check, args.format)?;
        all.push(check.state);
        Ok(())
    };
    tell(checks::data(&config))?;
    let broker = checks::broker(&kafka);
    let answers = broker.state == State::Good;
    tell(broker)?;
    if answers {
        tell(checks::transactions(&kafka, &config))?;
        checks::topics(&kafka, &config, &declarations)?.into_iter().try_for_each(&mut tell)?;
        tell(checks::cleanup_interval(&config)?)?;
    }
    tell(checks::registry(registry.as_deref())?)?;
    for sink in declarations.sinks.values() {
        checks::sink(sink).into_iter().try_for_each(&mut tell)?;
    }
    Ok(exit(&all))
}

fn exit(all: &[State]) -> Exit {
    if all.contains(&State::Unreachable) {
        Exit::Unreachable
    } else if all.contains(&State::Bad) {
        Exit::Failed
    } else {
        Exit::Done
    }
}

fn show(check: &Check, format: Format) -> anyhow::Result<()> {
    let Check { name, state, text, todo } = check;
    if format == Format::Json {
        return render::json(&json!({"check": name, "state": state.name(), "text": text, "todo": todo}));
    }
    render::line(&format!("{} {name}: {text}", state.mark()))?;
    todo.iter().try_for_each(|t| render::line(&format!("    → {t}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides() {
        assert_eq!(exit(&[State::Good, State::Warning]), Exit::Done);
        assert_eq!(exit(&[State::Good, State::Bad]), Exit::Failed);
        assert_eq!(exit(&[State::Bad, State::Unreachable]), Exit::Unreachable);
    }
}
