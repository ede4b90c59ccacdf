//! The stage in the harness.
use super::*;
use crate::{Deps, tables};
use atio_schemas::{
    codec::StaticIds, detection::AssetResolvedBy, detection::Criticality, detection::Exposure,
    reference::ReferenceRow,
};
use atio_stage::harness::{Given, Harness};
use atio_stix::{
    Bundle, Stamp, constants, ids,
    object::{AttackPattern, Common, Extension, Ipv4Addr, ObservedData},
};

const SECOND: i64 = 1_000_000;

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn harness() -> Harness<Enrichment> {
    let deps = Deps { prefix: "atio.".into(), codec: codec() };
    let stage = Enrichment::new(codec(), Arc::from("atio.enriched"), Arc::from("atio.incident-events"));
    Harness::new(stage, &tables(&deps), Timestamp(0))
}

fn row(h: &mut Harness<Enrichment>, table: &str, id: &str, columns: &[(&str, &str)]) {
    let columns = columns.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let row = ReferenceRow { table: table.into(), id: id.into(), columns };
    h.table(table, id.as_bytes(), Some(&codec().encode(&row).unwrap())).unwrap();
}

/// An event of asset `srv-1` at `second`.
fn event(kind: Kind, id: &str, second: i64) -> Detection {
    let mut d = Detection::new(id.into(), kind, "default", "s");
    (d.asset, d.asset_resolved_by) = (Some("srv-1".into()), Some(AssetResolvedBy::Inventory));
    d.occurred_at = Some(Timestamp(second * SECOND));
    d.reported_at = d.occurred_at;
    d.severity_score = Some(75.0);
    d.confidence = Some(85);
    d
}

fn alert(id: &str, second: i64) -> Detection {
    let mut d = event(Kind::Threat, id, second);
    (d.rule.id, d.rule.name, d.actor) = (Some("1:1".into()), Some("a rule".into()), Some("192.0.2.1".into()));
    let mut bundle = Bundle::new(&ids::bundle("default", &[id]));
    let address = Ipv4Addr::new("192.0.2.1");
    bundle.push(&address).unwrap();
    let common = Common::fixed(ids::attack_pattern_suricata("default", "1:1", "a rule")).by_atio();
    bundle.push(&AttackPattern { common, name: "a rule".into(), ..AttackPattern::default() }).unwrap();
    d.bundle = Arc::from(bundle.finish());
    d
}

fn result(uid: &str, cve: &str, second: i64) -> Detection {
    let mut d = event(Kind::Vulnerability, &format!("{uid}@{second}"), second);
    d.category = Some("result".into());
    (d.finding_uid, d.rule.id, d.cves, d.cvss) =
        (Some(uid.into()), Some("1.3.6".into()), vec![cve.into()], Some(7.5));
    let mut bundle = Bundle::new(&ids::bundle("default", &[&d.event_id]));
    bundle.push(&Ipv4Addr::new("10.0.0.1")).unwrap();
    d.bundle = Arc::from(bundle.finish());
    d
}

fn summary(uids: &[&str], complete: bool, second: i64) -> Detection {
    let mut d = event(Kind::Vulnerability, &format!("summary@{second}"), second);
    d.category = Some("host_summary".into());
    let mut bundle = Bundle::new(&ids::bundle("default", &[&d.event_id]));
    let address = Ipv4Addr::new("10.0.0.1");
    bundle.push(&address).unwrap();
    let at = Timestamp(second * SECOND);
    let mut common = Common::new(ids::observed_data("default", &[&d.event_id]), at).by_atio();
    let content = serde_json::json!({"extension_type": "property-extension", "complete": complete, "finding_uids": uids});
    common.extensions.0.push(Extension::Value(constants::EXTENSION_ID.into(), content));
    let stamp = Stamp::millis(at);
    let object_refs = vec![address.common.id];
    bundle
        .push(&ObservedData {
            common,
            first_observed: stamp,
            last_observed: stamp,
            number_observed: 1,
            object_refs,
        })
        .unwrap();
    d.bundle = Arc::from(bundle.finish());
    d
}

