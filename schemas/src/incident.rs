//! Incidents: what enrichment says about them, branches that wait for people, people's answers, and the state with its timings.
use crate::{
    Detection, Timestamp,
    detection::{Kind, text_enum},
};
use serde::{Deserialize, Serialize};

/// On `atio.incident-events`, key = incident id, written by enrichment in the transaction of the detection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentEvent {
    pub incident_id: String,
    pub event_id: String,
    pub tenant: String,
    pub kind: Kind,
    pub asset: Option<String>,
    pub rule_id: Option<String>,
    /// True for the event that opened the incident.
    pub opened: bool,
    pub importance: Option<f64>,
    pub status: Option<crate::detection::Status>,
    pub occurred_at: Option<Timestamp>,
    pub received_at: Option<Timestamp>,
}

/// On `atio.incidents` (compacted), key = incident id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub incident_id: String,
    pub tenant: String,
    pub kind: Kind,
    pub asset: Option<String>,
    pub rule_id: Option<String>,
    pub events: i64,
    pub importance: Option<f64>,
    pub occurred_at: Option<Timestamp>,
    pub detected_at: Option<Timestamp>,
    pub notified_at: Option<Timestamp>,
    pub acked_at: Option<Timestamp>,
    pub acked_by: Option<String>,
    pub handed_over_at: Option<Timestamp>,
    pub contained_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub verdict: Option<Verdict>,
    /// When a deadline passed without an answer.
    pub escalated_at: Option<Timestamp>,
    /// Who answered: a person, or a policy when a deadline passed.
    pub acked_as: Option<Answerer>,
    /// The newest change: a time of the broker.
    pub updated_at: Option<Timestamp>,
    /// Branches that wait for an answer, oldest first.
    pub waits: Vec<OpenWait>,
    /// How waits ended, newest last; a bounded number of them.
    #[serde(default)]
    pub answers: Vec<Answered>,
    /// What people said, newest last; a bounded number of them.
    #[serde(default)]
    pub comments: Vec<Comment>,
    /// How often somebody else was asked because nobody answered in time; none = never.
    pub escalations: Option<i64>,
    /// Who is to work on it.
    pub assignee: Option<String>,
    pub severity: Option<Severity>,
    /// Who said how severe it is; a policy does not say otherwise than a person.
    pub severity_as: Option<Answerer>,
}

impl Incident {
    /// Of which nothing is known yet.
    #[must_use]
    pub fn new(incident_id: &str, tenant: &str, kind: Kind) -> Self {
        Self {
            incident_id: incident_id.to_owned(),
            tenant: tenant.to_owned(),
            kind,
            asset: None,
            rule_id: None,
            events: 0,
            importance: None,
            occurred_at: None,
            detected_at: None,
            notified_at: None,
            acked_at: None,
            acked_by: None,
            handed_over_at: None,
            contained_at: None,
            closed_at: None,
            verdict: None,
            escalated_at: None,
            acked_as: None,
            updated_at: None,
            waits: vec![],
            answers: vec![],
            comments: vec![],
            escalations: None,
            assignee: None,
            severity: None,
            severity_as: None,
        }
    }
}

text_enum! { /// What an incident turned out to be.
Verdict { TruePositive = "true_positive", FalsePositive = "false_positive", Benign = "benign" } }
text_enum! { /// Who answered.
Answerer { Human = "human", Policy = "policy" } }
text_enum! { /// What a person does with an incident.
AckAction { Acknowledge = "acknowledge", Close = "close", Comment = "comment", Reject = "reject", Claim = "claim", Release = "release", Update = "update" } }
text_enum! { /// How severe an incident is, as somebody says.
Severity { Low = "low", Medium = "medium", High = "high", Critical = "critical" } }
text_enum! { /// What becomes of a branch whose deadline passes without an answer.
Otherwise { Escalate = "escalate", Continue = "continue", Stop = "stop" } }

text_enum! { /// What becomes of a branch when somebody says no.
Rejected { Stop = "stop", Continue = "continue" } }
text_enum! { /// How a wait ended: enough people said yes, nobody answered in time, the incident was closed, somebody said no.
Answer { Acknowledged = "acknowledged", Unanswered = "unanswered", Closed = "closed", Rejected = "rejected" } }

/// A branch that waits, as the incident shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenWait {
    pub wait_id: String,
    /// `name@version`.
    pub workflow: String,
    pub branch: String,
    /// Whose answer is waited for.
    pub role: String,
    pub opened_at: Timestamp,
    pub deadline: Timestamp,
    pub escalated: bool,
    /// Events that joined it after the first.
    pub joined: i64,
    /// What the answer must name one of; empty = a yes is enough.
    #[serde(default)]
    pub choices: Vec<String>,
    /// How many different people must say yes; none = one.
    pub approvers: Option<i32>,
    /// Who has, while it takes more.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Who works on it.
    pub claimed_by: Option<String>,
    pub claimed_at: Option<Timestamp>,
    /// Who is asked now, where somebody else was first; `role` may answer all the time.
    pub asked: Option<String>,
    /// How often it was escalated; none = never.
    pub level: Option<i32>,
}

