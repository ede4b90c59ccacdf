//! From a file's shape to a definition that can run, or every problem with place, reason and what to write instead.
//! Owns what is checked across steps: sinks, conversions, order, markings. Must not know: how steps run.
mod matches;
pub(crate) mod operators;
pub(crate) mod patterns;
mod reach;
pub(crate) mod timing;
pub(crate) mod variables;
mod whole;

use crate::{
    index::{Conditions, in_order},
    partition::Partition,
    placement::Placement,
    schedule::Schedule,
    silence::Silence,
    spec,
    steps::{self, Step},
    trigger::Trigger,
    yaml::Key,
};
use atio_schemas::{
    Detection, Timestamp,
    detection::{Criticality, Tlp},
};
use atio_topics::{Audience, Declarations, Footprint, Place, Problem, Sink, units::Span};
use atio_vrl::Scope;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) use matches::columns_of;
pub use reach::Reach;
use variables::Variables;

/// What a definition must know of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkFacts {
    /// What `deliver` without `convert` makes.
    pub format: String,
    pub audience: Audience,
    /// The highest marking that may reach it.
    pub clearance: Tlp,
}

impl From<&Sink> for SinkFacts {
    fn from(sink: &Sink) -> Self {
        Self { format: sink.format.clone(), audience: sink.audience, clearance: sink.clearance }
    }
}

/// What definitions may refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub sinks: BTreeMap<String, SinkFacts>,
    /// Names of reference tables.
    pub tables: BTreeSet<String>,
}

impl Known {
    #[must_use]
    pub fn of(declared: &Declarations) -> Self {
        let sinks = declared.sinks.iter().map(|(name, sink)| (name.clone(), SinkFacts::from(sink)));
        Self { sinks: sinks.collect(), tables: declared.tables.keys().cloned().collect() }
    }
}

/// A definition that can run.
#[derive(Debug)]
pub struct Definition {
    pub name: String,
    pub owner: Option<String>,
    pub criticality: Option<Criticality>,
    /// What is asked for, see [`Definition::placement`].
    placement: Placement,
    pub on: Trigger,
    pub partition: Partition,
    /// When it is due: where it is `on: schedule`.
    pub schedule: Option<Schedule>,
    /// What it listens for: where it is `on: silence`.
    pub silence: Option<Silence>,
    pub trigger: Conditions,
    pub branches: Vec<Branch>,
    pub tests: Vec<spec::Test>,
}

#[derive(Debug)]
pub struct Branch {
    pub name: Arc<str>,
    pub steps: Vec<Box<dyn Step>>,
    /// Where it delivers to, in order.
    pub sinks: Vec<String>,
    /// Tables that its steps look into.
    pub tables: BTreeSet<String>,
    /// It may come to wait for somebody.
    pub awaits: bool,
    /// It tells incidents something.
    pub commands: bool,
    /// Workflows that it calls, in order.
    pub calls: Vec<Key>,
    /// It has steps that keep something between events.
    pub keeps: bool,
    /// One of them holds events.
    pub delays: bool,
}

impl Definition {
    /// Whether it is for this detection, which its trigger brought. Of a silence `match` says what was listened for.
    #[must_use]
    pub fn triggers(&self, detection: &Detection) -> bool {
        self.on.matched() != self.on || self.trigger.hold(detection)
    }
    /// Whether what its trigger brings can come at this time: on a schedule, at its due times alone.
    #[must_use]
    pub fn is_due(&self, at: Option<Timestamp>) -> bool {
        self.schedule.as_ref().zip(at).is_none_or(|(schedule, at)| schedule.is_due(at))
    }
    #[must_use]
    pub fn branch(&self, name: &str) -> Option<&Branch> {
        self.branches.iter().find(|b| &*b.name == name)
    }
    /// Where its branches are to run. What keeps something between events needs groups of its own.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let keeps = self.branches.iter().any(|branch| branch.keeps || branch.delays);
        if keeps { Placement::Own } else { self.placement }
    }
    /// What it touches; names without the prefix.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let sinks: BTreeSet<String> = self.branches.iter().flat_map(|b| b.sinks.iter().cloned()).collect();
        let mut topics: BTreeSet<String> = sinks.iter().map(|s| format!("delivery.{s}")).collect();
        topics.insert(format!("workflow.{}", self.name));
        if self.branches.iter().any(|b| b.awaits) {
            topics.insert("waits".to_owned());
        }
        if self.branches.iter().any(|b| b.commands) {
            topics.insert("acks".to_owned());
        }
        for branch in &self.branches {
            let state = format!("state.routing.{}.{}", self.name, branch.name);
            topics.extend(branch.delays.then(|| format!("{state}.timers")));
            topics.extend(branch.keeps.then_some(state));
        }
        let groups = self.branches.iter().map(|b| format!("routing.{}.{}", self.name, b.name)).collect();
        let tables: BTreeSet<String> = self.branches.iter().flat_map(|b| b.tables.iter().cloned()).collect();
        topics.extend(tables.iter().map(|t| format!("reference.{t}")));
        let calls = self.branches.iter().flat_map(|b| &b.calls);
        topics.extend(calls.map(|call| format!("workflow.{}", call.text)));
        Footprint { topics, groups, sinks, tables }
    }
}

