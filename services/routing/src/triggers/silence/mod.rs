//! `on: silence`: what came does not come any more. Two stages, since whose silence it is lies on all partitions of the events.
//!
//! `listen` reads the events, notes for each partition by itself what each workflow listens for, and says on `heard` where something begins to come and
//! where it is quiet. It does so by a timer, and a timer fires only when its partition is read to the end: routing that is behind, or was away, takes
//! nothing for quiet that lies there unread. `hear` reads `heard`, keyed by workflow and key: where all partitions are quiet it is silent; where one
//! is not any more it has returned. So a message is written where something changes, and not for each event.
//! Owns what both share: names, and the record between them. Must not know: steps.
mod hear;
mod listen;

use crate::{Definitions, Deps};
use atio_schemas::Code;
use atio_stage::{Stage, StageError};
use atio_workflow::{Silence, Trigger};

/// Without the prefix.
const TOPIC: &str = "heard";
/// The stage, and group, that listens.
pub(super) const LISTENER: &str = "routing-heard";

pub(super) fn stages(deps: &Deps, definitions: &Definitions) -> Vec<Stage> {
    vec![listen::stage(deps), hear::stage(deps, definitions)]
}

/// The key of a record on `heard`, and of what both keep.
fn key(workflow: &str, mark: &str, key: &str) -> String {
    format!("{workflow}/{mark}/{key}")
}

/// What a workflow listens for now, and under which version; none = nothing, or something else than under this mark.
///
/// # Errors
/// `unknown_version`: the table is behind.
fn listening<'d>(
    definitions: &'d Definitions,
    workflow: &str,
    mark: &str,
) -> Result<Option<(i64, &'d Silence)>, StageError> {
    let Some((version, _)) = definitions.in_force(workflow) else { return Ok(None) };
    let definition = definitions.version(workflow, version)?;
    let silence = definition.silence.as_ref().filter(|_| definition.on == Trigger::Silence);
    Ok(silence.filter(|silence| silence.mark() == mark).map(|silence| (version, silence)))
}

fn behind(workflow: &str, version: i64) -> StageError {
    let message = format!("workflow {workflow}@{version} is not known here yet");
    StageError { code: Code::UnknownVersion, message }
}

#[cfg(test)]
mod tests;
