//! The shape of steps: what stands beside a step's name, and steps within steps. Must not know: what a step means.
use super::{Step, field, known, missing};
use crate::yaml::{Key, Node, Value};
use atio_schemas::Code;
use atio_topics::Problem;

/// A branch has so many steps, with those within others.
pub const MAX_STEPS: usize = 128;
/// Stands beside a step: the path that is taken where it fails.
const ON_ERROR: &str = "on_error";
/// What stands behind it in the branch is within it.
pub const SPLIT: &str = "split";
/// Would stand beside a step.
const LATER: &[&str] = &["retry", "timeout", "time_limit"];

impl Step {
    fn new((name, body): &(Key, Node)) -> Self {
        Self {
            name: name.clone(),
            body: body.clone(),
            then: vec![],
            otherwise: vec![],
            each: vec![],
            on_error: vec![],
        }
    }
    /// Whether it is a step of this name, or one within its ways.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.name.text == name
            || self.then.iter().chain(&self.otherwise).chain(&self.each).any(|s| s.has(name))
    }
    /// Steps that it comes to: itself, those within it, and the leap over the second way.
    pub(super) fn count(&self) -> usize {
        let of = |steps: &[Self]| steps.iter().map(Self::count).sum::<usize>();
        let inner = [&self.then, &self.otherwise, &self.each, &self.on_error];
        1 + inner.into_iter().map(|steps| of(steps)).sum::<usize>() + usize::from(!self.otherwise.is_empty())
    }
}

pub(super) fn steps(node: &Node, problems: &mut Vec<Problem>) -> Vec<Step> {
    let Value::List(items) = &node.value else {
        let help = Some("`- deliver: siem`".to_owned());
        let message = format!("a branch is a list of steps, not {}", node.noun());
        problems.push(Problem::new(&node.place, message).help(help));
        return vec![];
    };
    if items.is_empty() || items.len() > MAX_STEPS {
        let message = format!("1 to {MAX_STEPS} steps, here are {}", items.len());
        problems.push(Problem::new(&node.place, message).help(Some("`- deliver: siem`".to_owned())));
    }
    let mut steps = vec![];
    for item in items {
        match &item.value {
            Value::Map(entries) if field(entries, "if").is_some() => steps.extend(choice(entries, problems)),
            Value::Map(entries) if field(entries, "each").is_some() => steps.extend(each(entries, problems)),
            Value::Map(entries) => steps.extend(plain(item, entries, problems)),
            _ => problems.push(
                Problem::new(&item.place, format!("a step is `name: what`, not {}", item.noun()))
                    .help(Some("`- deliver: siem`".to_owned())),
            ),
        }
    }
    steps
}

/// One step, and what stands beside it.
fn plain(item: &Node, entries: &[(Key, Node)], problems: &mut Vec<Problem>) -> Option<Step> {
    let beside = |key: &Key| key.text == ON_ERROR || LATER.contains(&key.text.as_str());
    let named: Vec<&(Key, Node)> = entries.iter().filter(|(key, _)| !beside(key)).collect();
    let step = match (named.as_slice(), entries) {
        ([step], _) => step,
        // Alone it is no step, and told as such.
        ([], [step]) => step,
        (all, _) => {
            let message = format!("one step an item, here are {}", all.len());
            let help = Some("begin each step with `- `".to_owned());
            problems.push(Problem::new(&item.place, message).help(help));
            return None;
        }
    };
    if named.is_empty() {
        return Some(Step::new(step));
    }
    for (key, _) in entries.iter().filter(|(key, _)| LATER.contains(&key.text.as_str())) {
        let message = format!("`{}` beside a step is not supported yet", key.text);
        let help = "a step is computed at once, in the event's transaction; a delivery is tried until its sink answers, each try for as long as the sink's `timeout` says";
        let problem = Problem::new(&key.place, message).help(Some(help.to_owned()));
        problems.push(Problem { code: Code::NotYetSupported, ..problem });
    }
    let on_error = field(entries, ON_ERROR).map(|node| steps(node, problems)).unwrap_or_default();
    Some(Step { on_error, ..Step::new(step) })
}

/// `if` with `then` and `else` beside it.
fn choice(entries: &[(Key, Node)], problems: &mut Vec<Problem>) -> Option<Step> {
    known(entries, &["if", "then", "else"], &[ON_ERROR], "field of `if`", problems);
    let head = entries.iter().find(|(key, _)| key.text == "if")?;
    let Some(then) = field(entries, "then") else {
        missing(&head.0.place, "then", "then: [{deliver: siem}]", problems);
        return None;
    };
    let otherwise = field(entries, "else").map(|node| steps(node, problems)).unwrap_or_default();
    Some(Step { then: steps(then, problems), otherwise, ..Step::new(head) })
}

/// What stands behind a `split` in a branch is what its parts do.
pub(super) fn split(steps: &mut Vec<Step>) {
    let Some(at) = steps.iter().position(|step| step.name.text == SPLIT) else { return };
    let behind = steps.split_off(at + 1);
    if let Some(step) = steps.last_mut() {
        step.each = behind;
        split(&mut step.each);
    }
}

/// `each` with `do` beside it.
fn each(entries: &[(Key, Node)], problems: &mut Vec<Problem>) -> Option<Step> {
    known(entries, &["each", "do"], &[ON_ERROR], "field of `each`", problems);
    let head = entries.iter().find(|(key, _)| key.text == "each")?;
    let Some(inner) = field(entries, "do") else {
        missing(&head.0.place, "do", "do: [{set: {cves: '[.item]'}}, {deliver: siem}]", problems);
        return None;
    };
    Some(Step { each: steps(inner, problems), ..Step::new(head) })
}
