//! What each record makes of an incident: pure, no store, no topic. Owns which time is which.
use crate::{answer::Ending, meant::COMMENT_MAX, stores::IncidentState};
use atio_schemas::{
    Detection, Timestamp,
    incident::{Ack, Answered, Answerer, Approval, Comment, Incident, IncidentEvent, OpenWait, Wait},
};
use atio_workflow::hours;

/// Ids of waits that have ended, and of answers, that are kept of an incident.
const IDS_MAX: usize = 256;
/// Ends of waits that an incident shows.
const ANSWERS_MAX: usize = 20;
/// Comments that it shows, of as many bytes together as one may have.
const COMMENTS_MAX: usize = 10;

impl IncidentState {
    fn new(incident: Incident) -> Self {
        Self { incident, ended: vec![], acks: vec![], answered_all_at: None }
    }

    /// As its first event says.
    pub(crate) fn of_event(event: &IncidentEvent) -> Self {
        let mut incident = Incident::new(&event.incident_id, &event.tenant, event.kind);
        incident.asset.clone_from(&event.asset);
        incident.rule_id.clone_from(&event.rule_id);
        Self::new(incident)
    }

    /// As a branch that waits saw it: its first event is on the way, in another topic.
    pub(crate) fn of_wait(wait: &Wait) -> Self {
        let seen: &Detection = &wait.original;
        let mut incident = Incident::new(&wait.incident_id, &wait.tenant, seen.kind);
        incident.asset.clone_from(&seen.asset);
        incident.rule_id.clone_from(&seen.rule.id);
        incident.importance = seen.importance;
        incident.occurred_at = seen.occurred_at;
        Self::new(incident)
    }

    pub(crate) fn add(&mut self, event: &IncidentEvent, at: Timestamp) {
        let incident = &mut self.incident;
        incident.events += 1;
        incident.detected_at.get_or_insert(at);
        incident.occurred_at = earliest(incident.occurred_at, event.occurred_at);
        incident.importance = match (incident.importance, event.importance) {
            (Some(known), Some(new)) => Some(known.max(new)),
            (known, new) => known.or(new),
        };
        self.touch(at);
    }

    pub(crate) fn open(&self, wait_id: &str) -> Option<&OpenWait> {
        self.incident.waits.iter().find(|w| w.wait_id == wait_id)
    }

    pub(crate) fn open_mut(&mut self, wait_id: &str) -> Option<&mut OpenWait> {
        self.incident.waits.iter_mut().find(|w| w.wait_id == wait_id)
    }

    /// One more yes to an open wait: who said so, once they are enough. The same person counts once, by the newest choice.
    pub(crate) fn approve(&mut self, wait_id: &str, ack: &Ack, at: Timestamp) -> Option<Vec<String>> {
        let open = self.open_mut(wait_id)?;
        let needed = open.approvers.and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
        if !open.approvals.iter().any(|a| a.by == ack.actor && a.choice == ack.choice) {
            open.approvals.retain(|a| a.by != ack.actor);
            open.approvals.push(Approval { by: ack.actor.clone(), choice: ack.choice.clone(), at });
        }
        let agreed = open.approvals.iter().filter(|a| a.choice == ack.choice);
        let by: Vec<String> = agreed.map(|a| a.by.clone()).collect();
        (by.len() >= needed).then_some(by)
    }

    /// Somebody works on an open wait, or nobody any more.
    pub(crate) fn claim(&mut self, wait_id: &str, by: Option<(&str, Timestamp)>) {
        if let Some(open) = self.open_mut(wait_id) {
            open.claimed_by = by.map(|(by, _)| by.to_owned());
            open.claimed_at = by.map(|(_, at)| at);
        }
    }

    /// Nobody has answered an open wait in time, and it goes on waiting: for `asked`, where the rota has somebody. `late`: the deadline that passed.
    pub(crate) fn escalate(&mut self, wait_id: &str, asked: Option<&str>, late: Timestamp, until: Timestamp) {
        self.claim(wait_id, None);
        if let Some(open) = self.open_mut(wait_id) {
            open.level = Some(levels(open) + 1);
            open.escalated = true;
            open.deadline = until;
            open.asked = asked.map(str::to_owned).or_else(|| open.asked.take());
        }
        let incident = &mut self.incident;
        incident.escalated_at.get_or_insert(late);
        incident.escalations = Some(incident.escalations.unwrap_or(0) + 1);
    }