/// Reads, checks and compiles a definition.
///
/// # Errors
/// Every problem that was found, in the file's order.
pub fn compile(file: &str, text: &str, known: &Known) -> Result<Definition, Vec<Problem>> {
    let written = spec::read(file, text)?;
    let mut problems = vec![];
    let mut variables = Variables::read(&written.variables, &mut problems);
    let matches = variables.put(&written.matches, &mut problems);
    // Where a name stands for nothing, what stands around it can't be judged.
    let resolved = problems.is_empty();
    let matches = if resolved { matches } else { vec![] };
    let matched = written.on.matched();
    let trigger = matches::trigger(&matches, matched, &mut problems);
    let pattern = patterns::of_match(&matches, &mut problems);
    let partition = Partition::read(written.partition_by.as_ref(), written.on, &mut problems);
    let mut check = Check { known, problems, flow: Flow::default(), variables, partition };
    let schedule = written.schedule.as_ref().and_then(|node| timing::schedule(node, &mut check));
    let heard = (&*trigger, pattern.as_deref());
    let silence = written.silence.as_ref().and_then(|node| timing::silence(node, heard, &mut check));
    // What `match` says of what was heard says nothing of the silence.
    let known = if matched == written.on { &*trigger } else { &[] };
    let reach = Reach::new(known, written.on);
    let branches: Vec<Branch> =
        written.branches.iter().filter_map(|b| branch(b, &reach, &mut check)).collect();
    whole::tests(&written, &branches, &mut check.problems);
    whole::apart(&written, &branches, &mut check);
    whole::pooled(&written, &branches, &mut check.problems);
    // Where something is refused, not all uses are known.
    if check.problems.is_empty() {
        check.variables.unused(&mut check.problems);
    }
    if !check.problems.is_empty() {
        check.problems.sort_by(|a, b| a.place.cmp(&b.place));
        return Err(check.problems);
    }
    Ok(Definition {
        name: written.name.text,
        owner: written.owner,
        criticality: written.criticality,
        placement: written.placement.map(|(_, placement)| placement).unwrap_or_default(),
        on: written.on,
        partition: check.partition.unwrap_or_default(),
        schedule,
        silence,
        trigger: in_order(trigger).and(pattern),
        branches,
        tests: written.tests,
    })
}

/// What steps are read with: the surroundings, the problems, and what came before in this branch.
pub struct Check<'c> {
    pub known: &'c Known,
    pub problems: Vec<Problem>,
    pub flow: Flow,
    pub(crate) variables: Variables,
    pub(crate) partition: Option<Partition>,
}

/// What a branch has done so far.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    pub sanitized: bool,
    /// A conversion that still holds: its format.
    pub converted: Option<String>,
    /// A conversion that nothing has delivered yet.
    pub undelivered: Option<Place>,
    /// Sinks so far.
    pub sinks: Vec<String>,
    /// Tables so far.
    pub tables: BTreeSet<String>,
    /// What expressions may name beside the columns.
    pub scope: Scope,
    /// What is known of the columns here.
    pub reach: Reach,
    /// Types of STIX object that can still be there; none = any.
    pub types: Option<BTreeSet<String>>,
    /// An `await` stands in this branch.
    pub awaits: bool,
    /// A step tells incidents something.
    pub commands: bool,
    /// Workflows that are called so far.
    pub calls: Vec<Key>,
    /// A step with state does, and one that holds events.
    pub keeps: bool,
    pub delays: bool,
    /// How many events of a key get past the steps so far.
    pub limited: Vec<Limited>,
    /// What the steps so far count by.
    pub counting: Vec<String>,
    /// Index of the step that is read.
    pub step: i32,
    /// Steps are read that work on a copy of the event: within what.
    pub aside: Option<&'static str>,
    pub in_each: Option<&'static str>,
    /// Sinks of paths that exclude the rest of the branch: it may deliver to them as well.
    pub otherwise: BTreeSet<String>,
}

