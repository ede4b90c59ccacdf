//! Runs the `tests:` of a definition through the real trigger and the real machine. Owns what a test compares.
//! Must not know: where files lie (fixtures are handed in), when an answer is taken.
mod answered;

use crate::{
    check::{Definition, columns_of},
    machine::{End, Site},
    rehearsal::{Rehearsal, Subject},
    snapshot::Snapshot,
    spec::{Given, Reply, Test, Totals},
    tables::{self, Rows},
    trigger::Trigger,
    yaml::Key,
};
use atio_schemas::{Code, Codec, Detection, Timestamp, codec::StaticIds, detection::Kind, incident::Wait};
use atio_stage::{Headers, StageError, Tables, View};
use atio_stix::{
    Bundle, graph, ids,
    object::{AttackPattern, Common, Ipv4Addr, Ipv6Addr},
};
use atio_topics::Place;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub place: Place,
    pub name: Option<String>,
    /// None = as expected.
    pub failure: Option<String>,
    /// Of a test that is as expected otherwise and names one: to be compared with what is kept.
    pub snapshot: Option<Made>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Beside the definition.
    pub file: String,
    pub text: String,
}

/// Runs every test. `fixture` gives the detections of a file that a test names.
pub fn run(
    definition: &Definition,
    site: Site<'_>,
    fixture: &dyn Fn(&str) -> Result<Vec<Detection>, String>,
) -> Vec<Verdict> {
    let one = |test: &Test| {
        let (place, name) = (test.place.clone(), test.name.as_ref().map(|n| n.text.clone()));
        let found = given(test, definition.on, fixture);
        match found.and_then(|found| expect(definition, site, test, &found)) {
            Ok(snapshot) => Verdict { place, name, failure: None, snapshot },
            Err(failure) => Verdict { place, name, failure: Some(failure), snapshot: None },
        }
    };
    definition.tests.iter().map(one).collect()
}

/// The events of a test, and when each comes: the first at zero.
fn given(
    test: &Test,
    on: Trigger,
    fixture: &dyn Fn(&str) -> Result<Vec<Detection>, String>,
) -> Result<Vec<(Timestamp, Detection)>, String> {
    let (mut at, mut all) = (Timestamp::default(), vec![]);
    for (number, given) in test.given.iter().enumerate() {
        if let Given::After(span) = given {
            at = at.plus_millis(span.millis());
            continue;
        }
        all.extend(detections(given, number, on, fixture)?.into_iter().map(|detection| (at, detection)));
    }
    Ok(all)
}

fn detections(
    given: &Given,
    number: usize,
    on: Trigger,
    fixture: &dyn Fn(&str) -> Result<Vec<Detection>, String>,
) -> Result<Vec<Detection>, String> {
    let mut found = match given {
        Given::After(_) => vec![],
        Given::File(file) => fixture(&file.text)?,
        Given::Columns(columns) => {
            let mut detection = on.blank(format!("test-{number}"), "default", "test");
            for (column, cell) in columns_of(columns, on, &mut vec![]) {
                column.put(&mut detection, cell).map_err(|e| e.to_string())?;
            }
            detection.bundle = stand_in(&detection).map_err(|e| e.to_string())?;
            vec![detection]
        }
    };
    // Enrichment gives these their incident.
    for detection in found.iter_mut().filter(|d| matches!(d.kind, Kind::Threat | Kind::Vulnerability)) {
        detection.incident_id.get_or_insert_with(|| "test".to_owned());
    }
    Ok(found)
}

/// A bundle for a detection that is given by its columns: a technique, the addresses, and what enrichment would add.
fn stand_in(detection: &Detection) -> Result<Arc<[u8]>, graph::GraphError> {
    if detection.kind == Kind::Operational {
        return Ok(Arc::from(graph::operational(detection)?));
    }
    let tenant = &detection.tenant;
    let technique = AttackPattern {
        common: Common::fixed(ids::attack_pattern(tenant, "test", &detection.event_id)).by_atio(),
        name: "test".into(),
        ..AttackPattern::default()
    };
    let mut bundle = Bundle::new(&ids::bundle(tenant, &[&detection.event_id]));
    bundle.push(&technique)?;
    for ip in detection.src.ip.iter().chain(&detection.dst.ip) {
        match ip.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => bundle.push(&Ipv4Addr::new(ip))?,
            Ok(IpAddr::V6(_)) => bundle.push(&Ipv6Addr::new(ip))?,
            Err(_) => false,
        };
    }
    let given = Detection { bundle: Arc::from(bundle.finish()), ..detection.clone() };
    Ok(Arc::from(graph::normalized(&given)?))
}

