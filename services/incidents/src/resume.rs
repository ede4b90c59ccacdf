//! Runs the steps that follow an `await`. Owns nothing else.
use atio_schemas::{Code, incident::Wait};
use atio_stage::Reject;
use atio_workflow::{Branch, Definition, End, Site, machine::Event, steps::Flow};
use std::borrow::Cow;

pub(crate) fn resume(definition: &Definition, branch: &Branch, wait: &Wait, site: Site<'_>) -> End {
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
    let done = usize::try_from(wait.step).map_or(0, |step| step + 1);
    for step in branch.steps.iter().skip(done) {
        match step.run(&mut event) {
            Flow::Next => {}
            Flow::Drop(code) => {
                event.end.dropped = Some(code);
                break;
            }
            Flow::Reject(code, message) => {
                let message = format!("{}.{}: {}: {message}", definition.name, branch.name, step.name());
                event.end.rejected.push(Reject::whole(code, message));
                if code != Code::Clearance {
                    break;
                }
            }
        }
    }
    event.end
}
