//! Workflows that call others: what is checked over all of them, and the records that calls become. Owns who may be called, and how deep. Must not
//! know: stages, groups.
use crate::{
    Definition, Definitions, End, Trigger,
    machine::Called,
    outputs,
    routed::{To, Unwritten},
    suggest,
    yaml::Key,
};
use atio_schemas::{Code, Detection, header};
use atio_stage::{Headers, Output, Reject};
use atio_topics::Problem;
use std::collections::BTreeMap;

/// An event is handed on so often at most, whatever the definitions became meanwhile.
pub const MAX_DEPTH: u32 = 8;

/// What is wrong between definitions: calls of what is not there or is not to be called, and those that come back to where they began.
#[must_use]
pub fn problems(definitions: &[Definition]) -> Vec<Problem> {
    let all: BTreeMap<&str, &Definition> = definitions.iter().map(|d| (d.name.as_str(), d)).collect();
    let mut problems = vec![];
    for definition in definitions {
        for call in definition.branches.iter().flat_map(|branch| &branch.calls) {
            match all.get(call.text.as_str()) {
                None => problems.push(stranger(call, &all)),
                Some(other) if other.on != Trigger::Manual => {
                    let message = format!("workflow `{}` is `on: {}`", call.text, other.on.as_str());
                    let help = Some("`on: manual` there: it runs when it is called, or by hand".to_owned());
                    problems.push(Problem::new(&call.place, message).help(help));
                }
                Some(_) => problems.extend(circle(definition, call, &all)),
            }
        }
    }
    problems
}

fn stranger(call: &Key, all: &BTreeMap<&str, &Definition>) -> Problem {
    let names: Vec<&str> =
        all.values().filter(|d| d.on == Trigger::Manual).map(|d| d.name.as_str()).collect();
    let help = suggest::help(&call.text, names.iter().copied());
    let help = help.unwrap_or_else(|| match names.as_slice() {
        [] => "no workflow is `on: manual`: such a one can be called".to_owned(),
        names => format!("those that can be called are: {}", names.join(", ")),
    });
    Problem::new(&call.place, format!("unknown workflow `{}`", call.text)).help(Some(help))
}

/// The way back from a call to where it stands, where there is one.
fn circle(from: &Definition, call: &Key, all: &BTreeMap<&str, &Definition>) -> Option<Problem> {
    let mut ways = vec![vec![from.name.as_str(), call.text.as_str()]];
    let mut seen = vec![];
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        if last == from.name {
            let message = format!("a workflow that comes back to itself: {}", way.join(" → "));
            return Some(
                Problem::new(&call.place, message).help(Some("leave one of these calls out".to_owned())),
            );
        }
        if seen.contains(&last) {
            continue;
        }
        seen.push(last);
        let next = all.get(last).into_iter().flat_map(|d| &d.branches).flat_map(|branch| &branch.calls);
        ways.extend(next.map(|next| way.iter().copied().chain([next.text.as_str()]).collect::<Vec<_>>()));
    }
    None
}

/// The records of a branch's calls, each under the version that is in force now; calls that can't be made become dead letters of the end, and what
/// a called workflow's match does not take is dropped. `from`: headers of the record that the branch was run for.
fn called(to: To<'_>, from: &Headers, end: &mut End) -> Result<Vec<Output>, Unwritten> {
    let depth = from.text(header::CALLS).and_then(|text| text.parse().ok()).unwrap_or(0_u32);
    let mut from = from.clone();
    from.set(header::CALLS, (depth + 1).to_string());
    let mut outputs = vec![];
    for Called { workflow, detection } in std::mem::take(&mut end.calls) {
        match callee(&workflow, &detection, depth, to.definitions) {
            Ok(Some(version)) => {
                outputs.extend(to.event(&from, detection, &[(&workflow, version)])?);
            }
            Ok(None) => _ = end.dropped.get_or_insert(Code::NoMatch),
            Err(reject) => end.rejected.push(reject),
        }
    }
    Ok(outputs)
}

/// The version in force of a workflow that is called; none where its match does not take the event.
fn callee(
    name: &str,
    detection: &Detection,
    depth: u32,
    definitions: &Definitions,
) -> Result<Option<i64>, Reject> {
    if depth >= MAX_DEPTH {
        let message = format!("`call` of workflow {name}: the event was handed on {depth} times before");
        return Err(Reject::whole(Code::TooMany, message));
    }
    let Some((version, definition)) = definitions.current(name) else {
        return Err(Reject::whole(Code::NotFound, format!("`call`: no workflow {name} is in force")));
    };
    if definition.on != Trigger::Manual {
        let message =
            format!("`call`: workflow {name} is `on: {}`, not `on: manual`", definition.on.as_str());
        return Err(Reject::whole(Code::NotAllowed, message));
    }
    Ok(definition.triggers(detection).then_some(version))
}

impl To<'_> {
    /// All that a branch's end says is to be written: what [`outputs::outputs`] gives, and its calls. `from`: headers of the record that the
    /// branch was run for; `original`: the detection as the branch got it.
    ///
    /// # Errors
    /// [`Unwritten`].
    pub fn end(self, from: &Headers, original: &Detection, end: &mut End) -> Result<Vec<Output>, Unwritten> {
        let called = called(self, from, end)?;
        let mut made = outputs::outputs(self.codec, self.prefix, from, original, end)?;
        made.extend(called);
        Ok(made)
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
