//! Runs the `tests:` of a definition through the real trigger and the real machine. Owns what a test compares.
//! Must not know: where files lie (fixtures are handed in).
use crate::{
    check::{Definition, columns_of},
    machine::{self, Site},
    spec::{Given, Test},
    yaml::Key,
};
use atio_schemas::{Detection, detection::Kind};
use atio_stix::{
    Bundle, graph, ids,
    object::{AttackPattern, Common, Ipv4Addr, Ipv6Addr},
};
use atio_topics::Place;
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub place: Place,
    pub name: Option<String>,
    /// None = as expected.
    pub failure: Option<String>,
}

/// Runs every test. `fixture` gives the detections of a file that a test names.
pub fn run(
    definition: &Definition,
    site: Site<'_>,
    fixture: &dyn Fn(&str) -> Result<Vec<Detection>, String>,
) -> Vec<Verdict> {
    let one = |test: &Test| Verdict {
        place: test.place.clone(),
        name: test.name.as_ref().map(|n| n.text.clone()),
        failure: given(&test.given, fixture).and_then(|found| expect(definition, site, test, &found)).err(),
    };
    definition.tests.iter().map(one).collect()
}

fn given(
    given: &Given,
    fixture: &dyn Fn(&str) -> Result<Vec<Detection>, String>,
) -> Result<Vec<Detection>, String> {
    let mut found = match given {
        Given::File(file) => fixture(&file.text)?,
        Given::Columns(columns) => {
            let mut detection = Detection::new("test".to_owned(), Kind::Threat, "default", "test");
            for (column, cell) in columns_of(columns, &mut vec![]) {
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

fn expect(definition: &Definition, site: Site<'_>, test: &Test, given: &[Detection]) -> Result<(), String> {
    let (mut delivered, mut waiting, mut rest) = (BTreeSet::new(), BTreeSet::new(), vec![]);
    for detection in given {
        if !definition.trigger.iter().all(|p| p.holds(detection)) {
            rest.push("match does not hold".to_owned());
            continue;
        }
        for branch in &definition.branches {
            let end = machine::run(definition, branch, detection, site);
            if !end.outputs.is_empty() {
                delivered.insert(&*branch.name);
            }
            if !end.waits.is_empty() {
                waiting.insert(&*branch.name);
            }
            rest.extend(end.dropped.map(|code| format!("{}: {code}", branch.name)));
            rest.extend(end.rejected.iter().map(|r| format!("{}: {}: {}", branch.name, r.code, r.message)));
        }
    }
    let wrong: Vec<String> =
        [("delivered by", delivered, &test.branches), ("waiting in", waiting, &test.awaiting)]
            .into_iter()
            .filter_map(|(what, found, expected)| differ(what, &found, expected))
            .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(wrong.into_iter().chain(rest).collect::<Vec<_>>().join("; "))
}

/// What is said where the branches found are not those expected.
fn differ(what: &str, found: &BTreeSet<&str>, expected: &[Key]) -> Option<String> {
    let expected: BTreeSet<&str> = expected.iter().map(|b| b.text.as_str()).collect();
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    (*found != expected).then(|| format!("{what} [{}], expected [{}]", list(found), list(&expected)))
}
