//! The stage: what each record does to its incident, and how it ends. Owns outcomes and what is held; what an answer does is in `answer`.
use crate::{
    Deps, INPUTS,
    answer::{Ending, Taken},
    incident::{levels, open_wait},
    meant::{Refused, formed},
    stores::{Early, EarlyRecord, EarlyWhat, IncidentState, Incidents, Waiting, Waits, held},
};
use atio_schemas::{
    Code, Codec, CodecError, Timestamp, codec,
    delivery::ReceiptRecord,
    header,
    incident::{Ack, Answer, Answerer, Hours, IncidentEvent, Otherwise, Wait},
};
use atio_stage::{
    Headers, NonEmpty, Outcome, Output, Part, Processor, Record, Reject, Replay, StageError, Store as _,
    Timer, Tx,
};
use atio_workflow::{hours, outputs};
use ipnet::IpNet;
use std::{collections::BTreeSet, sync::Arc};

/// So long something may be ahead of the first event of its incident, which lies on another topic.
pub(crate) const GRACE_MS: i64 = 10_000;
pub(crate) use atio_workflow::hours::ESCALATED_MS;
/// The longest `within`.
const WITHIN_MAX_MS: i64 = 365 * 24 * 3600 * 1000;
/// Open waits of one incident; early records of one incident.
pub(crate) const WAITS_MAX: usize = 200;
pub(crate) const EARLY_MAX: usize = 100;
/// Longest id, name or role.
pub(crate) const NAME_MAX: usize = 256;
/// Choices of a wait.
const CHOICES_MAX: usize = 16;
/// People whose yes a wait may need.
const APPROVERS_MAX: i32 = 5;
/// Levels of a rota.
const LEVELS_MAX: usize = 8;
/// A wait's state as JSON: what its changelog takes.
const STATE_MAX: usize = (8 << 20) - (64 << 10);

pub(crate) struct Joiner {
    pub(crate) codec: Codec,
    pub(crate) prefix: String,
    pub(crate) home_networks: Vec<IpNet>,
    response: BTreeSet<String>,
    incidents: Arc<str>,
    /// The inputs, in the order of [`INPUTS`].
    topics: [Arc<str>; 4],
}

