//! How a wait ends in a test, by what the test says of it: as the incidents service ends one. Owns which answers are taken. Must not know: what is
//! expected of what follows.
use crate::{
    hours::ESCALATED_MS,
    machine::{self, End, Heard},
    rehearsal::Subject,
    spec::Reply,
    steps::await_::ROLES,
};
use atio_schemas::{
    Code, Timestamp,
    incident::{Answer, Otherwise, Rejected, Wait},
};

/// What follows this wait. Business hours are not counted: in a test they are always.
///
/// # Errors
/// Why nobody could answer so.
pub(super) fn answered(subject: Subject<'_>, wait: &Wait, reply: &Reply) -> Result<(Answer, End), String> {
    let last = last(wait);
    let after = reply.after.map_or(0, |span| span.millis());
    // What comes too late finds that it is over.
    let answer = if after > last { Answer::Unanswered } else { reply.answer };
    if answer == Answer::Unanswered {
        let goes_on = wait.otherwise == Otherwise::Continue;
        let end = if goes_on { resume(subject, wait, answer, None, last) } else { over(Code::Unanswered) };
        return Ok((answer, end));
    }
    let rank = |role: &str| ROLES.iter().position(|r| *r == role);
    if let Some(by) = reply.by.as_ref().filter(|by| rank(&by.text) < rank(&wait.role)) {
        return Err(format!("`{}` may not answer what `{}` is asked for", by.text, wait.role));
    }
    if answer == Answer::Rejected {
        let goes_on = wait.rejected == Some(Rejected::Continue);
        let end = if goes_on { resume(subject, wait, answer, None, after) } else { over(Code::Rejected) };
        return Ok((answer, end));
    }
    let choice = reply.choice.as_ref().map(|choice| choice.text.as_str());
    let offered = wait.choices.join(", ");
    match choice {
        Some(choice) if offered.is_empty() => Err(format!("nothing is to be chosen, so `{choice}` is none")),
        Some(choice) if !wait.choices.iter().any(|c| c == choice) => {
            Err(format!("`{choice}` is no choice: one of {offered}"))
        }
        None if !offered.is_empty() => Err(format!("the answer must choose: `choice`, one of {offered}")),
        _ => Ok((answer, resume(subject, wait, answer, choice, after))),
    }
}

/// When nobody can answer any more.
fn last(wait: &Wait) -> i64 {
    let levels = wait.escalate.iter().map(|level| level.within_ms);
    let kept = if wait.otherwise == Otherwise::Escalate { ESCALATED_MS } else { 0 };
    levels.fold(wait.within_ms, i64::saturating_add).saturating_add(kept)
}

fn resume(subject: Subject<'_>, wait: &Wait, answer: Answer, choice: Option<&str>, after: i64) -> End {
    let Subject { definition, branch, site } = subject;
    let heard = Heard::of(wait, answer, choice, Timestamp::default().plus_millis(after));
    machine::resume(definition, branch, wait, heard, site)
}

fn over(code: Code) -> End {
    End { dropped: Some(code), ..End::default() }
}