impl OpenWait {
    /// That has just been opened.
    #[must_use]
    pub fn new(wait_id: &str, workflow: &str, branch: &str, role: &str, opened_at: Timestamp) -> Self {
        Self {
            wait_id: wait_id.to_owned(),
            workflow: workflow.to_owned(),
            branch: branch.to_owned(),
            role: role.to_owned(),
            opened_at,
            deadline: opened_at,
            escalated: false,
            joined: 0,
            choices: vec![],
            approvers: None,
            approvals: vec![],
            claimed_by: None,
            claimed_at: None,
            asked: None,
            level: None,
        }
    }
}

/// One person's yes to a wait that takes several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    /// Yes to what, where there are choices.
    pub choice: Option<String>,
    pub at: Timestamp,
}

/// What somebody said about an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comment {
    pub by: String,
    pub at: Timestamp,
    pub text: String,
}

/// A wait that has ended, as the incident shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    pub wait_id: String,
    /// `name@version`.
    pub workflow: String,
    pub branch: String,
    pub answer: Answer,
    /// What was chosen, where there were choices.
    pub choice: Option<String>,
    /// Who answered; empty = nobody.
    pub by: Vec<String>,
    pub at: Timestamp,
}

/// On `atio.waits`, key = incident id, written by a branch that came to an `await`: all that its remaining steps need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// UUIDv5 over incident, workflow, branch and step, without the version: later events of the incident join it.
    pub wait_id: String,
    pub incident_id: String,
    pub tenant: String,
    pub workflow: String,
    pub version: i64,
    pub branch: String,
    /// Index of the `await` among the branch's steps, from 0; the remaining steps follow it.
    pub step: i32,
    /// Whose answer is waited for, e.g. `analyst`.
    pub role: String,
    /// Time for the answer, from the record's timestamp on; ms.
    pub within_ms: i64,
    pub otherwise: Otherwise,
    /// As the branch got it: keys and identifies its deliveries.
    pub original: Detection,
    /// As the steps before have left it.
    pub detection: Detection,
    /// Columns were changed since its bundle was last brought in line with them.
    pub unaligned: bool,
    /// What the answer must name one of; empty = a yes is enough.
    #[serde(default)]
    pub choices: Vec<String>,
    /// What was chosen at an earlier wait of the branch.
    pub choice: Option<String>,
    /// How many different people must say yes, 1 to 5; none = one.
    pub approvers: Option<i32>,
    /// What becomes of the branch when one says no; none = it stops.
    pub rejected: Option<Rejected>,
    /// When `within_ms` counts; none = always.
    pub hours: Option<Hours>,
    /// Who is asked next when nobody answered in time; `otherwise` is what follows the last.
    #[serde(default)]
    pub escalate: Vec<Level>,
}

/// Hours of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// 1 = Monday to 7 = Sunday, each once.
    pub days: Vec<i32>,
    /// Minutes of the day, 0 to 1439.
    pub from_minute: i32,
    /// 1 to 1440; at or before `from_minute` it is that of the next day.
    pub to_minute: i32,
    /// A name of the IANA time zone database.
    pub zone: String,
}

/// Who is asked next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    pub role: String,
    /// Time for the answer, from when they are asked; ms.
    pub within_ms: i64,
    /// When it counts; none = always.
    pub hours: Option<Hours>,
}

impl Wait {
    /// Of a branch that came so far with this event; for an analyst's yes within no time.
    #[must_use]
    pub fn new(wait_id: &str, incident_id: &str, workflow: &str, branch: &str, event: Detection) -> Self {
        Self {
            wait_id: wait_id.to_owned(),
            incident_id: incident_id.to_owned(),
            tenant: event.tenant.clone(),
            workflow: workflow.to_owned(),
            version: 1,
            branch: branch.to_owned(),
            step: 0,
            role: "analyst".to_owned(),
            within_ms: 0,
            otherwise: Otherwise::Escalate,
            detection: event.clone(),
            original: event,
            unaligned: false,
            choices: vec![],
            choice: None,
            approvers: None,
            rejected: None,
            hours: None,
            escalate: vec![],
        }
    }
}

/// On `atio.acks`, key = incident id, written for a person. The record's timestamp is the time of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// UUID; the same one twice is one answer.
    pub ack_id: String,
    pub incident_id: String,
    /// None: every open wait of the incident.
    pub wait_id: Option<String>,
    pub action: AckAction,
    /// For `close`.
    pub verdict: Option<Verdict>,
    /// Who answers.
    pub actor: String,
    pub comment: Option<String>,
    pub sent_at: Timestamp,
    /// What is chosen, where the wait has choices.
    pub choice: Option<String>,
    /// Who is to work on the incident, for `update` and `close`.
    pub assignee: Option<String>,
    /// For `update` and `close`.
    pub severity: Option<Severity>,
    /// Who says it; none = a person. A policy's `actor` is its workflow, `name@version`.
    pub answerer: Option<Answerer>,
}

impl Ack {
    /// To all that waits, without a word.
    #[must_use]
    pub fn new(ack_id: &str, incident_id: &str, action: AckAction, actor: &str, sent_at: Timestamp) -> Self {
        Self {
            ack_id: ack_id.to_owned(),
            incident_id: incident_id.to_owned(),
            wait_id: None,
            action,
            verdict: None,
            actor: actor.to_owned(),
            comment: None,
            sent_at,
            choice: None,
            assignee: None,
            severity: None,
            answerer: None,
        }
    }
}