impl Joiner {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self {
            codec: deps.codec.clone(),
            prefix: deps.prefix.clone(),
            home_networks: deps.home_networks.clone(),
            response: deps.response.clone(),
            incidents: deps.topic("incidents"),
            topics: INPUTS.map(|name| deps.topic(name)),
        }
    }

    fn event(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let event: IncidentEvent = match record.decode(&self.codec, "an event of an incident") {
            Ok(event) => event,
            Err(refused) => return Ok(refused),
        };
        if let Some(refused) = misplaced(record, &event.incident_id) {
            return Ok(refused);
        }
        let known = tx.store::<Incidents>().get(&event.incident_id)?;
        let fresh = known.is_none();
        let mut state = known.unwrap_or_else(|| IncidentState::of_event(&event));
        state.add(&event, record.timestamp);
        if fresh {
            self.early(&mut state, record.headers, tx)?;
        }
        self.emit(&state, &event.event_id, record.headers, tx)
    }

    fn wait(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let wait: Wait = match record.decode(&self.codec, "a wait") {
            Ok(wait) => wait,
            Err(refused) => return Ok(refused),
        };
        if let Some(refused) = misplaced(record, &wait.incident_id).or_else(|| wrong_wait(&wait)) {
            return Ok(refused);
        }
        let known = tx.store::<Incidents>().get(&wait.incident_id)?;
        if known.as_ref().is_some_and(|s| s.ended.contains(&wait.wait_id)) {
            // It was answered, and what came after failed: that is done again.
            let is_open = known.as_ref().is_some_and(|s| s.incident.closed_at.is_none());
            let ended = known.as_ref().and_then(|s| s.ending(&wait.wait_id));
            let ending = ended.unwrap_or_else(|| acknowledged(record.timestamp));
            return match Replay::of(record.headers).filter(|replay| replay.is_anew()) {
                Some(_) if !is_open => Ok(Outcome::Drop(Code::Closed)),
                Some(_) => {
                    self.resume(&Waiting { wait, carried: outputs::carried(record.headers) }, ending, tx)
                }
                None => Ok(Outcome::Drop(Code::Joined)),
            };
        }
        if known.as_ref().is_some_and(|s| s.incident.closed_at.is_some()) {
            return Ok(Outcome::Drop(Code::Closed));
        }
        if known
            .as_ref()
            .is_some_and(|s| s.incident.waits.len() >= WAITS_MAX && s.open(&wait.wait_id).is_none())
        {
            return Ok(Outcome::dead_letter(
                Code::TooMany,
                format!("the incident has {WAITS_MAX} open waits"),
            ));
        }
        let waiting = Waiting { wait, carried: outputs::carried(record.headers) };
        if let Some(refused) = unfit(&waiting) {
            return Ok(refused);
        }
        let wait = &waiting.wait;
        let fresh = known.is_none();
        let mut state = known.unwrap_or_else(|| IncidentState::of_wait(wait));
        let at = record.timestamp;
        state.incident.notified_at.get_or_insert(at);
        state.touch(at);
        if fresh {
            self.early(&mut state, record.headers, tx)?;
        }
        let end = if let Some(open) = state.open_mut(&wait.wait_id) {
            open.joined += 1;
            Outcome::Drop(Code::Joined)
        } else if state.incident.closed_at.is_some() {
            Outcome::Drop(Code::Closed)
        } else if let Some(answered) =
            state.answered_all_at.filter(|answered| *answered >= at && is_plain(wait))
        {
            // It lay on its topic when all were answered.
            let ending = acknowledged(answered);
            let end = self.resume(&waiting, ending, tx)?;
            state.incident.waits.push(open_wait(wait, at));
            state.end(&wait.wait_id, ending);
            end
        } else {
            let open = open_wait(wait, at);
            let until = open.deadline;
            state.incident.waits.push(open);
            let key = held(Waits::NAME, &wait.incident_id, &wait.wait_id);
            tx.store::<Waits>().put(&key.key, &waiting)?;
            Outcome::Hold { key, until }
        };
        self.show(&state, &wait.wait_id, record.headers, tx)?;
        Ok(end)
    }

    fn ack(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let ack: Ack = match record.decode(&self.codec, "an answer") {
            Ok(ack) => ack,
            Err(refused) => return Ok(refused),
        };
        if let Some(refused) = misplaced(record, &ack.incident_id).or_else(|| wrong_ack(&ack)) {
            return Ok(refused);
        }
        let Some(mut state) = tx.store::<Incidents>().get(&ack.incident_id)? else {
            let incident_id = ack.incident_id.clone();
            return ahead(&incident_id, EarlyRecord { at: record.timestamp, what: EarlyWhat::Ack(ack) }, tx);
        };
        match self.answer(&ack, record.timestamp, &mut state, tx)? {
            Taken::Yes => self.emit(&state, &ack.ack_id, record.headers, tx),
            Taken::Before => Ok(Outcome::Drop(Code::Duplicate)),
            Taken::No(Refused { code: Code::Closed, .. }) if is_policy(&ack) => {
                Ok(Outcome::Drop(Code::Closed))
            }
            Taken::No(Refused { code, message }) => Ok(Outcome::dead_letter(code, message)),
        }
    }

    fn receipt(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let receipt: ReceiptRecord = match record.decode(&self.codec, "a receipt") {
            Ok(receipt) => receipt,
            Err(refused) => return Ok(refused),
        };
        let Some(incident_id) = receipt.incident_id.clone() else {
            return Ok(Outcome::Drop(Code::NoIncident));
        };
        if let Some(refused) = misplaced(record, &incident_id) {
            return Ok(refused);
        }
        if receipt.status != "delivered" || !self.response.contains(&receipt.sink) {
            return Ok(Outcome::Drop(Code::Filtered));
        }
        let Some(mut state) = tx.store::<Incidents>().get(&incident_id)? else {
            let early = EarlyRecord { at: record.timestamp, what: EarlyWhat::Receipt(receipt) };
            return ahead(&incident_id, early, tx);
        };
        if state.incident.handed_over_at.is_some() {
            return Ok(Outcome::Drop(Code::Filtered));
        }
        state.incident.handed_over_at = Some(record.timestamp);
        state.touch(record.timestamp);
        self.emit(&state, &receipt.idempotency_key, record.headers, tx)
    }

    /// What came before the incident was known takes effect now, in the order in which it came.
    fn early(&self, state: &mut IncidentState, headers: &Headers, tx: &mut Tx<'_>) -> Result<(), StageError> {
        let incident_id = state.incident.incident_id.clone();
        let Some(early) = tx.store::<Early>().get(&incident_id)? else { return Ok(()) };
        tx.store::<Early>().delete(&incident_id);
        for record in early {
            let end = match &record.what {
                EarlyWhat::Ack(ack) => match self.answer(ack, record.at, state, tx)? {
                    Taken::Yes => Outcome::emit(self.output(state, &ack.ack_id, headers)?),
                    Taken::Before => Outcome::Drop(Code::Duplicate),
                    Taken::No(Refused { code: Code::Closed, .. }) if is_policy(ack) => {
                        Outcome::Drop(Code::Closed)
                    }
                    Taken::No(Refused { code, message }) => self.rejected(ack, code, message)?,
                },
                EarlyWhat::Receipt(_) if state.incident.handed_over_at.is_some() => {
                    Outcome::Drop(Code::Filtered)
                }
                EarlyWhat::Receipt(receipt) => {
                    state.incident.handed_over_at = Some(record.at);
                    state.touch(record.at);
                    Outcome::emit(self.output(state, &receipt.idempotency_key, headers)?)
                }
            };
            tx.settle(held(Early::NAME, &incident_id, &record.id()), end);
        }
        Ok(())
    }

    /// Nobody has answered in time.
    fn deadline(&self, key: &str, at: Timestamp, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let Some(waiting) = tx.store::<Waits>().get(key)? else { return Ok(Outcome::Drop(Code::Unanswered)) };
        let wait = &waiting.wait;
        let known = tx.store::<Incidents>().get(&wait.incident_id)?;
        let mut state = known.unwrap_or_else(|| IncidentState::of_wait(wait));
        let level = state.open(&wait.wait_id).map_or(0, levels);
        let level = usize::try_from(level).unwrap_or(usize::MAX);
        let now = tx.now();
        state.touch(now);
        let unanswered = Ending { answer: Answer::Unanswered, choice: None, by: &[], at };
        let key_of = || held(Waits::NAME, &wait.incident_id, &wait.wait_id);
        let end = match (wait.escalate.get(level), wait.otherwise) {
            (Some(next), _) => {
                // Their time runs from when they are asked.
                let until = hours::deadline(now, next.within_ms, next.hours.as_ref());
                state.escalate(&wait.wait_id, Some(&next.role), at, until);
                Outcome::Hold { key: key_of(), until }
            }
            (None, Otherwise::Escalate) if level == wait.escalate.len() => {
                let until = at.plus_millis(ESCALATED_MS);
                state.escalate(&wait.wait_id, None, at, until);
                Outcome::Hold { key: key_of(), until }
            }
            (None, Otherwise::Continue) => {
                let end = self.resume(&waiting, unanswered, tx)?;
                state.acknowledged(now, None, Answerer::Policy);
                end
            }
            (None, Otherwise::Escalate | Otherwise::Stop) => Outcome::Drop(Code::Unanswered),
        };
        if !matches!(end, Outcome::Hold { .. }) {
            tx.store::<Waits>().delete(key);
            state.end(&wait.wait_id, unanswered);
        }
        self.show(&state, &format!("{}/{}", wait.wait_id, at.0), &outputs::restored(&waiting.carried), tx)?;
        Ok(end)
    }

    /// Nothing was heard of the incident in time.
    fn overdue(&self, key: &str, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
        let gone = Outcome::Drop(Code::UnknownIncident);
        let Some((incident_id, id)) = key.split_once('/') else { return Ok(gone) };
        let mut early = tx.store::<Early>().get(incident_id)?.unwrap_or_default();
        let Some(at) = early.iter().position(|record| record.id() == id) else { return Ok(gone) };
        let record = early.remove(at);
        if early.is_empty() {
            tx.store::<Early>().delete(incident_id);
        } else {
            tx.store::<Early>().put(incident_id, &early)?;
        }
        let message = format!("no incident {incident_id} within {} s", GRACE_MS / 1000);
        match &record.what {
            EarlyWhat::Ack(ack) => self.rejected(ack, Code::UnknownIncident, message),
            EarlyWhat::Receipt(receipt) => self.rejected(receipt, Code::UnknownIncident, message),
        }
    }

    /// The record as its input's outcome: the incident as it is now.
    fn emit(
        &self,
        state: &IncidentState,
        cause: &str,
        headers: &Headers,
        tx: &mut Tx<'_>,
    ) -> Result<Outcome, StageError> {
        tx.store::<Incidents>().put(&state.incident.incident_id, state)?;
        self.output(state, cause, headers).map(Outcome::emit)
    }

    /// The incident as it is now, beside the outcome.
    fn show(
        &self,
        state: &IncidentState,
        cause: &str,
        headers: &Headers,
        tx: &mut Tx<'_>,
    ) -> Result<(), StageError> {
        tx.store::<Incidents>().put(&state.incident.incident_id, state)?;
        tx.show(self.output(state, cause, headers)?);
        Ok(())
    }

    /// `cause`: the id of what changed it.
    fn output(&self, state: &IncidentState, cause: &str, from: &Headers) -> Result<Output, StageError> {
        let incident = &state.incident;
        let mut headers = from.carried();
        let source = format!("/atio/{}/incidents", incident.tenant);
        headers.describe("atio.incident", cause, source, incident.updated_at);
        headers.set(header::RUN, header::LIVE);
        headers.set(header::TENANT, incident.tenant.as_bytes());
        let value = self.codec.encode(incident).map_err(|e| failed(&e))?;
        Ok(Output::new(self.incidents.clone(), incident.incident_id.as_bytes(), value, headers))
    }

    /// A dead letter of something that was held: the record is gone, so it is written anew.
    pub(crate) fn rejected<R: codec::Record>(
        &self,
        what: &R,
        code: Code,
        message: String,
    ) -> Result<Outcome, StageError> {
        let bytes = self.codec.encode(what).map_err(|e| failed(&e))?;
        let part = Some(Part { bytes, offset: None, line: None });
        Ok(Outcome::DeadLetter(NonEmpty::one(Reject { code, message, part })))
    }
}

