//! Runs one branch of one definition on one detection: a pure function from event to deliveries and waits.
//! Owns the order of steps and how a branch ends. Must not know: what steps do, topics, groups.
use crate::{
    check::{Branch, Definition},
    steps::{self, Converted, Flow},
};
use atio_schemas::{Code, Detection, delivery::Delivery, incident::Wait};
use atio_stage::Reject;
use ipnet::IpNet;
use std::borrow::Cow;

/// Where and as what a branch runs.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub version: i64,
    /// Addresses that are ours: `sanitize` takes them out.
    pub home_networks: &'a [IpNet],
}

/// One delivery, to `delivery.<sink>`.
pub type Delivered = Delivery;

/// How a branch ended: at least one of them is something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    pub outputs: Vec<Delivered>,
    /// Where it came to wait, to `waits`: at most one. [`resume`] runs the steps behind it.
    pub waits: Vec<Wait>,
    /// Why parts of it could not be delivered: `above_clearance`, `convert_failed`, `step_failed`.
    pub rejected: Vec<Reject>,
    /// Why the rest of it was left out: `when_false`, `filtered`.
    pub dropped: Option<Code>,
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
    pub end: End,
}

impl<'a> Event<'a> {
    /// Changing the event ends what was converted from it.
    pub fn change(&mut self) -> &mut Detection {
        self.converted = None;
        self.detection.to_mut()
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

/// Runs a branch, up to its end or to where it waits.
#[must_use]
pub fn run(definition: &Definition, branch: &Branch, detection: &Detection, site: Site<'_>) -> End {
    let event = Event {
        definition,
        branch,
        site,
        original: detection,
        detection: Cow::Borrowed(detection),
        unaligned: false,
        converted: None,
        end: End::default(),
    };
    steps_from(0, event)
}

/// Runs the steps behind a wait, up to the end of the branch or to where it waits again. Definition, branch and site's version are
/// those that the wait names.
#[must_use]
pub fn resume(definition: &Definition, branch: &Branch, wait: &Wait, site: Site<'_>) -> End {
    let mut event = Event {
        definition,
        branch,
        site,
        original: &wait.original,
        detection: Cow::Borrowed(&wait.detection),
        unaligned: wait.unaligned,
        converted: None,
        end: End::default(),
    };
    let next = usize::try_from(wait.step).ok().and_then(|step| step.checked_add(1));
    let Some(next) = next.filter(|next| *next < branch.steps.len()) else {
        let message =
            format!("{}.{}: no step stands behind step {}", definition.name, branch.name, wait.step);
        event.end.rejected.push(Reject::whole(Code::InvalidField, message));
        return event.end;
    };
    steps_from(next, event)
}

fn steps_from(first: usize, mut event: Event<'_>) -> End {
    let (definition, branch) = (event.definition, event.branch);
    let mut next = first;
    while let Some(step) = branch.steps.get(next) {
        next += 1;
        match step.run(&mut event) {
            Flow::Next => {}
            Flow::Skip(steps) => next += steps,
            Flow::Wait(wait) => {
                event.end.waits.push(wait);
                break;
            }
            Flow::Drop(code) => {
                event.end.dropped = Some(code);
                break;
            }
            Flow::Reject(code, message) => {
                let message = format!("{}.{}: {}: {message}", definition.name, branch.name, step.name());
                event.end.rejected.push(Reject::whole(code, message));
                if !steps::goes_on(code) {
                    break;
                }
            }
        }
    }
    let End { outputs, waits, rejected, .. } = &event.end;
    if outputs.is_empty() && waits.is_empty() && rejected.is_empty() {
        // An `if` without `else` was the last step, and did not hold.
        event.end.dropped.get_or_insert(Code::When);
    }
    event.end
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
