//! The stage: one detection in, the enriched one out (several where a scan shows that findings are gone), and what happened to incidents.
use crate::{
    enrichers, findings,
    risk::{self, History},
    stores::{Risk, RiskItem},
    threats,
};
use atio_schemas::{
    Code, Codec, Detection, Timestamp,
    detection::{Kind, Status},
    header,
    incident::IncidentEvent,
};
use atio_stage::{Outcome, Output, Processor, Record, StageError, Tx};
use atio_stix::{
    graph::{self, Version, Window},
    scan::Objects,
};
use std::sync::Arc;

pub(crate) struct Enrichment {
    codec: Codec,
    output: Arc<str>,
    incident_events: Arc<str>,
}

/// A detection that is ready, and whether it opened its incident.
struct Done {
    detection: Detection,
    opened: bool,
}

impl Enrichment {
    pub(crate) fn new(codec: Codec, output: Arc<str>, incident_events: Arc<str>) -> Self {
        Self { codec, output, incident_events }
    }

    fn enrich(
        &self,
        mut d: Detection,
        record: &Record<'_>,
        tx: &mut Tx<'_>,
    ) -> Result<Vec<Done>, StageError> {
        enrichers::run(&mut d, tx)?;
        match d.kind {
            Kind::Threat => Ok(vec![threat(d, record.timestamp, tx)?]),
            Kind::Vulnerability => vulnerability(d, tx),
            Kind::Log | Kind::Intelligence | Kind::Playbook | Kind::Operational => {
                Ok(vec![Done { detection: d, opened: false }])
            }
        }
    }

    fn outputs(&self, done: &[Done], record: &Record<'_>) -> Result<Vec<Output>, StageError> {
        let key = record.key.map(<[u8]>::to_vec);
        let mut outputs = Vec::with_capacity(done.len() * 2);
        for Done { detection: d, opened } in done {
            let value =
                self.codec.encode(d).map_err(|e| StageError { code: e.code(), message: e.to_string() })?;
            let mut headers = record.headers.carried();
            let source = format!("/atio/{}/{}", d.tenant, d.source);
            headers.describe("atio.detection", &d.event_id, source, d.occurred_at);
            if let Some(incident_id) = &d.incident_id {
                let event = incident_event(d, incident_id, *opened);
                let value = self
                    .codec
                    .encode(&event)
                    .map_err(|e| StageError { code: e.code(), message: e.to_string() })?;
                let mut of_event = headers.clone();
                of_event.set(header::CE_TYPE, "atio.incident-event");
                outputs.push(Output::new(
                    Arc::clone(&self.incident_events),
                    incident_id.as_bytes(),
                    value,
                    of_event,
                ));
            }
            outputs.push(Output {
                topic: Arc::clone(&self.output),
                partition: None,
                key: key.clone(),
                value: Some(value),
                headers,
            });
        }
        Ok(outputs)
    }
}

impl Processor for Enrichment {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let detection: Detection = match record.decode(&self.codec, "a detection") {
            Ok(detection) => detection,
            Err(refused) => return refused,
        };
        // Before anything is remembered of it: what is dead-lettered must leave no state behind.
        let completed = matches!(detection.kind, Kind::Threat | Kind::Vulnerability);
        if completed && Objects::of(&detection.bundle).is_none() {
            return Outcome::dead_letter(Code::InvalidStix, "the detection's bundle can't be read");
        }
        let done = self.enrich(detection, record, tx);
        match done.and_then(|done| self.outputs(&done, record)) {
            Ok(outputs) => Outcome::of(outputs, vec![], Code::Other),
            // About this record, not about the stage: it is a dead letter, and the others go on.
            Err(StageError {
                code: code @ (Code::InvalidStix | Code::EncodeFailed | Code::TooLarge),
                message,
            }) => Outcome::dead_letter(code, message),
            Err(error) => Outcome::Fail(error),
        }
    }
}

fn incident_event(d: &Detection, incident_id: &str, opened: bool) -> IncidentEvent {
    IncidentEvent {
        incident_id: incident_id.to_owned(),
        event_id: d.event_id.clone(),
        tenant: d.tenant.clone(),
        kind: d.kind,
        asset: d.asset.clone(),
        rule_id: d.rule.id.clone(),
        opened,
        importance: d.importance,
        status: d.status,
        occurred_at: d.occurred_at,
        received_at: d.received_at,
    }
}

fn stix(error: &graph::GraphError) -> StageError {
    StageError { code: error.code(), message: error.to_string() }
}

fn threat(mut d: Detection, at: Timestamp, tx: &mut Tx<'_>) -> Result<Done, StageError> {
    let sighted = threats::repeat(&mut d, at, tx)?;
    let opened = threats::incident(&mut d, at, tx)?;
    let history = threats::history(&d, tx)?;
    score(&mut d, history, tx)?;
    let (own, first) = ([d.event_id.as_str()], [sighted.state.first_event.as_str()]);
    let window = Window {
        seed: &first,
        created: Timestamp(sighted.state.created),
        modified: Timestamp(sighted.state.modified),
        first_seen: Timestamp(sighted.state.first_seen),
        last_seen: Timestamp(sighted.state.last_seen),
        count: u32::try_from(sighted.state.count).unwrap_or(u32::MAX),
    };
    let reported = d.reported_at.or(d.occurred_at).or(d.received_at).unwrap_or_default();
    let version = Version { seed: &own, created: reported, modified: reported };
    let bundle = graph::complete(&d, sighted.say.then_some(&window), Some(&version)).map_err(|e| stix(&e))?;
    d.bundle = Arc::from(bundle);
    Ok(Done { detection: d, opened })
}

