//! The sighting of a threat: one per (rule, actor, asset, window), seeded by the event that opened the window.
use super::not_before;
use crate::ids::{self, Id};
use crate::object::{Common, Sighting};
use crate::scan::Objects;
use crate::stamp::Stamp;
use atio_schemas::{Detection, Timestamp};

/// A window of repeats as state knows it. A new version (count, last_seen, modified) comes at most every 30 s: the caller's
/// rule.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The window's first event id, after `normalize` where no state exists.
    pub seed: &'a [&'a str],
    /// reported_at of the first event.
    pub created: Timestamp,
    /// reported_at of the event that this version counts last.
    pub modified: Timestamp,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// 1 to 999,999,999.
    pub count: u32,
}

impl<'a> Window<'a> {
    /// One event, reported at `at`, begun at `began`.
    #[must_use]
    pub fn of_one(seed: &'a [&'a str], at: Timestamp, began: Timestamp) -> Self {
        let last_seen = at.max(began);
        Self { seed, created: at, modified: at, first_seen: began.min(at), last_seen, count: 1 }
    }
}

/// Of the indicator, else of the attack-pattern; None where the bundle has neither (engine events): nothing is invented.
/// One where_sighted_ref, the sensor's identity, where the bundle has it.
pub(crate) fn build<'a>(
    detection: &Detection,
    objects: &Objects<'a>,
    window: &Window<'_>,
) -> Option<Sighting<'a>> {
    let first = |kind: &str| objects.iter().find(|found| found.kind == Some(kind)).and_then(|found| found.id);
    let sighted = first("indicator").or_else(|| first("attack-pattern"))?;
    let sensor = detection.sensor.as_deref().map(|sensor| ids::sensor_identity(&detection.tenant, sensor));
    let present =
        |id: &Id<'_>| objects.iter().any(|found| found.id.is_some_and(|other| Id::Text(other) == *id));
    let observed = objects.iter().filter(|found| found.kind == Some("observed-data"));
    let mut common = Common::new(ids::sighting(&detection.tenant, window.seed), window.created).by_atio();
    common.modified = Stamp::millis(not_before(window.created, window.modified));
    common.confidence = confidence(detection);
    common.object_marking_refs.push(crate::constants::tlp_marking(detection.tlp));
    Some(Sighting {
        common,
        first_seen: Some(Stamp::millis(window.first_seen)),
        last_seen: Some(Stamp::millis(window.last_seen.max(window.first_seen))),
        count: Some(window.count.clamp(1, 999_999_999)),
        sighting_of_ref: Id::Text(sighted),
        observed_data_refs: observed.filter_map(|found| found.id).map(Id::Text).collect(),
        where_sighted_refs: sensor.filter(present).into_iter().collect(),
        ..Sighting::default()
    })
}

/// The column as STIX's 0 to 100.
pub(crate) fn confidence(detection: &Detection) -> Option<u8> {
    detection.confidence.and_then(|confidence| u8::try_from(confidence.clamp(0, 100)).ok())
}
