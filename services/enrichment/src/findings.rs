//! The life of a scanner's finding: new, recurring, reopened, fixed. Only a complete scan of the same source can mark something fixed.
use crate::stores::{Exposed, FindingState, Findings};
use atio_schemas::{
    Code, Detection, Timestamp,
    detection::{Kind, Reason, Status},
};
use atio_stage::{StageError, Tx};
use atio_stix::{
    Bundle, Id, Stamp, constants, ids,
    object::{Common, ExternalReference, Infrastructure, Relationship, Vulnerability},
};
use std::{collections::BTreeSet, sync::Arc};

fn key(asset: &str, uid: &str) -> String {
    format!("{asset}|{uid}")
}

/// What a result changed.
pub(crate) struct Lived {
    /// The status is another than before: the report gets a new version.
    pub changed: bool,
    /// It is open now and was not before.
    pub opened: bool,
    pub first_seen: Timestamp,
}

/// Notes a result and fills status, count, first and last seen, incident id.
pub(crate) fn result(d: &mut Detection, uid: &str, tx: &mut Tx<'_>) -> Result<Lived, StageError> {
    let asset = d.asset.clone().unwrap_or_default();
    let at = d.reported_at.or(d.received_at).unwrap_or_default();
    let seen = d.occurred_at.unwrap_or(at);
    let mut findings = tx.store::<Findings>();
    let before = findings.get(&key(&asset, uid))?;
    let suppressed = d.status == Some(Status::Suppressed);
    let status = match before.as_ref().map(|b| b.status.as_str()) {
        _ if suppressed => Status::Suppressed,
        None => Status::New,
        Some("fixed" | "suppressed") => Status::Reopened,
        Some(_) => Status::Recurring,
    };
    let first_seen = before.as_ref().map_or(seen.0, |b| b.first_seen.min(seen.0));
    let count = before.as_ref().map_or(1, |b| b.count + 1);
    let since = if matches!(status, Status::Recurring) {
        before.as_ref().map_or(seen.0, |b| b.since.min(seen.0))
    } else {
        seen.0
    };
    let state = FindingState {
        status: status.as_str().to_owned(),
        first_seen,
        last_seen: before.as_ref().map_or(at.0, |b| b.last_seen.max(at.0)),
        count,
        source: d.source.clone(),
        rule: d.rule.id.clone(),
        name: d.rule.name.clone(),
        product: d.product.clone(),
        sensor: d.sensor.clone(),
        severity: d.severity_score,
        severity_id: d.severity_id,
        cvss: d.cvss,
        confidence: d.confidence,
        cves: d.cves.clone(),
        since,
    };
    findings.put(&key(&asset, uid), &state)?;
    note_open(&asset, uid, (!suppressed).then(|| d.cves.clone()), tx)?;
    d.status = Some(status);
    d.count = Some(count);
    d.first_seen = Some(Timestamp(first_seen));
    d.last_seen = Some(Timestamp(state.last_seen));
    d.incident_id = Some(ids::vulnerability_incident(&d.tenant, &asset, uid).to_string());
    let changed = before.is_none_or(|b| b.status != state.status);
    Ok(Lived {
        changed,
        opened: matches!(status, Status::New | Status::Reopened),
        first_seen: Timestamp(first_seen),
    })
}

fn note_open(asset: &str, uid: &str, cves: Option<Vec<String>>, tx: &mut Tx<'_>) -> Result<(), StageError> {
    let mut store = tx.store::<Exposed>();
    let mut exposed = store.get(asset)?.unwrap_or_default();
    let changed = match cves {
        Some(cves) => exposed.open.insert(uid.to_owned(), cves.clone()) != Some(cves),
        None => exposed.open.remove(uid).is_some(),
    };
    if changed { store.put(asset, &exposed) } else { Ok(()) }
}

/// The finding ids of a host's summary: in the extension of its observed-data.
fn listed(d: &Detection) -> Result<Option<(bool, BTreeSet<String>)>, StageError> {
    let fail = |m: String| StageError { code: Code::InvalidStix, message: m };
    let objects = atio_stix::bundle::parse(&d.bundle).map_err(|e| fail(e.to_string()))?;
    let scan = objects.iter().find_map(|o| {
        o.get("extensions")?.get(constants::EXTENSION_ID)?.get("finding_uids").map(|uids| (o, uids))
    });
    let Some((object, uids)) = scan else { return Ok(None) };
    let complete = object["extensions"][constants::EXTENSION_ID]["complete"] == serde_json::Value::Bool(true);
    let uids = uids.as_array().into_iter().flatten().filter_map(|u| u.as_str()).map(str::to_owned);
    Ok(Some((complete, uids.collect())))
}