/// What became of the events in a branch.
#[derive(Default)]
struct Ends {
    /// Events of which something was delivered, or handed to a workflow.
    delivered: u64,
    /// Events for which the incident was told something.
    incident: u64,
    /// Events that wait in the end.
    waiting: u64,
    /// Waits that one event came to and that were answered, at most.
    answered: usize,
    /// Answers that nobody could give.
    wrong: Vec<String>,
    dropped: BTreeMap<Code, u64>,
    rejected: BTreeMap<Code, u64>,
    /// For people: why the others were not.
    told: Vec<String>,
}

impl Ends {
    fn count(&mut self, end: &End) {
        self.delivered += u64::from(!end.outputs.is_empty() || !end.calls.is_empty());
        self.incident += u64::from(!end.commands.is_empty());
        self.ended(end);
    }

    /// Why not all of it was delivered.
    fn ended(&mut self, end: &End) {
        if let Some(code) = end.dropped {
            *self.dropped.entry(code).or_default() += 1;
            self.told.push(code.to_string());
        }
        for reject in &end.rejected {
            *self.rejected.entry(reject.code).or_default() += 1;
            self.told.push(format!("{}: {}", reject.code, reject.message));
        }
    }
}

/// A branch in a test: what it comes to, and how its waits end.
struct Run<'a> {
    subject: Subject<'a>,
    /// None: nobody answers.
    replies: Option<&'a [Reply]>,
    /// Waits that are there already: later events join them.
    known: BTreeSet<String>,
    ends: Ends,
    snapshot: &'a mut Snapshot,
}

impl Run<'_> {
    fn end(&mut self, event: &Detection, end: &End) {
        self.ends.count(end);
        self.snapshot.add(&self.subject.branch.name, &event.event_id, None, end);
        let Some(replies) = self.replies else {
            self.ends.waiting += u64::from(!end.waits.is_empty());
            return;
        };
        let (mut delivered, mut told) = (!end.outputs.is_empty(), !end.commands.is_empty());
        let mut waits = end.waits.clone();
        for answered in 1.. {
            let Some(wait) = waits.pop() else { return };
            let Some(reply) = replies.get(answered - 1) else {
                self.ends.waiting += 1;
                return;
            };
            let Some(end) = self.answer(&event.event_id, &wait, reply) else { return };
            self.ends.answered = self.ends.answered.max(answered);
            // An event counts once, however often something of it was delivered.
            self.ends.delivered += u64::from(!delivered && !end.outputs.is_empty());
            self.ends.incident += u64::from(!told && !end.commands.is_empty());
            (delivered, told) = (delivered || !end.outputs.is_empty(), told || !end.commands.is_empty());
            self.ends.ended(&end);
            waits = end.waits;
        }
    }

    /// What follows a wait; none where nothing does.
    fn answer(&mut self, event: &str, wait: &Wait, reply: &Reply) -> Option<End> {
        if !self.known.insert(wait.wait_id.clone()) {
            return Some(End { dropped: Some(Code::Joined), ..End::default() });
        }
        match answered::answered(self.subject, wait, reply) {
            Ok((answer, end)) => {
                self.snapshot.add(&self.subject.branch.name, event, Some((wait.step, answer)), &end);
                Some(end)
            }
            Err(why) => {
                self.ends.wrong.push(why);
                None
            }
        }
    }
}

/// Every table that the definition looks into, with the rows that the test gives it.
fn tables(definition: &Definition, test: &Test) -> Arc<Tables> {
    // No row comes from a topic.
    let codec = Codec::new(Arc::new(StaticIds::new()));
    let one = |name: &String| {
        let mut view = Rows::new(codec.clone());
        for given in test.tables.iter().filter(|given| given.table.text == *name) {
            given.rows.iter().for_each(|(key, row)| view.insert(key, row.clone()));
        }
        (tables::name(name), Box::new(view) as Box<dyn View>)
    };
    let names = definition.branches.iter().flat_map(|b| &b.tables);
    Arc::new(Tables(names.map(one).collect()))
}

fn rehearsed(
    subject: Subject<'_>,
    tables: &Arc<Tables>,
    events: &[&(Timestamp, Detection)],
    replies: Option<&[Reply]>,
    snapshot: &mut Snapshot,
) -> Result<Ends, StageError> {
    let headers = Headers::default();
    let mut run = Run { subject, replies, known: BTreeSet::new(), ends: Ends::default(), snapshot };
    let mut rehearsal = Rehearsal::with(Arc::clone(tables));
    let mut told = |event: &Detection, _: &Headers, end: End| {
        run.end(event, &end);
        Ok::<(), StageError>(())
    };
    for (at, detection) in events {
        rehearsal.event(subject, *at, (detection, &headers), &mut told)?;
    }
    rehearsal.finish(subject, &mut told)?;
    Ok(run.ends)
}

