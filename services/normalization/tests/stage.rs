//! The stage in the harness: one detection an alert, the ledger, duplicates, poison, mixed input, assets, headers, limits.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod support;

use atio_normalization::{
    Deps, assets_table, config::Config, config::Source, processor, stage::Normalizer, stages,
};
use atio_schemas::codec::StaticIds;
use atio_schemas::detection::{AssetResolvedBy, Kind, Zone};
use atio_schemas::raw::RawEvent;
use atio_schemas::reference::ReferenceRow;
use atio_schemas::{Code, Codec, Detection, Timestamp, header};
use atio_stage::harness::{Given, Harness};
use atio_stage::{Pace, Run};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{ALERT, FLOW};

const NOW: Timestamp = Timestamp(1_767_323_045_000_000);

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn deps(sources: Vec<Source>) -> Deps {
    Deps { prefix: "atio.".to_owned(), codec: codec(), config: Config::default(), sources }
}

fn harness(sources: Vec<Source>) -> Harness<Normalizer> {
    Harness::new(processor(deps(sources)), &[assets_table("atio.", &codec())], NOW)
}

fn suricata() -> Harness<Normalizer> {
    harness(vec![Source::new("suricata", "atio.raw.suricata")])
}

fn raw(payload: &str) -> RawEvent {
    RawEvent {
        source: "suricata".to_owned(),
        tenant: "default".to_owned(),
        format: None,
        content_type: None,
        sensor: Some("transport-sensor".to_owned()),
        transport: "http".to_owned(),
        received_from: None,
        received_at: NOW,
        file: None,
        file_offset: None,
        dedup_key: None,
        index: 0,
        payload: payload.as_bytes().to_vec(),
    }
}

fn given(event: &RawEvent) -> Given {
    Given {
        topic: "atio.raw.suricata".to_owned(),
        value: Some(codec().encode(event).expect("a raw event encodes")),
        timestamp: NOW,
        ..Given::default()
    }
}

fn decoded(harness: &Harness<Normalizer>) -> Vec<Detection> {
    let values = harness.outputs.iter().map(|o| o.value.as_deref().expect("a value"));
    values.map(|v| codec().decode(v).expect("a detection decodes")).collect()
}

fn dropped(harness: &Harness<Normalizer>, code: Code) -> u64 {
    harness.counts.dropped.get(&code).copied().unwrap_or(0)
}

#[test]
fn an_alert_is_one_detection_with_its_columns_headers_and_key() {
    let mut h = suricata();
    let mut one = given(&raw(ALERT));
    one.headers.set(header::TRACEPARENT, "00-1-2-01");
    one.headers.set("ce_id", "from outside");
    h.commit(&[one]);
    assert!(h.counts.balanced());
    assert_eq!((h.counts.emitted, h.outputs.len(), h.dead_letters.len()), (1, 1, 0));
    let out = &h.outputs[0];
    let d = &decoded(&h)[0];
    assert_eq!(&*out.topic, "atio.detections");
    assert_eq!(out.key.as_deref(), Some(b"ip:10.20.30.40".as_slice()));
    assert_eq!((d.kind, d.category.as_deref()), (Kind::Threat, Some("alert")));
    assert_eq!(
        (d.asset.as_deref(), d.asset_resolved_by),
        (Some("ip:10.20.30.40"), Some(AssetResolvedBy::Address))
    );
    assert_eq!(d.rule.id.as_deref(), Some("1:2034647"));
    assert_eq!(
        (d.severity_score, d.severity_id, d.severity_raw.as_deref()),
        (Some(75.0), Some(4), Some("Major"))
    );
    assert_eq!(d.confidence, Some(85));
    assert_eq!((d.actor.as_deref(), d.target.as_deref()), (Some("203.0.113.7"), Some("10.20.30.40")));
    assert_eq!(
        (d.cves.as_slice(), d.techniques.as_slice()),
        (&["CVE-2021-44228".to_owned()][..], &["T1190".to_owned()][..])
    );
    assert_eq!(d.occurred_at.expect("a time").rfc3339_micros(), "2026-01-02T03:04:05.100000Z");
    assert_eq!(d.reported_at.expect("a time").rfc3339_micros(), "2026-01-02T03:04:05.123456Z");
    assert_eq!((d.received_at, d.raw_ref.as_deref()), (Some(NOW), Some("atio.raw.suricata/0/0")));
    assert_eq!(
        d.event_id,
        atio_stix::ids::event_id("default", "suricata", "atio.raw.suricata", 0, 0, 0).to_string()
    );
    let text = |name: &str| out.headers.text(name).expect(name).to_owned();
    assert_eq!(text(header::CE_ID), d.event_id);
    assert_eq!(text(header::ORIGIN), "atio.raw.suricata/0/0");
    assert_eq!((text(header::RUN), text(header::TENANT)), ("live".to_owned(), "default".to_owned()));
    assert_eq!(text(header::TRACEPARENT), "00-1-2-01");
    assert_eq!(text(header::CONTENT_TYPE), header::CONTENT_TYPE_AVRO);
}

