//! The pool: one stage that runs the branches of all workflows that have none of their own, out of `routed`. Each branch ends as if it had had the
//! record to itself; what is for a workflow that has been promoted goes on to that one's topic. Owns that, and the look at branches of which nearly
//! everything fails. Must not know: steps, who decides where a workflow runs.
use crate::{Definitions, Deps, SERVICE};
use atio_schemas::{
    Code, Codec, CodecError, Timestamp,
    command::{Action, Command, ObjectKind},
    definition::Placement,
    header,
    routed::{Routed, parsed},
};
use atio_stage::{
    Headers, Input, Leg, NonEmpty, Outcome, Output, Pace, Processor, Record, Reject, Replay, Run, Stage,
    StageError, Store, StoreSpec, Tx,
};
use atio_stix::ids;
use atio_workflow::{Branch, Definition, Site, To, outputs::headers, routed::ROUTED, run};
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Name of the stage, and its group.
pub const POOL: &str = "routing-pool";
/// Who asks for a promotion.
const ACTOR: &str = SERVICE;
/// So long a record waits for what it needs here (a version, a table, a topic); then the workflow that lacks it goes without, and the others go on.
const PATIENCE_MS: i64 = 60_000;
/// Of so many records in a row, so many dead letters: it is not the records (exactly-once, rule 14).
const WINDOW: u64 = 1_000;
const FAILED: u64 = 980;
/// Outputs of one branch for one record at most.
const OUTPUTS_MAX: usize = 10_000;

/// Branches that have failed lately; key = stage. One that has no entry has not.
struct Failing;
impl Store for Failing {
    const NAME: &'static str = "failing";
    /// Records since the first failure, and those that failed.
    type Value = (u64, u64);
}

struct Pool {
    codec: Codec,
    home_networks: Vec<IpNet>,
    /// Of topics, e.g. `atio.`.
    prefix: String,
    /// It reads these.
    tables: BTreeSet<String>,
    /// Workflows whose topics are there.
    forwards: BTreeSet<String>,
}

/// The stage, as these definitions need it. `ready`: whether the topic of a workflow that has been promoted is there.
#[must_use]
pub fn stage(deps: &Deps, definitions: &Definitions, ready: &dyn Fn(&str) -> bool) -> Stage {
    let is_run = |placement: &Option<Placement>| *placement != Some(Placement::Promoted);
    let run = definitions.shared().filter(|(_, placement)| is_run(placement)).map(|(name, _)| name);
    let reach = definitions.reach_of(run);
    let forwards: BTreeSet<String> =
        crate::promoted(definitions).filter(|name| ready(name)).map(str::to_owned).collect();
    let mut outputs: Vec<Arc<str>> = vec![deps.topic("commands")];
    outputs.extend(reach.sinks.iter().map(|sink| deps.topic(&format!("delivery.{sink}"))));
    outputs.extend(reach.awaits.then(|| deps.topic("waits")));
    outputs.extend(reach.commands.then(|| deps.topic("acks")));
    outputs.extend(deps.called(&reach));
    outputs.extend(forwards.iter().map(|name| deps.topic(&format!("workflow.{name}"))));
    let tables = reach.tables.iter().map(|name| deps.reference(name));
    Stage {
        name: POOL.to_owned(),
        service: SERVICE,
        group: format!("{}{POOL}", deps.prefix),
        inputs: vec![Input { dead_letters: deps.topic("workflow-dlq"), ..Input::new(&deps.topic("routed")) }],
        outputs,
        stores: vec![StoreSpec::of::<Failing>(&deps.prefix, SERVICE)],
        tables: std::iter::once(deps.table.clone()).chain(tables).collect(),
        pace: Pace::Interactive,
        run: Run::Transform(Box::new(Pool {
            codec: deps.codec.clone(),
            home_networks: deps.home_networks.clone(),
            prefix: deps.prefix.clone(),
            tables: reach.tables,
            forwards,
        })),
    }
}

/// One event, and one workflow that it is for.
struct Match<'a> {
    routed: &'a Routed,
    record: &'a Record<'a>,
    /// As the list has it: `name@version`.
    workflow: &'a str,
    name: &'a str,
    version: i64,
}