/// One transaction; the enriched detections in order.
fn run(h: &mut Harness<Enrichment>, events: &[Detection]) -> Vec<Detection> {
    let given = |d: &Detection| Given {
        key: d.asset.clone().map(String::into_bytes),
        value: Some(codec().encode(d).unwrap()),
        timestamp: d.reported_at.unwrap(),
        ..Given::default()
    };
    h.outputs.clear();
    h.commit(&events.iter().map(given).collect::<Vec<_>>());
    assert!(h.counts.balanced() && h.failures.is_empty(), "{:?} {:?}", h.failures, h.dead_letters);
    let enriched = h.outputs.iter().filter(|o| &*o.topic == "atio.enriched");
    enriched.map(|o| codec().decode(o.value.as_deref().unwrap()).unwrap()).collect()
}

fn kinds(d: &Detection) -> Vec<String> {
    let objects = atio_stix::bundle::parse(&d.bundle).unwrap();
    objects.iter().map(|o| o["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_threat_gets_asset_risk_with_reasons_sighting_report_and_incident() {
    let mut h = harness();
    row(
        &mut h,
        "assets",
        "srv-1",
        &[
            ("criticality", "high"),
            ("exposure", "internet"),
            ("policies", "pci; backup"),
            ("owner", "web team"),
        ],
    );
    let [d] = &run(&mut h, &[alert("e1", 10)])[..] else { panic!("one") };
    assert_eq!((d.criticality, d.exposure), (Some(Criticality::High), Some(Exposure::Internet)));
    assert_eq!(d.policies, ["pci", "backup"]);
    assert_eq!((d.importance, d.status, d.count), (Some(90.0), Some(Status::New), Some(1)));
    assert_eq!(d.importance, Some(risk::recompute(&d.reasons)));
    assert_eq!(d.asset_risk, Some(90.0));
    assert_eq!(d.incident_id, Some(ids::threat_incident("default", "srv-1", "1:1", "e1").to_string()));
    assert_eq!(kinds(d), ["ipv4-addr", "attack-pattern", "sighting", "report"]);
    let event: IncidentEvent = codec().decode(h.outputs[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(
        (h.outputs[0].key.clone(), event.opened),
        (d.incident_id.clone().map(String::into_bytes), true)
    );
}

#[test]
fn repeats_share_a_window_an_incident_and_a_sighting_that_is_versioned_every_30_s() {
    let mut h = harness();
    let done = run(&mut h, &[alert("e1", 0), alert("e2", 10), alert("e3", 40), alert("e4", 8000)]);
    let said: Vec<bool> = done.iter().map(|d| kinds(d).contains(&"sighting".to_owned())).collect();
    assert_eq!(said, [true, false, true, true]);
    assert_eq!(done.iter().map(|d| d.count.unwrap()).collect::<Vec<_>>(), [1, 2, 3, 1]);
    assert!(
        done[..3].iter().all(|d| d.incident_id == done[0].incident_id)
            && done[3].incident_id != done[0].incident_id
    );
    let sighting = |d: &Detection| {
        let objects = atio_stix::bundle::parse(&d.bundle).unwrap();
        let found = objects.iter().find(|o| o["type"] == "sighting").unwrap().clone();
        (found["id"].clone(), found["created"].clone(), found["modified"].clone(), found["count"].clone())
    };
    let (first, third) = (sighting(&done[0]), sighting(&done[2]));
    assert_eq!((&first.0, &first.1), (&third.0, &third.1));
    assert!(first.2 != third.2 && third.3 == 3);
}

#[test]
fn an_aborted_batch_leaves_nothing_behind() {
    let (mut a, mut b) = (harness(), harness());
    let given = |d: &Detection| Given {
        key: Some(b"srv-1".to_vec()),
        value: Some(codec().encode(d).unwrap()),
        timestamp: d.reported_at.unwrap(),
        ..Given::default()
    };
    let batch = [given(&alert("e1", 0)), given(&result("f1", "CVE-2024-1", 1))];
    let _aborted = a.abort(&batch);
    a.commit(&batch);
    b.commit(&batch);
    assert_eq!((&a.outputs, a.state(0)), (&b.outputs, b.state(0)));
}

#[test]
fn a_finding_is_new_recurring_fixed_reopened_and_its_report_follows_the_status_only() {
    let mut h = harness();
    let mut life = vec![];
    for (second, uids, complete) in [
        (0, vec!["f1", "f2"], true),
        (100, vec!["f1", "f2"], true),
        (200, vec!["f1", "f2"], true),
        (300, vec!["f2"], false),
        (400, vec!["f2"], true),
        (500, vec!["f1", "f2"], true),
    ] {
        let mut batch: Vec<Detection> = uids.iter().map(|u| result(u, "CVE-2024-1", second)).collect();
        batch.push(summary(&uids, complete, second));
        for d in run(&mut h, &batch).iter().filter(|d| d.finding_uid.as_deref() == Some("f1")) {
            life.push((second, d.status.unwrap(), kinds(d).contains(&"report".to_owned())));
        }
    }
    use Status::{Fixed, New, Recurring, Reopened};
    assert_eq!(
        life,
        [
            (0, New, true),
            (100, Recurring, true),
            (200, Recurring, false),
            (400, Fixed, true),
            (500, Reopened, true)
        ]
    );
}

#[test]
fn a_summary_counts_and_a_fixed_finding_says_when_it_ended() {
    let mut h = harness();
    run(
        &mut h,
        &[result("f1", "CVE-2024-1", 0), result("f2", "CVE-2024-2", 0), summary(&["f1", "f2"], true, 0)],
    );
    let done = run(&mut h, &[result("f2", "CVE-2024-2", 100), summary(&["f2"], true, 100)]);
    let [_, fixed, summed] = &done[..] else { panic!("{} detections", done.len()) };
    let count = |code: &str| summed.reasons.iter().find(|r| r.code == code).unwrap().value;
    assert_eq!(
        (count("findings_new"), count("findings_recurring"), count("findings_fixed")),
        (0.0, 1.0, 1.0)
    );
    let objects = atio_stix::bundle::parse(&fixed.bundle).unwrap();
    let has = objects.iter().find(|o| o["type"] == "relationship").unwrap();
    assert_eq!(
        (has["start_time"].as_str(), has["stop_time"].as_str()),
        (Some("1970-01-01T00:00:00.000Z"), Some("1970-01-01T00:01:40.000Z"))
    );
    assert_eq!(fixed.cves, ["CVE-2024-1"]);
}

#[test]
fn an_alert_on_a_cve_that_the_scan_found_weighs_more_and_one_that_it_did_not_less() {
    let mut h = harness();
    run(&mut h, &[result("f1", "CVE-2024-1", 0), summary(&["f1"], true, 0)]);
    let on = |cve: &str, id: &str| {
        let mut d = alert(id, 100);
        d.cves = vec![cve.into()];
        d
    };
    let done = run(&mut h, &[on("CVE-2024-1", "e1"), on("CVE-2024-9", "e2")]);
    assert_eq!((done[0].importance, done[1].importance), (Some(83.0), Some(48.0)));
}

#[test]
fn kev_and_epss_of_the_worst_cve() {
    let mut h = harness();
    let missing = run(&mut h, &[result("f0", "CVE-2024-1", 0)]);
    assert_eq!(missing[0].quality, ["enrichment_missing:assets", "enrichment_missing:vulnerabilities"]);
    row(&mut h, "vulnerabilities", "CVE-2024-1", &[("epss", "0.02")]);
    row(&mut h, "vulnerabilities", "CVE-2024-2", &[("kev", "true"), ("epss", "0.9")]);
    let mut d = result("f1", "CVE-2024-1", 1);
    d.cves.push("CVE-2024-2".into());
    let [d] = &run(&mut h, &[d])[..] else { panic!("one") };
    assert_eq!((d.kev, d.epss), (Some(true), Some(0.9)));
}

#[test]
fn logs_and_intelligence_pass_and_poison_is_a_dead_letter() {
    let mut h = harness();
    let done = run(&mut h, &[event(Kind::Log, "l", 0), event(Kind::Intelligence, "i", 0)]);
    assert!(done.iter().all(|d| d.incident_id.is_none() && d.importance.is_none()));
    h.commit(&[Given { value: Some(b"junk".to_vec()), ..Given::default() }, Given::default()]);
    assert_eq!(h.dead_letters.iter().map(|r| r.code).collect::<Vec<_>>(), [Code::NotAvro, Code::NullValue]);
    assert!(h.counts.balanced());
}

#[test]
fn a_bundle_that_can_t_be_read_is_a_dead_letter_and_leaves_no_state() {
    let mut h = harness();
    let mut d = alert("e1", 0);
    d.bundle = Arc::from(&b"{}"[..]);
    let value = Some(codec().encode(&d).unwrap());
    h.commit(&[Given { key: Some(b"srv-1".to_vec()), value, ..Given::default() }]);
    assert_eq!(h.dead_letters.iter().map(|r| r.code).collect::<Vec<_>>(), [Code::InvalidStix]);
    assert!(h.state(0).is_none_or(atio_stage::State::is_empty));
}