fn expect(
    definition: &Definition,
    site: Site<'_>,
    test: &Test,
    given: &[(Timestamp, Detection)],
) -> Result<Option<Made>, String> {
    let (due, undue): (Vec<_>, Vec<_>) = given.iter().partition(|(_, d)| definition.is_due(d.occurred_at));
    let (matched, rest): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, d)| definition.triggers(d));
    let mut rest: Vec<String> = rest.iter().map(|_| "match does not hold".to_owned()).collect();
    rest.extend(undue.iter().map(|_| "`occurred_at` is no due time".to_owned()));
    let (mut delivered, mut waiting, mut wrong) = (BTreeSet::new(), BTreeSet::new(), vec![]);
    let (tables, mut snapshot) = (tables(definition, test), Snapshot::default());
    for branch in &definition.branches {
        let subject = Subject { definition, branch, site };
        let answers = test.answers.iter().find(|a| a.branch.text == *branch.name);
        let replies = answers.map(|a| a.replies.as_slice());
        let found =
            rehearsed(subject, &tables, &matched, replies, &mut snapshot).map_err(|e| e.to_string())?;
        wrong.extend(found.wrong.iter().map(|why| format!("{} is answered: {why}", branch.name)));
        if let Some(given) = replies.map(<[_]>::len).filter(|n| found.wrong.is_empty() && *n > found.answered)
        {
            wrong.push(format!("{} asks {} times, {given} answers are given", branch.name, found.answered));
        }
        if found.delivered > 0 {
            delivered.insert(&*branch.name);
        }
        if found.waiting > 0 {
            waiting.insert(&*branch.name);
        }
        let totals = test.totals.iter().filter(|t| t.branch.text == *branch.name);
        wrong.extend(totals.flat_map(|totals| differences(totals, &found)));
        rest.extend(found.told.into_iter().map(|what| format!("{}: {what}", branch.name)));
    }
    let lists = [("delivered by", delivered, &test.branches), ("waiting in", waiting, &test.awaiting)];
    wrong
        .splice(0..0, lists.into_iter().filter_map(|(what, found, expected)| differ(what, &found, expected)));
    if wrong.is_empty() {
        let made = |file: &Key| Ok(Made { file: file.text.clone(), text: snapshot.text()? });
        return test.snapshot.as_ref().map(made).transpose();
    }
    Err(wrong.into_iter().chain(rest).collect::<Vec<_>>().join("; "))
}

/// What is said where a branch's totals are not those expected.
fn differences(expected: &Totals, found: &Ends) -> Vec<String> {
    let branch = &expected.branch.text;
    let list = |counts: &BTreeMap<Code, u64>| {
        counts.iter().map(|(code, n)| format!("{code}: {n}")).collect::<Vec<_>>().join(", ")
    };
    let mut wrong = vec![];
    let counts = [
        ("delivered", expected.delivered, found.delivered),
        ("told the incident", expected.incident, found.incident),
    ];
    for (what, wanted, found) in counts {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            wrong.push(format!("{branch} {what} {found}, expected {wanted}"));
        }
    }
    let reasons =
        [("dropped", &expected.dropped, &found.dropped), ("rejected", &expected.rejected, &found.rejected)];
    for (what, wanted, found) in reasons {
        // Nought of a reason may be written, too.
        let wanted =
            wanted.as_ref().map(|w| w.iter().filter(|(_, n)| **n > 0).map(|(c, n)| (*c, *n)).collect());
        if let Some(wanted) = wanted.filter(|wanted| wanted != found) {
            wrong.push(format!("{branch} {what} {{{}}}, expected {{{}}}", list(found), list(&wanted)));
        }
    }
    wrong
}

/// What is said where the branches found are not those expected.
fn differ(what: &str, found: &BTreeSet<&str>, expected: &[Key]) -> Option<String> {
    let expected: BTreeSet<&str> = expected.iter().map(|b| b.text.as_str()).collect();
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    (*found != expected).then(|| format!("{what} [{}], expected [{}]", list(found), list(&expected)))
}

#[cfg(test)]
#[path = "testing/answered_tests.rs"]
mod answered_tests;
#[cfg(test)]
#[path = "testing_tests.rs"]
mod tests;
