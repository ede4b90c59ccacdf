//! STIX of someone else's, kept byte for byte: one detection an input, keyed by the id of the object that it is about; a large one is divided.
//! Owns the choice of that object and the columns; must not change what it carries.
use super::{Cx, Made, Refused, add_once, start};
use crate::event::EventIds;
use atio_formats::finding::{Finding, StixInput};
use atio_schemas::{
    Code, Detection, Timestamp,
    detection::{Kind, Rule},
};
use atio_stix::{ids, markings};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of objects in one detection: with its columns it stays below Kafka's 1 MB. One object alone may be larger.
const MAX_BYTES: usize = 512 * 1024;
/// Ids and names that go into columns.
const MAX_COLUMN: usize = 200;

/// What containers are: an input with one is about it.
const CONTAINERS: &[&str] =
    &["report", "grouping", "incident", "campaign", "intrusion-set", "malware-analysis"];
/// What an input is not about, while there is something else.
const BESIDE: &[&str] =
    &["identity", "marking-definition", "extension-definition", "relationship", "language-content"];

/// What the columns need of an object; everything else stays in its bytes.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    value: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    created: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    modified: Option<Cow<'a, str>>,
    #[serde(default)]
    confidence: Option<i32>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    external_references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    source_name: String,
    #[serde(default)]
    external_id: Option<String>,
}

pub(super) fn detections(
    finding: &Finding<'_>,
    input: &StixInput<'_>,
    cx: &Cx<'_>,
    ids: &mut EventIds<'_>,
    out: &mut Vec<Made>,
) -> Result<(), Refused> {
    let chunks = divide(&input.objects);
    let divided = chunks.len() > 1;
    for objects in chunks {
        let mut d = start(finding, Kind::Intelligence, cx, ids);
        let foreign = input.bundle_id.as_deref().filter(|_| !divided);
        let own = ids::bundle(cx.tenant, &[&d.event_id]).to_text();
        d.bundle = Arc::from(bundle(foreign.unwrap_or(&own), objects));
        if divided {
            d.quality.push("divided".to_owned());
        }
        let key = columns(&mut d, objects)?;
        d.tlp = markings::of_bundle(&d.bundle)
            .map_err(|e| Refused::Bad(e.code(), e.to_string()))?
            .unwrap_or(cx.tlp);
        out.push(Made { key, detection: d });
    }
    Ok(())
}

/// Runs of objects, each below the limit.
fn divide<'o, 'a>(objects: &'o [&'a [u8]]) -> Vec<&'o [&'a [u8]]> {
    let mut chunks = vec![];
    let (mut from, mut size) = (0, 0);
    for (at, object) in objects.iter().enumerate() {
        if at > from && size + object.len() > MAX_BYTES {
            chunks.extend(objects.get(from..at));
            (from, size) = (at, 0);
        }
        size += object.len() + 1;
    }
    chunks.extend(objects.get(from..).filter(|rest| !rest.is_empty()));
    chunks
}

/// The objects as they stood. Several versions of one object are all kept.
fn bundle(id: &str, objects: &[&[u8]]) -> Vec<u8> {
    let id = serde_json::to_string(id).unwrap_or_default();
    let head = format!(r#"{{"type":"bundle","id":{id},"objects":["#);
    let size: usize = objects.iter().map(|object| object.len() + 1).sum();
    let mut out = Vec::with_capacity(head.len() + size + 2);
    out.extend_from_slice(head.as_bytes());
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(object);
    }
    out.extend_from_slice(b"]}");
    out
}

/// Fills the columns; the record's key.
fn columns(d: &mut Detection, objects: &[&[u8]]) -> Result<String, Refused> {
    let mut heads = Vec::with_capacity(objects.len());
    for object in objects {
        let head: Head<'_> =
            serde_json::from_slice(object).map_err(|e| Refused::Bad(Code::InvalidStix, e.to_string()))?;
        heads.push(head);
    }
    let find = |fits: &dyn Fn(&str) -> bool| heads.iter().find(|head| fits(&head.kind));
    let subject = find(&|kind| CONTAINERS.contains(&kind))
        .or_else(|| find(&|kind| !BESIDE.contains(&kind)))
        .or_else(|| heads.first());
    let Some(subject) = subject else {
        return Err(Refused::Bad(Code::InvalidStix, "no objects".to_owned()));
    };
    d.category = Some(subject.kind.clone().into_owned());
    d.product = Some("STIX".to_owned());
    d.rule = Rule { id: Some(subject.id.clone().into_owned()), rev: None, name: name(subject) };
    d.confidence = subject.confidence.filter(|c| (0..=100).contains(c));
    d.labels.clone_from(&subject.labels);
    let time = |text: &Option<Cow<'_, str>>| text.as_deref().and_then(|text| Timestamp::parse(text).ok());
    d.occurred_at = time(&subject.created).or(d.received_at);
    d.reported_at = time(&subject.modified).or(d.occurred_at);
    for head in &heads {
        observables(d, head);
    }
    Ok(subject.id.clone().into_owned())
}

fn name(head: &Head<'_>) -> Option<String> {
    head.name.as_ref().or(head.value.as_ref()).map(|name| name.clone().into_owned())
}

fn observables(d: &mut Detection, head: &Head<'_>) {
    let add = |list: &mut Vec<String>, value: Option<&str>| {
        if let Some(value) = value.filter(|_| list.len() < MAX_COLUMN) {
            add_once(list, value);
        }
    };
    match &*head.kind {
        "vulnerability" => add(&mut d.cves, head.name.as_deref().filter(|name| name.starts_with("CVE-"))),
        "domain-name" => add(&mut d.domains, head.value.as_deref()),
        "url" => add(&mut d.urls, head.value.as_deref()),
        "attack-pattern" => {
            for reference in &head.external_references {
                match reference.source_name.as_str() {
                    "mitre-attack" | "mitre-ics-attack" => {
                        add(&mut d.techniques, reference.external_id.as_deref())
                    }
                    "capec" => add(&mut d.capecs, reference.external_id.as_deref()),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_without_losing() {
        let big = vec![b' '; MAX_BYTES / 2];
        let objects: Vec<&[u8]> = vec![&big, &big, b"x", &big];
        let sizes: Vec<usize> = divide(&objects).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 4);
        assert!(sizes.len() > 1);
        assert!(divide(&[]).is_empty());
    }
}