impl Processor for Joiner {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        if !record.headers.is_live() {
            return Outcome::Drop(Code::Replay);
        }
        let [events, waits, acks, receipts] = &self.topics;
        let end = match record.topic {
            topic if topic == &**events => self.event(record, tx),
            topic if topic == &**waits => self.wait(record, tx),
            topic if topic == &**acks => self.ack(record, tx),
            topic if topic == &**receipts => self.receipt(record, tx),
            other => Err(internal(format!("{other} is no input of this stage"))),
        };
        end.unwrap_or_else(Outcome::Fail)
    }

    fn on_timer(&self, timer: &Timer, tx: &mut Tx<'_>) -> Outcome {
        let end = match timer.key.store {
            Waits::NAME => self.deadline(&timer.key.key, timer.at, tx),
            Early::NAME => self.overdue(&timer.key.key, tx),
            other => Err(internal(format!("nothing is held in {other}"))),
        };
        end.unwrap_or_else(Outcome::Fail)
    }
}

/// Held until its incident is known.
fn ahead(incident_id: &str, record: EarlyRecord, tx: &mut Tx<'_>) -> Result<Outcome, StageError> {
    let mut early = tx.store::<Early>().get(incident_id)?.unwrap_or_default();
    let id = record.id();
    if early.iter().any(|known| known.id() == id) {
        return Ok(Outcome::Drop(Code::Duplicate));
    }
    if early.len() >= EARLY_MAX {
        let message = format!("{EARLY_MAX} records wait for an incident that nothing is known of");
        return Ok(Outcome::dead_letter(Code::TooMany, message));
    }
    let until = record.at.plus_millis(GRACE_MS);
    early.push(record);
    tx.store::<Early>().put(incident_id, &early)?;
    Ok(Outcome::Hold { key: held(Early::NAME, incident_id, &id), until })
}

