//! Workflows that call others: what is checked over all of them, and the records that calls become. Owns who may be called, and how deep. Must not
//! know: stages, groups.
use crate::{
    Definition, Definitions, End, Trigger,
    machine::Called,
    outputs::{headers, shared_headers},
    suggest,
    yaml::Key,
};
use atio_schemas::{Code, Codec, CodecError, Detection, definition::Placement, header, routed::Routed};
use atio_stage::{Headers, Output, Reject};
use atio_topics::Problem;
use std::collections::BTreeMap;

/// An event is handed on so often at most, whatever the definitions became meanwhile.
pub const MAX_DEPTH: u32 = 8;
/// What a routed record says of itself in `ce_type`.
const ROUTED: &str = "atio.routed";

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
///
/// # Errors
/// As for [`crate::outputs()`].
pub fn outputs(
    codec: &Codec,
    prefix: &str,
    from: &Headers,
    end: &mut End,
    definitions: &Definitions,
) -> Result<Vec<Output>, CodecError> {
    let depth = from.text(header::CALLS).and_then(|text| text.parse().ok()).unwrap_or(0_u32);
    let mut outputs = vec![];
    for Called { workflow, detection } in std::mem::take(&mut end.calls) {
        let (version, key) = match callee(&workflow, &detection, depth, definitions) {
            Ok(found) => found,
            Err(reject) if reject.code == Code::NoMatch => {
                end.dropped.get_or_insert(Code::NoMatch);
                continue;
            }
            Err(reject) => {
                end.rejected.push(reject);
                continue;
            }
        };
        let name = format!("{workflow}@{version}");
        let is_own = definitions.placement(&workflow) == Some(Placement::Own);
        let (topic, mut headers) = if is_own {
            (format!("workflow.{workflow}"), headers(from, &detection, &name, ROUTED))
        } else {
            ("routed".to_owned(), shared_headers(from, &detection, ROUTED))
        };
        headers.set(header::CALLS, (depth + 1).to_string());
        let value = codec.encode(&Routed { matches: vec![name], detection })?;
        outputs.push(Output::new(format!("{prefix}{topic}"), key, value, headers));
    }
    Ok(outputs)
}

/// The version in force of a workflow that is called, and the key of the event's record there.
fn callee(
    name: &str,
    detection: &Detection,
    depth: u32,
    definitions: &Definitions,
) -> Result<(i64, Vec<u8>), Reject> {
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
    if !definition.triggers(detection) {
        return Err(Reject::whole(Code::NoMatch, String::new()));
    }
    let d = detection;
    let usual = || d.asset.as_ref().or(d.incident_id.as_ref()).unwrap_or(&d.event_id).clone().into_bytes();
    Ok((version, definition.partition.key(detection).unwrap_or_else(usual)))
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