/// At most so many events with equal values in these columns go on, in each window of this length.
#[derive(Clone, Debug)]
pub struct Limited {
    pub key: BTreeSet<&'static str>,
    pub limit: u64,
    pub span: Span,
}

impl Flow {
    /// What is certain where two ways come together.
    #[must_use]
    pub fn joined(before: Self, one: Self, other: Self) -> Self {
        let mut sinks = one.sinks;
        for sink in other.sinks {
            if !sinks.contains(&sink) {
                sinks.push(sink);
            }
        }
        Self {
            sanitized: one.sanitized && other.sanitized,
            converted: None,
            undelivered: one.undelivered.or(other.undelivered),
            sinks,
            tables: one.tables.union(&other.tables).cloned().collect(),
            scope: one.scope.join(other.scope),
            aside: before.aside,
            in_each: before.in_each,
            otherwise: one.otherwise.union(&other.otherwise).cloned().collect(),
            reach: before.reach.behind(&one.reach, &other.reach),
            types: one.types.zip(other.types).map(|(a, b)| a.union(&b).cloned().collect()),
            awaits: one.awaits || other.awaits,
            commands: one.commands || other.commands,
            calls: together(one.calls, other.calls),
            keeps: one.keeps || other.keeps,
            delays: one.delays || other.delays,
            limited: before.limited,
            counting: other.counting,
            step: other.step,
        }
    }
}

fn together(mut one: Vec<Key>, other: Vec<Key>) -> Vec<Key> {
    let new: Vec<Key> = other.into_iter().filter(|key| !one.iter().any(|k| k.text == key.text)).collect();
    one.extend(new);
    one
}

impl Flow {
    /// Goes on behind steps that worked on a copy of the event: what they changed is as it was, what they touch and count is theirs as well.
    /// `both`: what they deliver is delivered beside what follows, and not in its place.
    fn leave(mut self, aside: Self, both: bool) -> Self {
        let sinks = aside.sinks.into_iter().filter(|sink| !self.sinks.contains(sink)).collect::<Vec<_>>();
        let others = aside.otherwise.into_iter().filter(|sink| !self.otherwise.contains(sink));
        let all = sinks.into_iter().chain(others).collect::<BTreeSet<_>>();
        if both {
            self.sinks.extend(all);
        } else {
            self.otherwise.extend(all);
        }
        self.tables.extend(aside.tables);
        self.commands |= aside.commands;
        self.calls = together(self.calls, aside.calls);
        self.keeps |= aside.keeps;
        self.counting = aside.counting;
        self
    }
}

impl Check<'_> {
    pub fn problem(&mut self, place: &Place, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem::new(place, message).help(help));
    }
}

fn branch(written: &spec::Branch, reach: &Reach, check: &mut Check<'_>) -> Option<Branch> {
    let scope = Scope { vars: Arc::clone(&check.variables.constants), ..Scope::default() };
    check.flow = Flow { reach: reach.clone(), scope, ..Flow::default() };
    let before = check.problems.len();
    let steps = steps(&written.steps, check);
    let unsound = check.problems.len() > before;
    ending(&written.steps, &written.name, check, unsound);
    let mut sinks = std::mem::take(&mut check.flow.sinks);
    let others: Vec<String> = check.flow.otherwise.iter().filter(|s| !sinks.contains(s)).cloned().collect();
    sinks.extend(others);
    (check.problems.len() == before).then(|| Branch {
        name: Arc::from(written.name.text.as_str()),
        steps,
        sinks,
        tables: std::mem::take(&mut check.flow.tables),
        awaits: check.flow.awaits,
        commands: check.flow.commands,
        calls: std::mem::take(&mut check.flow.calls),
        keeps: check.flow.keeps,
        delays: check.flow.delays,
    })
}

