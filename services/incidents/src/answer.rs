//! What a person's answer does, and how a branch goes on. Owns which waits are answered; steps are run by `atio-workflow`, by the version that
//! the branch started with.
use crate::{
    stage::{Joiner, failed},
    stores::{IncidentState, Waiting, Waits, held},
};
use atio_schemas::{
    Code, CodecError, Timestamp,
    incident::{Ack, AckAction, Answerer},
};
use atio_stage::{Outcome, Part, StageError, Store as _, Tx};
use atio_workflow::{
    Definitions, Site,
    outputs::{self, outputs},
    resume,
};

/// What became of an answer.
#[must_use]
pub(crate) enum Answer {
    Taken,
    /// It was taken before.
    Duplicate,
    Refused(Code, String),
}

impl Joiner {
    /// `at`: the timestamp of the answer's record. Waits that it ends are settled here; the state is the caller's to put and to show.
    pub(crate) fn answer(
        &self,
        ack: &Ack,
        at: Timestamp,
        state: &mut IncidentState,
        tx: &mut Tx<'_>,
    ) -> Result<Answer, StageError> {
        if state.acks.contains(&ack.ack_id) {
            return Ok(Answer::Duplicate);
        }
        if state.incident.closed_at.is_some() {
            return Ok(Answer::Refused(Code::Closed, "the incident is closed".to_owned()));
        }
        let one = ack.wait_id.as_deref();
        if let Some(id) = one.filter(|id| state.open(id).is_none() && !state.ended.iter().any(|e| e == id)) {
            return Ok(Answer::Refused(Code::UnknownWait, format!("the incident has no wait {id}")));
        }
        let open = || state.incident.waits.iter().map(|w| w.wait_id.clone());
        let answered: Vec<String> = match ack.action {
            AckAction::Acknowledge => open().filter(|id| one.is_none_or(|o| o == id)).collect(),
            AckAction::Close => open().collect(),
            AckAction::Comment => vec![],
        };
        for id in &answered {
            let key = held(Waits::NAME, &ack.incident_id, id);
            let end = match (ack.action, tx.store::<Waits>().get(&key.key)?) {
                (AckAction::Acknowledge, Some(waiting)) => self.resume(&waiting, tx)?,
                _ => Outcome::Drop(Code::Closed),
            };
            tx.store::<Waits>().delete(&key.key);
            tx.settle(key, end);
        }
        answered.iter().for_each(|id| state.end(id));
        match ack.action {
            AckAction::Comment => {}
            AckAction::Acknowledge => {
                if one.is_none() {
                    state.answered_all_at = state.answered_all_at.max(Some(at));
                }
                state.acknowledged(at, Some(&ack.actor), Answerer::Human);
            }
            AckAction::Close => {
                state.acknowledged(at, Some(&ack.actor), Answerer::Human);
                state.incident.closed_at = Some(at);
                state.incident.verdict = ack.verdict;
            }
        }
        state.took(&ack.ack_id);
        state.touch(at);
        Ok(Answer::Taken)
    }

    /// Runs the remaining steps: the outcome of the record that waited.
    pub(crate) fn resume(&self, waiting: &Waiting, tx: &Tx<'_>) -> Result<Outcome, StageError> {
        let wait = &waiting.wait;
        let definitions = tx.table::<Definitions>(Definitions::TABLE)?;
        // The table may be a moment behind: whoever runs the stage tries again.
        let definition = definitions.version(&wait.workflow, wait.version)?;
        let Some(branch) = definition.branch(&wait.branch) else {
            return Ok(Outcome::Drop(Code::NotInVersion));
        };
        let site = Site { version: wait.version, home_networks: &self.home_networks };
        let end = resume(definition, branch, wait, site);
        let from = outputs::restored(&waiting.carried);
        let outputs = match outputs(&self.codec, &self.prefix, &from, &wait.original, &end) {
            Ok(outputs) => outputs,
            Err(error @ CodecError::Unregistered(_)) => return Err(failed(&error)),
            Err(error) => return self.rejected(wait, error.code(), error.to_string()),
        };
        let mut rejected = end.rejected;
        if !rejected.is_empty() {
            // The record is gone: what waited is written anew, whole.
            let bytes = self.codec.encode(wait).map_err(|e| failed(&e))?;
            for reject in &mut rejected {
                reject.part.get_or_insert_with(|| Part { bytes: bytes.clone(), offset: None, line: None });
            }
        }
        Ok(Outcome::of(outputs, rejected, end.dropped.unwrap_or(Code::Filtered)))
    }
}