/// Handles a host's summary: counts go into its reasons; what a complete scan no longer has is fixed, each a detection of its own.
pub(crate) fn summary(d: &mut Detection, tx: &mut Tx<'_>) -> Result<Vec<Detection>, StageError> {
    let asset = d.asset.clone().unwrap_or_default();
    let Some((complete, reported)) = listed(d)? else { return Ok(vec![]) };
    let mut by_status = std::collections::BTreeMap::<String, u32>::new();
    for uid in &reported {
        if let Some(finding) = tx.store::<Findings>().get(&key(&asset, uid))? {
            *by_status.entry(finding.status).or_default() += 1;
        }
    }
    let mut fixed = vec![];
    if complete {
        let mut exposed = tx.store::<Exposed>().get(&asset)?.unwrap_or_default();
        let gone: Vec<String> = exposed.open.keys().filter(|uid| !reported.contains(*uid)).cloned().collect();
        for uid in gone {
            let Some(finding) =
                tx.store::<Findings>().get(&key(&asset, &uid))?.filter(|f| f.source == d.source)
            else {
                continue;
            };
            fixed.push(fix(d, &asset, &uid, finding, tx)?);
            exposed.open.remove(&uid);
        }
        exposed.complete_at = exposed.complete_at.max(d.reported_at.map(|t| t.0));
        tx.store::<Exposed>().put(&asset, &exposed)?;
    }
    by_status.insert("fixed".into(), u32::try_from(fixed.len()).unwrap_or(u32::MAX));
    for status in ["new", "recurring", "reopened", "fixed"] {
        let n = by_status.get(status).copied().unwrap_or(0);
        d.reasons.push(Reason {
            code: format!("findings_{status}"),
            value: f64::from(n),
            text: format!("{status} findings on this host"),
        });
    }
    Ok(fixed)
}

/// The end of a finding, as a detection with what is known of it.
fn fix(
    scan: &Detection,
    asset: &str,
    uid: &str,
    mut finding: FindingState,
    tx: &mut Tx<'_>,
) -> Result<Detection, StageError> {
    let at = scan.reported_at.or(scan.received_at).unwrap_or_default();
    finding.status = Status::Fixed.as_str().to_owned();
    tx.store::<Findings>().put(&key(asset, uid), &finding)?;
    let event_id =
        ids::joined(&["event", &scan.tenant, &scan.source, &scan.event_id, "fixed", uid]).to_string();
    let mut d = Detection::new(event_id, Kind::Vulnerability, &scan.tenant, &scan.source);
    d.category = Some("result".into());
    (d.zone, d.tlp, d.asset_resolved_by) = (scan.zone, scan.tlp, scan.asset_resolved_by);
    (d.asset, d.host, d.target, d.dst) =
        (scan.asset.clone(), scan.host.clone(), scan.target.clone(), scan.dst.clone());
    d.finding_uid = Some(uid.to_owned());
    (d.rule.id, d.rule.name) = (finding.rule.clone(), finding.name.clone());
    (d.product, d.sensor) = (finding.product.clone(), finding.sensor.clone());
    d.tools = finding.product.clone().into_iter().collect();
    (d.severity_score, d.severity_id, d.cvss, d.confidence) =
        (finding.severity, finding.severity_id, finding.cvss, finding.confidence);
    (d.status, d.count) = (Some(Status::Fixed), Some(finding.count));
    d.cves.clone_from(&finding.cves);
    (d.occurred_at, d.reported_at, d.received_at) = (scan.occurred_at, Some(at), scan.received_at);
    (d.first_seen, d.last_seen) = (Some(Timestamp(finding.first_seen)), Some(Timestamp(finding.last_seen)));
    (d.raw_ref, d.raw_sha256) = (scan.raw_ref.clone(), scan.raw_sha256.clone());
    d.incident_id = Some(ids::vulnerability_incident(&d.tenant, asset, uid).to_string());
    d.bundle = Arc::from(ended(&d, asset, uid, &finding, at)?);
    Ok(d)
}

/// The relationships `has`, in a new version that says when they ended, with both ends.
fn ended(
    d: &Detection,
    asset: &str,
    uid: &str,
    finding: &FindingState,
    at: Timestamp,
) -> Result<Vec<u8>, StageError> {
    let fail = |e: serde_json::Error| StageError { code: Code::EncodeFailed, message: e.to_string() };
    let infrastructure = ids::asset_infrastructure(&d.tenant, asset);
    let mut bundle = Bundle::new(&ids::bundle(&d.tenant, &[&d.event_id]));
    let host = Infrastructure {
        common: Common::fixed(infrastructure).by_atio(),
        name: asset.into(),
        ..Infrastructure::default()
    };
    bundle.push(&host).map_err(fail)?;
    let mut has = |object: Vulnerability<'_>, key: &str| -> Result<(), StageError> {
        let target: Id<'_> = object.common.id;
        bundle.push(&object).map_err(fail)?;
        let mut common =
            Common::new(ids::finding_has(&d.tenant, uid, key), Timestamp(finding.since)).by_atio();
        common.modified = Stamp::millis(at.max(Timestamp(finding.since)));
        common.object_marking_refs = vec![constants::tlp_marking(d.tlp)];
        common.confidence = finding.confidence.and_then(|c| u8::try_from(c.clamp(0, 100)).ok());
        let relation = Relationship {
            common,
            relationship_type: "has".into(),
            source_ref: infrastructure,
            target_ref: target,
            start_time: Some(Stamp::millis(Timestamp(finding.since))),
            // §5.1: later than start_time.
            stop_time: (at.millis() > Timestamp(finding.since).millis()).then(|| Stamp::millis(at)),
            ..Relationship::default()
        };
        bundle.push(&relation).map_err(fail).map(|_| ())
    };
    for cve in &finding.cves {
        let mut object = Vulnerability::of_cve(&d.tenant, cve);
        object.common = object.common.by_atio();
        has(object, cve)?;
    }
    if let Some(oid) = finding.rule.as_deref().filter(|_| finding.cves.is_empty()) {
        let mut common = Common::fixed(ids::vulnerability_nvt(&d.tenant, oid)).by_atio();
        common.external_references.push(ExternalReference::new("nvt", oid));
        has(Vulnerability { common, name: oid.into(), description: None }, oid)?;
    }
    Ok(bundle.finish())
}
