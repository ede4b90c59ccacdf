//! Events that nobody has to see: observed-data with its SCOs; no report, sighting or indicator (docs/normalization.md).
use super::network::Sides;
use super::observe::{self, Observed};
use super::{Cx, Made, Refused, finish, new_bundle, occurrence, set_asset, start};
use crate::event::EventIds;
use crate::score;
use atio_formats::finding::{Finding, Network};
use atio_schemas::{
    Detection,
    detection::{Kind, Rule},
};
use atio_stix::extension::AtioObservation;
use atio_stix::object::{Extension, ObservedData};
use atio_stix::{Bundle, Stamp, ids};

pub(super) fn detection(
    finding: &Finding<'_>,
    net: &Network<'_>,
    cx: &Cx<'_>,
    ids: &mut EventIds<'_>,
) -> Result<Made, Refused> {
    let mut d = start(finding, Kind::Log, cx, ids);
    let sides = Sides::of(net);
    columns(&mut d, net, &sides, cx);
    if let Some(alert) = &net.alert {
        // A `drop` event repeats the alert that caused it.
        d.rule = rule(alert);
        d.disposition = alert.disposition;
    }
    if net.event_type == "anomaly" {
        d.confidence = Some(score::ANOMALY_CONFIDENCE);
    }
    let mut bundle = new_bundle(cx, &d.event_id);
    let mut seen = observe::network(net, &sides, &mut bundle, &mut d)?;
    if seen.refs.is_empty() {
        seen.tool(net.product, &mut bundle)?;
    }
    let extension = AtioObservation {
        provider: Some(net.product.into()),
        code: Some((&*net.event_type).into()),
        host: net.sensor.as_deref().or(cx.sensor).map(Into::into),
        ..AtioObservation::default()
    };
    observed_data(&d, net, seen, Some(Extension::Observation(extension)), cx, &mut bundle)?;
    Ok(finish(d, bundle))
}

pub(super) fn rule(alert: &atio_formats::finding::Alert<'_>) -> Rule {
    Rule {
        id: Some(format!("{}:{}", alert.gid, alert.sid)),
        rev: Some(alert.rev.to_string()),
        name: Some(&*alert.signature).filter(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// The columns that every network event has.
pub(super) fn columns(d: &mut Detection, net: &Network<'_>, sides: &Sides<'_>, cx: &Cx<'_>) {
    let text = |value: &Option<std::borrow::Cow<'_, str>>| value.as_deref().map(str::to_owned);
    d.category = Some((*net.event_type).to_owned());
    d.product = Some(net.product.to_owned());
    d.tools = vec![net.product.to_owned()];
    // Where neither event nor transport names one, the source stands for its sensor: a sighting must say where.
    let sensor = net.sensor.as_deref().or(cx.sensor).unwrap_or(cx.source);
    d.sensor = Some(sensor.to_owned());
    let target = sides.target(net.alert.as_ref(), cx);
    set_asset(d, Some(sides.asset(target, sensor, cx)));
    d.bytes_out = sides.bytes_out(target, cx);
    sides.columns(d);
    d.proto = text(&net.proto);
    d.direction = text(&net.direction);
    d.community_id = text(&net.community_id);
    d.flow_id = text(&net.flow_id);
    d.users.extend(text(&net.user));
    d.reported_at = Some(net.time);
    d.occurred_at = Some(net.start.map_or(net.time, |start| start.min(net.time)));
    if net.start.is_some_and(|start| start > net.time) {
        d.quality.push("starts_after_report".to_owned());
    }
}

/// The observed-data over what was seen (first = the flow's start, last = the event's time).
pub(super) fn observed_data(
    d: &Detection,
    net: &Network<'_>,
    seen: Observed,
    extension: Option<Extension<'_>>,
    cx: &Cx<'_>,
    bundle: &mut Bundle,
) -> Result<(), Refused> {
    let mut common = occurrence(ids::observed_data(cx.tenant, &[&d.event_id]), net.time, cx);
    common.extensions.0.extend(extension);
    let object = ObservedData {
        common,
        first_observed: Stamp::millis(d.occurred_at.unwrap_or(net.time)),
        last_observed: Stamp::millis(net.time),
        number_observed: 1,
        object_refs: seen.refs,
    };
    bundle.push(&object)?;
    Ok(())
}
