//! Runs one branch of one definition on one detection: a pure function from the event, and what the branch keeps, to deliveries and waits.
//! Owns the order of steps and how a branch ends. Must not know: what steps do, topics, groups.
use crate::{
    check::{Branch, Definition},
    state::{Delayed, Memory, Nothing},
    steps::{self, Converted, Flow, Step},
};
use atio_schemas::{
    Code, Detection, Timestamp,
    delivery::Delivery,
    incident::{Ack, Answer, Wait},
};
use atio_stage::{Reject, StageError};
use atio_vrl::{Failure, Scalar, Seen};
use ipnet::IpNet;
use std::borrow::Cow;

/// A window that is over when its first event is read stays open so long.
const LATE_MS: i64 = 5000;

/// Where and as what a branch runs.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub version: i64,
    /// Addresses that are ours: `sanitize` takes them out.
    pub home_networks: &'a [IpNet],
}

/// One delivery, to `delivery.<sink>`.
pub type Delivered = Delivery;
pub use steps::Called;

/// How a branch ended: at least one of them is something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    pub outputs: Vec<Delivered>,
    /// Where it came to wait, to `waits`: at most one. [`resume`] runs the steps behind it.
    pub waits: Vec<Wait>,
    /// What it tells the event's incident, to `acks`.
    pub commands: Vec<Ack>,
    /// Events for other workflows.
    pub calls: Vec<Called>,
    /// Where it is held; then there are no outputs. [`go_on`] runs the steps behind it.
    pub delayed: Option<Delay>,
    /// Why parts of it could not be delivered: `above_clearance`, `convert_failed`, `step_failed`.
    pub rejected: Vec<Reject>,
    /// Why the rest of it was left out: `when_false`, `filtered`, `duplicate`, `rate_limited`.
    pub dropped: Option<Code>,
}

/// An event that is to be held.
#[derive(Clone, Debug, PartialEq)]
pub struct Delay {
    /// Index of the `delay` among the branch's steps.
    pub step: usize,
    pub due: Timestamp,
    /// As the steps have left it; none where they left it alone.
    pub detection: Option<Detection>,
    pub unaligned: bool,
    /// Of a `gather`: under which name it is what others add to it.
    pub gathering: Option<String>,
}

/// What was said at the waits of a branch so far: what `.answer` and `.choice` are in its expressions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard<'a> {
    /// How the last wait ended.
    pub answer: Option<Answer>,
    /// What was chosen, at the last wait that has choices.
    pub choice: Option<&'a str>,
    /// When the last wait ended.
    pub at: Timestamp,
}

impl<'a> Heard<'a> {
    /// Behind this wait, which ended at this time.
    #[must_use]
    pub fn of(wait: &'a Wait, answer: Answer, choice: Option<&'a str>, at: Timestamp) -> Self {
        let choice = if wait.choices.is_empty() { wait.choice.as_deref() } else { choice };
        Self { answer: Some(answer), choice, at }
    }
}

/// The event on its way through a branch.
pub struct Event<'a> {
    pub definition: &'a Definition,
    pub branch: &'a Branch,
    pub site: Site<'a>,
    /// As it came: what keys and identifies its deliveries.
    pub original: &'a Detection,
    /// As the steps have left it.
    pub detection: Cow<'a, Detection>,
    /// Columns were changed since the bundle was last brought in line with them.
    pub unaligned: bool,
    pub converted: Option<Converted>,
    pub heard: Heard<'a>,
    /// When it came to the step: its record's time, and behind a delay when that was due.
    pub at: Timestamp,
    pub memory: &'a mut dyn Memory,
    /// Within an `each`: the element.
    pub item: Option<Scalar>,
    /// Within an `on_error`: what failed.
    pub error: Option<Failed>,
    pub end: End,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub code: Code,
    pub message: String,
}

/// An event's content, to go back to.
pub(crate) struct Copy<'a> {
    detection: Cow<'a, Detection>,
    unaligned: bool,
    converted: Option<Converted>,
}

