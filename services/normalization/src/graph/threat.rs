//! A Suricata alert: sensor, asset, what the rule says of the technique, what was seen (docs/normalization.md).
use super::network::{self, Role, Sides};
use super::{Cx, Made, Refused, add_once, finish, knowledge, log, new_bundle, observe, start};
use crate::event::EventIds;
use crate::score;
use atio_formats::finding::{Alert, Finding, Network};
use atio_schemas::{Detection, detection::Kind};
use atio_stix::object::{AttackPattern, Common, ExternalReference, Identity, Indicator, Relationship};
use atio_stix::{Bundle, Id, Stamp, ids};

/// Rules of Suricata's own engine: they tell of broken traffic, not of a technique.
const ENGINE_EVENTS: std::ops::RangeInclusive<u64> = 2_200_000..=2_299_999;

/// The ruleset of a rule whose text came with its alert.
const RULESET_UNKNOWN: &str = "eve";

pub(super) fn detection(
    finding: &Finding<'_>,
    net: &Network<'_>,
    cx: &Cx<'_>,
    ids: &mut EventIds<'_>,
) -> Result<Made, Refused> {
    let Some(alert) = &net.alert else { return log::detection(finding, net, cx, ids) };
    let mut d = start(finding, Kind::Threat, cx, ids);
    let sides = Sides::of(net);
    log::columns(&mut d, net, &sides, cx);
    alert_columns(&mut d, alert);
    let target = sides.target(Some(alert), cx);
    let behind = network::client_behind(net, target.other());
    parties(&mut d, &sides, target, behind.as_ref().map(|(_, text)| &**text));
    let mut bundle = new_bundle(cx, &d.event_id);
    if !ENGINE_EVENTS.contains(&alert.sid) {
        knowledge_objects(&d, alert, cx, &mut bundle)?;
    }
    let mut seen = observe::network(net, &sides, &mut bundle, &mut d)?;
    if let Some((ip, text)) = behind {
        observe::address(ip, text, &mut bundle, &mut seen.refs)?;
    }
    if seen.refs.is_empty() {
        seen.tool(net.product, &mut bundle)?;
    }
    log::observed_data(&d, net, seen, None, cx, &mut bundle)?;
    Ok(finish(d, bundle))
}

fn alert_columns(d: &mut Detection, alert: &Alert<'_>) {
    d.rule = log::rule(alert);
    d.disposition = alert.disposition;
    let severity = score::of_alert(alert.severity.as_deref(), alert.priority);
    d.severity_score = severity.map(|s| s.score);
    d.severity_id = Some(severity.map_or(0, |s| s.id));
    let raw = alert.severity.as_deref().map(str::to_owned);
    d.severity_raw = raw.or_else(|| alert.priority.map(|p| p.to_string()));
    d.confidence = alert.confidence.as_deref().and_then(score::confidence_of_name);
    d.labels.extend(alert.category.as_deref().filter(|text| !text.is_empty()).map(str::to_owned));
    for cve in &alert.cves {
        add_once(&mut d.cves, cve);
    }
    for (id, _) in &alert.techniques {
        add_once(&mut d.techniques, id);
    }
    for (id, _) in &alert.tactics {
        add_once(&mut d.tactics, id);
    }
    for capec in &alert.capecs {
        add_once(&mut d.capecs, capec);
    }
}

fn parties(d: &mut Detection, sides: &Sides<'_>, target: Role, behind: Option<&str>) {
    let text = |role: Role| sides.get(role).text.as_deref().map(str::to_owned);
    d.target = text(target);
    d.actor = behind.map(str::to_owned).or_else(|| text(target.other()));
}

