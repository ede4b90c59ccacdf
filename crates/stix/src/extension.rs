//! What ATIO's extension carries: the columns of a detection that STIX has no property for.
//!
//! One extension-definition (property-extension, [`crate::constants::EXTENSION_ID`]) for both uses: on ATIO's own report,
//! and on the observed-data of a log. Names avoid those that §3.8 reserves. Must not know: how the columns were filled.
use crate::object::Text;
use crate::stamp::Stamp;
use atio_schemas::{Detection, Timestamp};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// On a report: a detection's columns, unknown and empty ones left out; what SCOs of the bundle say is not repeated.
#[derive(Clone, Copy, Debug)]
pub struct AtioReport<'a>(pub &'a Detection);

/// On the observed-data of a log.
#[derive(Clone, Debug, Serialize)]
pub struct AtioObservation<'a> {
    pub extension_type: ExtensionType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logon_type: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Text<'a>>,
}

impl Default for AtioObservation<'_> {
    fn default() -> Self {
        Self {
            extension_type: ExtensionType,
            provider: None,
            channel: None,
            code: None,
            record_id: None,
            outcome: None,
            logon_type: None,
            host: None,
        }
    }
}

/// `property-extension` (§7.3.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtensionType;
impl Serialize for ExtensionType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("property-extension")
    }
}

impl Serialize for AtioReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let d = self.0;
        let mut out = Columns(serializer.serialize_map(None)?);
        out.put("extension_type", &ExtensionType)?;
        identity(d, &mut out)?;
        judgement(d, &mut out)?;
        context(d, &mut out)?;
        out.0.end()
    }
}

struct Columns<M>(M);
impl<M: SerializeMap> Columns<M> {
    fn put<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }
    fn opt<T: Serialize>(&mut self, name: &'static str, value: &Option<T>) -> Result<(), M::Error> {
        value.as_ref().map_or(Ok(()), |value| self.put(name, value))
    }
    fn list<T: Serialize>(&mut self, name: &'static str, values: &[T]) -> Result<(), M::Error> {
        if values.is_empty() { Ok(()) } else { self.put(name, values) }
    }
    fn time(&mut self, name: &'static str, at: Option<Timestamp>) -> Result<(), M::Error> {
        at.map_or(Ok(()), |at| self.put(name, &Stamp::millis(at)))
    }
}

/// Which event, of which tool, by which rule.
fn identity<M: SerializeMap>(d: &Detection, out: &mut Columns<M>) -> Result<(), M::Error> {
    out.put("event_id", &d.event_id)?;
    out.opt("finding_uid", &d.finding_uid)?;
    out.put("kind", &d.kind)?;
    out.opt("category", &d.category)?;
    out.put("tenant", &d.tenant)?;
    out.put("zone", &d.zone)?;
    out.put("source", &d.source)?;
    out.opt("product", &d.product)?;
    out.opt("sensor", &d.sensor)?;
    out.opt("rule_id", &d.rule.id)?;
    out.opt("rule_rev", &d.rule.rev)?;
    out.opt("rule_name", &d.rule.name)?;
    out.opt("code", &d.code)?;
    out.opt("provider", &d.provider)?;
    out.opt("channel", &d.channel)
}

/// How bad, how sure, what came of it, what is to be done.
fn judgement<M: SerializeMap>(d: &Detection, out: &mut Columns<M>) -> Result<(), M::Error> {
    out.opt("severity_id", &d.severity_id)?;
    out.opt("severity_score", &d.severity_score)?;
    out.opt("severity_raw", &d.severity_raw)?;
    out.opt("importance", &d.importance)?;
    out.opt("asset_risk", &d.asset_risk)?;
    out.list("reasons", &d.reasons)?;
    out.opt("decision", &d.decision)?;
    out.opt("disposition", &d.disposition)?;
    out.opt("outcome", &d.outcome)?;
    out.opt("status", &d.status)?;
    out.opt("count", &d.count)?;
    out.list("cves", &d.cves)?;
    out.list("cpes", &d.cpes)?;
    out.opt("cvss", &d.cvss)?;
    out.opt("epss", &d.epss)?;
    out.opt("kev", &d.kev)?;
    out.opt("fix_available", &d.fix_available)?;
    out.list("capecs", &d.capecs)?;
    out.list("tactics", &d.tactics)?;
    out.list("techniques", &d.techniques)?;
    out.list("matched_indicators", &d.matched_indicators)?;
    out.list("recommended_actions", &d.recommended_actions)?;
    out.list("quality", &d.quality)?;
    out.opt("suppressed_by", &d.suppressed_by)
}

/// Where, when, whose, and where else it is known.
fn context<M: SerializeMap>(d: &Detection, out: &mut Columns<M>) -> Result<(), M::Error> {
    out.opt("asset", &d.asset)?;
    out.opt("asset_resolved_by", &d.asset_resolved_by)?;
    out.opt("criticality", &d.criticality)?;
    out.opt("exposure", &d.exposure)?;
    out.list("policies", &d.policies)?;
    out.opt("host", &d.host)?;
    out.opt("direction", &d.direction)?;
    out.opt("actor", &d.actor)?;
    out.opt("target", &d.target)?;
    out.opt("community_id", &d.community_id)?;
    out.opt("flow_id", &d.flow_id)?;
    out.opt("cloud_account", &d.cloud_account)?;
    out.opt("resource", &d.resource)?;
    out.time("occurred_at", d.occurred_at)?;
    out.time("reported_at", d.reported_at)?;
    out.time("received_at", d.received_at)?;
    out.time("first_seen", d.first_seen)?;
    out.time("last_seen", d.last_seen)?;
    out.opt("incident_id", &d.incident_id)?;
    out.opt("iris_id", &d.iris_id)?;
    out.opt("misp_id", &d.misp_id)?;
    out.list("external_ids", &d.external_ids)?;
    out.list("analysts", &d.analysts)?;
    out.list("tools", &d.tools)?;
    out.opt("raw_record", &d.raw_ref)?;
    out.opt("raw_sha256", &d.raw_sha256)?;
    out.opt("tool_url", &d.tool_url)
}
