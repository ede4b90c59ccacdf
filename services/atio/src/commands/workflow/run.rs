//! `atio workflow run`: a workflow that is `on: manual`, by hand, on an event. Owns where the event comes from; whether it may run is monitoring's to say.
use super::{command, definitions};
use crate::{
    commands::{incident, look, test::fixture},
    endpoints::Target,
    exit::{Exit, Failure},
};
use anyhow::Context;
use atio_schemas::{Detection, command::Action};
use std::path::PathBuf;

/// What it is run on.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// A file with one event: a detection as `atio normalize --to detection` prints it, or what a tool wrote
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
    /// An incident as it stands now: its id, or how the id starts
    #[arg(long, value_name = "INCIDENT")]
    incident: Option<String>,
}

pub(super) fn run(target: &Target, ask: &command::Ask, what: &What) -> anyhow::Result<Exit> {
    let event = serde_json::to_string(&event(target, what)?)?;
    let all = look::find(target, definitions)?.context("stopped")?;
    let Some(pointer) = all.get(ask.name()).filter(|d| d.pointer) else {
        return Err(command::stranger(ask.name()));
    };
    let command = command::command(ask, Action::Run, Some(pointer.version), Some(event), "run by hand")?;
    let change = command::carried_out(target, command)?;
    command::told(&change, ask.format(), "runs on the event")
}

fn event(target: &Target, what: &What) -> anyhow::Result<Detection> {
    if let Some(id) = what.incident.clone() {
        let found = look::find(target, move |look| incident::find(look, &id))?.context("stopped")?;
        return Ok(atio_routing::triggers::of_incident(&found));
    }
    let path = what.event.as_deref().context("an event")?;
    let config = target.configuration(serde_json::json!({}))?;
    let mut events = fixture(path, &config).map_err(Failure::usage)?;
    match (events.pop(), events.len()) {
        (Some(event), 0) => Ok(event),
        (_, more) => Err(Failure::usage(format!("{}: {} events, one is run", path.display(), more + 1))),
    }
}