fn vulnerability(mut d: Detection, tx: &mut Tx<'_>) -> Result<Vec<Done>, StageError> {
    if d.category.as_deref() == Some("host_summary") {
        let fixed = findings::summary(&mut d, tx)?;
        let mut done = Vec::with_capacity(fixed.len() + 1);
        for mut end in fixed {
            enrichers::run(&mut end, tx)?;
            forget(&end, tx)?;
            let first_seen = end.first_seen.unwrap_or_default();
            report(&mut end, first_seen)?;
            done.push(Done { detection: end, opened: false });
        }
        done.push(Done { detection: d, opened: false });
        return Ok(done);
    }
    let Some(uid) = d.finding_uid.clone() else { return Ok(vec![Done { detection: d, opened: false }]) };
    let lived = findings::result(&mut d, &uid, tx)?;
    d.decision = risk::decision(&d);
    if d.status == Some(Status::Suppressed) {
        forget(&d, tx)?;
    } else {
        score(&mut d, History::default(), tx)?;
    }
    if lived.changed {
        report(&mut d, lived.first_seen)?;
    }
    Ok(vec![Done { detection: d, opened: lived.opened }])
}

/// A new version of a finding's report: seed finding_uid, created when it was first seen, modified now.
fn report(d: &mut Detection, first_seen: Timestamp) -> Result<(), StageError> {
    let uid = d.finding_uid.clone().unwrap_or_default();
    let seed = [uid.as_str()];
    let modified = d.reported_at.or(d.received_at).unwrap_or(first_seen);
    let bundle = graph::complete(d, None, Some(&Version { seed: &seed, created: first_seen, modified }))
        .map_err(|e| stix(&e))?;
    d.bundle = Arc::from(bundle);
    Ok(())
}

/// Importance with its reasons, and the asset's risk with this event in it.
fn score(d: &mut Detection, history: History, tx: &mut Tx<'_>) -> Result<(), StageError> {
    let Some(reasons) = risk::reasons(d, history) else { return Ok(()) };
    let importance = risk::recompute(&reasons);
    d.importance = Some(importance);
    d.reasons.extend(reasons);
    d.labels.push(risk::VERSION.to_owned());
    let Some(asset) = d.asset.clone() else { return Ok(()) };
    let at = d.reported_at.or(d.received_at).unwrap_or_default().0;
    let item = RiskItem { rule: risk_key(d), importance, at, tactics: d.tactics.clone() };
    let mut store = tx.store::<Risk>();
    let mut state = store.get(&asset)?.unwrap_or_default();
    match state.items.iter_mut().find(|i| i.rule == item.rule) {
        // One a rule: the latest, at the importance that it has now.
        Some(known) if known.at <= item.at => *known = item,
        Some(_) => {}
        None => state.items.push(item),
    }
    let now = state.items.iter().map(|i| i.at).max().unwrap_or(at);
    if state.items.len() > risk::MAX_ITEMS {
        state.items = largest(state.items, now);
    }
    store.put(&asset, &state)?;
    d.asset_risk = Some(asset_risk(&state.items, now));
    Ok(())
}

/// Those that weigh most at `now`, the heaviest first.
fn largest(items: Vec<RiskItem>, now: i64) -> Vec<RiskItem> {
    let aged = |i: &RiskItem| i.importance * 2f64.powf(-(now.saturating_sub(i.at) as f64) / (7.0 * 86_400e6));
    // Each is weighed once: weighing costs more than sorting.
    let mut weighed: Vec<(f64, RiskItem)> = items.into_iter().map(|i| (aged(&i), i)).collect();
    weighed.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.rule.cmp(&other.rule)));
    weighed.into_iter().take(risk::MAX_ITEMS).map(|(_, item)| item).collect()
}

fn asset_risk(items: &[RiskItem], now: i64) -> f64 {
    let items: Vec<_> = items
        .iter()
        .map(|i| risk::Item { importance: i.importance, at: i.at, tactics: &i.tactics })
        .collect();
    risk::of_asset(&items, now)
}

fn risk_key(d: &Detection) -> String {
    d.finding_uid
        .clone()
        .or_else(|| d.rule.id.clone())
        .unwrap_or_else(|| d.category.clone().unwrap_or_default())
}

/// What is fixed or suppressed no longer counts.
fn forget(d: &Detection, tx: &mut Tx<'_>) -> Result<(), StageError> {
    let Some(asset) = d.asset.as_deref() else { return Ok(()) };
    let mut store = tx.store::<Risk>();
    let Some(mut state) = store.get(asset)? else { return Ok(()) };
    let (before, key) = (state.items.len(), risk_key(d));
    state.items.retain(|i| i.rule != key);
    if state.items.len() == before { Ok(()) } else { store.put(asset, &state) }
}

#[cfg(test)]
mod tests;