impl Match<'_> {
    /// The stage that all branches of the workflow together stand for.
    fn whole(&self) -> String {
        format!("{SERVICE}.{}", self.name)
    }
    /// Of a replay: whether it is for this workflow, or for one of its branches.
    fn is_meant(&self, stage: Option<&str>) -> bool {
        let whole = self.whole();
        let within = |stage: &str| {
            stage.strip_prefix(&whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        stage.is_none_or(within)
    }
    fn leg(&self, stage: String) -> Leg {
        let workflow = self.workflow.to_owned();
        Leg { stage, workflow, outputs: vec![], rejected: vec![], otherwise: Code::Filtered }
    }
    fn failed(&self, stage: String, code: Code, message: impl Into<String>) -> Leg {
        Leg { rejected: vec![Reject::whole(code, message)], ..self.leg(stage) }
    }
    /// What it needs is not here: it may come.
    fn unready(&self, stage: String, message: String, tx: &Tx<'_>) -> Result<Leg, StageError> {
        let code = Code::UnknownVersion;
        if tx.now() < self.record.timestamp.plus_millis(PATIENCE_MS) {
            return Err(StageError { code, message });
        }
        Ok(self.failed(stage, code, message))
    }
}

impl Pool {
    fn event(&self, routed: &Routed, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let definitions = tx.table::<Definitions>(Definitions::TABLE)?;
        let replayed = Replay::of(record.headers).and_then(Replay::stage).filter(|stage| *stage != POOL);
        let (mut outputs, mut legs) = (vec![], vec![]);
        for workflow in &routed.matches {
            let Some((name, version)) = parsed(workflow) else {
                let message = format!("`{workflow}` in the list of matches is no name@version");
                return Ok(Outcome::dead_letter(Code::InvalidField, message));
            };
            let one = Match { routed, record, workflow, name, version };
            if !one.is_meant(replayed) {
                continue;
            }
            match definitions.placement(name) {
                Some(Placement::Own | Placement::Promoted) if self.forwards.contains(name) => {
                    match definitions.record_key(name, version, &routed.detection) {
                        Ok(key) => outputs.push(self.forward(&one, key).map_err(stage_error)?),
                        // Its branches tell why it can't run.
                        Err(_) if definitions.knows(name, version) => {
                            outputs.push(self.forward(&one, None).map_err(stage_error)?);
                        }
                        Err(error) => legs.push(one.unready(one.whole(), error.message, tx)?),
                    }
                }
                Some(Placement::Own | Placement::Promoted) => {
                    let message = format!("the topic of {workflow}, which is promoted, is not there yet");
                    legs.push(one.unready(one.whole(), message, tx)?);
                }
                Some(Placement::Pooled) | None => self.branches(&one, replayed, &mut legs, tx)?,
            }
        }
        if Replay::of(record.headers).is_none() {
            for leg in &legs {
                outputs.extend(self.look(leg, definitions, tx)?);
            }
        }
        Ok(match NonEmpty::from_vec(legs) {
            Some(legs) => Outcome::Legs { outputs, legs },
            None if replayed.is_some() && outputs.is_empty() => Outcome::Drop(Code::OtherStage),
            None if outputs.is_empty() => {
                Outcome::dead_letter(Code::MissingField, "the list of matches is empty")
            }
            None => Outcome::of(outputs, vec![], Code::Other),
        })
    }

    /// The record as its router would have written it. `key`: what it brings its events together by.
    fn forward(&self, one: &Match<'_>, key: Option<Vec<u8>>) -> Result<Output, CodecError> {
        let from = one.record.headers;
        let mut headers = headers(from, &one.routed.detection, one.workflow, ROUTED);
        let whole = one.whole();
        let is_whole = |name: &str, value: &[u8]| name == header::REPLAY_STAGE && value == whole.as_bytes();
        let replay = from.0.iter().filter(|(name, value)| {
            // Each branch of it is to take what is for all.
            name.starts_with(header::REPLAY) && !is_whole(name, value)
        });
        headers.0.extend(replay.cloned());
        let matches = vec![one.workflow.to_owned()];
        let routed = Routed { matches, detection: one.routed.detection.clone() };
        Ok(Output {
            topic: Arc::from(format!("{}workflow.{}", self.prefix, one.name)),
            partition: None,
            key: key.or_else(|| one.record.key.map(<[u8]>::to_vec)),
            value: Some(self.codec.encode(&routed)?),
            headers,
        })
    }

    /// A leg for each branch; of a replay, for the one that it is for.
    fn branches(
        &self,
        one: &Match<'_>,
        replayed: Option<&str>,
        legs: &mut Vec<Leg>,
        tx: &mut Tx<'_>,
    ) -> Result<(), StageError> {
        let definitions = tx.table::<Definitions>(Definitions::TABLE)?;
        let definition = match definitions.version(one.name, one.version) {
            Ok(definition) => definition,
            // It is here and can't run: waiting would not help.
            Err(error) if definitions.knows(one.name, one.version) => {
                legs.push(one.failed(one.whole(), error.code, error.message));
                return Ok(());
            }
            Err(error) => {
                legs.push(one.unready(one.whole(), error.message, tx)?);
                return Ok(());
            }
        };
        let before = legs.len();
        for branch in &definition.branches {
            let stage = format!("{}.{}", one.whole(), branch.name);
            if replayed.is_none_or(|wanted| wanted == stage || wanted == one.whole()) {
                legs.push(self.branch(one, (definition, branch), stage, tx)?);
            }
        }
        if let Some(stage) = replayed.filter(|_| legs.len() == before) {
            legs.push(Leg { otherwise: Code::NotInVersion, ..one.leg(stage.to_owned()) });
        }
        Ok(())
    }

    fn branch(
        &self,
        one: &Match<'_>,
        (definition, branch): (&Definition, &Branch),
        stage: String,
        tx: &mut Tx<'_>,
    ) -> Result<Leg, StageError> {
        if branch.keeps || branch.delays || !branch.tables.is_subset(&self.tables) {
            // Where it keeps something, the pointer that promotes it comes next; the stage is started anew with the tables that are missing.
            let message =
                format!("{}: {} needs what this stage does not have yet", one.workflow, branch.name);
            return one.unready(stage, message, tx);
        }
        let site = Site { version: one.version, home_networks: &self.home_networks };
        let event = &one.routed.detection;
        // A library that panics on an event must not keep back the other branches.
        let end =
            catch_unwind(AssertUnwindSafe(|| run(definition, branch, event, site, one.record.timestamp, tx)));
        let Ok(end) = end else {
            return Ok(one.failed(stage, Code::Internal, format!("{}: the branch panicked", one.workflow)));
        };
        let mut end = end?;
        let from = one.record.headers;
        let definitions = tx.table::<Definitions>(Definitions::TABLE)?;
        let to = To { codec: &self.codec, prefix: &self.prefix, definitions };
        let made = match to.end(from, event, &mut end) {
            Ok(made) if made.len() > OUTPUTS_MAX => {
                let message = format!("{} outputs of one record, at most {OUTPUTS_MAX} go", made.len());
                return Ok(one.failed(stage, Code::TooMany, message));
            }
            Ok(made) => made,
            Err(error) => {
                let reject = error.reject()?;
                return Ok(one.failed(stage, reject.code, reject.message));
            }
        };
        let otherwise = end.dropped.unwrap_or(Code::Filtered);
        Ok(Leg { outputs: made, rejected: end.rejected, otherwise, ..one.leg(stage) })
    }

    /// Counts what fails; where nearly everything of a branch does, its workflow is to have groups of its own.
    fn look(
        &self,
        leg: &Leg,
        definitions: &Definitions,
        tx: &mut Tx<'_>,
    ) -> Result<Option<Output>, StageError> {
        let fails = leg.outputs.is_empty() && !leg.rejected.is_empty();
        let known = tx.store::<Failing>().get(&leg.stage)?;
        if known.is_none() && !fails {
            return Ok(None);
        }
        let (records, failed) = known.unwrap_or_default();
        let (records, failed) = (records + 1, failed + u64::from(fails));
        if records - failed > WINDOW - FAILED {
            tx.store::<Failing>().delete(&leg.stage);
            return Ok(None);
        }
        if failed < FAILED {
            tx.store::<Failing>().put(&leg.stage, &(records, failed))?;
            return Ok(None);
        }
        tx.store::<Failing>().delete(&leg.stage);
        let Some((name, _)) = parsed(&leg.workflow) else { return Ok(None) };
        let Some((version, Placement::Pooled)) = definitions.in_force(name) else { return Ok(None) };
        let code = leg.rejected.first().map_or(Code::Internal, |reject| reject.code);
        let reason = format!(
            "{failed} of {records} records in a row at {} ended in dead letters, the last as {code}",
            leg.stage
        );
        promotion(&self.codec, &self.prefix, (name, version), reason, tx.now()).map(Some).map_err(stage_error)
    }
}

/// A command to monitoring. Its id is the same from every partition: it is carried out once.
fn promotion(
    codec: &Codec,
    prefix: &str,
    (name, version): (&str, i64),
    reason: String,
    now: Timestamp,
) -> Result<Output, CodecError> {
    let command_id = ids::joined(&["promotion", ACTOR, name, &version.to_string()]).to_string();
    let mut headers = Headers::default();
    headers.describe("atio.command", &command_id, format!("/atio/{SERVICE}"), Some(now));
    let command = Command {
        command_id,
        action: Action::Promote,
        kind: ObjectKind::Workflow,
        name: name.to_owned(),
        expected_version: version,
        definition: None,
        actor: ACTOR.to_owned(),
        reason: Some(reason),
        sent_at: now,
        own_topic: None,
    };
    let key = format!("{}/{name}", ObjectKind::Workflow);
    Ok(Output::new(format!("{prefix}commands"), key, codec.encode(&command)?, headers))
}

fn stage_error(error: CodecError) -> StageError {
    StageError { code: error.code(), message: error.to_string() }
}

impl Processor for Pool {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let routed: Routed = match record.decode(&self.codec, "a routed detection") {
            Ok(routed) => routed,
            Err(refused) => return refused,
        };
        self.event(&routed, record, tx).unwrap_or_else(Outcome::Fail)
    }

    fn runs_for(&self, stage: &str) -> bool {
        stage.starts_with("routing.")
    }
}
