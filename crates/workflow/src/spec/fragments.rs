//! `fragments:` and `call: <fragment>`: steps that a file names once and puts into several branches. Owns what stands for what: after this there is no
//! `call` of a fragment any more, so that a definition holds all that it does, and an event finishes under the steps that it began with. Must not know: what a step means.
use super::{MAX_STEPS, Step, name, steps, suggest, text, unknown};
use crate::yaml::{Key, Node, Value, short};
use atio_topics::Problem;
use std::collections::{BTreeMap, BTreeSet};

const MAX_FRAGMENTS: usize = 64;
/// Of one branch, with those within fragments.
const MAX_CALLS: usize = 1000;
const CALL: &str = "call";

/// The fragments of a file.
#[derive(Default)]
pub(super) struct Fragments {
    steps: BTreeMap<String, Vec<Step>>,
    names: Vec<Key>,
    used: BTreeSet<String>,
    /// Of the branch that is read.
    calls: usize,
}

impl Fragments {
    pub(super) fn read(written: &[(Key, Node)], problems: &mut Vec<Problem>) -> Self {
        if let Some((key, _)) = written.get(MAX_FRAGMENTS) {
            let message = format!("at most {MAX_FRAGMENTS} fragments, here are {}", written.len());
            problems.push(
                Problem::new(&key.place, message).help(Some("leave out what no branch calls".to_owned())),
            );
        }
        let mut fragments = Self::default();
        for (key, node) in written.iter().take(MAX_FRAGMENTS) {
            let key = name(key.clone(), problems);
            fragments.steps.insert(key.text.clone(), steps::steps(node, problems));
            fragments.names.push(key);
        }
        fragments
    }

    /// The same steps, with those of a fragment in the place of each `call`. No more than a branch may have: what is beyond is left out, and told by
    /// whoever counts them.
    pub(super) fn put(&mut self, written: Vec<Step>, problems: &mut Vec<Problem>) -> Vec<Step> {
        self.calls = 0;
        let mut room = MAX_STEPS + 1;
        let mut all = self.expand(written, &mut vec![], &mut room, problems);
        steps::split(&mut all);
        all
    }

    fn expand(
        &mut self,
        written: Vec<Step>,
        chain: &mut Vec<String>,
        room: &mut usize,
        problems: &mut Vec<Problem>,
    ) -> Vec<Step> {
        let mut all = vec![];
        for mut step in written {
            // What is a mapping calls a workflow: a step.
            if step.name.text == CALL && !matches!(step.body.value, Value::Map(_)) {
                all.extend(self.called(&step, chain, room, problems));
                continue;
            }
            let Some(left) = room.checked_sub(1) else { break };
            *room = left;
            for inner in [&mut step.then, &mut step.otherwise, &mut step.each, &mut step.on_error] {
                *inner = self.expand(std::mem::take(inner), chain, room, problems);
            }
            all.push(step);
        }
        all
    }

    fn called(
        &mut self,
        step: &Step,
        chain: &mut Vec<String>,
        room: &mut usize,
        problems: &mut Vec<Problem>,
    ) -> Vec<Step> {
        self.calls += 1;
        if self.calls > MAX_CALLS {
            if self.calls == MAX_CALLS + 1 {
                let message =
                    format!("a branch calls at most {MAX_CALLS} times, with the calls within fragments");
                let help = "fewer fragments that call fragments".to_owned();
                problems.push(Problem::new(&step.name.place, message).help(Some(help)));
            }
            return vec![];
        }
        if *room == 0 {
            return vec![];
        }
        let Some(name) = text(&step.body, "`call`", problems) else { return vec![] };
        let Some(found) = self.steps.get(&name.text).cloned() else {
            problems.push(self.stranger(&name));
            return vec![];
        };
        self.used.insert(name.text.clone());
        if let Some(first) = chain.iter().position(|called| *called == name.text) {
            let circle: Vec<&str> =
                chain.iter().skip(first).chain([&name.text]).map(String::as_str).collect();
            let message = format!("a fragment that comes back to itself: {}", circle.join(" → "));
            problems.push(
                Problem::new(&name.place, message).help(Some("leave one of these calls out".to_owned())),
            );
            return vec![];
        }
        if !step.on_error.is_empty() {
            let help = "beside the steps of the fragment that may fail".to_owned();
            problems.push(Problem::new(&step.name.place, "`call` itself does not fail").help(Some(help)));
        }
        chain.push(name.text);
        let all = self.expand(found, chain, room, problems);
        chain.pop();
        all
    }

    fn stranger(&self, name: &Key) -> Problem {
        let names: Vec<&str> = self.names.iter().map(|key| key.text.as_str()).collect();
        if names.is_empty() {
            let help = format!(
                "`fragments: {{{}: [{{set: …}}]}}` at the top of the file; another file is called by `call: {{workflow: <name>}}`",
                short(&name.text)
            );
            return Problem::new(&name.place, format!("unknown fragment `{}`", short(&name.text)))
                .help(Some(help));
        }
        let problem = unknown(name, &names, &[], "fragment");
        Problem { help: suggest::help(&name.text, &names), ..problem }
    }

    /// What no branch calls was meant for one.
    pub(super) fn unused(&self, problems: &mut Vec<Problem>) {
        for key in self.names.iter().filter(|key| !self.used.contains(&key.text)) {
            let message = format!("no branch calls the fragment `{}`", short(&key.text));
            let help = format!("`- call: {}`, or leave it out", short(&key.text));
            problems.push(Problem::new(&key.place, message).help(Some(help)));
        }
    }
}