/// By those who answered all that waited, whoever they were.
const fn acknowledged(at: Timestamp) -> Ending<'static> {
    Ending { answer: Answer::Acknowledged, choice: None, by: &[], at }
}

/// What a policy says of each event comes late at times: that is no mistake.
fn is_policy(ack: &Ack) -> bool {
    ack.answerer == Some(Answerer::Policy)
}

/// Whether a yes from anybody is its answer: then it need not be known to whoever answers all.
fn is_plain(wait: &Wait) -> bool {
    wait.choices.is_empty() && wait.approvers.is_none_or(|n| n <= 1)
}

/// State moves with the partition: under another key a record would be held against another's state.
fn misplaced(record: &Record<'_>, incident_id: &str) -> Option<Outcome> {
    if incident_id.is_empty() || incident_id.len() > NAME_MAX || incident_id.contains('/') {
        let message = format!("incident_id: 1 to {NAME_MAX} bytes without `/`");
        return Some(Outcome::dead_letter(Code::InvalidField, message));
    }
    let other = record.key != Some(incident_id.as_bytes());
    other.then(|| Outcome::dead_letter(Code::InvalidField, "the record's key is not its incident_id"))
}

fn wrong_wait(wait: &Wait) -> Option<Outcome> {
    let names = [
        ("wait_id", &wait.wait_id),
        ("workflow", &wait.workflow),
        ("branch", &wait.branch),
        ("role", &wait.role),
    ];
    let choices = wait.choices.iter().map(|choice| ("choices", choice));
    let roles = wait.escalate.iter().map(|level| ("escalate", &level.role));
    let names: Vec<(&str, &String)> = names.into_iter().chain(choices).chain(roles).collect();
    wrong_name(&names).or_else(|| {
        if wait.choices.len() > CHOICES_MAX {
            let message = format!("choices: at most {CHOICES_MAX}");
            return Some(Outcome::dead_letter(Code::InvalidField, message));
        }
        if wait.approvers.is_some_and(|n| !(1..=APPROVERS_MAX).contains(&n)) {
            let message = format!("approvers: 1 to {APPROVERS_MAX}");
            return Some(Outcome::dead_letter(Code::InvalidField, message));
        }
        wrong_time(wait.within_ms, wait.hours.as_ref()).or_else(|| {
            let levels = wait.escalate.iter();
            levels.clone().find_map(|level| wrong_time(level.within_ms, level.hours.as_ref())).or_else(|| {
                let many = levels.len() > LEVELS_MAX;
                many.then(|| {
                    Outcome::dead_letter(Code::InvalidField, format!("escalate: at most {LEVELS_MAX} levels"))
                })
            })
        })
    })
}

