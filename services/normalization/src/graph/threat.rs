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
    identity("sensor", sensor, cx, bundle)?;
    let asset = d.asset.as_deref().unwrap_or(sensor);
    let asset_id = identity("asset", asset, cx, bundle)?;
    let indicator = indicator(d, alert, cx, bundle)?;
    for pattern in patterns(d, alert) {
        let Pattern { catalogue, id, signature, name } = pattern;
        let parts = ["attack-pattern", cx.tenant, catalogue, id, signature, name];
        let (pattern_id, added) = cx.known.push(bundle, &parts, || pattern.object(cx))?;
        if !added {
            continue;
        }
        if let Some(indicator) = indicator {
            bundle.push(&relation(cx, "indicates", indicator, pattern_id))?;
        }
        let parts = ["targets", cx.tenant, catalogue, id, signature, asset];
        cx.known.push(bundle, &parts, || relation(cx, "targets", pattern_id, asset_id))?;
    }
    Ok(())
}

/// Who an asset or a sensor is. `role`: `asset` or `sensor`.
pub(super) fn identity(
    role: &'static str,
    name: &str,
    cx: &Cx<'_>,
    bundle: &mut Bundle,
) -> Result<Id<'static>, Refused> {
    let make = || Identity {
        common: knowledge(if role == "asset" {
            ids::asset_identity(cx.tenant, name)
        } else {
            ids::sensor_identity(cx.tenant, name)
        }),
        name: name.into(),
        identity_class: Some("system".into()),
        ..Identity::default()
    };
    Ok(cx.known.push(bundle, &["identity", cx.tenant, role, name], make)?.0)
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

/// An attack-pattern by its entry in a catalogue, or by a rule and its text.
#[derive(Clone, Copy)]
struct Pattern<'a> {
    catalogue: &'static str,
    id: &'a str,
    /// Of a rule: it belongs to the id.
    signature: &'a str,
    name: &'a str,
}

impl<'a> Pattern<'a> {
    fn object(self, cx: &Cx<'_>) -> AttackPattern<'a> {
        let id = if self.catalogue == "suricata" {
            ids::attack_pattern_suricata(cx.tenant, self.id, self.signature)
        } else {
            ids::attack_pattern(cx.tenant, self.catalogue, self.id)
        };
        let mut common = knowledge(id);
        common.external_references.push(ExternalReference::new(self.catalogue, self.id));
        AttackPattern { common, name: self.name.into(), ..AttackPattern::default() }
    }
}

/// The techniques and CAPECs that the rule names, else the rule itself. Their names come from a catalogue, never from the
/// alert's metadata; where none is loaded the name is the id.
fn patterns<'a>(d: &'a Detection, alert: &'a Alert<'_>) -> impl Iterator<Item = Pattern<'a>> {
    let catalogued =
        |catalogue: &'static str| move |id: &'a String| Pattern { catalogue, id, signature: "", name: id };
    let techniques = d.techniques.iter().map(catalogued("mitre-attack"));
    let named = techniques.chain(d.capecs.iter().map(catalogued("capec")));
    let unnamed = d.techniques.is_empty() && d.capecs.is_empty();
    let rule = d.rule.id.as_deref().unwrap_or_default();
    let name = d.rule.name.as_deref().unwrap_or(rule);
    named.chain(unnamed.then_some(Pattern {
        catalogue: "suricata",
        id: rule,
        signature: &alert.signature,
        name,
    }))
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
