//! ATIO's report on a detection: it lists all objects of the bundle and carries ATIO's extension.
use super::{not_before, sighting};
use crate::extension::AtioReport;
use crate::ids::{self, Id};
use crate::object::{Common, Extension, Report, Text};
use crate::stamp::Stamp;
use atio_schemas::detection::Kind;
use atio_schemas::{Detection, Timestamp};

/// Which version of which report. A threat's: seed the event id, created = modified = reported_at. A vulnerability's: seed
/// the finding_uid, created = first_seen, modified = reported_at of the change of status; no report at all is made where
/// the status has not changed, or one version would hold two contents (§3.6).
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    pub seed: &'a [&'a str],
    pub created: Timestamp,
    pub modified: Timestamp,
}

pub(crate) fn id(detection: &Detection, version: &Version<'_>) -> Id<'static> {
    ids::report(&detection.tenant, version.seed)
}

pub(crate) fn build<'a>(
    detection: &'a Detection,
    version: &Version<'_>,
    object_refs: Vec<Id<'a>>,
) -> Report<'a> {
    let mut common = Common::new(id(detection, version), version.created).by_atio();
    common.modified = Stamp::millis(not_before(version.created, version.modified));
    common.confidence = sighting::confidence(detection);
    common.labels = detection.labels.iter().map(|label| Text::Borrowed(label.as_str())).collect();
    common.object_marking_refs.push(crate::constants::tlp_marking(detection.tlp));
    common.extensions.0.push(Extension::Report(AtioReport(detection)));
    Report {
        common,
        name: name(detection),
        report_types: report_types(detection.kind),
        published: Stamp::millis(version.created),
        object_refs,
        ..Report::default()
    }
}

/// The rule's name, else what is known of the event; never empty.
pub(crate) fn name(detection: &Detection) -> Text<'_> {
    let rule = detection.rule.name.as_deref().or(detection.rule.id.as_deref());
    let known = rule.or(detection.category.as_deref()).filter(|name| !name.is_empty());
    Text::Borrowed(known.unwrap_or_else(|| detection.kind.as_str()))
}

/// From report-type-ov; kinds without a fitting value say none.
fn report_types<'a>(kind: Kind) -> Vec<Text<'a>> {
    match kind {
        Kind::Threat => vec!["threat-report".into()],
        Kind::Vulnerability => vec!["vulnerability".into()],
        Kind::Log | Kind::Intelligence | Kind::Playbook | Kind::Operational => vec![],
    }
}