fn wrong_time(within_ms: i64, within: Option<&Hours>) -> Option<Outcome> {
    let wrong = |message: &str| Some(Outcome::dead_letter(Code::InvalidField, message));
    match within {
        _ if !(0..=WITHIN_MAX_MS).contains(&within_ms) => wrong("within_ms: up to 365 days"),
        Some(hours) if !hours::fits(hours, within_ms) => wrong(
            "hours: days 1 to 7, minutes of a day, a zone of the tz database; up to a year with within_ms",
        ),
        _ => None,
    }
}

fn wrong_ack(ack: &Ack) -> Option<Outcome> {
    formed(ack).err().map(|refused| Outcome::dead_letter(refused.code, refused.message))
}

fn wrong_name(names: &[(&str, &String)]) -> Option<Outcome> {
    let wrong = names.iter().find(|(_, text)| text.is_empty() || text.len() > NAME_MAX);
    wrong.map(|(name, _)| Outcome::dead_letter(Code::InvalidField, format!("{name}: 1 to {NAME_MAX} bytes")))
}

/// What could not be kept, or not be read again, must not stop the stage.
fn unfit(waiting: &Waiting) -> Option<Outcome> {
    let text = match serde_json::to_vec(waiting) {
        Ok(text) => text,
        Err(error) => return Some(Outcome::dead_letter(Code::InvalidField, error.to_string())),
    };
    if text.len() > STATE_MAX {
        let message = format!("{} bytes of waiting state, {STATE_MAX} are kept", text.len());
        return Some(Outcome::dead_letter(Code::TooLarge, message));
    }
    let read = serde_json::from_slice::<Waiting>(&text);
    read.err().map(|error| Outcome::dead_letter(Code::InvalidField, error.to_string()))
}

fn internal(message: String) -> StageError {
    StageError { code: Code::Internal, message }
}

pub(crate) fn failed(error: &CodecError) -> StageError {
    StageError { code: error.code(), message: error.to_string() }
}