impl<'a> Event<'a> {
    /// As it came, before the first step.
    #[must_use]
    pub fn new(
        definition: &'a Definition,
        branch: &'a Branch,
        site: Site<'a>,
        original: &'a Detection,
        at: Timestamp,
        memory: &'a mut dyn Memory,
    ) -> Self {
        Self {
            definition,
            branch,
            site,
            original,
            detection: Cow::Borrowed(original),
            unaligned: false,
            converted: None,
            heard: Heard::default(),
            at,
            memory,
            item: None,
            error: None,
            end: End::default(),
        }
    }
    pub(crate) fn copy(&self) -> Copy<'a> {
        let (detection, converted) = (self.detection.clone(), self.converted.clone());
        Copy { detection, unaligned: self.unaligned, converted }
    }
    pub(crate) fn restore(&mut self, copy: Copy<'a>) {
        (self.detection, self.unaligned, self.converted) = (copy.detection, copy.unaligned, copy.converted);
    }
    /// Changing the event ends what was converted from it.
    pub fn change(&mut self) -> &mut Detection {
        self.converted = None;
        self.detection.to_mut()
    }
    /// What an expression sees.
    #[must_use]
    pub fn seen(&self) -> Seen<'_> {
        let error = self.error.as_ref().map(|e| Failure { code: e.code.as_str(), message: &e.message });
        let Heard { answer, choice, .. } = self.heard;
        let answer = answer.map(Answer::as_str);
        Seen { item: self.item.as_ref(), error, answer, choice, ..Seen::from(&*self.detection) }
    }
    /// `name@version`.
    #[must_use]
    pub fn workflow(&self) -> String {
        format!("{}@{}", self.definition.name, self.site.version)
    }
    /// The seed of what this branch alters in STIX.
    #[must_use]
    pub fn seed<'s>(&'s self, columns: Option<&'s Detection>) -> atio_stix::graph::Branch<'s> {
        atio_stix::graph::Branch {
            tenant: &self.original.tenant,
            workflow: &self.definition.name,
            branch: &self.branch.name,
            columns,
        }
    }
}

/// Runs a branch, up to its end or to where it waits or is held. `at`: when the event came there, its record's time; `memory`: what the branch
/// keeps where it came to.
///
/// # Errors
/// What the branch keeps can't be read or written.
pub fn run(
    definition: &Definition,
    branch: &Branch,
    detection: &Detection,
    site: Site<'_>,
    at: Timestamp,
    memory: &mut dyn Memory,
) -> Result<End, StageError> {
    steps_from(0, Event::new(definition, branch, site, detection, at, memory))
}

/// Runs the steps behind a delay. Definition, branch and site's version are those that it was held under.
///
/// # Errors
/// As for [`run`].
pub fn go_on(
    definition: &Definition,
    branch: &Branch,
    delayed: &Delayed,
    site: Site<'_>,
    memory: &mut dyn Memory,
) -> Result<End, StageError> {
    let mut event = Event::new(definition, branch, site, &delayed.original, delayed.due, memory);
    event.detection = Cow::Borrowed(delayed.detection.as_ref().unwrap_or(&delayed.original));
    event.unaligned = delayed.unaligned;
    if let (Some(gathered), Some(step)) = (&delayed.gathered, branch.steps.get(delayed.step)) {
        step.bring(gathered, &mut event);
    }
    behind(Some(delayed.step), event)
}

/// Runs the steps behind a wait, up to the end of the branch or to where it waits again. Definition, branch and site's version are
/// those that the wait names.
#[must_use]
pub fn resume(
    definition: &Definition,
    branch: &Branch,
    wait: &Wait,
    heard: Heard<'_>,
    site: Site<'_>,
) -> End {
    // No step with state stands behind a wait.
    let mut nothing = Nothing;
    let mut event = Event::new(definition, branch, site, &wait.original, heard.at, &mut nothing);
    event.detection = Cow::Borrowed(&wait.detection);
    event.unaligned = wait.unaligned;
    event.heard = heard;
    behind(usize::try_from(wait.step).ok(), event).unwrap_or_else(|error| End {
        rejected: vec![Reject::whole(error.code, error.message)],
        ..End::default()
    })
}

