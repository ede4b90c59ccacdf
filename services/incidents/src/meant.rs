//! What an answer may say, and which waits of an incident it is for: pure, and the same for the stage, HTTP and the command line. Must not know:
//! records, keys, how a wait goes on.
use crate::stage::NAME_MAX;
use atio_schemas::{
    Code,
    incident::{Ack, AckAction, Answerer, Incident, OpenWait},
};

/// Longest comment, bytes.
pub const COMMENT_MAX: usize = 4096;

/// Why an answer can't be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    pub message: String,
}

fn refused<T>(code: Code, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code, message: message.into() })
}

/// Whether it is an answer at all, whatever the incident.
///
/// # Errors
/// `invalid_field`: a name or text is missing or too long, or does not go with the action.
pub fn formed(ack: &Ack) -> Result<(), Refused> {
    let policy = ack.answerer == Some(Answerer::Policy);
    let names = [
        ("ack_id", Some(&ack.ack_id)),
        ("actor", Some(&ack.actor)),
        ("wait_id", ack.wait_id.as_ref()),
        ("choice", ack.choice.as_ref()),
        ("assignee", ack.assignee.as_ref()),
    ];
    for (name, text) in names {
        if text.is_some_and(|text| text.is_empty() || text.len() > NAME_MAX) {
            return refused(Code::InvalidField, format!("{name}: 1 to {NAME_MAX} bytes"));
        }
    }
    if ack.comment.as_ref().is_some_and(|c| c.len() > COMMENT_MAX) {
        return refused(Code::InvalidField, format!("comment: at most {COMMENT_MAX} bytes"));
    }
    match (ack.action, ack.verdict) {
        (AckAction::Close, None) => return refused(Code::InvalidField, "verdict: closing needs one"),
        (AckAction::Close, Some(_)) | (_, None) => {}
        (_, Some(_)) => return refused(Code::InvalidField, "verdict: only with action close"),
    }
    let says = ack.assignee.is_some() || ack.severity.is_some();
    match ack.action {
        AckAction::Close => {}
        AckAction::Update if says || ack.comment.is_some() => {}
        AckAction::Update => {
            return refused(Code::InvalidField, "update: an assignee, a severity or a comment");
        }
        _ if says => {
            return refused(Code::InvalidField, "assignee, severity: only with action update or close");
        }
        _ if policy => return refused(Code::InvalidField, "answerer: a policy only updates or closes"),
        _ => {}
    }
    if ack.action == AckAction::Comment && ack.comment.is_none() {
        return refused(Code::InvalidField, "comment: a comment needs one");
    }
    if ack.action != AckAction::Acknowledge && ack.choice.is_some() {
        return refused(Code::InvalidField, "choice: only with action acknowledge");
    }
    Ok(())
}

/// The open waits that an answer is for; none where the incident alone is meant, or one that has ended.
///
/// # Errors
/// `closed`; `unknown_choice`: what waits offers other choices, or none; `unknown_wait`: nothing is there to be rejected, claimed, released;
/// `claimed`: somebody else works on it.
pub fn meant<'i>(incident: &'i Incident, ack: &Ack) -> Result<Vec<&'i OpenWait>, Refused> {
    if incident.closed_at.is_some() {
        return refused(Code::Closed, "the incident is closed");
    }
    let one = ack.wait_id.as_deref();
    let open: Vec<&OpenWait> =
        incident.waits.iter().filter(|w| one.is_none_or(|id| id == w.wait_id)).collect();
    match ack.action {
        AckAction::Comment | AckAction::Update => Ok(vec![]),
        AckAction::Close => Ok(incident.waits.iter().collect()),
        AckAction::Acknowledge => chosen(open, ack.choice.as_ref()),
        AckAction::Reject | AckAction::Claim | AckAction::Release if open.is_empty() => {
            refused(Code::UnknownWait, "nothing waits for an answer")
        }
        AckAction::Reject => Ok(open),
        AckAction::Claim => unclaimed(open, &ack.actor),
        AckAction::Release => claimed(open),
    }
}

/// Whoever works on a wait keeps it until it is released.
fn unclaimed<'i>(open: Vec<&'i OpenWait>, actor: &str) -> Result<Vec<&'i OpenWait>, Refused> {
    let holder = open.first().and_then(|w| w.claimed_by.clone()).unwrap_or_default();
    let free = |w: &&OpenWait| w.claimed_by.as_deref().is_none_or(|by| by == actor);
    let found: Vec<_> = open.into_iter().filter(free).collect();
    if found.is_empty() {
        return refused(Code::Claimed, format!("{holder} works on it: it must be released first"));
    }
    Ok(found)
}

fn claimed(mut open: Vec<&OpenWait>) -> Result<Vec<&OpenWait>, Refused> {
    open.retain(|w| w.claimed_by.is_some());
    if open.is_empty() { refused(Code::UnknownWait, "nobody has claimed it") } else { Ok(open) }
}

/// An answer is for those waits that offer what it chooses; one without a choice for those that offer none.
fn chosen<'i>(open: Vec<&'i OpenWait>, choice: Option<&String>) -> Result<Vec<&'i OpenWait>, Refused> {
    let fits = |w: &&OpenWait| match choice {
        Some(choice) => w.choices.contains(choice),
        None => w.choices.is_empty(),
    };
    let (meant, others): (Vec<_>, Vec<_>) = open.into_iter().partition(fits);
    if !meant.is_empty() || (others.is_empty() && choice.is_none()) {
        return Ok(meant);
    }
    let offered: Vec<String> =
        others.iter().map(|w| w.choices.join(", ")).filter(|c| !c.is_empty()).collect();
    let message = match (choice, offered.is_empty()) {
        (Some(choice), true) => format!("nothing waits for a choice, so `{choice}` is none"),
        (Some(choice), false) => format!("`{choice}` is no choice: one of {}", offered.join("; or ")),
        (None, _) => format!("the answer must choose: one of {}", offered.join("; or ")),
    };
    refused(Code::UnknownChoice, message)
}