/// Reads steps in their order; each knows what came before it.
pub(crate) fn steps(written: &[spec::Step], check: &mut Check<'_>) -> Vec<Box<dyn Step>> {
    let mut found = vec![];
    for step in written {
        if let Some(place) = check.flow.undelivered.clone().filter(|_| step.name.text != "deliver") {
            let (message, help) = match step.name.text.as_str() {
                waits @ ("await" | "delay" | "gather") => (
                    "the branch waits before it delivers what is converted here",
                    format!("`convert` behind the `{waits}`"),
                ),
                _ => ("nothing delivers what is converted here", "`- deliver: <sink>` next".to_owned()),
            };
            check.problem(&place, message, Some(help));
            check.flow.undelivered = None;
        }
        if !matches!(step.name.text.as_str(), "deliver" | "convert") {
            check.flow.converted = None;
        }
        found.extend(steps::read(step, check));
    }
    found
}

/// Reads steps that work on a copy of the event, with the flow that is set; goes on with `behind`, see [`Flow::leave`].
pub(crate) fn aside(
    (what, written): (&str, &[spec::Step]),
    behind: Flow,
    both: bool,
    check: &mut Check<'_>,
) -> Vec<Box<dyn Step>> {
    let problems = check.problems.len();
    let found = steps(written, check);
    let unsound = check.problems.len() > problems;
    if let Some(first) = written.first().filter(|_| !unsound) {
        if written.iter().any(acts) {
            ending(written, &first.name, check, unsound);
        } else {
            let message = format!("`{what}` delivers nothing, and what it changes ends with it");
            let help = "`- deliver: <sink>` at its end, or leave it out".to_owned();
            check.problem(&first.name.place, message, Some(help));
        }
    }
    let left = std::mem::take(&mut check.flow);
    check.flow = behind.leave(left, both);
    found
}

/// Steps that have an effect outside of the branch.
const EFFECTS: &[&str] = &["deliver", "incident", "call"];

fn acts(step: &spec::Step) -> bool {
    EFFECTS.iter().any(|name| step.has(name))
}

/// A branch ends with a delivery or a word to its incident, and nothing stands behind it; so does each way of an `if` that ends it.
fn ending(written: &[spec::Step], name: &Key, check: &mut Check<'_>, unsound: bool) {
    let Some(last) = written.last() else { return };
    // Of what runs for each element this is told where it is read.
    if EFFECTS.contains(&last.name.text.as_str()) || !last.each.is_empty() && acts(last) {
        return;
    }
    if last.name.text == "if" && acts(last) {
        for (way, steps) in [("then", &last.then), ("else", &last.otherwise)] {
            if !steps.is_empty() && !steps.iter().any(acts) {
                let message =
                    format!("the way of `{way}` has no effect: nothing is delivered on it, nor behind it");
                let place = steps.first().map_or(&last.name.place, |s| &s.name.place).clone();
                check.problem(
                    &place,
                    message,
                    Some("`- deliver: <sink>` at its end, or leave it out".to_owned()),
                );
            } else {
                ending(steps, name, check, unsound);
            }
        }
        return;
    }
    if last.name.text == "await" {
        let message = "nothing follows when the wait is over";
        check.problem(&last.name.place, message, Some("`- deliver: <sink>` behind it".to_owned()));
        return;
    }
    match written.iter().rposition(acts) {
        Some(at) => {
            let place = written.get(at + 1).map_or(&last.name.place, |s| &s.name.place).clone();
            let message = "what stands behind the last `deliver` has no effect";
            check.problem(&place, message, Some("move it before, or leave it out".to_owned()));
        }
        None if !unsound => {
            let message = format!("branch `{}` delivers nothing", name.text);
            let sinks = check.known.sinks.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            check.problem(
                &name.place,
                message,
                Some(format!("end it with `- deliver: <sink>`; sinks are: {sinks}")),
            );
        }
        None => {}
    }
}

#[cfg(test)]
mod match_tests;
#[cfg(test)]
mod placement_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
#[cfg(test)]
mod timing_tests;
#[cfg(test)]
mod waiting_tests;