fn behind(step: Option<usize>, mut event: Event<'_>) -> Result<End, StageError> {
    let (definition, branch) = (event.definition, event.branch);
    let next = step.and_then(|step| step.checked_add(1)).filter(|next| *next < branch.steps.len());
    let Some(next) = next else {
        let message = format!("{}.{}: no step stands behind where it waited", definition.name, branch.name);
        event.end.rejected.push(Reject::whole(Code::InvalidField, message));
        return Ok(event.end);
    };
    steps_from(next, event)
}

fn steps_from(first: usize, mut event: Event<'_>) -> Result<End, StageError> {
    let branch = event.branch;
    walk(&branch.steps, first, &mut event)?;
    let End { outputs, waits, commands, calls, delayed, rejected, .. } = &event.end;
    let nothing = outputs.is_empty() && waits.is_empty() && commands.is_empty() && calls.is_empty();
    if nothing && delayed.is_none() && rejected.is_empty() {
        // An `if` without `else` was the last step, and did not hold; or an `each`, and there was nothing.
        event.end.dropped.get_or_insert(Code::When);
    }
    Ok(event.end)
}

/// How steps ended that ran aside.
pub(crate) struct Aside {
    /// Deliveries and calls that they made, and what they told the incident.
    pub(crate) acts: usize,
    pub(crate) rejected: Vec<Reject>,
}

/// Steps that work on a copy of the event: what they deliver counts, what they change, and that they end, does not.
pub(crate) fn aside(steps: &[Box<dyn Step>], event: &mut Event<'_>) -> Result<Aside, StageError> {
    let before = event.copy();
    let acts = |end: &End| end.outputs.len() + end.commands.len() + end.calls.len();
    let (before_acts, rejected) = (acts(&event.end), event.end.rejected.len());
    let dropped = event.end.dropped.take();
    walk(steps, 0, event)?;
    event.restore(before);
    event.end.dropped = dropped;
    let rejected = event.end.rejected.split_off(rejected);
    Ok(Aside { acts: acts(&event.end) - before_acts, rejected })
}

fn walk(steps: &[Box<dyn Step>], first: usize, event: &mut Event<'_>) -> Result<(), StageError> {
    let mut next = first;
    while let Some(step) = steps.get(next) {
        next += 1;
        match step.run(event) {
            Flow::Next => {}
            Flow::Stop => break,
            Flow::Skip(steps) => next += steps,
            Flow::Wait(wait) => {
                event.end.waits.push(wait);
                break;
            }
            Flow::Delay(millis) => {
                event.at = event.at.plus_millis(millis);
                // What comes late, after a pause say, is not held once more.
                if event.at > event.memory.now() {
                    event.end.delayed = Some(delay(next - 1, event));
                    break;
                }
                event.converted = None;
            }
            Flow::Gather { until, name } => {
                let now = event.memory.now();
                // What is read late still waits for what is read right behind it.
                event.at = if until > now { until } else { now.plus_millis(LATE_MS) };
                event.end.delayed = Some(Delay { gathering: Some(name), ..delay(next - 1, event) });
                break;
            }
            Flow::Drop(code) => {
                event.end.dropped = Some(code);
                break;
            }
            Flow::Reject(code, message) => {
                let (workflow, branch) = (&event.definition.name, &event.branch.name);
                let message = format!("{workflow}.{branch}: {}: {message}", step.name());
                event.end.rejected.push(Reject::whole(code, message));
                if !steps::goes_on(code) {
                    break;
                }
            }
            Flow::Fail(error) => return Err(error),
        }
    }
    Ok(())
}

fn delay(step: usize, event: &Event<'_>) -> Delay {
    let untouched = std::ptr::eq(&raw const *event.detection, event.original);
    Delay {
        step,
        due: event.at,
        detection: (!untouched).then(|| event.detection.clone().into_owned()),
        unaligned: event.unaligned,
        gathering: None,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
