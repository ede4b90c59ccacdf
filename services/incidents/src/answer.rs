//! What a person's answer does, and how a branch goes on. Owns which waits an answer ends, and as what; steps are run by `atio-workflow`, by the
//! version that the branch started with.
use crate::{
    meant::{Refused, meant},
    stage::{Joiner, failed},
    stores::{IncidentState, Waiting, Waits, held},
};
use atio_schemas::{
    Code, Timestamp,
    incident::{Ack, AckAction, Answer, Answerer, Rejected},
};
use atio_stage::{Outcome, Part, StageError, Store as _, Tx};
use atio_workflow::{Definitions, Heard, Site, To, outputs, resume};

/// What became of an answer.
#[must_use]
pub(crate) enum Taken {
    Yes,
    /// It was taken before.
    Before,
    No(Refused),
}

/// How a wait ends.
#[derive(Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub answer: Answer,
    pub choice: Option<&'a str>,
    pub by: &'a [String],
    pub at: Timestamp,
}

impl Joiner {
    /// `at`: the timestamp of the answer's record. Waits that it ends are settled here; the state is the caller's to put and to show.
    pub(crate) fn answer(
        &self,
        ack: &Ack,
        at: Timestamp,
        state: &mut IncidentState,
        tx: &mut Tx<'_>,
    ) -> Result<Taken, StageError> {
        if state.acks.contains(&ack.ack_id) {
            return Ok(Taken::Before);
        }
        let who = ack.answerer.unwrap_or(Answerer::Human);
        let meant: Vec<String> = match meant(&state.incident, ack) {
            Ok(waits) => waits.into_iter().map(|w| w.wait_id.clone()).collect(),
            Err(refused) => return Ok(Taken::No(refused)),
        };
        let one = ack.wait_id.as_deref();
        if let Some(id) = one.filter(|id| state.open(id).is_none() && !state.ended.iter().any(|e| e == id)) {
            let message = format!("the incident has no wait {id}");
            return Ok(Taken::No(Refused { code: Code::UnknownWait, message }));
        }
        let by = [ack.actor.clone()];
        let ending = |answer| Ending { answer, choice: None, by: &by, at };
        match ack.action {
            AckAction::Comment | AckAction::Update => {}
            AckAction::Claim => meant.iter().for_each(|id| state.claim(id, Some((&ack.actor, at)))),
            AckAction::Release => meant.iter().for_each(|id| state.claim(id, None)),
            AckAction::Reject => {
                for id in &meant {
                    self.end(id, ending(Answer::Rejected), state, tx)?;
                }
                state.acknowledged(at, Some(&ack.actor), Answerer::Human);
            }
            AckAction::Acknowledge => {
                for id in &meant {
                    let Some(by) = state.approve(id, ack, at) else { continue };
                    let choice = ack.choice.as_deref();
                    let ending = Ending { answer: Answer::Acknowledged, choice, by: &by, at };
                    self.end(id, ending, state, tx)?;
                }
                if one.is_none() && ack.choice.is_none() {
                    state.answered_all_at = state.answered_all_at.max(Some(at));
                }
                state.acknowledged(at, Some(&ack.actor), Answerer::Human);
            }
            AckAction::Close => {
                for id in &meant {
                    self.end(id, ending(Answer::Closed), state, tx)?;
                }
                state.acknowledged(at, Some(&ack.actor), who);
                state.incident.closed_at = Some(at);
                state.incident.verdict = ack.verdict;
            }
        }
        state.update(ack, who);
        if let Some(text) = &ack.comment {
            state.comment(&ack.actor, at, text);
        }
        state.took(&ack.ack_id);
        state.touch(at);
        Ok(Taken::Yes)
    }

    /// An open wait is over: what was held is settled, by the remaining steps where it goes on.
    fn end(
        &self,
        wait_id: &str,
        ending: Ending<'_>,
        state: &mut IncidentState,
        tx: &mut Tx<'_>,
    ) -> Result<(), StageError> {
        let key = held(Waits::NAME, &state.incident.incident_id, wait_id);
        let end = match (ending.answer, tx.store::<Waits>().get(&key.key)?) {
            (Answer::Rejected, Some(waiting)) if waiting.wait.rejected != Some(Rejected::Continue) => {
                Outcome::Drop(Code::Rejected)
            }
            (Answer::Acknowledged | Answer::Rejected, Some(waiting)) => self.resume(&waiting, ending, tx)?,
            _ => Outcome::Drop(Code::Closed),
        };
        tx.store::<Waits>().delete(&key.key);
        tx.settle(key, end);
        state.end(wait_id, ending);
        Ok(())
    }

    /// Runs the remaining steps: the outcome of the record that waited.
    pub(crate) fn resume(
        &self,
        waiting: &Waiting,
        ending: Ending<'_>,
        tx: &Tx<'_>,
    ) -> Result<Outcome, StageError> {
        let wait = &waiting.wait;
        let definitions = tx.table::<Definitions>(Definitions::TABLE)?;
        // The table may be a moment behind: whoever runs the stage tries again.
        let definition = definitions.version(&wait.workflow, wait.version)?;
        let Some(branch) = definition.branch(&wait.branch) else {
            return Ok(Outcome::Drop(Code::NotInVersion));
        };
        let site = Site { version: wait.version, home_networks: &self.home_networks };
        let heard = Heard::of(wait, ending.answer, ending.choice, ending.at);
        let mut end = resume(definition, branch, wait, heard, site);
        let from = outputs::restored(&waiting.carried);
        let to = To { codec: &self.codec, prefix: &self.prefix, definitions };
        let outputs = match to.end(&from, &wait.original, &mut end) {
            Ok(outputs) => outputs,
            Err(error) => {
                let reject = error.reject()?;
                return self.rejected(wait, reject.code, reject.message);
            }
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