/// Sensor, asset, attack-patterns, and the indicator where the rule's own text is there.
fn knowledge_objects(
    d: &Detection,
    alert: &Alert<'_>,
    cx: &Cx<'_>,
    bundle: &mut Bundle,
) -> Result<(), Refused> {
    let sensor = d.sensor.as_deref().unwrap_or(cx.source);
    identity(ids::sensor_identity(cx.tenant, sensor), sensor, bundle)?;
    let asset = d.asset.as_deref().unwrap_or(sensor);
    let asset_id = ids::asset_identity(cx.tenant, asset);
    identity(asset_id, asset, bundle)?;
    let indicator = indicator(d, alert, cx, bundle)?;
    for pattern in attack_patterns(d, alert, cx) {
        let id = pattern.common.id;
        if !bundle.push(&pattern)? {
            continue;
        }
        if let Some(indicator) = indicator {
            bundle.push(&relation(cx, "indicates", indicator, id))?;
        }
        bundle.push(&relation(cx, "targets", id, asset_id))?;
    }
    Ok(())
}

pub(super) fn identity(id: Id<'_>, name: &str, bundle: &mut Bundle) -> Result<(), Refused> {
    let object = Identity {
        common: knowledge(id),
        name: name.into(),
        identity_class: Some("system".into()),
        ..Identity::default()
    };
    bundle.push(&object)?;
    Ok(())
}

pub(super) fn relation<'a>(
    cx: &Cx<'_>,
    kind: &'static str,
    source: Id<'a>,
    target: Id<'a>,
) -> Relationship<'a> {
    let mut object = Relationship::between(cx.tenant, kind, source, target);
    object.common = object.common.by_atio();
    object
}

/// The techniques and CAPECs that the rule names, else the rule itself. Their names come from a catalogue, never from the
/// alert's metadata; where none is loaded the name is the id.
fn attack_patterns<'a>(d: &'a Detection, alert: &'a Alert<'_>, cx: &Cx<'_>) -> Vec<AttackPattern<'a>> {
    let catalogued = |catalogue: &'static str, id: &'a str| {
        let mut common = knowledge(ids::attack_pattern(cx.tenant, catalogue, id));
        common.external_references.push(ExternalReference::new(catalogue, id));
        AttackPattern { common, name: id.into(), ..AttackPattern::default() }
    };
    let techniques = d.techniques.iter().map(|id| catalogued("mitre-attack", id));
    let mut patterns: Vec<_> = techniques.chain(d.capecs.iter().map(|id| catalogued("capec", id))).collect();
    if patterns.is_empty() {
        let rule = d.rule.id.as_deref().unwrap_or_default();
        let mut common = knowledge(ids::attack_pattern_suricata(cx.tenant, rule, &alert.signature));
        common.external_references.push(ExternalReference::new("suricata", rule));
        let name = d.rule.name.as_deref().unwrap_or(rule);
        patterns.push(AttackPattern { common, name: name.into(), ..AttackPattern::default() });
    }
    patterns
}

/// Only with the real rule text: a stub rule would alert on everything once shared.
fn indicator(
    d: &Detection,
    alert: &Alert<'_>,
    cx: &Cx<'_>,
    bundle: &mut Bundle,
) -> Result<Option<Id<'static>>, Refused> {
    let Some(text) = alert.rule.as_deref().filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let rule = d.rule.id.as_deref().unwrap_or_default();
    let id = ids::indicator_suricata(cx.tenant, RULESET_UNKNOWN, rule, text);
    let created = alert.created_at.or(alert.updated_at);
    let modified = alert.updated_at.or(created).max(created);
    let mut common = Common::fixed(id).by_atio();
    if let (Some(created), Some(modified)) = (created, modified) {
        (common.created, common.modified) = (Stamp::millis(created), Stamp::millis(modified));
    }
    common.external_references.push(ExternalReference::new("suricata", rule));
    let valid_from = common.created;
    let object = Indicator {
        common,
        name: Some(d.rule.name.as_deref().unwrap_or(rule).into()),
        description: Some(format!("Suricata rule {rule}, revision {}", alert.rev).into()),
        indicator_types: vec!["malicious-activity".into()],
        pattern: text.into(),
        pattern_type: "suricata".into(),
        valid_from,
        ..Indicator::default()
    };
    bundle.push(&object)?;
    Ok(Some(id))
}