#[test]
fn mixed_input_is_emitted_and_each_bad_part_is_a_dead_letter_of_its_own() {
    let mut h = suricata();
    let payload = format!("{ALERT}\nnot json\n{FLOW}\n{{\"event_type\":\"alert\",\"cut\n");
    h.commit(&[given(&raw(&payload))]);
    assert!(h.counts.balanced());
    assert_eq!(h.counts.emitted, 1);
    let topics: Vec<&str> = h.outputs.iter().map(|o| &*o.topic).collect();
    assert_eq!(topics, ["atio.detections", "atio.logs"]);
    let parts: Vec<_> =
        h.dead_letters.iter().map(|r| r.part.as_ref().expect("a part").bytes.clone()).collect();
    assert_eq!(parts, [b"not json".to_vec(), b"{\"event_type\":\"alert\",\"cut".to_vec()]);
    let ids: std::collections::BTreeSet<_> = decoded(&h).into_iter().map(|d| d.event_id).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn what_cannot_be_read_is_dead_lettered_whole_with_its_reason() {
    let ok = given(&raw(ALERT));
    let value = |bytes: &[u8]| Given { value: Some(bytes.to_vec()), ..ok.clone() };
    let detection = Detection::new("e".to_owned(), Kind::Log, "t", "s");
    let cut = ok.value.as_ref().expect("a value");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases = [
        (Given { value: None, ..ok.clone() }, Code::NullValue),
        (value(b"{}"), Code::NotAvro),
        (value(&[0, 0, 0, 3, 231, 1]), Code::UnknownSchema),
        (value(&codec().encode(&detection).expect("it encodes")), Code::WrongSchema),
        (value(&cut[..cut.len() / 2]), Code::DecodeFailed),
        (Given { topic: "atio.raw.other".to_owned(), ..ok.clone() }, Code::UnknownSource),
        (given(&raw("")), Code::Empty),
        (given(&raw("nothing that any reader knows")), Code::UnknownFormat),
        (given(&raw(&"[".repeat(100_000))), Code::UnknownFormat),
        (given(&RawEvent { format: Some("nonsense".to_owned()), ..raw(ALERT) }), Code::UnknownFormat),
        (given(&RawEvent { format: Some("suricata".to_owned()), ..raw("{\"a\":1}") }), Code::MissingField),
        (given(&RawEvent { format: Some("suricata".to_owned()), ..raw(&deep) }), Code::TooDeep),
    ];
    for (record, code) in cases {
        let mut h = suricata();
        h.commit(&[record, ok.clone()]);
        assert!(h.counts.balanced());
        assert_eq!(h.counts.emitted, 1, "the neighbour of {code} is unharmed");
        let codes: Vec<Code> = h.dead_letters.iter().map(|r| r.code).collect();
        assert_eq!(codes, [code]);
        assert!(h.dead_letters[0].part.is_none(), "{code} is about the whole record");
    }
}

#[test]
fn a_repeat_of_a_sender_id_within_a_day_is_dropped() {
    let mut h = suricata();
    let with_id = |index| RawEvent { dedup_key: Some("src/42".to_owned()), index, ..raw(ALERT) };
    h.commit(&[given(&with_id(0)), given(&with_id(1)), given(&with_id(0))]);
    assert_eq!((h.counts.emitted, dropped(&h, Code::Duplicate)), (2, 1));
    h.commit(&[given(&with_id(1)), given(&raw(ALERT)), given(&raw(ALERT))]);
    assert_eq!(
        (h.counts.emitted, dropped(&h, Code::Duplicate)),
        (4, 2),
        "without an id two equal posts are two events"
    );
    let mut late = given(&with_id(0));
    late.timestamp = NOW.plus_millis(24 * 3_600_000 + 1);
    h.set_now(late.timestamp);
    h.commit(&[late]);
    assert_eq!((h.counts.emitted, dropped(&h, Code::Duplicate)), (5, 2));
    assert!(h.counts.balanced());
    let expected = atio_stix::ids::cloud_event_id("default", "suricata", "src", "42", 1).to_string();
    assert_eq!(decoded(&h)[1].event_id, expected);
}

/// A record as `atio dlq replay` writes it.
fn replayed(event: &RawEvent, place: &str, part: Option<u64>) -> Given {
    let mut record = given(event);
    record.headers.set(header::REPLAY_LETTER, "atio.raw.suricata.dlq/0/3");
    record.headers.set(header::REPLAY_PLACE, place);
    if let Some(part) = part {
        record.headers.set(header::REPLAY_PART, part.to_string());
    }
    record
}

#[test]
fn what_is_replayed_has_the_ids_of_where_it_lay_first() {
    // Behind the one that could not be read.
    let id = |given: Given| {
        let mut h = suricata();
        let first = Given { partition: 2, value: None, ..given.clone() };
        h.commit(&[first, Given { partition: 2, ..given }]);
        assert_eq!((h.dead_letters.len(), h.counts.emitted), (1, 1), "{:?}", h.counts);
        let origin = h.outputs[0].headers.text(header::ORIGIN).map(str::to_owned);
        (decoded(&h)[0].event_id.clone(), origin.unwrap_or_default())
    };
    let seed = |topic: &str| atio_stix::ids::event_id("default", "suricata", topic, 2, 0, 0).to_string();
    let place = "atio.raw.suricata/2/0";
    let whole = id(replayed(&raw(ALERT), place, None));
    assert_eq!(whole, (seed("atio.raw.suricata"), place.to_owned()));
    let part = id(replayed(&raw(ALERT), place, Some(512)));
    assert_eq!(part.0, seed("atio.raw.suricata#512"), "none of those that its record has given");
    let itself = id(given(&raw(ALERT)));
    for wrong in
        ["atio.raw.other/2/0", "atio.raw.suricata/1/0", "atio.raw.suricata/2/1", "atio.raw.suricata/2/2", "x"]
    {
        let told = id(replayed(&raw(ALERT), wrong, Some(512)));
        assert_eq!(told, itself, "{wrong}: no place that this record could have had");
    }
}

#[test]
fn what_is_replayed_is_no_repeat_of_itself() {
    let mut h = suricata();
    let event = |payload: &str| RawEvent { dedup_key: Some("src/7".to_owned()), ..raw(payload) };
    h.commit(&[given(&event("{"))]);
    assert_eq!((h.dead_letters.len(), h.counts.emitted), (1, 0));
    h.commit(&[replayed(&event(ALERT), "atio.raw.suricata/0/0", None)]);
    assert_eq!((h.counts.emitted, dropped(&h, Code::Duplicate)), (1, 0), "{:?}", h.counts);
    let expected = atio_stix::ids::cloud_event_id("default", "suricata", "src", "7", 0).to_string();
    assert_eq!(decoded(&h)[0].event_id, expected);
    h.commit(&[given(&event(ALERT))]);
    assert_eq!(dropped(&h, Code::Duplicate), 1, "the sender's own repeat still is one");
}

#[test]
fn an_aborted_batch_leaves_no_trace() {
    let mut h = suricata();
    let event = given(&RawEvent { dedup_key: Some("src/1".to_owned()), ..raw(ALERT) });
    let first = h.abort(std::slice::from_ref(&event));
    h.commit(std::slice::from_ref(&event));
    assert_eq!(h.counts.emitted, 1);
    let atio_stage::Outcome::Emit { outputs, .. } = &first[0] else { panic!("emitted before the abort") };
    assert_eq!(outputs.as_slice(), &h.outputs[..], "the same record gives the same bytes again");
}

#[test]
fn files_give_ids_by_place_in_the_file() {
    let mut h = suricata();
    let event =
        RawEvent { file: Some("f00d".to_owned()), file_offset: Some(100), ..raw(&format!("{FLOW}\n{FLOW}")) };
    h.commit(&[given(&event)]);
    let at = |offset: usize| {
        atio_stix::ids::file_event_id("default", "suricata", "f00d", offset as u64, 0).to_string()
    };
    let ids: Vec<String> = decoded(&h).into_iter().map(|d| d.event_id).collect();
    assert_eq!(ids, [at(100), at(101 + FLOW.len())]);
}

#[test]
fn the_inventory_names_the_asset_and_ot_is_prefixed() {
    let columns = BTreeMap::from([("addresses".to_owned(), "10.20.30.40".to_owned())]);
    let row = ReferenceRow { table: "assets".to_owned(), id: "srv-7".to_owned(), columns };
    let mut ot = Source::new("suricata", "atio.raw.suricata");
    ot.zone = Zone::Ot;
    for (source, by_table, by_address) in [
        (Source::new("suricata", "atio.raw.suricata"), "srv-7", "ip:10.20.30.40"),
        (ot, "ot/srv-7", "ot/ip:10.20.30.40"),
    ] {
        let mut h = harness(vec![source]);
        h.table("assets", b"srv-7", Some(&codec().encode(&row).expect("a row encodes"))).expect("a good row");
        h.commit(&[given(&raw(ALERT))]);
        h.table("assets", b"srv-7", None).expect("a tombstone");
        h.commit(&[given(&raw(ALERT))]);
        let assets: Vec<_> = decoded(&h).into_iter().filter_map(|d| d.asset).collect();
        assert_eq!(assets, [by_table, by_address]);
        assert_eq!(h.outputs[0].key.as_deref(), Some(by_table.as_bytes()));
    }
}

#[test]
fn naked_payloads_of_an_adopted_topic() {
    let mut source = Source::new("suricata", "their.eve");
    source.naked = true;
    let mut h = harness(vec![source]);
    let record = Given {
        topic: "their.eve".to_owned(),
        value: Some(ALERT.as_bytes().to_vec()),
        timestamp: NOW,
        ..Given::default()
    };
    let bad = Given { value: Some(b"garbage".to_vec()), ..record.clone() };
    h.commit(&[record, bad]);
    let d = &decoded(&h)[0];
    assert_eq!((d.received_at, d.sensor.as_deref()), (Some(NOW), Some("probe-1")));
    assert_eq!(h.dead_letters.len(), 1);
    assert!(h.counts.balanced());
}

#[test]
fn what_goes_beyond_the_outputs_of_a_transaction_is_refused() {
    let mut h = suricata();
    let line = r#"{"timestamp":"2026-01-02T03:04:05.1+0000","event_type":"stats"}"#;
    let payload = format!("{line}\n").repeat(10_001);
    h.commit(&[given(&raw(&payload))]);
    assert!(h.counts.balanced());
    assert_eq!(h.outputs.len(), 10_000);
    let [rest] = h.dead_letters.as_slice() else { panic!("one dead letter, not {}", h.dead_letters.len()) };
    assert_eq!(
        (rest.code, rest.part.as_ref().map(|p| p.bytes.trim_ascii_end())),
        (Code::TooMany, Some(line.as_bytes()))
    );
}

#[test]
fn the_stage_says_what_it_is_wired_to() {
    let mut adopted = Source::new("theirs", "their.eve");
    (adopted.naked, adopted.dead_letters) = (true, "atio.raw.theirs.dlq".to_owned());
    let stages = stages(deps(vec![Source::new("suricata", "atio.raw.suricata"), adopted]));
    let [stage] = stages.as_slice() else { panic!("one stage") };
    let inputs: Vec<(&str, &str)> = stage.inputs.iter().map(|i| (&*i.topic, &*i.dead_letters)).collect();
    assert_eq!(
        inputs,
        [("atio.raw.suricata", "atio.raw.suricata.dlq"), ("their.eve", "atio.raw.theirs.dlq")]
    );
    assert_eq!(stage.outputs.iter().map(|t| &**t).collect::<Vec<_>>(), ["atio.detections", "atio.logs"]);
    assert_eq!(&*stage.stores[0].changelog, "atio.state.normalization.seen");
    assert_eq!(&*stage.tables[0].topic, "atio.reference.assets");
    assert_eq!((stage.pace, matches!(stage.run, Run::Transform(_))), (Pace::Interactive, true));
}