    /// Whose it is and how severe; a policy says nothing otherwise than a person did.
    pub(crate) fn update(&mut self, ack: &Ack, who: Answerer) {
        let incident = &mut self.incident;
        let policy = who == Answerer::Policy;
        if !(policy && incident.assignee.is_some()) {
            incident.assignee = ack.assignee.clone().or_else(|| incident.assignee.take());
        }
        if ack.severity.is_some() && !(policy && incident.severity_as == Some(Answerer::Human)) {
            incident.severity = ack.severity;
            incident.severity_as = Some(who);
        }
    }

    /// Said once more by the same it is not shown once more: a policy says it of each event.
    pub(crate) fn comment(&mut self, by: &str, at: Timestamp, text: &str) {
        let comments = &mut self.incident.comments;
        comments.retain(|c| c.by != by || c.text != text);
        comments.push(Comment { by: by.to_owned(), at, text: text.to_owned() });
        let mut bytes = 0;
        let kept = comments.iter().rev().take(COMMENTS_MAX).take_while(|c| {
            bytes += c.text.len();
            bytes <= COMMENT_MAX
        });
        let kept = kept.count();
        comments.drain(..comments.len().saturating_sub(kept));
    }

    /// A wait is over.
    pub(crate) fn end(&mut self, wait_id: &str, ending: Ending<'_>) {
        if let Some(open) = self.open(wait_id) {
            let answered = Answered {
                wait_id: wait_id.to_owned(),
                workflow: open.workflow.clone(),
                branch: open.branch.clone(),
                answer: ending.answer,
                choice: ending.choice.map(str::to_owned),
                by: ending.by.to_vec(),
                at: ending.at,
            };
            let answers = &mut self.incident.answers;
            answers.push(answered);
            answers.drain(..answers.len().saturating_sub(ANSWERS_MAX));
        }
        self.incident.waits.retain(|w| w.wait_id != wait_id);
        remember(&mut self.ended, wait_id);
    }

    /// How a wait ended, where that is still known.
    pub(crate) fn ending(&self, wait_id: &str) -> Option<Ending<'_>> {
        let Answered { answer, choice, by, at, .. } =
            self.incident.answers.iter().rfind(|a| a.wait_id == wait_id)?;
        Some(Ending { answer: *answer, choice: choice.as_deref(), by, at: *at })
    }

    pub(crate) fn acknowledged(&mut self, at: Timestamp, by: Option<&str>, answerer: Answerer) {
        let incident = &mut self.incident;
        if incident.acked_at.is_none() {
            incident.acked_at = Some(at);
            incident.acked_by = by.map(str::to_owned);
            incident.acked_as = Some(answerer);
        }
    }

    pub(crate) fn took(&mut self, ack_id: &str) {
        remember(&mut self.acks, ack_id);
    }

    pub(crate) fn touch(&mut self, at: Timestamp) {
        self.incident.updated_at = self.incident.updated_at.max(Some(at));
    }
}

/// The wait as its incident shows it.
pub(crate) fn open_wait(wait: &Wait, opened_at: Timestamp) -> OpenWait {
    let workflow = format!("{}@{}", wait.workflow, wait.version);
    OpenWait {
        deadline: hours::deadline(opened_at, wait.within_ms, wait.hours.as_ref()),
        choices: wait.choices.clone(),
        approvers: wait.approvers,
        ..OpenWait::new(&wait.wait_id, &workflow, &wait.branch, &wait.role, opened_at)
    }
}

/// How often it was escalated.
pub(crate) fn levels(open: &OpenWait) -> i32 {
    open.level.unwrap_or_else(|| i32::from(open.escalated))
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The newest last; the oldest leave.
fn remember(ids: &mut Vec<String>, id: &str) {
    if !ids.iter().any(|known| known == id) {
        ids.push(id.to_owned());
    }
    let over = ids.len().saturating_sub(IDS_MAX);
    ids.drain(..over);
}
