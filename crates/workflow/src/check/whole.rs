//! What is checked of a definition once its branches are known: where it runs, what its events come together by, what its tests expect. Owns these
//! checks. Must not know: how steps are read.
use super::{Branch, Check, columns_of};
use crate::{placement::Placement, spec, steps, suggest, yaml::short};
use atio_topics::Problem;
use std::collections::BTreeSet;

/// Events are brought together for what counts them.
pub(super) fn apart(written: &spec::Workflow, branches: &[Branch], check: &mut Check<'_>) {
    let Some(node) = written.partition_by.as_ref().filter(|_| check.problems.is_empty()) else { return };
    if !branches.iter().any(|branch| branch.keeps) {
        let message = "`partition_by` has no effect: no step counts";
        check.problem(&node.place, message, Some("`- dedup: …` or `- rate: …`, or leave it out".to_owned()));
    }
}

/// The pool keeps nothing for a branch.
pub(super) fn pooled(written: &spec::Workflow, branches: &[Branch], problems: &mut Vec<Problem>) {
    let Some((place, Placement::Pooled)) = &written.placement else { return };
    if let Some(branch) = branches.iter().find(|branch| branch.keeps || branch.delays) {
        let message =
            format!("branch `{}` keeps something between events, which the pool does not", branch.name);
        let help =
            "`placement: own`, or leave it out; `dedup`, `gather`, `rate` and `delay` need it".to_owned();
        problems.push(Problem::new(place, message).help(Some(help)));
    }
}

pub(super) fn tests(written: &spec::Workflow, branches: &[Branch], problems: &mut Vec<Problem>) {
    let tables: BTreeSet<&str> = branches.iter().flat_map(|b| &b.tables).map(String::as_str).collect();
    // Where a branch is unsound, not all tables are known.
    if branches.len() == written.branches.len() {
        for given in written.tests.iter().flat_map(|t| &t.tables) {
            if !tables.contains(given.table.text.as_str()) {
                let message = format!("no step looks into a table `{}`", short(&given.table.text));
                let help = suggest::help(&given.table.text, tables.iter().copied());
                let help =
                    help.unwrap_or_else(|| "a step `enrich` with this `table`, or leave it out".to_owned());
                problems.push(Problem::new(&given.table.place, message).help(Some(help)));
            }
        }
    }
    let names: Vec<&str> = written.branches.iter().map(|b| b.name.text.as_str()).collect();
    for test in &written.tests {
        for branch in test.branches.iter().filter(|b| !names.contains(&b.text.as_str())) {
            problems.push(spec::unknown(branch, &names, &[], "branch"));
        }
        for by in test.answers.iter().flat_map(|a| &a.replies).filter_map(|reply| reply.by.as_ref()) {
            if !steps::await_::ROLES.contains(&by.text.as_str()) {
                problems.push(spec::unknown(by, steps::await_::ROLES, &[], "role"));
            }
        }
        for expected in test.awaiting.iter().chain(test.answers.iter().map(|a| &a.branch)) {
            match written.branches.iter().find(|b| b.name.text == expected.text) {
                None => problems.push(spec::unknown(expected, &names, &[], "branch")),
                Some(branch) if branch.steps.iter().any(|s| s.has("await")) => {}
                Some(_) => {
                    let message = format!("branch `{}` waits for nobody", expected.text);
                    let help = Some(format!("`- {}` among its steps", steps::await_::EXAMPLE));
                    problems.push(Problem::new(&expected.place, message).help(help));
                }
            }
        }
        for expected in test.totals.iter().filter(|t| !names.contains(&t.branch.text.as_str())) {
            problems.push(spec::unknown(&expected.branch, &names, &[], "branch"));
        }
        for given in &test.given {
            if let spec::Given::Columns(columns) = given {
                columns_of(columns, written.on, problems);
            }
        }
    }
}
