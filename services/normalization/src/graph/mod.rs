//! Findings to detections: one file a kind. Owns the columns and the STIX graph that an event itself justifies; sighting and report need
//! state and are made by enrichment. Must not know: topics, records, Avro.
mod cpe;
mod intelligence;
mod log;
mod network;
mod observe;
mod threat;
mod vulnerability;

use crate::asset::{Asset, Assets};
use crate::event::EventIds;
use atio_formats::finding::{Body, Finding, Network};
use atio_schemas::{
    Code, Detection, Timestamp,
    detection::{Kind, Tlp, Zone},
};
use atio_stix::object::Common;
use atio_stix::{Bundle, Id, Known, constants, ids};
use ipnet::IpNet;
use sha2::Digest as _;
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of an event beside its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Cx<'c> {
    pub(crate) tenant: &'c str,
    pub(crate) source: &'c str,
    pub(crate) zone: Zone,
    pub(crate) tlp: Tlp,
    /// As the transport had it; what the event says comes first.
    pub(crate) sensor: Option<&'c str>,
    pub(crate) received_at: Timestamp,
    /// topic/partition/offset, or sha256 of the file; for files the byte offset is added.
    pub(crate) raw_ref: RawRef<'c>,
    pub(crate) assets: &'c Assets,
    pub(crate) home: &'c [IpNet],
    pub(crate) known: &'c Known,
}

#[derive(Clone, Copy)]
pub(crate) enum RawRef<'c> {
    Record(&'c str),
    File(&'c str),
}

/// Why a finding became no detection.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It says something of the inventory only.
    InventoryOnly,
    Bad(Code, String),
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::Bad(Code::Internal, error.to_string())
    }
}

/// The detections of a finding, with their record keys.
pub(crate) fn detections(
    finding: &Finding<'_>,
    cx: &Cx<'_>,
    ids: &mut EventIds<'_>,
    out: &mut Vec<Made>,
) -> Result<(), Refused> {
    match &finding.body {
        Body::Network(net) if is_threat(net) => out.push(threat::detection(finding, net, cx, ids)?),
        Body::Network(net) => out.push(log::detection(finding, net, cx, ids)?),
        Body::Result(result) => out.push(vulnerability::result(finding, result, cx, ids)?),
        Body::Host(host) => out.push(vulnerability::summary(finding, host, cx, ids)?),
        Body::Stix(input) => intelligence::detections(finding, input, cx, ids, out)?,
    }
    Ok(())
}

/// A detection, and the key of its record: the canonical asset, or an intelligence object's id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Made {
    pub key: String,
    /// It has a column for everything and is large: it is made where it stays.
    pub detection: Box<Detection>,
}

/// Suricata repeats an alert inside of the `drop` event that it caused: only `alert` events are alerts.
fn is_threat(net: &Network<'_>) -> bool {
    net.alert.is_some() && net.event_type == "alert"
}

/// A detection with the columns that every kind has.
fn start(finding: &Finding<'_>, kind: Kind, cx: &Cx<'_>, ids: &mut EventIds<'_>) -> Box<Detection> {
    let mut d = Box::new(Detection::new(ids.next(finding.offset), kind, cx.tenant, cx.source));
    d.zone = cx.zone;
    d.tlp = cx.tlp;
    d.received_at = Some(cx.received_at);
    d.quality = finding.quality.iter().map(|text| (*text).to_owned()).collect();
    d.raw_ref = Some(match cx.raw_ref {
        RawRef::Record(place) => place.to_owned(),
        RawRef::File(sha256) => format!("{sha256}/{}", finding.offset),
    });
    d.raw_sha256 = Some(ids::hex(&sha2::Sha256::digest(finding.raw)));
    d
}

/// Sets the asset; without one the record is keyed by its source.
fn set_asset(d: &mut Detection, asset: Option<Asset>) {
    if let Some(asset) = asset {
        d.asset_resolved_by = Some(asset.by);
        d.asset = Some(asset.id);
    }
}

/// Puts the bundle in and says the record's key.
fn finish(mut d: Box<Detection>, bundle: Bundle) -> Made {
    d.bundle = Arc::from(bundle.finish());
    let key = d.asset.clone().unwrap_or_else(|| format!("source:{}", d.source));
    Made { key, detection: d }
}

fn new_bundle(cx: &Cx<'_>, event_id: &str) -> Bundle {
    Bundle::new(&ids::bundle(cx.tenant, &[event_id]))
}

/// An occurrence object (docs/normalization.md): made and last changed when it was reported, by ATIO, marked as its source is. Its
/// seed has the event id, so that one version has one content.
fn occurrence<'a>(id: Id<'a>, at: Timestamp, cx: &Cx<'_>) -> Common<'a> {
    let mut common = Common::new(id, at).by_atio();
    common.object_marking_refs = vec![constants::tlp_marking(cx.tlp)];
    common
}

/// A knowledge object: the same bytes whoever saw it and when; therefore without a source's marking.
fn knowledge(id: Id<'_>) -> Common<'_> {
    Common::fixed(id).by_atio()
}

fn is_home(cx: &Cx<'_>, address: &IpAddr) -> bool {
    let address = address.to_canonical();
    cx.home.iter().any(|net| net.contains(&address))
}

/// Adds what is not there yet.
fn add_once(list: &mut Vec<String>, item: &str) {
    if !list.iter().any(|known| known == item) {
        list.push(item.to_owned());
    }
}
