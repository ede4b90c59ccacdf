//! One branch of one workflow: a routed detection in, deliveries and waits out, by the version that it was routed with; what a `delay` holds
//! goes on under that version, too. Owns which version runs, and what is kept of an event that is held. Must not know: steps.
use crate::{Definitions, router::refused};
use atio_schemas::{Code, Codec, CodecError, Detection, routed::Routed};
use atio_stage::{
    Headers, Outcome, Part, Processor, Record, Reject, StageError, StateKey, Store as _, Timer, Tx,
};
use atio_workflow::{
    Definition, End, Site, To, check, go_on, outputs, run,
    state::{self, Delayed, Steps},
};
use ipnet::IpNet;
use std::collections::BTreeSet;

pub(crate) struct Runner {
    pub(crate) codec: Codec,
    pub(crate) workflow: String,
    pub(crate) branch: String,
    pub(crate) home_networks: Vec<IpNet>,
    /// Of topics, e.g. `atio.`.
    pub(crate) prefix: String,
    /// The stage has the store of steps, and that of timers.
    pub(crate) keeps: bool,
    pub(crate) delays: bool,
    /// It reads these.
    pub(crate) tables: BTreeSet<String>,
}

/// An event on its way: what its end is told with.
struct Way<'a> {
    version: i64,
    original: &'a Detection,
    /// Of the record that it came with.
    headers: &'a Headers,
    /// Under which key it is held.
    key: String,
}

impl Runner {
    /// The version of this workflow that the detection was routed with.
    fn version(&self, routed: &Routed) -> Option<i64> {
        routed.workflows().find(|(name, _)| *name == self.workflow).map(|(_, version)| version)
    }

    /// This branch in that version; none where it does not have it.
    fn branch<'d>(
        &self,
        version: i64,
        tx: &Tx<'d>,
    ) -> Result<Option<(&'d Definition, &'d check::Branch)>, StageError> {
        let definitions = tx.table::<Definitions>(Definitions::TABLE)?;
        // The table may be a moment behind: whoever runs the stage tries again, and fails after a while.
        let definition = definitions.version(&self.workflow, version)?;
        let Some(branch) = definition.branch(&self.branch) else { return Ok(None) };
        let keeps = (!branch.keeps || self.keeps) && (!branch.delays || self.delays);
        if !keeps || !branch.tables.is_subset(&self.tables) {
            // So may the stage: it is started anew with the stores and tables that this version needs.
            let message = format!(
                "{}@{version} needs a store or a table that this stage does not have yet",
                self.workflow
            );
            return Err(StageError { code: Code::UnknownVersion, message });
        }
        Ok(Some((definition, branch)))
    }

    fn event(&self, routed: &Routed, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let Some(version) = self.version(routed) else {
            let message = format!("the list of matches does not name {}", self.workflow);
            return Ok(Outcome::dead_letter(Code::MissingField, message));
        };
        let Some((definition, branch)) = self.branch(version, tx)? else {
            return Ok(Outcome::Drop(Code::NotInVersion));
        };
        let site = Site { version, home_networks: &self.home_networks };
        let end = run(definition, branch, &routed.detection, site, record.timestamp, tx)?;
        let key = state::delayed_key(record.offset);
        let way = Way { version, original: &routed.detection, headers: record.headers, key };
        self.end(end, &way, tx)
    }

    /// What was held is due.
    fn due(&self, key: &str, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let Some(delayed) = state::take(tx, key)? else {
            return Ok(Outcome::dead_letter(Code::Internal, format!("nothing is held under {key}")));
        };
        let version = delayed.version;
        let Some((definition, branch)) = self.branch(version, tx)? else {
            return Ok(Outcome::Drop(Code::NotInVersion));
        };
        let site = Site { version, home_networks: &self.home_networks };
        let end = go_on(definition, branch, &delayed, site, tx)?;
        let headers = outputs::restored(&delayed.carried);
        let way = Way { version, original: &delayed.original, headers: &headers, key: key.to_owned() };
        let outcome = self.end(end, &way, tx)?;
        self.whole(outcome, &way)
    }

    fn end(&self, mut end: End, way: &Way<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        if let Some(delay) = end.delayed.take() {
            let carried = outputs::carried(way.headers);
            let delayed = Delayed::of(&delay, way.original, way.version, carried);
            return Ok(match state::hold(tx, &way.key, delayed)? {
                Some(reject) => Outcome::DeadLetter(atio_stage::NonEmpty::one(reject)),
                None => {
                    let key = StateKey { store: Steps::NAME, key: way.key.clone() };
                    Outcome::Hold { key, until: delay.due }
                }
            });
        }
        let definitions = tx.table::<Definitions>(Definitions::TABLE)?;
        let to = To { codec: &self.codec, prefix: &self.prefix, definitions };
        Ok(match to.end(way.headers, way.original, &mut end) {
            Ok(outputs) => Outcome::of(outputs, end.rejected, end.dropped.unwrap_or(Code::Filtered)),
            Err(error) => refused(error),
        })
    }

    /// The record of what was held is gone: its dead letters hold it as it was written, anew.
    fn whole(&self, mut outcome: Outcome, way: &Way<'_>) -> Result<Outcome, StageError> {
        let give = |rejects: &mut dyn Iterator<Item = &mut Reject>| -> Result<(), CodecError> {
            for reject in rejects {
                if reject.part.is_none() {
                    let matches = vec![format!("{}@{}", self.workflow, way.version)];
                    let routed = Routed { matches, detection: way.original.clone() };
                    let bytes = self.codec.encode(&routed)?;
                    reject.part = Some(Part { bytes, offset: None, line: None });
                }
            }
            Ok(())
        };
        let given = match &mut outcome {
            Outcome::Emit { rejected, .. } => give(&mut rejected.iter_mut()),
            Outcome::DeadLetter(rejects) => give(&mut rejects.iter_mut()),
            _ => Ok(()),
        };
        given.map_err(|error| StageError { code: error.code(), message: error.to_string() })?;
        Ok(outcome)
    }
}

impl Processor for Runner {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let routed: Routed = match record.decode(&self.codec, "a routed detection") {
            Ok(routed) => routed,
            Err(refused) => return refused,
        };
        self.event(&routed, record, tx).unwrap_or_else(Outcome::Fail)
    }

    fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
        self.due(&timer.key.key, tx).unwrap_or_else(Outcome::Fail)
    }
}
