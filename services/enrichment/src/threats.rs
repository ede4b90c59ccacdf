//! A threat among its like: repeats in a window, the sighting's version, the incident that it belongs to.
use crate::{
    risk::History,
    stores::{Exposed, IncidentState, Incidents, RepeatState, Repeats},
};
use atio_schemas::{Detection, Timestamp, detection::Status};
use atio_stage::{StageError, Tx};
use atio_stix::ids;

/// A window ends so long after its last event, microseconds of the records' time.
const WINDOW_US: i64 = 3_600_000_000;
/// A new version of the sighting comes no earlier after the last one.
const SIGHTING_US: i64 = 30_000_000;
const SCAN_US: i64 = 30 * 86_400_000_000;

/// What of the window's sighting is to be said with this event.
pub(crate) struct Sighted {
    pub state: RepeatState,
    /// False where the last version is younger than 30 s.
    pub say: bool,
}

fn reported(d: &Detection) -> i64 {
    d.reported_at.or(d.occurred_at).or(d.received_at).unwrap_or_default().0
}

/// Counts the event in its window and fills status, count, first and last seen.
pub(crate) fn repeat(d: &mut Detection, at: Timestamp, tx: &mut Tx<'_>) -> Result<Sighted, StageError> {
    let asset = d.asset.as_deref().unwrap_or_default();
    let key = format!(
        "{asset}|{}|{}",
        d.rule.id.as_deref().unwrap_or_default(),
        d.actor.as_deref().unwrap_or_default()
    );
    let (seen, reported) = (d.occurred_at.map_or_else(|| reported(d), |t| t.0), reported(d));
    let mut repeats = tx.store::<Repeats>();
    let open = repeats.get(&key)?.filter(|r| at.0 <= r.last_record.saturating_add(WINDOW_US));
    let (state, say) = match open {
        None => {
            let (first_seen, last_seen) = (seen.min(reported), seen.max(reported));
            let first_event = d.event_id.clone();
            (
                RepeatState {
                    first_event,
                    created: reported,
                    first_seen,
                    last_seen,
                    count: 1,
                    modified: reported,
                    last_record: at.0,
                },
                true,
            )
        }
        Some(mut r) => {
            r.count += 1;
            r.first_seen = r.first_seen.min(seen);
            r.last_seen = r.last_seen.max(seen).max(reported);
            r.last_record = r.last_record.max(at.0);
            let say = reported >= r.modified.saturating_add(SIGHTING_US);
            if say {
                r.modified = reported;
            }
            (r, say)
        }
    };
    repeats.put(&key, &state)?;
    d.status = Some(if state.count == 1 { Status::New } else { Status::Recurring });
    d.count = Some(state.count);
    d.first_seen = Some(Timestamp(state.first_seen));
    d.last_seen = Some(Timestamp(state.last_seen));
    Ok(Sighted { state, say })
}

/// Finds or opens the incident; true where this event opened it. Without a rule there is none.
pub(crate) fn incident(d: &mut Detection, at: Timestamp, tx: &mut Tx<'_>) -> Result<bool, StageError> {
    let (Some(asset), Some(rule)) = (d.asset.as_deref(), d.rule.id.as_deref()) else { return Ok(false) };
    let key = format!("{asset}|{rule}");
    let mut incidents = tx.store::<Incidents>();
    let open = incidents.get(&key)?.filter(|i| at.0 <= i.last_record.saturating_add(WINDOW_US));
    let opened = open.is_none();
    let incident_id = open.as_ref().map_or_else(
        || ids::threat_incident(&d.tenant, asset, rule, &d.event_id).to_string(),
        |i| i.incident_id.clone(),
    );
    let last_record = open.map_or(at.0, |i| i.last_record.max(at.0));
    incidents.put(&key, &IncidentState { incident_id: incident_id.clone(), last_record })?;
    d.incident_id = Some(incident_id);
    Ok(opened)
}

/// Whether the asset is known to have, or not to have, what the alert exploits.
pub(crate) fn history(d: &Detection, tx: &mut Tx<'_>) -> Result<History, StageError> {
    let Some(asset) = d.asset.as_deref().filter(|_| !d.cves.is_empty()) else {
        return Ok(History::default());
    };
    let Some(exposed) = tx.store::<Exposed>().get(asset)? else { return Ok(History::default()) };
    let has_cve = exposed.open.values().flatten().any(|cve| d.cves.contains(cve));
    let fresh = exposed.complete_at.is_some_and(|at| reported(d).saturating_sub(at) <= SCAN_US);
    Ok(History { has_cve, scanned_without: !has_cve && fresh })
}
